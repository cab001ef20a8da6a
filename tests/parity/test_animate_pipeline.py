"""Whole animated videos equal the official release: what each clip is told, its latents, and the frames.

The engine runs as it is, but for the text encoder (see test_pipelines.py). Bounds: conditions 1e-5, velocities and
latents 1e-4, video 1e-3 (relative).
"""

from dataclasses import replace

import numpy as np
import pytest
import tokenizers
import torch
from builders import build, clip_arch, dit_arch, vae_arch
from test_pipelines import NEGATIVE, PROMPT, RecordedText

from wan22.catalog import VARIANTS
from wan22.conditioning.text import Tokenizer
from wan22.engine import Engine
from wan22.memory.placement import Placement
from wan22.models.clip import CLIPVision
from wan22.types import Clip, ClipDone, Driving, Frames, Progress, Request

CASES = ("animation", "guided", "animation_refert5", "replacement", "replacement_refert5")


def tower_of(golden):
    arch = clip_arch(golden.config["clip"])
    tower = CLIPVision(arch)
    weights = {name.removeprefix("visual."): value for name, value in golden.weights("clip.").items()}
    tower.load_state_dict({name: weights[name] for name in tower.state_dict()})
    return arch, tower.eval()


def engine_of(golden, case):
    config = golden.config
    row = VARIANTS["animate-14B"]
    dit, vae = dit_arch(config["transformer"]), vae_arch(config["vae"], residual=False)
    arch, tower = tower_of(golden)
    defaults = replace(
        row.defaults,
        steps=case["steps"],
        shift=case["shift"],
        guidance=(case["guide_scale"],) * 2,
        solver=case["solver"],
    )
    animate = replace(row.animate, clip_frames=case["clip_len"])
    row = replace(row, dit=dit, vae=vae, image_encoder=arch, defaults=defaults, animate=animate)
    words = {"</s>": 0, "<pad>": 1, "<unk>": 2, PROMPT: 3, NEGATIVE: 4}
    model = tokenizers.models.WordLevel(words, unk_token="<unk>")
    text = RecordedText({3: golden.inputs["context"], 4: golden.inputs["context_null"]})
    loaders = {
        "dit": lambda _: build(dit, golden.weights("model.")),
        "vae": lambda _: build(vae, golden.weights("vae.")),
        "text": lambda _: text,
        "image": lambda _: tower,
    }
    placement = Placement(loaders, dict.fromkeys(loaders, "device"), torch.device("cpu"))
    tokenizer = Tokenizer(tokenizers.Tokenizer(model))
    return Engine("recorded", row, tokenizer=tokenizer, placement=placement, dtype=torch.float32, weights={})


def request_of(golden, case):
    def clip(name):
        frames = golden.inputs[name].numpy()[: case["real_len"]]
        return Clip(frames if frames.ndim == 4 else np.repeat(frames[..., None], 3, axis=3), 30.0)

    driving = Driving(clip("pose_uint8_thwc"), clip("face_uint8_thwc"))
    if case["replace_flag"]:
        driving = replace(driving, background=clip("background_uint8_thwc"), mask=clip("mask_uint8_thw"))
    return Request(
        prompt=PROMPT,
        negative=NEGATIVE,
        seed=case["seed"],
        image=golden.inputs[f"reference.{case['reference']}_uint8_hwc"].numpy(),
        driving=driving,
        carried=case["refert_num"],
    )


class Notes:
    """What an engine is told and makes, clip by clip, with what the recording has of it."""

    def __init__(self, engine):
        self.conditions, self.decoded, self.shown = [], [], []
        self._plan, self._decode = engine._plan, engine._decode
        engine._plan, engine._decode = self.plan, self.decode

    def plan(self, job):
        made = yield from self._plan(job)
        condition = made.condition

        def noted(clip, carry):
            self.conditions.append(condition(clip, carry))
            return self.conditions[-1]

        made.condition = noted
        return made

    def decode(self, latents):
        parts = list(self._decode(latents))
        self.decoded.append((latents[0], torch.cat(parts, dim=1)))
        yield from parts


@pytest.mark.parametrize("name", CASES)
@pytest.mark.golden("animate_pipeline*")
def test_an_animated_video_is_the_official_one(golden, relative_error, name):
    case = golden.config["cases"][name]
    engine, request = engine_of(golden, case), request_of(golden, case)
    notes = Notes(engine)
    events = list(engine.generate(request))
    assert len(notes.conditions) == case["clips"]
    for i, condition in enumerate(notes.conditions):
        told, out = condition.animate, golden.outputs
        features = out[f"clip_features.{case['reference']}"]
        assert relative_error(told.image, features) <= 1e-5
        assert relative_error(told.channels, out[f"{name}.y.clip{i}"]) <= 1e-5, i
        assert relative_error(told.pose, out[f"{name}.pose_latents.clip{i}"]) <= 1e-5, i
        latents = notes.decoded[i][0]
        assert relative_error(latents, out[f"{name}.latents.clip{i}"]) <= 1e-4, i
        first = next(e for e in events if isinstance(e, Progress) and e.clip == i + 1)
        assert [e.timestep for e in events if isinstance(e, Progress) and e.clip == i + 1] == case[
            "timesteps"
        ]
        if case["guide_scale"] == 1:
            noise = golden.inputs[f"{name}.noise.clip{i}"]
            velocity = (noise - first.x0) / float(first.sigma)
            assert relative_error(velocity, out[f"{name}.velocity_first.clip{i}"]) <= 1e-4, i
    assert relative_error(notes.decoded[1][1], golden.outputs[f"{name}.frames.clip1"]) <= 1e-3
    drop = case["refert_num"]
    video = torch.cat([notes.decoded[0][1], notes.decoded[1][1][:, drop:]], dim=1)[:, : case["real_len"]]
    expected = golden.outputs[f"{name}.video"]
    assert relative_error(video, expected) <= 1e-3
    delivered = np.concatenate([e.frames for e in events if isinstance(e, Frames)])
    shown = torch.from_numpy(delivered).permute(3, 0, 1, 2).float() / 127.5 - 1
    assert shown.shape == expected.shape
    assert (shown - expected).abs().max() <= 1 / 127.5


@pytest.mark.golden("animate_pipeline*")
def test_a_video_that_is_resumed_goes_on_as_the_official_one(golden, relative_error):
    case = golden.config["cases"]["replacement_refert5"]
    engine, request = engine_of(golden, case), request_of(golden, case)
    done = next(e for e in engine.generate(request) if isinstance(e, ClipDone))
    engine = engine_of(golden, case)
    notes = Notes(engine)
    list(engine.generate(request, done))
    assert relative_error(notes.decoded[0][0], golden.outputs["replacement_refert5.latents.clip1"]) <= 1e-4
