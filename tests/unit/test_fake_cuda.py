"""The engine on a graphics card, without one: nothing is on the wrong device, and the host seldom waits."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from fake_cuda import FakeCuda, here
from tiny import write_tiny, write_tiny_speech

import wan22
from wan22 import codec
from wan22.types import Audio, Clip, Frames, Latents, Progress, Request

pytestmark = pytest.mark.slow

WAITS_OF_A_STEP = ["synchronize"]
"""So that its seconds are true, and closing stops at once."""

BEFORE_THE_FIRST = {"to the card"}
"""What a clip is told, and where it begins, goes there once."""

WAITS_OF_FRAMES = ["an event"]
"""Of every part that is decoded, but for the first: its own, while the card makes the next."""


def image(height=40, width=60, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


CLIP = Clip(np.stack([image(seed=i) for i in range(5)]), 8.0)
ASK = Request(prompt="a red ball rolls left", steps=2)
SPOKEN = Audio(np.random.default_rng(0).standard_normal(20_000).astype(np.float32) * 0.1, 16_000)

CASES = {
    "text": ("none", ASK),
    "rescaled": ("none", replace(ASK, guidance_rescale=0.5)),
    "a clip": ("none", replace(ASK, video=CLIP, strength=0.7)),
    "a chain of clips, noisy": ("none", replace(ASK, frames=15, color_match=0.5)),
    "an image beside": ("channels", replace(ASK, image=image())),
    "a chain of clips, beside": ("channels", replace(ASK, image=image(), frames=15)),
    "a known image": ("known", replace(ASK, image=image(), guidance_rescale=0.5)),
    "known images": ("known", replace(ASK, image=image(), last_image=image(seed=1))),
    "a chain of clips, known": ("known", replace(ASK, image=image(), frames=15, color_match=0.5)),
    "encoded prompts": ("known", replace(ASK, prompt_embeds=torch.ones(3, 8), guidance=1.0)),
    "audio": ("speech", replace(ASK, image=image(), audio=SPOKEN, clips=1)),
    "audio and a pose": ("speech", replace(ASK, image=image(), audio=SPOKEN, pose=CLIP, from_image=True)),
    **{f"solver {name}": ("none", replace(ASK, solver=name)) for name in ("lcm", "uni_pc", "dpm++")},
}


CHUNKED = ("rescaled", "a known image", "audio and a pose")
"""These are made in chunks of tokens."""


@pytest.fixture(scope="module")
def card():
    return FakeCuda()


@pytest.fixture(scope="module")
def engines(card, tmp_path_factory):
    """On the card, with all their parts there."""
    root = tmp_path_factory.mktemp("tiny")
    kinds = {"none": None, "channels": "channels", "known": "known"}
    folders = {name: write_tiny(root / name, image=kind) for name, kind in kinds.items()}
    folders["speech"] = write_tiny_speech(root / "speech")
    with here(card):
        found = {name: wan22.load(folder, device="cuda") for name, folder in folders.items()}
        for engine in found.values():
            for part in ("text", "vae", *engine.variant.experts):
                engine._placement.bring(part)
    return found


@pytest.mark.parametrize("case, chunk", [(case, 5 if case in CHUNKED else None) for case in CASES])
def test_every_task_runs_on_a_card_and_the_host_waits_as_often_as_is_allowed(
    engines, card, monkeypatch, case, chunk
):
    model, request = CASES[case]
    engine = engines[model]
    if case == "text":
        monkeypatch.setattr(codec, "WHOLE_LATENTS", 0)  # decode in parts, as large videos are
    kept = engine._placement.scheme(engine.variant.experts[0])
    engine._placement.arrange(dict.fromkeys(engine.variant.experts, replace(kept, chunk=chunk)))
    parts = []
    with here(card):
        card.taken()
        for event in engine.generate(request):
            waits = card.taken()
            if isinstance(event, Progress):
                assert event.x.device == event.x0.device == torch.device("cuda", 0)
                assert waits[-1:] == WAITS_OF_A_STEP
                assert set(waits[:-1]) <= (BEFORE_THE_FIRST if event.index == 1 else set())
            if isinstance(event, Latents) and case.startswith("solver"):
                return
            if isinstance(event, Frames):
                parts.append(waits)
    assert all(waits == WAITS_OF_FRAMES for waits in parts[1:]) or request.frames or request.audio
    assert len(parts) > 1 or case != "text"
