"""The names of llama.cpp's GGUF files of a T5 encoder. A GGUF of the DiT has the official names."""

from wan22.weights.dialects.table import Dialect, Table, with_suffixes

_TEXT = Table(
    with_suffixes(
        {
            "token_embedding": "token_embd",
            "norm": "enc.output_norm",
            "blocks.*.norm1": "enc.blk.*.attn_norm",
            **{f"blocks.*.attn.{p}": f"enc.blk.*.attn_{p}" for p in "qkvo"},
            "blocks.*.pos_embedding.embedding": "enc.blk.*.attn_rel_b",
            "blocks.*.norm2": "enc.blk.*.ffn_norm",
            "blocks.*.ffn.gate.0": "enc.blk.*.ffn_gate",
            "blocks.*.ffn.fc1": "enc.blk.*.ffn_up",
            "blocks.*.ffn.fc2": "enc.blk.*.ffn_down",
        },
        ".weight",
    )
)
TEXT = Dialect("gguf", "text", _TEXT, marks=("token_embd.weight",))
