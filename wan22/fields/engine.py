"""With which model a video is made, and how the engine works on this machine.

The last is said by who has the machine: a server takes the name of a model alone from its clients.
"""

from typing import Any

from wan22.fields.field import CLI, DECODE, MAKERS, TRAIN, Field, Rule


def _part(name: str, help: str, shown_default: str = "") -> Field:
    return Field(
        name=name,
        help=help,
        group="Memory",
        kind="file",
        metavar="FILE",
        shown_default=shown_default,
        where=CLI,
        commands=(*MAKERS, DECODE, TRAIN),
    )


def _option(name: str, help: str, **more: Any) -> Field:
    """A keyword of `wan22.load` that changes speed and memory, and not what is asked."""
    return Field(
        name=name, help=help, group="Memory", choices=name, where=CLI, commands=(*MAKERS, DECODE), **more
    )


PARTS = ("high", "low", "dit", "vae", "text", "tokenizer")
"""The parts of a model that can be named by file; a field each."""

OPTIONS = (
    "device", "text_device", "vae_device", "gpus", "parallel", "dtype", "compute_dtype", "quantize", "vae_dtype",
    "memory", "attention", "compile", "calibration",
)  # fmt: skip
"""The keywords of `wan22.load` that say how the engine works; a field each."""

REPEATED = ("dtype", "quantize", "vae_dtype", "attention")
"""Those that change numbers: a recipe says them, and `--from` repeats them."""

DIVISION = ("gpus", "parallel")
"""How many devices make a video, and how. `--from` repeats it, unless it is said where the video is made."""

FIELDS: tuple[Field, ...] = (
    Field(
        name="model",
        help="A catalogue name or a folder.",
        group="Memory",
        metavar="NAME|PATH",
        shown_default="nano",
        choices="model",
        commands=(*MAKERS, DECODE),
        foreign=("ckpt-dir", "ckpt", "checkpoint", "model-path", "model-id", "unet-name", "ckpt-name", "pretrained"),
    ),
    _part("high", "The high-noise expert: a weight file or folder, in place of the model's own."),
    _part("low", "The low-noise expert, likewise."),
    _part("dit", "The transformer of a model of one network, likewise."),
    _part("vae", "The VAE, likewise."),
    _part("text", "The text encoder, likewise."),
    _part("tokenizer", "A tokenizer.json, a spiece.model, or a folder with one.", "what lies with the text encoder"),
    Field(
        name="calibration",
        help="What --calibrate measured of the model, for --cache magcache and teacache.",
        group="Memory",
        kind="file",
        metavar="FILE",
        shown_default="the model's own",
        where=CLI,
        commands=MAKERS,
        foreign=("mag-ratios", "magcache-ratios", "teacache-coefficients"),
    ),
    _option(
        "device",
        "cpu, cuda, cuda:1, mps.",
        metavar="D",
        shown_default="auto, the fastest here",
        foreign=("device-id", "gpu", "cuda"),
    ),
    Field(
        name="text_device",
        help="Where the text encoder works, and stays: another card, or cpu.",
        group="Memory",
        metavar="D",
        shown_default="as --device",
        where=CLI,
        commands=(*MAKERS, DECODE),
        foreign=("text-encoder-device", "te-device", "clip-device", "t5-device"),
    ),
    Field(
        name="vae_device",
        help="Where the VAE works, and stays: another card, or cpu.",
        group="Memory",
        metavar="D",
        shown_default="as --device",
        where=CLI,
        commands=(*MAKERS, DECODE),
    ),
    Field(
        name="gpus",
        help="So many devices make each video together (docs/scaling.md).",
        group="Memory",
        kind="integer",
        metavar="N",
        rule=Rule(says="a whole number from 1", low=1),
        shown_default="1; under torchrun all",
        where=CLI,
        commands=(*MAKERS, DECODE),
        foreign=("num-gpus", "n-gpu", "ngpu", "num-processes"),
    ),
    Field(
        name="parallel",
        help="How they divide the work: guidance=2,context=4,ring=2.",
        group="Memory",
        metavar="LAYOUT",
        shown_default="what sends least",
        where=CLI,
        commands=(*MAKERS, DECODE),
        foreign=("ulysses-size", "ulysses-degree", "ring-size", "ring-degree", "cfg-size", "sequence-parallel"),
    ),
    _option(
        "dtype",
        "float32, bfloat16, float16.",
        metavar="T",
        shown_default="auto, fit for the device",
        foreign=("convert-model-dtype", "torch-dtype", "precision", "fp16", "bf16", "weight-dtype", "param-dtype"),
    ),
    _option(
        "compute_dtype",
        "What is multiplied in: float32, bfloat16, float16.",
        metavar="T",
        shown_default="auto: dtype, or float32 on a CPU without bfloat16 products",
        foreign=("compute-type", "bnb-4bit-compute-dtype", "manual-cast"),
    ),
    _option(
        "quantize",
        "Keep weights in fp8, int8 or int4; fp8-weights and int8-weights never multiply in 8 bits.",
        metavar="KIND",
        shown_default="none",
        foreign=("quantization", "quant", "fp8", "int8", "int4", "load-in-8bit", "load-in-4bit", "quantize-weights"),
    ),
    _option(
        "vae_dtype",
        "What the VAE computes in: float32 (its products in TF32 on CUDA) or bfloat16, in half the memory.",
        metavar="T",
        shown_default="float32",
        foreign=("fp32-vae", "fp16-vae", "bf16-vae", "vae-precision", "vae-fp32"),
    ),
    _option(
        "memory",
        "Where weights wait for their turn: device, host or disk; stream: block by block; ranks: parts on each.",
        metavar="PLAN",
        shown_default="auto, from what is free",
        foreign=(
            "offload-model", "t5-cpu", "offload", "cpu-offload", "enable-model-cpu-offload", "lowvram", "low-vram",
            "enable-sequential-cpu-offload", "novram", "highvram", "vae-tiling", "enable-vae-tiling",
        ),
    ),
    Field(
        name="attention",
        help="What computes attention: sdpa, flash, cudnn, sage (8 bits), flex, blocked ... (docs/speed.md).",
        group="Memory",
        metavar="NAME",
        shown_default="auto, the fastest exact one here",
        choices="attention",
        where=CLI,
        commands=MAKERS,
        foreign=("attn-mode", "attn-type", "attention-backend", "attn-impl", "sage-attention", "flash-attention"),
    ),
    Field(
        name="compile",
        help="Compile the blocks of the transformer: slower at the first step, faster at the others.",
        group="Memory",
        kind="flag",
        default=False,
        where=CLI,
        commands=MAKERS,
        foreign=("torch-compile", "enable-torch-compile", "compile-model"),
    ),
)  # fmt: skip
"""In the order of the help within each group."""
