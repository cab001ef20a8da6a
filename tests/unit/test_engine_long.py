"""Videos of several clips: how they go on from one another, are prompted, and resumed."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny import write_tiny

import wan22
from wan22.errors import OptionError
from wan22.types import ClipDone, Finished, Frames, Latents, Progress, Request

ASK = Request(prompt="a red ball rolls left", steps=2, frames=20)  # of clips of 9 frames


@pytest.fixture(scope="module", params=["known", "channels", None])
def engine(request, tmp_path_factory):
    folder = write_tiny(tmp_path_factory.mktemp("long") / "tiny", request.param)
    return wan22.load(folder, device="cpu")


def example_image():
    return np.random.default_rng(0).integers(0, 256, (32, 48, 3), dtype=np.uint8)


def ask(engine, **changes):
    image = example_image() if engine.variant.image_required else None
    return replace(ASK, image=image, **changes)


def of(kind, events):
    return [event for event in events if isinstance(event, kind)]


def video(events):
    return np.concatenate([event.frames for event in of(Frames, events)])


def test_a_long_video_is_made_clip_by_clip_with_every_frame_once(engine):
    events = list(engine.generate(ask(engine)))
    frames = of(Frames, events)
    assert video(events).shape == (20, 32, 48, 3)
    assert [f.start for f in frames] == np.cumsum([0, *(len(f.frames) for f in frames)])[:-1].tolist()
    assert [(e.clip, e.clips) for e in of(ClipDone, events)] == [(1, 3), (2, 3), (3, 3)]
    assert [(e.clip, e.index) for e in of(Progress, events)] == [(c, i) for c in (1, 2, 3) for i in (1, 2)]
    assert of(Progress, events)[0].left > of(Progress, events)[-1].left == 0
    assert not of(Latents, events)
    assert of(Finished, events)[0].recipe["clips"] == [0, 9, 17]


def test_a_video_resumed_after_any_clip_is_the_uninterrupted_one(engine):
    request = ask(engine)
    events = list(engine.generate(request))
    whole = video(events)
    for done in of(ClipDone, events)[:-1]:
        carry = {name: tensor.clone() for name, tensor in done.carry.items()}
        rest = list(engine.generate(request, replace(done, carry=carry)))
        begin = of(Frames, rest)[0].start
        assert begin == [0, 9, 17][done.clip]
        assert np.array_equal(video(rest), whole[begin:])


def test_a_video_is_not_resumed_as_another(engine):
    with pytest.raises(OptionError, match="clip 1 is of a video of 7 clips, and this one has 3"):
        next(iter(engine.generate(ask(engine), ClipDone(1, 7, {}))))


def test_a_later_clip_is_told_the_end_of_the_one_before(engine):
    """With its past replaced, a clip is another; with the same past and seed, it is the same."""
    request = ask(engine)
    done = of(ClipDone, list(engine.generate(request)))[0]
    assert list(done.carry) == ["tail"]
    same = video(engine.generate(request, done))
    other = video(
        engine.generate(request, replace(done, carry={"tail": torch.zeros_like(done.carry["tail"])}))
    )
    assert not np.array_equal(same, other)


def test_each_clip_reads_the_prompt_that_holds_in_its_middle(engine, monkeypatch):
    asked = []
    encode = engine.encode_text
    monkeypatch.setattr(
        engine, "encode_text", lambda texts, *more: asked.append(list(texts)) or encode(texts, *more)
    )
    one = video(engine.generate(ask(engine)))
    two = video(engine.generate(ask(engine, prompt="@0s a red ball rolls left @1.2s a blue cube spins")))
    assert asked[1][:2] == ["a red ball rolls left", "a blue cube spins"]
    assert np.array_equal(one[:9], two[:9])
    assert not np.array_equal(one[9:], two[9:])


def test_held_colours_go_with_the_video_and_its_resumption(engine):
    pytest.importorskip("wan22.conditioning.color_match")
    request = ask(engine, color_match=1.0)
    events = list(engine.generate(request))
    done = of(ClipDone, events)[0]
    assert any(name.startswith("colour.") for name in done.carry)
    assert np.array_equal(video(engine.generate(request, done)), video(events)[9:])
    free = video(engine.generate(ask(engine)))
    assert np.array_equal(video(events)[:9], free[:9])
    assert not np.array_equal(video(events), free)
