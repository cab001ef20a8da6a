"""The arguments of Diffusers' image to video pipelines do in ours what they do in theirs, on tiny random weights.

Their UniPC and DPM++ walk our noise levels where videos are compared, as in test_diffusers_pipeline.py.
"""

import warnings

import numpy as np
import pytest
import torch
from PIL import Image
from test_diffusers_pipeline import NEGATIVE, PROMPT, OurLevels, relative, save

from wan22 import Wan22Pipeline
from wan22.pipeline.scheduler import Scheduler
from wan22.sampling import draw_noise, levels

diffusers = pytest.importorskip("diffusers")
pytestmark = pytest.mark.filterwarnings("ignore")  # theirs are not ours

WIDTH, HEIGHT, FRAMES = 64, 32, 5
LATENT = {"i2v": (16, 2, 4, 8), "ti2v": (48, 2, 2, 4)}
TASKS = pytest.mark.parametrize("task", LATENT)


class OurDPMLevels(diffusers.DPMSolverMultistepScheduler):
    """Their solver on our noise levels."""

    def set_timesteps(self, count, device=None, **rest):
        super().set_timesteps(count, device=device, **rest)
        ours = levels("dpm++", count, OurLevels.shift)
        self.sigmas, self.timesteps = ours.sigmas, torch.tensor(ours.timesteps).long()


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """Theirs and ours, by task."""
    root, made = tmp_path_factory.mktemp("arguments"), {}
    for task in LATENT:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs = save(task, root / task)
        ours = Wan22Pipeline.from_pretrained(root / task, torch_dtype=torch.float32, device="cpu")
        ours.set_progress_bar_config(disable=True)
        made[task] = theirs, ours
    return made


def picture(seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def asked(**options):
    return {
        "image": picture(1), "prompt": PROMPT, "negative_prompt": NEGATIVE, "height": HEIGHT, "width": WIDTH,
        "num_frames": FRAMES, "num_inference_steps": 2, "guidance_scale": 4.0, "output_type": "latent", **options,
    }  # fmt: skip


def both(pair, **options):
    """What each makes of the same arguments; a generator is given as its seed, or seeds."""
    seeds = options.pop("seeds", None)
    found = []
    for pipeline in pair:
        if isinstance(seeds, list):
            options["generator"] = [torch.Generator().manual_seed(seed) for seed in seeds]
        elif seeds is not None:
            options["generator"] = torch.Generator().manual_seed(seeds)
        found.append(pipeline(**asked(**options)).frames)
    return found


def noise(task, count=1):
    return torch.stack([draw_noise(LATENT[task], seed) for seed in range(count)])


@TASKS
@pytest.mark.parametrize(
    "options",
    [
        {"seeds": 3},
        {"seeds": [3, 4], "prompt": [PROMPT, "the dog"], "negative_prompt": ["a", NEGATIVE]},
        {"seeds": 5, "num_videos_per_prompt": 2},
        {"seeds": [5, 6], "num_videos_per_prompt": 2},
        {"seeds": 1, "guidance_scale": 1.0},
    ],
    ids=["generator", "lists", "videos per prompt", "generators", "no guidance"],
)
def test_prompts_generators_and_counts_make_what_they_make_in_diffusers(pairs, task, options):
    theirs, ours = both(pairs[task], **options)
    assert ours.shape == theirs.shape and relative(ours, theirs) < 1e-5


@TASKS
def test_latents_are_where_every_video_starts(pairs, task):
    options = {"latents": noise(task, 2), "prompt": [PROMPT, "the dog"], "negative_prompt": [NEGATIVE] * 2}
    theirs, ours = both(pairs[task], **options)
    assert ours.shape == theirs.shape and relative(ours, theirs) < 1e-5


@TASKS
def test_a_list_of_images_is_one_call_of_diffusers_for_each(pairs, task):
    theirs, ours = pairs[task]
    starts, options = noise(task, 2), {"negative_prompt": NEGATIVE}
    images, prompts = [picture(1), picture(2)], [PROMPT, "the dog"]
    together = ours(**asked(image=images, prompt=prompts, latents=starts, **options)).frames
    for one, image, prompt, start in zip(together, images, prompts, starts, strict=True):
        alone = theirs(**asked(image=image, prompt=prompt, latents=start[None], **options)).frames[0]
        assert relative(one, alone) < 1e-5


def test_a_last_image_and_its_scale_are_those_of_diffusers(pairs):
    options = {"latents": noise("i2v"), "last_image": picture(2), "guidance_scale_2": 2.0}
    theirs, ours = both(pairs["i2v"], **options)
    assert relative(ours, theirs) < 1e-5
    plain = pairs["i2v"][1](**asked(latents=options["latents"])).frames
    assert relative(ours, plain) > 1e-2


@TASKS
def test_frames_are_diffusers_frames_in_every_form(pairs, task):
    made = {kind: both(pairs[task], latents=noise(task), output_type=kind) for kind in ("np", "pt", "pil")}
    half_a_level = 0.5 / 255 + 1e-4  # ours are stored in 8 bits
    theirs, ours = made["np"]
    assert ours.shape == theirs.shape and ours.dtype == theirs.dtype
    assert np.abs(ours - theirs).max() <= half_a_level
    theirs, ours = made["pt"]
    assert ours.shape == theirs.shape and (ours - theirs).abs().max() <= half_a_level
    theirs, ours = made["pil"]
    assert len(ours) == len(theirs) == 1 and len(ours[0]) == len(theirs[0]) == FRAMES
    for a, b in zip(ours[0], theirs[0], strict=True):
        assert np.abs(np.asarray(a, np.int16) - np.asarray(b, np.int16)).max() <= 1


@TASKS
def test_a_callback_that_changes_latents_changes_what_follows_as_in_diffusers(pairs, task):
    seen = []

    def change(pipeline, index, timestep, tensors):
        seen.append((index, float(timestep), tuple(tensors["latents"].shape)))
        return {"latents": tensors["latents"] * 0.5} if index == 1 else tensors

    options = {"latents": noise(task), "num_inference_steps": 4}
    theirs, ours = both(pairs[task], **options, callback_on_step_end=change)
    assert relative(ours, theirs) < 1e-5
    assert seen[:4] == seen[4:] and len(seen) == 8
    plain = pairs[task][1](**asked(**options)).frames
    assert relative(ours, plain) > 1e-2


FLOW = {"use_flow_sigmas": True, "prediction_type": "flow_prediction", "flow_shift": OurLevels.shift}
SCHEDULERS = {
    "UniPC": (OurLevels(**FLOW), 1e-5),
    "DPM++": (OurDPMLevels(**FLOW), 1e-5),
    "Euler": (diffusers.FlowMatchEulerDiscreteScheduler(shift=OurLevels.shift), 1e-5),
    "UniPC on its own levels": (diffusers.UniPCMultistepScheduler(**FLOW), 0.15),
    "DPM++ on its own levels": (diffusers.DPMSolverMultistepScheduler(**FLOW), 0.15),
}


@TASKS
@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_scheduler_of_diffusers_makes_the_same_video(pairs, task, name):
    scheduler, bound = SCHEDULERS[name]
    theirs, ours = pairs[task]
    before = theirs.scheduler, ours.scheduler
    theirs.scheduler, ours.scheduler = type(scheduler).from_config(scheduler.config), scheduler
    try:
        a, b = both((theirs, ours), latents=noise(task), num_inference_steps=6)
    finally:
        theirs.scheduler, ours.scheduler = before
    assert relative(b, a) <= bound


def test_a_scheduler_of_a_pipeline_is_its_models_own_until_another_is_given(pairs):
    _, ours = pairs["i2v"]
    assert ours.scheduler == Scheduler("unipc", OurLevels.shift)
