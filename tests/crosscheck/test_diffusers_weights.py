"""Diffusers and we read each other's folders, with equal weights."""

import json
import warnings
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from wan22.arch import DiTArch, UMT5Arch
from wan22.catalog import VAE_21
from wan22.weights.convert import convert
from wan22.weights.dialects import DIALECTS
from wan22.weights.find import find_layout, find_parts
from wan22.weights.load import load_module, meta_module
from wan22.weights.reader import open_reader
from wan22.weights.recognise import recognise

diffusers = pytest.importorskip("diffusers")
transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.filterwarnings("ignore")  # theirs are not ours

DIT = DiTArch(16, 16, dim=48, ffn_dim=64, heads=2, layers=2, text_dim=32, freq_dim=16)
TEXT = UMT5Arch(vocab=100, dim=32, dim_attn=32, ffn_dim=48, heads=2, layers=2)


def their_transformer(arch: DiTArch):
    return diffusers.WanTransformer3DModel(
        num_attention_heads=arch.heads,
        attention_head_dim=arch.dim // arch.heads,
        in_channels=arch.in_channels,
        out_channels=arch.out_channels,
        text_dim=arch.text_dim,
        freq_dim=arch.freq_dim,
        ffn_dim=arch.ffn_dim,
        num_layers=arch.layers,
        rope_max_seq_len=64,
    )


def their_vae(**options):
    return diffusers.AutoencoderKLWan(base_dim=8, z_dim=16, num_res_blocks=1, **options)


def their_text(arch: UMT5Arch):
    config = transformers.UMT5Config(
        vocab_size=arch.vocab,
        d_model=arch.dim,
        d_kv=arch.dim_attn // arch.heads,
        d_ff=arch.ffn_dim,
        num_layers=arch.layers,
        num_heads=arch.heads,
        feed_forward_proj="gated-gelu",
        tie_word_embeddings=False,
    )
    return transformers.UMT5EncoderModel(config)


def tokenizer():
    from tokenizers import Tokenizer, models

    words = {"<pad>": 0, "</s>": 1, "<unk>": 2, "cat": 3}
    fast = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=fast, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    )


def official_names(part: str, theirs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Diffusers' state dict in official names, by the first table that knows all of its names."""
    for table in DIALECTS[part]:
        if table.name == "diffusers" and table.matches(theirs):
            renamed = {table.to_native(name): t for name, t in theirs.items() if name not in table.ignored}
            if None not in renamed:
                return renamed
    raise AssertionError(f"no table fits {list(theirs)[:3]}")


def ours(path: Path) -> dict[str, torch.Tensor]:
    with open_reader(path) as reader:
        return load_module(meta_module(recognise(reader).arch), reader, dtype=torch.float32).state_dict()


def assert_same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> None:
    assert a.keys() == b.keys()
    assert [name for name in a if not torch.equal(a[name], b[name])] == []


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A tiny two-expert pipeline with random weights, and where Diffusers saved it."""
    torch.manual_seed(0)
    pipeline = diffusers.WanPipeline(
        tokenizer=tokenizer(),
        text_encoder=their_text(TEXT),
        vae=their_vae(),
        scheduler=diffusers.UniPCMultistepScheduler(
            use_flow_sigmas=True, prediction_type="flow_prediction", flow_shift=3.0
        ),
        transformer=their_transformer(DIT),
        transformer_2=their_transformer(DIT),
        boundary_ratio=0.875,
    )
    folder = tmp_path_factory.mktemp("diffusers")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pipeline.save_pretrained(folder)
    return pipeline, folder


def test_a_pipeline_that_diffusers_saved_is_loaded_by_us(saved):
    pipeline, folder = saved
    layout = find_layout(folder)
    assert (layout.kind, layout.boundary, layout.shift, layout.missing) == ("diffusers", 0.875, 3.0, [])
    for part, kind, theirs in (
        ("high", "dit", pipeline.transformer),
        ("low", "dit", pipeline.transformer_2),
        ("vae", "vae", pipeline.vae),
        ("text", "text", pipeline.text_encoder),
    ):
        assert_same(ours(layout.parts[part]), official_names(kind, theirs.state_dict()))
    with open_reader(layout.parts["high"]) as reader:
        found = recognise(reader)
    assert (found.task, found.dialect, found.arch) == ("t2v", "diffusers", DIT)


def test_our_diffusers_folder_is_loaded_by_diffusers(saved, tmp_path, caplog):
    pipeline, source = saved
    comfy = convert(source, tmp_path / "comfy", "comfy")
    assert "no SentencePiece tokenizer" in caplog.text  # a list of words, which ComfyUI can't read
    back = convert(comfy, tmp_path / "back", "diffusers")
    loaded = diffusers.WanPipeline.from_pretrained(back, torch_dtype=torch.float32)
    for name in ("transformer", "transformer_2", "vae", "text_encoder"):
        assert_same(getattr(loaded, name).state_dict(), getattr(pipeline, name).state_dict())
    assert loaded.config.boundary_ratio == 0.875
    assert loaded.config.expand_timesteps is False
    settings = loaded.scheduler.config
    assert (settings.use_flow_sigmas, settings.prediction_type, settings.flow_shift) == (
        True, "flow_prediction", 3.0,
    )  # fmt: skip
    mine = json.loads((back / "transformer" / "config.json").read_text())
    theirs = json.loads((source / "transformer" / "config.json").read_text())
    differ = {key for key in theirs if mine.get(key) != theirs[key]} - {
        "_diffusers_version",
        "rope_max_seq_len",
    }
    assert differ == set()
    assert find_parts(back).keys() == find_parts(source).keys()


def test_a_wan_2_2_vae_goes_to_diffusers_and_back(tmp_path):
    torch.manual_seed(0)
    theirs = their_vae(
        is_residual=True,
        decoder_base_dim=12,
        in_channels=12,
        out_channels=12,
        patch_size=2,
        scale_factor_spatial=16,
    )
    theirs.save_pretrained(tmp_path / "theirs")
    assert_same(ours(tmp_path / "theirs"), official_names("vae", theirs.state_dict()))
    convert(tmp_path / "theirs", tmp_path / "mine", "diffusers")
    loaded = diffusers.AutoencoderKLWan.from_pretrained(tmp_path / "mine")
    assert_same(loaded.state_dict(), theirs.state_dict())
    assert {k: v for k, v in loaded.config.items() if not k.startswith("_")} == {
        k: v for k, v in theirs.config.items() if not k.startswith("_")
    }


def test_an_official_text_encoder_loads_in_transformers(tmp_path):
    generator = torch.Generator().manual_seed(0)
    shapes = meta_module(TEXT).state_dict()
    native = {name: torch.randn(tensor.shape, generator=generator) for name, tensor in shapes.items()}
    save_file(native, tmp_path / "t5.safetensors")
    convert(tmp_path / "t5.safetensors", tmp_path / "folder", "diffusers")
    loaded = transformers.UMT5EncoderModel.from_pretrained(tmp_path / "folder", dtype=torch.float32)
    assert_same(official_names("text", loaded.state_dict()), native)


def test_the_released_vae_config_is_diffusers_default():
    from wan22.weights.configs import diffusers as config
    from wan22.weights.recognise import Identity

    made = config(Identity("vae", None, "vae-2.1", "official", VAE_21, None))
    with torch.device("meta"):
        default = diffusers.AutoencoderKLWan().config
    differ = {key for key in made if not key.startswith("_") and _plain(made[key]) != _plain(default[key])}
    assert differ - {"decoder_base_dim"} == set()  # None there, meaning the encoder's


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value
