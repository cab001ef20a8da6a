"""Requests: defaults are the model's own, and what cannot be done is one clear error that names value and rule."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from tiny import tiny_variant

from wan22.catalog import VARIANTS
from wan22.errors import OptionError, RequestError, SizeError
from wan22.request import MAX_PROMPT, resolve
from wan22.sampling import levels
from wan22.types import Audio, Clip, Driving, Request

KNOWN, CHANNELS, TEXT = (tiny_variant(image) for image in ("known", "channels", None))
ASK = Request(prompt="a red ball")
IMAGE = np.zeros((40, 60, 3), np.uint8)
CLIP = Clip(np.zeros((6, 40, 60, 3), np.uint8), 12.0)


def ask(**change):
    return replace(ASK, **change)


BAD = {
    "empty prompt": (KNOWN, ask(prompt=""), OptionError, "prompt is empty"),
    "blank prompt": (KNOWN, ask(prompt=" \n\t"), OptionError, "prompt is empty"),
    "prompt of bytes": (KNOWN, ask(prompt=b"a"), OptionError, "a prompt is a text, not bytes"),
    "no prompt": (KNOWN, ask(prompt=None), OptionError, "prompt is empty"),
    "endless prompt": (KNOWN, ask(prompt="a" * (MAX_PROMPT + 1)), OptionError, "20001 characters; at most 20000"),
    "negative of a number": (KNOWN, ask(negative=3), OptionError, "a prompt is a text, not int"),
    "width too small": (KNOWN, ask(size=(15, 64)), SizeError, "width must be .* from 16 to 8192, not 15; .* 16x64"),
    "height too large": (KNOWN, ask(size=(64, 9000)), SizeError, "height .* not 9000; .* works is 64x8192"),
    "negative width": (KNOWN, ask(size=(-64, 64)), SizeError, "width .* not -64; .* 16x64"),
    "broken pixel": (KNOWN, ask(size=(64.5, 64)), SizeError, "width must be a whole number .* not 64.5"),
    "size of words": (KNOWN, ask(size=("64", "64")), SizeError, r"size must be \(width, height\) .*'64'"),
    "size of one number": (KNOWN, ask(size=(64,)), SizeError, r"size must be \(width, height\).*\(64,\)"),
    "size is no pair": (KNOWN, ask(size=64), SizeError, r"size must be \(width, height\).* not 64"),
    "size that is no number": (KNOWN, ask(size=(math.nan, 64)), SizeError, "size must be"),
    "truth as a size": (KNOWN, ask(size=(True, 64)), SizeError, "size must be"),
    "no frames": (KNOWN, ask(frames=0), SizeError, "frames must be a whole number from 1 to 1000000, not 0"),
    "too many frames": (KNOWN, ask(frames=5_000_000), SizeError, "from 1 to 1000000, not 5000000"),
    "too many for one clip": (
        KNOWN, ask(frames=5000, image=IMAGE, last_image=IMAGE), SizeError, "5000 .* one clip .* at most 4093"
    ),
    "half a frame": (KNOWN, ask(frames=4.5), SizeError, "whole number .* not 4.5"),
    "frames of words": (KNOWN, ask(frames="many"), SizeError, "whole number .* not many"),
    "endless frames": (KNOWN, ask(frames=math.inf), SizeError, "whole number .* not inf"),
    "frames and seconds": (KNOWN, ask(frames=5, seconds=1), SizeError, r"frames \(5\) or seconds \(1\), not both"),
    "no seconds": (KNOWN, ask(seconds=0), SizeError, "seconds must be above 0, not 0"),
    "negative seconds": (KNOWN, ask(seconds=-1), SizeError, "not -1"),
    "seconds nan": (KNOWN, ask(seconds=math.nan), SizeError, "not nan"),
    "days": (KNOWN, ask(seconds=3e5), SizeError, r"not 2400000 \(300000 seconds at 8 frames a second\)"),
    "no fps": (KNOWN, ask(fps=0), SizeError, "fps must be above 0 and at most 240, not 0; .* own is 8"),
    "fast fps": (KNOWN, ask(fps=241), SizeError, "not 241"),
    "fps of words": (KNOWN, ask(fps="fast"), SizeError, "not fast"),
    "no steps": (KNOWN, ask(steps=0), OptionError, r"steps 0 is not a whole number in 1\.\.1000"),
    "many steps": (KNOWN, ask(steps=1001), OptionError, "steps 1001"),
    "half a step": (KNOWN, ask(steps=2.5), OptionError, "steps 2.5"),
    "truth as steps": (KNOWN, ask(steps=True), OptionError, "steps must be a whole number, not True"),
    "unknown solver": (KNOWN, ask(solver="unipcc"), OptionError, "unknown solver 'unipcc'. Did you mean 'unipc'.*dpm"),
    "shift zero": (KNOWN, ask(shift=0), OptionError, r"shift 0.0 is not in 0.01\.\.100"),
    "shift nan": (KNOWN, ask(shift=math.nan), OptionError, "shift must be a number, not nan"),
    "shift of words": (KNOWN, ask(shift="far"), OptionError, "shift must be a number, not 'far'"),
    "guidance below zero": (KNOWN, ask(guidance=-1), OptionError, r"from 0 to 100, not -1; .* \(3.0, 4.0\)"),
    "guidance too strong": (KNOWN, ask(guidance=(3, 101)), OptionError, r"not \(3, 101\)"),
    "rescale below zero": (KNOWN, ask(guidance_rescale=-0.1), OptionError, r"_rescale must be from 0 to 1, not -0\.1"),
    "rescale above one": (KNOWN, ask(guidance_rescale=7), OptionError, "_rescale must be from 0 to 1, not 7"),
    "rescale nan": (KNOWN, ask(guidance_rescale=math.nan), OptionError, "guidance_rescale"),
    "guidance of three": (KNOWN, ask(guidance=(1, 2, 3)), OptionError, r"guidance \(1, 2, 3\) is not"),
    "guidance of words": (KNOWN, ask(guidance="much"), OptionError, "guidance 'much' is not a number"),
    "guidance nan": (KNOWN, ask(guidance=math.nan), OptionError, "guidance nan"),
    "a pair for one network": (
        VARIANTS["ti2v-5B"], ask(guidance=(3, 4)), OptionError, r"one network: give one number .* not \(3, 4\)",
    ),
    "strength zero": (KNOWN, ask(video=CLIP, strength=0), OptionError, "above 0 and at most 1, not 0; 0.7 changes"),
    "strength two": (KNOWN, ask(video=CLIP, strength=2), OptionError, "at most 1, not 2"),
    "strength nan": (KNOWN, ask(strength=math.nan), OptionError, "strength must be a number, not nan"),
    "strength without a clip": (KNOWN, ask(strength=7), OptionError, "at most 1, not 7"),
    "negative seed": (KNOWN, ask(seed=-1), OptionError, "seed must be a whole number from 0 to .* not -1"),
    "huge seed": (KNOWN, ask(seed=2**63), OptionError, "not 9223372036854775808"),
    "broken seed": (KNOWN, ask(seed=0.5), OptionError, "not 0.5"),
    "image of floats": (KNOWN, ask(image=np.zeros((4, 4, 3))), OptionError, r"not float64 \(4, 4, 3\)"),
    "grey image": (KNOWN, ask(image=IMAGE[..., 0]), OptionError, r"not uint8 \(40, 60\)"),
    "image with alpha": (KNOWN, ask(image=np.zeros((4, 4, 4), np.uint8)), OptionError, r"not uint8 \(4, 4, 4\)"),
    "image of a name": (KNOWN, ask(image="cat.png"), OptionError, "not str"),
    "image without pixels": (KNOWN, ask(image=IMAGE[:0]), OptionError, r"shape \(0, 60, 3\) has no pixels"),
    "image like a thread": (KNOWN, ask(image=np.zeros((1, 33, 3), np.uint8)), OptionError, "33x1 pixels is too narrow"),
    "last image of floats": (KNOWN, ask(last_image=np.zeros((4, 4, 3))), OptionError, "float64"),
    "clip like an image": (KNOWN, ask(video=Clip(IMAGE, 8.0)), OptionError, r"a video must .* \(T, H, W, 3\)"),
    "clip without frames": (KNOWN, ask(video=Clip(CLIP.frames[:0], 8.0)), OptionError, "has no pixels"),
    "clip without time": (KNOWN, ask(video=Clip(CLIP.frames, 0.0)), SizeError, "fps must be above 0"),
    "image and clip": (KNOWN, ask(image=IMAGE, video=CLIP), OptionError, "an image or a video .* not both"),
    "image for a text model": (TEXT, ask(image=IMAGE), OptionError, "tiny takes no image; take i2v-A14B"),
    "no image for an image model": (CHANNELS, ASK, OptionError, "tiny needs an image"),
    "clip for an image model": (CHANNELS, ask(video=CLIP), OptionError, "takes no video; take t2v-A14B"),
    "one frame of an image": (KNOWN, ask(image=IMAGE, frames=1), SizeError, "1 frame is the image itself.*5 frames"),
    "one frame to a last image": (KNOWN, ask(last_image=IMAGE, frames=1), SizeError, "needs 5 frames or more"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_done_is_one_error_with_value_and_rule(case):
    variant, request, kind, message = BAD[case]
    with pytest.raises(kind, match=message) as caught:
        resolve(request, variant)
    assert isinstance(caught.value, RequestError)
    assert len(str(caught.value).splitlines()) == 1


SECONDS_5 = Audio(np.zeros(5 * 16_000, np.float32), 16_000)


@pytest.mark.parametrize("name", VARIANTS)
def test_what_is_left_open_is_the_models_own(name):
    row = VARIANTS[name]
    image = IMAGE if row.image_required else None
    audio = SECONDS_5 if row.speech else None
    clips = [Clip(np.broadcast_to(np.uint8(0), (77, *side, 3)), 30.0) for side in ((720, 1280), (512, 512))]
    driven = {"audio": audio, "driving": Driving(*clips) if row.animate else None}
    job = resolve(ask(image=image, size=row.defaults.size, **driven), row)
    low, high = row.defaults.guidance
    assert job.guidance == {"low": low, "high": high}
    assert (job.steps, job.shift, job.solver) == (row.defaults.steps, row.defaults.shift, "unipc")
    assert (job.canvas.out, job.canvas.frames, job.canvas.fps) == (
        row.defaults.size, row.defaults.frames, row.defaults.fps,
    )  # fmt: skip
    assert job.negative == row.defaults.negative
    assert job.notices == ()
    assert resolve(ask(image=image, negative="", **driven), row).negative == ""


@pytest.mark.parametrize(("name", "high"), [("t2v-A14B", 26), ("i2v-A14B", 15)])
def test_the_boundary_gives_each_expert_its_steps_as_released(name, high):
    row = VARIANTS[name]
    job = resolve(ask(image=IMAGE if row.image_required else None), row)
    assert [job.expert(level) for level in job.schedule] == ["high"] * high + ["low"] * (40 - high)


def test_one_network_works_at_every_level():
    job = resolve(ASK, VARIANTS["ti2v-5B"])
    assert {job.expert(level) for level in job.schedule} == {"dit"}
    assert job.scale("dit") == 5.0


@pytest.mark.parametrize(
    ("request_", "task"),
    [
        (ASK, "t2v"),
        (ask(frames=1), "t2i"),
        (ask(image=IMAGE), "i2v"),
        (ask(last_image=IMAGE), "i2v"),
        (ask(video=CLIP), "v2v"),
    ],
)
def test_the_task_follows_from_what_is_given(request_, task):
    assert resolve(request_, KNOWN).as_recipe()["task"] == task


def test_a_clip_says_how_long_how_fast_and_in_what_shape():
    canvas = resolve(ask(video=CLIP), KNOWN).canvas
    assert (canvas.frames, canvas.fps) == (6, 12.0)
    assert canvas.out[0] > canvas.out[1]
    assert resolve(ask(video=CLIP, fps=24), KNOWN).canvas.frames == 12
    assert resolve(ask(video=CLIP, frames=3), KNOWN).canvas.frames == 3
    assert resolve(ask(video=CLIP, seconds=1), KNOWN).canvas.frames == 12


@pytest.mark.parametrize("strength", [0.001, 0.3, 0.7, 1])
def test_strength_chooses_where_the_schedule_begins(strength):
    job = resolve(ask(video=CLIP, strength=strength, steps=50), KNOWN)
    whole = levels("unipc", 50, 5.0)
    assert 1 <= len(job.schedule) <= 50
    assert abs(float(job.schedule[0].sigma) - strength * float(whole[0].sigma)) < 0.1
    assert job.schedule.timesteps == whole.timesteps[-len(job.schedule) :]


def test_a_recipe_is_json_and_makes_the_same_job_again():
    job = resolve(
        ask(
            size=(50, 30),
            seconds=1,
            guidance=(2, 3),
            steps=3,
            negative="a cube",
            seed=7,
            guidance_rescale=0.4,
        ),
        KNOWN,
    )
    recipe = json.loads(json.dumps(job.as_recipe()))
    names = ("prompt", "negative", "frames", "fps", "steps", "solver", "shift", "seed", "guidance_rescale")
    again = Request(
        size=tuple(recipe["size"]), guidance=tuple(recipe["guidance"]), **{n: recipe[n] for n in names}
    )
    assert resolve(again, KNOWN).as_recipe() == job.as_recipe()
    assert resolve(again, KNOWN).canvas == job.canvas


def test_a_recipe_names_its_inputs_by_their_pixels():
    def inputs(**change):
        return resolve(ask(**change), KNOWN).as_recipe().get("inputs")

    other = IMAGE.copy()
    other[0, 0, 0] = 1
    assert inputs() is None
    assert inputs(image=IMAGE)["image"] == inputs(image=IMAGE.copy())["image"]
    assert inputs(image=IMAGE)["image"] != inputs(image=other)["image"]
    assert inputs(image=IMAGE)["image"] != inputs(image=IMAGE.reshape(60, 40, 3))["image"]
    assert set(inputs(image=IMAGE, last_image=other)) == {"image", "last_image"}
    assert set(inputs(video=CLIP)) == {"video"}
