"""Networks whose weights and inputs are computed from a hash give the numbers that the official release gave.

tests/data/goldens.json holds, for every case, the shape of the output, its mean, standard deviation and norm, and
eight of its values; float32. Tolerance: 2e-4 of the standard deviation.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from wan22.arch import AnimateArch, DiTArch, SpeechArch, UMT5Arch, VAEArch
from wan22.models.animate import AnimateDiT
from wan22.models.dit import NoiseLevels, WanDiT
from wan22.models.speech import SpeechDiT
from wan22.models.umt5 import UMT5Encoder
from wan22.models.vae import WanVAE

EXPECTED = json.loads((Path(__file__).parents[1] / "data" / "goldens.json").read_text())
TOLERANCE = 2e-4

DITS = {"dit_t2v": (16, 16), "dit_i2v": (36, 16), "dit_ti2v": (48, 48)}
_VAE = dict(z=4, encoder_width=8, multipliers=(1, 2, 4, 4), blocks=2, temporal=(False, True, True))
_SCALE = dict(mean=(0.1, -0.2, 0.3, 0.0), std=(1.0, 2.0, 0.5, 1.5))
VAES = {
    "vae21": VAEArch(**_VAE, decoder_width=8, patch=1, residual=False, **_SCALE),
    "vae22": VAEArch(**_VAE, decoder_width=12, patch=2, residual=True, **_SCALE),
}


def hashed(k: int, shape) -> torch.Tensor:
    """Numbers in [-0.5, 0.5), row-major, from the 32-bit hash of (k, index)."""
    x = np.arange(int(np.prod(shape)), dtype=np.uint64) * 2654435761 + k * 40503 + 12345
    x &= 0xFFFFFFFF
    x ^= x >> 16
    x = (x * 2246822519) & 0xFFFFFFFF
    x ^= x >> 13
    return torch.from_numpy(x / 2.0**32 - 0.5).reshape(tuple(shape))


def given(j: int, *shape: int) -> torch.Tensor:
    return (2 * hashed(1000 + j, shape)).float()


def with_hashed_weights(module: torch.nn.Module) -> torch.nn.Module:
    weights = {}
    for k, (name, like) in enumerate(sorted(module.state_dict().items())):
        if name.endswith(".kernel"):  # counted, and left as it is
            weights[name] = like
            continue
        h = hashed(k, like.shape)
        if name.startswith("motion_encoder.") and not name.endswith(".bias"):
            h = 3.4641 * h
        elif name.startswith("motion_encoder."):
            h = 0.2 * h
        elif name == "casual_audio_encoder.weights":
            h = 0.6 + 0.5 * h
        elif name.endswith(".gamma") or ("norm" in name and name.endswith(".weight")):
            h = 1 + 0.2 * h
        else:
            h = (0.2 if like.ndim <= 1 else 0.3) * h
        weights[name] = h.float()
    module.load_state_dict(weights)
    return module.eval()


def assert_expected(name: str, y: torch.Tensor) -> None:
    expected = EXPECTED[name]
    bound = TOLERANCE * expected["std"]
    assert list(y.shape) == expected["shape"]
    seen = y.double().flatten()
    assert seen[expected["index"]].tolist() == pytest.approx(expected["value"], abs=bound)
    assert seen.mean().item() == pytest.approx(expected["mean"], abs=bound)
    assert seen.std(correction=0).item() == pytest.approx(expected["std"], abs=bound)
    assert seen.norm().item() == pytest.approx(expected["l2"], rel=TOLERANCE)


@pytest.mark.parametrize("name", DITS)
@torch.inference_mode()
def test_the_transformer_has_the_official_numbers(name):
    into, out = DITS[name]
    arch = DiTArch(into, out, dim=256, ffn_dim=320, heads=2, layers=2)
    network = with_hashed_weights(WanDiT(arch))
    x = given(0, out, 3, 8, 12)[None]
    known = given(1, 20, 3, 8, 12)[None] if into == 36 else None
    text = network.read_text([given(2, 7, 4096)])
    levels = NoiseLevels.uniform(torch.tensor([777.0]))
    if name == "dit_ti2v":
        levels = NoiseLevels.per_token(torch.tensor([0.0] * 24 + [777.0] * 48))
    assert_expected(name, network(x, levels, text, known)[0])


def speech_network() -> SpeechDiT:
    speech = SpeechArch(audio_dim=24, audio_states=25, audio_tokens=4, inject=(0, 4))
    return with_hashed_weights(
        SpeechDiT(DiTArch(16, 16, dim=256, ffn_dim=320, heads=2, layers=6, speech=speech))
    )


@pytest.mark.parametrize("name", ["dit_s2v_drop1", "dit_s2v_drop0"])
@torch.inference_mode()
def test_the_speech_transformer_has_the_official_numbers(name):
    network = speech_network()
    motion = None if name.endswith("1") else given(4, 1, 16, 19, 16, 24)
    extra_tokens = network.read_speech(
        given(3, 1, 16, 1, 16, 24), given(6, 1, 25, 24, 20), motion, given(5, 1, 16, 5, 16, 24)
    )
    text = network.read_text([given(2, 7, 4096)])
    levels = NoiseLevels.uniform(torch.tensor([777.0]))
    assert_expected(name, network(given(0, 1, 16, 5, 16, 24), levels, text, extra_tokens=extra_tokens)[0])


@torch.inference_mode()
def test_the_tokens_of_audio_have_the_official_numbers():
    audio = given(6, 1, 25, 24, 20)
    before = audio[..., :1].expand(1, 25, 24, 73)
    local, whole = speech_network().casual_audio_encoder(torch.cat([before, audio], dim=-1))
    assert_expected("s2v_audio_local", local)
    assert_expected("s2v_audio_global", whole.unsqueeze(2))


@pytest.mark.slow  # a minute: faces of the true size
@torch.inference_mode()
def test_the_animate_transformer_has_the_official_numbers():
    network = with_hashed_weights(
        AnimateDiT(DiTArch(36, 16, dim=256, ffn_dim=320, heads=2, layers=10, animate=AnimateArch()))
    )
    face = given(7, 1, 3, 17, 512, 512)
    assert_expected("animate_motion_2frames", network.motion_encoder(face[0, :, :2].transpose(0, 1)))
    extra_tokens = network.read_animate(given(5, 1, 16, 5, 8, 12), face)
    text = network.read_text([given(2, 7, 4096)], image=given(8, 1, 257, 1280))
    levels = NoiseLevels.uniform(torch.tensor([777.0]))
    x, y = given(0, 1, 16, 6, 8, 12), given(1, 1, 20, 6, 8, 12)
    assert_expected("dit_animate", network(x, levels, text, y, extra_tokens)[0])


@pytest.mark.parametrize("name", [n for n in EXPECTED if n.startswith("vae")])
@pytest.mark.parametrize("chunk", [None, 1])
@torch.inference_mode()
def test_the_vae_has_the_official_numbers(name, chunk):
    which, way, frames = name.split("_")
    vae = with_hashed_weights(WanVAE(VAES[which]))
    count = int(frames.removeprefix("T"))
    if way == "encode":
        assert_expected(name, vae.encode(given(9, 1, 3, count, 32, 48), chunk=chunk))
        return
    z, parts, state = vae.conv2(vae.denormalise(given(10, 1, 4, count, 4, 6))), [], None
    for part in z.split(chunk or count, dim=2):  # the recorded numbers are not clamped
        y, state = vae.decode_chunk(part, state)
        parts.append(y)
    assert_expected(name, torch.cat(parts, dim=2))


@torch.inference_mode()
def test_the_text_encoder_has_the_official_numbers():
    arch = UMT5Arch(vocab=64, dim=32, dim_attn=32, ffn_dim=48, heads=4, layers=2)
    encoder = with_hashed_weights(UMT5Encoder(arch))
    ids = ((7 * torch.arange(200) + 3) % 64)[None]
    mask = (torch.arange(200) < 150).long()[None]
    assert_expected("umt5", encoder(ids, mask)[0, :150])
