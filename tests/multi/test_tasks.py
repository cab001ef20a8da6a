"""Every task on two ranks, by each layout: the frames are those of one process, to a grey level."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from launch import run
from safetensors.torch import save_file
from unit.loras import pairs
from unit.tiny import WORDS, tiny_variant, write_tiny, write_tiny_speech

from wan22.engine import load
from wan22.parallel.layout import Layout
from wan22.parallel.lead import Together
from wan22.parallel.mesh import Mesh
from wan22.types import Audio, Clip, Frames, Progress, Request
from wan22.weights.lora import LoRA

IMAGE = (np.indices((32, 48, 3)).sum(0) * 3).astype(np.uint8)
SMALL = Request(prompt=WORDS[0], frames=5, steps=2)
AUDIO = Audio(np.sin(np.arange(32_000) * 0.05).astype(np.float32) * 0.3, 16_000)

REQUESTS = {
    "text": SMALL,
    "image": replace(SMALL, image=IMAGE),
    "video": replace(SMALL, video=Clip(np.stack([IMAGE] * 5), 8.0), strength=0.6),
    "without guidance": replace(SMALL, guidance=1.0),
    "guided in some steps": replace(SMALL, steps=4, guidance_interval=(0.0, 0.5)),
    "rescaled": replace(SMALL, guidance_rescale=0.7),
    "step cache": replace(SMALL, steps=6, cache="first-block:0.5"),
    "several clips": replace(SMALL, frames=13, color_match=0.5),
    "speech": Request(prompt=WORDS[0], image=IMAGE, audio=AUDIO, steps=2),
}
SPEECH = ("speech",)
LAYOUTS = (Layout(2, 1, 1), Layout(1, 2, 1), Layout(1, 2, 2))


def made(engine, request):
    """Frames as numbers, and the last latents of every clip."""
    events = list(engine.generate(request))
    frames = np.concatenate([event.frames for event in events if isinstance(event, Frames)])
    steps = [event for event in events if isinstance(event, Progress)]
    return frames.astype(int), torch.stack([event.x.float() for event in steps])


def compared(rank, folder, names, layouts, options):
    """The differences of what these ranks make from what one process makes: of latents, relative, and of frames."""
    alone = load(folder, device="cpu", **options)
    meshes = {layout: Mesh.make(layout, torch.device("cpu")) for layout in layouts}
    control = meshes[layouts[0]].control
    together = Together(meshes[layouts[0]], lambda find: control.broadcast(find() if rank == 0 else None))
    ranked = load(folder, device="cpu", ranks=together, **options)
    found = {}
    for name in names:
        frames, latents = made(alone, REQUESTS[name])
        for layout, mesh in meshes.items():
            if layout.guidance > 1 and name == "without guidance":
                continue
            ranked.ranks = mesh
            f, x = made(ranked, REQUESTS[name])
            found[name, str(layout)] = (
                float((x - latents).norm() / latents.norm()), int(np.abs(f - frames).max()), f.shape == frames.shape,
            )  # fmt: skip
    return found


def check(results):
    for found in results:
        assert found
        for (name, layout), (latents, frames, same) in found.items():
            assert latents <= 1e-4 and frames <= 1 and same, (name, layout, latents, frames)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return {
        "known": write_tiny(folder / "known", layers=2),
        "channels": write_tiny(folder / "channels", image="channels"),
        "speech": write_tiny_speech(folder / "speech"),
    }


def test_a_video_from_a_prompt(models):
    check(run(2, compared, models["known"], ["text"], LAYOUTS[:2], {"dtype": "float32"}))


@pytest.mark.slow
def test_every_request_of_a_model_that_knows_frames(models):
    names = [name for name in REQUESTS if name not in SPEECH]
    check(run(2, compared, models["known"], names, LAYOUTS, {"dtype": "float32"}))


@pytest.mark.slow
def test_an_image_as_channels(models):
    check(run(2, compared, models["channels"], ["image"], LAYOUTS, {"dtype": "float32"}))


@pytest.mark.slow
def test_speech(models):
    check(run(2, compared, models["speech"], ["speech"], LAYOUTS, {"dtype": "float32"}))


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [{"quantize": "int8-weights"}, {"memory": "stream"}, {"memory": "disk"}, {"attention": "blocked"}],
)
def test_ways_to_keep_weights(models, options):
    check(run(2, compared, models["known"], ["text"], LAYOUTS, {"dtype": "float32", **options}))


@pytest.mark.slow
def test_a_lora(models, tmp_path):
    arch = tiny_variant(layers=2).dit
    names = [f"blocks.{i}.self_attn.{part}.weight" for i in range(2) for part in "qv"]
    tensors = {}
    for name, (down, up) in pairs(names, arch=arch).items():
        stem = f"diffusion_model.{name.removesuffix('.weight')}"
        tensors |= {f"{stem}.lora_A.weight": down, f"{stem}.lora_B.weight": up}
    save_file(tensors, tmp_path / "lora.safetensors")
    loras = [LoRA(tmp_path / "lora.safetensors", 0.5, "low")]
    check(run(2, compared, models["known"], ["text"], LAYOUTS, {"dtype": "float32", "loras": loras}))


@pytest.mark.slow
def test_nano():
    check(run(2, compared, "nano", ["text"], LAYOUTS, {}))
