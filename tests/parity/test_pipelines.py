"""Whole pipelines, from prompt and image to video, equal the official release.

The engine runs as it is; the text encoder is replaced by one that returns the recorded contexts, because the recorded
pipelines begin there. Bounds: latents 1e-4, decoded video 1e-3 (relative).
"""

from dataclasses import replace

import pytest
import tokenizers
import torch
from builders import build, dit_arch, vae_arch, wav2vec2

from wan22.catalog import VARIANTS
from wan22.conditioning.text import Tokenizer
from wan22.engine import Engine
from wan22.memory.placement import Placement
from wan22.types import Audio, Frames, Latents, Progress, Request

PROMPT, NEGATIVE = "yes", "no"


class RecordedText(torch.nn.Module):
    """An encoder whose contexts are known: one for each of two words."""

    def __init__(self, by_id):
        super().__init__()
        self.by_id = by_id

    def contexts(self, ids, mask):
        assert mask.any()
        return [self.by_id[int(row[0])] for row in ids]


def engine_of(golden, audio=None):
    config = golden.config
    row = VARIANTS[config["task"]]
    dit = dit_arch(config["transformer" if row.speech else "dit"])
    vae = vae_arch(config["vae"], residual=row.image == "known")
    area = config.get("max_area") or config["width"] * config["height"]
    low = config.get("guide_scale_low", config.get("guide_scale"))
    defaults = replace(
        row.defaults,
        size=(area, 1),
        frames=config.get("frame_num", row.defaults.frames),
        steps=config["steps"],
        shift=config["shift"],
        guidance=(low, config.get("guide_scale_high", low)),
        solver=config.get("solver", "unipc"),
    )
    row = replace(row, dit=dit, vae=vae, boundary=config.get("boundary"), defaults=defaults)
    if row.speech:
        speech = replace(row.speech, clip_frames=config["clip_frames"], motion_frames=config["motion_frames"])
        row = replace(row, speech=speech)
    words = {"</s>": 0, "<pad>": 1, "<unk>": 2, PROMPT: 3, NEGATIVE: 4}
    model = tokenizers.models.WordLevel(words, unk_token="<unk>")
    text = RecordedText({3: golden.inputs["context"], 4: golden.inputs["context_null"]})
    prefix = {"high": "high_noise_model.", "low": "low_noise_model.", "dit": "model."}
    loaders = {name: (lambda _, n=name: build(dit, golden.weights(prefix[n]))) for name in row.experts}
    loaders |= {"vae": lambda _: build(vae, golden.weights("vae.")), "text": lambda _: text}
    if audio is not None:
        loaders["audio"] = lambda _: audio
    placement = Placement(loaders, dict.fromkeys(loaders, "device"), torch.device("cpu"))
    return Engine(
        "recorded",
        row,
        tokenizer=Tokenizer(tokenizers.Tokenizer(model)),
        placement=placement,
        dtype=torch.float32,
        weights={},
    )


def cases(golden):
    """Every recorded run of a file: the ending of its outputs, and the request that makes it."""
    config = golden.config
    for name in golden.outputs:
        if not name.startswith("latents"):
            continue
        ending = name.removeprefix("latents")
        run = ending.removeprefix(".")
        has_image = config["task"].startswith("i2v") or run == "i2v"
        request = Request(
            prompt=PROMPT,
            negative=NEGATIVE,
            seed=config["seed"],
            solver=run if run in ("unipc", "dpm++") else None,
            size=None if has_image else (config["width"], config["height"]),
            image=golden.inputs["image_uint8_hwc"].numpy() if has_image else None,
        )
        yield ending, request


@pytest.mark.golden("pipeline_[!s]*")
def test_the_video_is_the_official_one(golden, relative_error):
    engine = engine_of(golden)
    seen = 0
    for ending, request in cases(golden):
        events = list(engine.generate(request))
        latents = next(e for e in events if isinstance(e, Latents)).tensors["latents"]
        assert relative_error(latents, golden.outputs[f"latents{ending}"]) <= 1e-4, ending
        with torch.inference_mode():
            video = engine.vae().decode(latents[None])[0]
        assert relative_error(video, golden.outputs[f"video{ending}"]) <= 1e-3, ending
        frames = torch.from_numpy(next(e for e in events if isinstance(e, Frames)).frames)
        shown = frames.permute(3, 0, 1, 2).float() / 127.5 - 1
        assert (shown - golden.outputs[f"video{ending}"]).abs().max() <= 1 / 127.5
        seen += 1
    assert seen == sum(name.startswith("video") for name in golden.outputs)


@pytest.mark.golden("pipeline_s2v*")
def test_the_video_of_an_audio_file_is_the_official_one(golden, read_golden, relative_error):
    config = golden.config
    audio = wav2vec2(read_golden("s2v_audio").config["wav2vec2"], golden.weights("wav2vec2."))
    engine = engine_of(golden, audio)
    request = Request(
        prompt=PROMPT,
        negative=NEGATIVE,
        seed=config["seed"],
        image=golden.inputs["image_uint8_hwc"].numpy(),
        audio=Audio(golden.inputs["waveform"].numpy(), 16_000),
        clips=config["num_clips"],
    )
    clip, clips, decode = config["clip_frames"], [], engine._decode

    def decode_and_note(latents):
        whole = torch.cat(list(decode(latents)), dim=1)
        clips.append(whole[:, -clip:])
        yield whole

    engine._decode = decode_and_note
    frames = torch.cat(
        [torch.from_numpy(e.frames) for e in engine.generate(request) if isinstance(e, Frames)]
    )
    expected = golden.outputs["video"]
    # Frames that the release leaves out of the first clip; it makes whole clips, here the video ends with its audio.
    settled = config["num_clips"] * clip - expected.shape[1]
    video = torch.cat([clips[0][:, settled:], *clips[1:]], dim=1)
    assert relative_error(video, expected[:, : video.shape[1]]) <= 1e-3
    heard = round(request.audio.seconds * config["fps"])
    assert len(frames) == min(max(heard, 1), config["num_clips"] * clip)
    # What is delivered is in step with the audio: the first good frame stands for those left out.
    shown = frames.permute(3, 0, 1, 2).float() / 127.5 - 1
    assert (shown[:, settled:] - expected[:, : len(frames) - settled]).abs().max() <= 1 / 127.5
    assert torch.equal(frames[:settled], frames[settled : settled + 1].expand(settled, -1, -1, -1))


@pytest.mark.golden("pipeline_t2v")
def test_the_boundary_chooses_the_expert(golden):
    engine = engine_of(golden)
    _, request = next(cases(golden))
    experts = [e.expert for e in engine.generate(request) if isinstance(e, Progress)]
    assert experts == sorted(experts)  # "high" before "low", and one switch
    assert set(experts) == {"high", "low"}
