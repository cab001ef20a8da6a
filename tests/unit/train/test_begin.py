"""Stages: a recipe that begins from what another made."""

from dataclasses import replace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from unit.tiny import write_tiny, write_tiny_speech
from unit.train.media import write_captioned_image, write_clip

from wan22.errors import CheckpointError, KeysError, OptionError
from wan22.library import open_model
from wan22.models.meta import meta_module
from wan22.train.begin import Beginning, beginning
from wan22.train.plan import make_plan
from wan22.train.recipe import AdapterPart, DataPart, MemoryPart, ModelPart, OptimiserPart, Recipe
from wan22.train.run import train

pytestmark = pytest.mark.slow

RECIPE = """
output = "image-run"
[model]
name = "model"
[data]
sources = "images"
size = [32, 32]
frames = 1
fps = 8
[optimiser]
steps = 2
warmup = 0
"""


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stages")
    write_tiny(folder / "model", layers=2)
    write_captioned_image(folder / "images" / "a.png")
    write_clip(folder / "clips" / "a.mp4", frames=9, text="a red ball")
    (folder / "image.toml").write_text(RECIPE)
    return Recipe(
        model=ModelPart(name="model"),
        data=DataPart(sources=("images",), size=(32, 32), frames=(1,), fps=8.0),
        optimiser=OptimiserPart(steps=2, warmup=0, learning_rate=1e-2),
        output="image-run",
        memory=MemoryPart(dtype="fp32", compile=False),
        folder=folder,
    )


def go(recipe, **how):
    return train(recipe, device="cpu", log=lambda line: None, **how)


def first_weights(folder, expert="high"):
    """What an expert began with, within the few steps of a rate of zero that were taken."""
    with safe_open(next(folder.glob(f"checkpoints/{expert}-*")), "pt") as file:
        return {name.partition("/")[2]: file.get_tensor(name) for name in file.keys() if name[:4] == "para"}


def video_of(base, output, **changes):
    """The next stage: moving clips, at a rate that changes nothing."""
    data = DataPart(sources=("clips",), size=(48, 32), frames=(5,), fps=8.0)
    still = OptimiserPart(steps=1, warmup=0, learning_rate=1e-30)
    return replace(base, data=data, optimiser=still, output=output, **changes)


def test_videos_are_learned_by_what_has_learned_images_then_speech_by_that(base):
    folder = base.folder
    with pytest.raises(
        CheckpointError, match=r"neither .*image-run/model nor .*train that one to its end first"
    ):
        make_plan(video_of(base, "video", begin_from="image.toml"), "cpu")
    assert go(base).end == "done"
    assert go(video_of(base, "video", begin_from="image.toml")).end == "done"
    images = load_file(folder / "image-run" / "model" / "high_noise_model.safetensors")
    began = first_weights(folder / "video")
    assert began.keys() == images.keys()
    assert all(torch.equal(began[name], tensor.float()) for name, tensor in images.items())
    before = load_file(folder / "model" / "high_noise_model.safetensors")
    assert not torch.allclose(images["head.head.weight"].float(), before["head.head.weight"], atol=1e-4)

    write_tiny_speech(folder / "speech")
    found = beginning(replace(base, begin_from="video"), ("dit",))
    assert found.files["dit"].name == "low_noise_model.safetensors"
    with torch.no_grad():
        network = meta_module(open_model(str(folder / "speech")).variant.dit).to_empty(device="cpu")
        network.load_state_dict(load_file(folder / "speech" / "transformer.safetensors"))
    own = network.casual_audio_encoder.weights.clone()
    assert found.take_over("dit", network) > 40
    low = load_file(folder / "video" / "model" / "low_noise_model.safetensors")
    assert torch.equal(network.blocks[1].ffn[0].weight, low["blocks.1.ffn.0.weight"].float())
    assert torch.equal(network.casual_audio_encoder.weights, own)


def test_a_lora_goes_on_from_the_lora_before_in_its_own_scale(base):
    adapted = replace(base, adapter=AdapterPart(rank=2, alpha=4.0), output="lora-image")
    assert go(adapted).end == "done"
    later = video_of(base, "lora-video", adapter=AdapterPart(rank=2, alpha=1.0), begin_from="lora-image")
    assert go(later).end == "done"
    images, began = first_weights(base.folder / "lora-image"), first_weights(base.folder / "lora-video")
    name = "blocks.0.self_attn.q"
    change = [w[f"{name}.up"] @ w[f"{name}.down"] * s for w, s in ((images, 2.0), (began, 0.5))]
    assert change[0].norm() > 0 and torch.allclose(*change, rtol=1e-5)
    with pytest.raises(KeysError, match="attach with the rank that they were trained with"):
        make_plan(replace(later, adapter=AdapterPart(rank=3)), "cpu")
    with pytest.raises(
        OptionError, match=r"holds LoRAs, which are continued by a recipe with an \[adapter\]"
    ):
        make_plan(replace(later, adapter=None), "cpu")


def test_a_stage_of_another_network_is_refused_before_anything_is_read(base, tmp_path):
    write_tiny(tmp_path / "model", layers=3)
    go(base) if not (base.folder / "image-run" / "model").is_dir() else None
    recipe = replace(
        base, model=ModelPart(name=str(tmp_path / "model")), begin_from=str(base.folder / "image-run")
    )
    with pytest.raises(
        CheckpointError, match=r"is of another network than the expert 'high': 2. tensors of its blocks"
    ):
        make_plan(recipe, "cpu")


def test_an_expert_that_is_not_there_is_said(tmp_path):
    from wan22.train.begin import _file_for

    found = Beginning(tmp_path, False, {"high": tmp_path})
    with pytest.raises(CheckpointError, match="has high, and nothing for the expert 'dit'"):
        _file_for("dit", found)
