"""LoRAs of every dialect on a small network, for tests."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from wan22.arch import DiTArch
from wan22.weights.load import load_module, meta_module
from wan22.weights.lora import fit, merging
from wan22.weights.lora.fitting import shapes_of
from wan22.weights.lora.names import diffusers_name
from wan22.weights.reader import open_reader

DIT = DiTArch(16, 16, 128, 64, heads=1, layers=2, text_dim=32, freq_dim=16)
RANK = 4
TRAINED = [
    f"blocks.{i}.{module}.weight"
    for i in range(DIT.layers)
    for module in (*(f"{a}.{p}" for a in ("self_attn", "cross_attn") for p in "qkvo"), "ffn.0", "ffn.2")
]
EXPERTS = ("high", "low")


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def pairs(names=TRAINED, rank=RANK, seed=0, arch=DIT):
    """A LoRA: (down, up) by official name."""
    shapes = shapes_of(arch)
    made = {}
    for i, name in enumerate(names):
        out, *into = shapes[name]
        made[name] = (
            draw(rank, *into, seed=seed + 2 * i),
            draw(out, rank, *(1 for _ in into[1:]), seed=seed + 2 * i + 1),
        )
    return made


def deltas(lora, scale):
    return {
        name: scale * (up.flatten(1) @ down.flatten(1)).reshape(up.shape[0], *down.shape[1:])
        for name, (down, up) in lora.items()
    }


def module(name: str) -> str:
    return name.removesuffix(".weight")


def theirs(name: str) -> str:
    return module(diffusers_name(name))


def flat(name: str) -> str:
    return module(name).replace(".", "_")


KEYS = {
    "diffusers": lambda n: (
        f"transformer.{theirs(n)}.lora_A.weight",
        f"transformer.{theirs(n)}.lora_B.weight",
        None,
    ),
    "peft": lambda n: (
        f"base_model.model.{theirs(n)}.lora_A.weight",
        f"base_model.model.{theirs(n)}.lora_B.weight",
        None,
    ),
    "bare": lambda n: (f"{module(n)}.lora_A.default.weight", f"{module(n)}.lora_B.default.weight", None),
    "dit": lambda n: (f"pipe.dit.{module(n)}.lora_A.weight", f"pipe.dit.{module(n)}.lora_B.weight", None),
    "comfy": lambda n: (
        f"diffusion_model.{module(n)}.lora_A.weight",
        f"diffusion_model.{module(n)}.lora_B.weight",
        f"diffusion_model.{module(n)}.alpha",
    ),
    "down and up": lambda n: (
        f"diffusion_model.{module(n)}.lora_down.weight",
        f"diffusion_model.{module(n)}.lora_up.weight",
        None,
    ),
    "kohya": lambda n: (
        f"lora_unet_{flat(n)}.lora_down.weight",
        f"lora_unet_{flat(n)}.lora_up.weight",
        f"lora_unet_{flat(n)}.alpha",
    ),
    "kohya of Diffusers' names": lambda n: (
        f"lora_unet_{theirs(n).replace('.', '_')}.lora_down.weight",
        f"lora_unet_{theirs(n).replace('.', '_')}.lora_up.weight",
        f"lora_unet_{theirs(n).replace('.', '_')}.alpha",
    ),
    "old Diffusers": lambda n: (
        f"transformer.{theirs(n)}.lora.down.weight",
        f"transformer.{theirs(n)}.lora.up.weight",
        None,
    ),
}
ALPHA = 2.0


def written(path, lora, form="comfy", alpha=ALPHA, metadata=None, extra=None):
    """A file of some dialect, written here and not by the code that is tested."""
    tensors = dict(extra or {})
    for name, (down, up) in lora.items():
        keys = KEYS[form](name)
        tensors[keys[0]], tensors[keys[1]] = down.contiguous(), up.contiguous()
        if keys[2] is not None:
            tensors[keys[2]] = torch.tensor(alpha)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path, metadata=metadata)
    return path


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    path = tmp_path_factory.mktemp("base") / "base.safetensors"
    save_file({name: draw(*shape, seed=i) for i, (name, shape) in enumerate(shapes_of(DIT).items())}, path)
    return path


def merged(base, *loras, expert="high", dtype=torch.float32, experts=EXPERTS, arch=DIT):
    fitted = fit(loras, experts, arch, "tiny")
    with open_reader(base) as reader, merging(fitted.on(expert)) as edit:
        return load_module(meta_module(arch), reader, dtype=dtype, edit=edit).state_dict()


def expected(base, changes):
    weights = load_file(base)
    return {name: weight + changes[name] if name in changes else weight for name, weight in weights.items()}


def near(a, b):
    return a.keys() == b.keys() and all(torch.allclose(a[n], b[n], rtol=1e-5, atol=1e-5) for n in a)


def lightx2v(lora=None):
    """Pairs and full differences as LightX2V extracts them; and what they add."""
    shapes = shapes_of(DIT)
    lora = pairs() if lora is None else lora
    extra, changes = {}, deltas(lora, 1.0)
    for i, name in enumerate(n for n in shapes if n not in lora):
        owner, _, leaf = name.rpartition(".")
        ending = {"weight": "diff", "bias": "diff_b", "modulation": "diff_m"}[leaf]
        changes[name] = draw(*shapes[name], seed=100 + i)
        extra[f"diffusion_model.{owner}.{ending}"] = changes[name]
    return lora, extra, changes


def know(monkeypatch, models):
    """Let the catalogue be these."""
    monkeypatch.setattr("wan22.weights.lora.fitting._catalogue", lambda: models)


def uses(*loras, experts=EXPERTS):
    return [(use.adapter.path.stem, use.expert) for use in fit(loras, experts, DIT, "tiny").uses]


def added(path, base):
    """What a LoRA adds, by its merge."""
    weights = load_file(base)
    return {name: tensor - weights[name] for name, tensor in merged(base, path, expert="high").items()}
