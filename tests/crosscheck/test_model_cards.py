"""What Diffusers' model cards and its page on Wan show, on tiny weights. The cards of Wan2.2 run as text, statement by
statement; the class of the pipeline, the model's name, the device, sizes, frames and steps are replaced in it.
"""

import inspect
import re
import warnings

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from test_diffusers_pipeline import NEGATIVE, PROMPT, OurLevels, relative, save

from wan22 import Wan22Pipeline
from wan22.catalog import DEFAULT_NEGATIVE
from wan22.errors import CheckpointError, OptionError
from wan22.media.video import read_clip
from wan22.pipeline.scheduler import Scheduler, read_scheduler
from wan22.sampling import draw_noise, levels

diffusers = pytest.importorskip("diffusers")
pytestmark = pytest.mark.filterwarnings("ignore")  # theirs are not ours

from diffusers import (  # noqa: E402
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    UniPCMultistepScheduler,
)
from diffusers.utils import export_to_video  # noqa: E402

SMALL = {"height": 32, "width": 64, "num_frames": 9, "num_inference_steps": 2}
DTYPE, DEVICE = torch.float32, "cpu"


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    root = tmp_path_factory.mktemp("cards")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {task: (save(task, root / task), str(root / task)) for task in ("t2v", "i2v", "ti2v")}


@pytest.fixture(scope="module")
def pipe(models):
    opened = Wan22Pipeline.from_pretrained(models["t2v"][1], torch_dtype=DTYPE, device=DEVICE)
    opened.scheduler = opened.scheduler.__class__("unipc", OurLevels.shift)
    opened.set_progress_bar_config(disable=True)
    return opened


def exported(frames, path, fps):
    assert frames.ndim == 4 and frames.dtype == np.float32 and 0 <= frames.min() and frames.max() <= 1
    export_to_video(frames, str(path), fps=fps)
    assert path.stat().st_size > 0
    pixels = (frames * 255).astype(np.uint8)  # as export_to_video does
    assert np.array_equal(pixels, np.round(frames * 255))


NUMBERS = {
    "height": "32",
    "width": "64",
    "num_frames": "9",
    "num_inference_steps": "2",
    "max_area": "32 * 64",
}
"""What is smaller here than in the cards."""


def run_card(card, model_id, monkeypatch, folder, url=r"(?!)", image=""):
    """Run the text of a card in a folder, and return its names. `url`, a pattern, is the card's image."""
    monkeypatch.chdir(folder)
    text = card.replace("NEGATIVE", DEFAULT_NEGATIVE)
    for pattern, new in (
        (r"from diffusers import WanImageToVideoPipeline", "from wan22 import Wan22Pipeline"),
        (
            r"from diffusers import WanPipeline, (.*)",
            r"from diffusers import \1; from wan22 import Wan22Pipeline",
        ),
        (r"\bWan(ImageToVideo)?Pipeline\b", "Wan22Pipeline"),
        (r"Wan-AI/[\w.-]+", model_id),
        (r"\bcuda\b", DEVICE),
        (url, image),
        *((rf"\b{name} ?= ?[\d *]+\d", f"{name} = {small}") for name, small in NUMBERS.items()),
    ):
        text = re.sub(pattern, new, text)
    names = {}
    exec(compile(text, "card", "exec"), names)
    return names


CARD_OF_T2V = """
import torch
import numpy as np
from diffusers import WanPipeline, AutoencoderKLWan, WanTransformer3DModel, UniPCMultistepScheduler
from diffusers.utils import export_to_video, load_image

dtype = torch.bfloat16
device = "cuda"

model_id = "Wan-AI/Wan2.2-T2V-A14B-Diffusers"
vae = AutoencoderKLWan.from_pretrained(model_id, subfolder="vae", torch_dtype=torch.float32)
pipe = WanPipeline.from_pretrained(model_id, vae=vae, torch_dtype=dtype)
pipe.to(device)

height = 720
width = 1280
num_frames = 81
num_inference_steps = 40
guidance_scale = 4.0
guidance_scale_2 = 3.0

prompt = "Two anthropomorphic cats in comfy boxing gear and bright gloves fight intensely on a spotlighted stage."
negative_prompt = "NEGATIVE"
output = pipe(
    prompt=prompt,
    negative_prompt=negative_prompt,
    height=height,
    width=width,
    num_frames=num_frames,
    guidance_scale=guidance_scale,
    guidance_scale_2=guidance_scale_2,
    num_inference_steps=num_inference_steps,
).frames[0]
export_to_video(output, "t2v_out.mp4", fps=16)
"""


CARD_OF_I2V = """
import torch
import numpy as np
from diffusers import WanImageToVideoPipeline
from diffusers.utils import export_to_video, load_image

model_id = "Wan-AI/Wan2.2-I2V-A14B-Diffusers"
dtype = torch.bfloat16
device = "cuda"

pipe = WanImageToVideoPipeline.from_pretrained(model_id, torch_dtype=dtype)
pipe.to(device)

image = load_image(
    "https://huggingface.co/datasets/YiYiXu/testing-images/resolve/main/wan_i2v_input.JPG"
)
max_area = 480 * 832
aspect_ratio = image.height / image.width
mod_value = pipe.vae_scale_factor_spatial * pipe.transformer.config.patch_size[1]
height = round(np.sqrt(max_area * aspect_ratio)) // mod_value * mod_value
width = round(np.sqrt(max_area / aspect_ratio)) // mod_value * mod_value
image = image.resize((width, height))
prompt = "Summer beach vacation style, a white cat wearing sunglasses sits on a surfboard."

negative_prompt = "NEGATIVE"
generator = torch.Generator(device=device).manual_seed(0)
output = pipe(
    image=image,
    prompt=prompt,
    negative_prompt=negative_prompt,
    height=height,
    width=width,
    num_frames=81,
    guidance_scale=3.5,
    num_inference_steps=40,
    generator=generator,
).frames[0]
export_to_video(output, "i2v_output.mp4", fps=16)
"""

CARD_OF_TI2V = """
import torch
import numpy as np
from diffusers import WanPipeline, AutoencoderKLWan, WanTransformer3DModel, UniPCMultistepScheduler
from diffusers.utils import export_to_video, load_image

dtype = torch.bfloat16
device = "cuda"

model_id = "Wan-AI/Wan2.2-TI2V-5B-Diffusers"
vae = AutoencoderKLWan.from_pretrained(model_id, subfolder="vae", torch_dtype=torch.float32)
pipe = WanPipeline.from_pretrained(model_id, vae=vae, torch_dtype=dtype)
pipe.to(device)

height = 704
width = 1280
num_frames = 121
num_inference_steps = 50
guidance_scale = 5.0


prompt = "Two anthropomorphic cats in comfy boxing gear and bright gloves fight intensely on a spotlighted stage."
negative_prompt = "NEGATIVE"
output = pipe(
    prompt=prompt,
    negative_prompt=negative_prompt,
    height=height,
    width=width,
    num_frames=num_frames,
    guidance_scale=guidance_scale,
    num_inference_steps=num_inference_steps,
).frames[0]
export_to_video(output, "5bit2v_output.mp4", fps=24)
"""


def checked(path, output, fps, frames=9):
    """The file that a card writes holds the video that it was given."""
    clip = read_clip(path)
    assert clip.frames.shape == output.shape and len(output) == frames and clip.fps == fps


def test_the_card_of_t2v(models, tmp_path, monkeypatch):
    card = run_card(CARD_OF_T2V, models["t2v"][1], monkeypatch, tmp_path)
    checked(tmp_path / "t2v_out.mp4", card["output"], 16)
    assert card["pipe"].dtype == torch.bfloat16


def test_the_card_of_i2v_and_first_and_last_frames(models, tmp_path, monkeypatch):
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 70, 3), dtype=np.uint8))
    image.save(tmp_path / "input.png")
    card = run_card(CARD_OF_I2V, models["i2v"][1], monkeypatch, tmp_path, r"https://\S+JPG", "input.png")
    checked(tmp_path / "i2v_output.mp4", card["output"], 16)
    assert (
        card["output"].shape[1:3] == (card["height"], card["width"]) == card["image"].size[::-1] == (32, 48)
    )
    options = {**SMALL, "height": 32, "width": 48, "prompt": PROMPT, "guidance_scale": 3.5, "seed": 1}
    plain = card["pipe"](image=card["image"], **options).frames[0]
    both = card["pipe"](image=card["image"], last_image=card["image"], **options).frames[0]
    assert both.shape == plain.shape and not np.array_equal(both, plain)


def test_the_card_of_ti2v_and_its_offload(models, tmp_path, monkeypatch):
    card = run_card(CARD_OF_TI2V, models["ti2v"][1], monkeypatch, tmp_path)
    checked(tmp_path / "5bit2v_output.mp4", card["output"], 24)
    text = CARD_OF_TI2V.replace("pipe.to(device)", "pipe.enable_model_cpu_offload()")
    again = run_card(text, models["ti2v"][1], monkeypatch, tmp_path)
    assert again["output"].shape == card["output"].shape


def test_the_example_of_video_to_video_with_its_scheduler(models, tmp_path):
    pipe = Wan22Pipeline.from_pretrained(models["t2v"][1], torch_dtype=DTYPE)
    pipe.scheduler = UniPCMultistepScheduler.from_config(pipe.scheduler.config, flow_shift=3.0)
    pipe.to(DEVICE)
    assert (pipe.scheduler.solver, pipe.scheduler.shift) == ("unipc", 3.0)
    video = [Image.fromarray(np.full((32, 64, 3), 10 * i, np.uint8)) for i in range(9)]
    out = pipe(
        video=video,
        prompt=PROMPT,
        height=32,
        width=64,
        guidance_scale=5.0,
        strength=0.7,
        num_inference_steps=3,
    )
    exported(out.frames[0], tmp_path / "v2v.mp4", fps=16)
    assert (out.recipe["task"], out.recipe["shift"], len(out.frames[0])) == ("v2v", 3.0, 9)


def lora(seed):
    g = torch.Generator().manual_seed(seed)
    names = [f"blocks.{i}.attn1.to_{n}" for i in range(2) for n in "qkv"]
    return {
        f"transformer.{name}.lora_{m}.weight": torch.randn(shape, generator=g) * 0.3
        for name in names
        for m, shape in (("A", (4, 48)), ("B", (48, 4)))
    }


def latents_of(pipe, **options):
    asked = {
        "prompt": PROMPT,
        "negative_prompt": NEGATIVE,
        **SMALL,
        "shift": 1.0,
        "seed": 3,
        "output_type": "latent",
    }
    return pipe(**{**asked, **options}).frames[0]


def test_the_snippet_of_lightning_loras(models, tmp_path):
    folder = tmp_path / "hub" / "Lightx2v"
    folder.mkdir(parents=True)
    save_file(lora(1), folder / "distill.safetensors")
    pipe = Wan22Pipeline.from_pretrained(models["t2v"][1], torch_dtype=DTYPE, device=DEVICE)
    plain = latents_of(pipe)
    names = {"weight_name": "Lightx2v/distill.safetensors"}
    pipe.load_lora_weights(tmp_path / "hub", **names, adapter_name="lightx2v")
    high = latents_of(pipe)
    pipe.load_lora_weights(tmp_path / "hub", **names, adapter_name="lightx2v_2", load_into_transformer_2=True)
    assert pipe.get_list_adapters() == {"transformer": ["lightx2v"], "transformer_2": ["lightx2v_2"]}
    assert pipe.get_active_adapters() == ["lightx2v", "lightx2v_2"]
    both = latents_of(pipe)
    assert relative(high, plain) > 1e-3 and relative(both, high) > 1e-4
    half = latents_of(pipe, attention_kwargs={"scale": 0.5})
    pipe.set_adapters(["lightx2v", "lightx2v_2"], adapter_weights=[0.5, 0.5])
    assert relative(latents_of(pipe), half) < 1e-5
    pipe.set_adapters(["lightx2v", "lightx2v_2"], adapter_weights=[1.0, 1.0])
    pipe.fuse_lora(adapter_names=["lightx2v"], lora_scale=1.0, components=["transformer"])
    pipe.fuse_lora(adapter_names=["lightx2v_2"], lora_scale=1.0, components=["transformer_2"])
    pipe.unload_lora_weights()
    assert pipe.get_active_adapters() == [] and relative(latents_of(pipe), both) < 1e-5
    pipe.unfuse_lora()
    assert relative(latents_of(pipe), plain) < 1e-6


def test_adapters_are_loaded_switched_and_deleted_as_in_diffusers(models):
    pipe = Wan22Pipeline.from_pretrained(models["t2v"][1], torch_dtype=DTYPE, device=DEVICE)
    plain = latents_of(pipe)
    pipe.load_lora_weights(lora(1), adapter_name="a")
    first = latents_of(pipe)
    pipe.load_lora_weights(lora(2), adapter_name="b")
    pipe.load_lora_weights(lora(3))
    assert pipe.get_active_adapters() == ["default_2"]  # the newest alone, as in Diffusers with PEFT
    with pytest.raises(OptionError, match="there is an adapter 'a' already"):
        pipe.load_lora_weights(lora(1), adapter_name="a")
    with pytest.raises(OptionError, match=r"no adapter 'zz' is loaded; there are: \['a', 'b', 'default_2'\]"):
        pipe.set_adapters("zz")
    with pytest.raises(OptionError, match="2 adapter names and 1 weights"):
        pipe.set_adapters(["a", "b"], [1.0])
    pipe.set_adapters("a", {"transformer": 1.0})
    assert relative(latents_of(pipe), first) < 1e-6
    pipe.disable_lora()
    assert relative(latents_of(pipe), plain) < 1e-6
    pipe.enable_lora()
    pipe.delete_adapters("a")
    assert pipe.get_active_adapters() == [] and relative(latents_of(pipe), plain) < 1e-6
    with pytest.raises(CheckpointError, match="no LoRA some/where here"):
        pipe.load_lora_weights("some/where")


def theirs_of(models, **options):
    asked = {
        "prompt": PROMPT,
        "negative_prompt": NEGATIVE,
        **SMALL,
        "guidance_scale": 4.0,
        "output_type": "latent",
    }
    return models["t2v"][0](**{**asked, **options}).frames


def ours_of(pipe, **options):
    asked = {
        "prompt": PROMPT,
        "negative_prompt": NEGATIVE,
        **SMALL,
        "guidance_scale": 4.0,
        "output_type": "latent",
    }
    return pipe(**{**asked, **options}).frames


def test_latents_lists_and_generators_give_what_diffusers_gives(models, pipe):
    noise = torch.stack([draw_noise((16, 3, 4, 8), i) for i in range(2)])
    lists = {"prompt": [PROMPT, "the cat"], "negative_prompt": [NEGATIVE, "a"], "latents": noise}
    assert relative(ours_of(pipe, **lists), theirs_of(models, **lists)) < 1e-5

    def seeded():
        return torch.Generator().manual_seed(5)

    ours, theirs = seeded(), seeded()
    for _ in range(2):  # a generator that is used twice goes on
        options = {"num_videos_per_prompt": 2}
        a = ours_of(pipe, **options, generator=ours)
        b = theirs_of(models, **options, generator=theirs)
        assert a.shape == b.shape and relative(a, b) < 1e-5
    single = [ours_of(pipe, generator=ours), theirs_of(models, generator=theirs)]
    assert relative(*single) < 1e-5
    pair = {"prompt": [PROMPT] * 2, "negative_prompt": [NEGATIVE] * 2}
    a = ours_of(pipe, **pair, generator=[seeded(), seeded()])
    assert relative(a, theirs_of(models, **pair, generator=[seeded(), seeded()])) < 1e-5


@pytest.mark.parametrize("length", [6, 512])
def test_encoded_prompts_are_those_of_diffusers(models, pipe, length):
    theirs = models["t2v"][0].encode_prompt(PROMPT, NEGATIVE, max_sequence_length=length)
    ours = pipe.encode_prompt(PROMPT, NEGATIVE, max_sequence_length=length)
    assert all(a.shape == b.shape and relative(a, b) < 1e-5 for a, b in zip(ours, theirs, strict=True))
    noise = draw_noise((16, 3, 4, 8), 1)[None]
    embeds = {
        "prompt": None,
        "negative_prompt": None,
        "prompt_embeds": theirs[0],
        "negative_prompt_embeds": theirs[1],
    }
    expected = theirs_of(models, **embeds, latents=noise)
    assert relative(ours_of(pipe, **embeds, latents=noise), expected) < 1e-5
    texts = ours_of(pipe, latents=noise, max_sequence_length=length)
    assert relative(texts, theirs_of(models, latents=noise, max_sequence_length=length)) < 1e-5


def test_a_callback_changes_what_it_changes_in_diffusers(models, pipe):
    noise = draw_noise((16, 3, 4, 8), 1)[None]
    seen = []

    def change(p, i, t, tensors):
        seen.append((i, float(t), sorted(tensors), tuple(tensors["latents"].shape)))
        if i == 1:
            tensors["latents"] = tensors["latents"] * 0.5
            tensors["prompt_embeds"] = tensors["prompt_embeds"] * 2
        if i == 2:
            p._interrupt = True
        return tensors

    options = {
        "num_inference_steps": 5,
        "latents": noise,
        "callback_on_step_end": change,
        "callback_on_step_end_tensor_inputs": ["latents", "prompt_embeds"],
    }
    ours = ours_of(pipe, **options)
    told = seen[:]
    seen.clear()
    assert relative(ours, theirs_of(models, **options)) < 1e-5
    assert told == seen and len(told) == 3
    plain = ours_of(pipe, num_inference_steps=5, latents=noise)
    assert relative(ours, plain) > 1e-2
    made = pipe(prompt=PROMPT, **SMALL, callback_on_step_end=lambda p, i, t, v: {"latents": v["latents"] * 0})
    assert "callback_on_step_end" in made.recipe["given"]


def test_frames_have_the_forms_of_diffusers(pipe):
    asked = {"prompt": PROMPT, **SMALL, "seed": 2}
    floats, pil, tensor = (pipe(**asked, output_type=kind).frames for kind in ("np", "pil", "pt"))
    assert floats.shape == (1, 9, 32, 64, 3) and tensor.shape == (1, 9, 3, 32, 64) and len(pil[0]) == 9
    assert np.array_equal(np.asarray(pil[0][3]), (floats[0][3] * 255).astype(np.uint8))
    assert torch.equal(tensor[0], torch.from_numpy(floats[0]).permute(0, 3, 1, 2))
    (same,) = pipe(**asked, return_dict=False)
    assert np.array_equal(same, floats)
    with pytest.raises(OptionError, match="output_type must be one of np, pt, pil, latent, not 'gif'"):
        pipe(**asked, output_type="gif")


def test_without_a_seed_it_is_chance_and_the_recipe_says_it(pipe):
    asked = {"prompt": PROMPT, **SMALL}
    first, second = pipe(**asked), pipe(**asked)
    assert first.recipe["seed"] != second.recipe["seed"]
    assert np.array_equal(pipe(**asked, seed=first.recipe["seed"]).frames, first.frames)


THEIR_SCHEDULERS = {
    "unipc": (UniPCMultistepScheduler, {"use_flow_sigmas": True, "prediction_type": "flow_prediction"}, 3e-3),
    "dpm++": (
        DPMSolverMultistepScheduler,
        {"use_flow_sigmas": True, "prediction_type": "flow_prediction"},
        5e-4,
    ),
    "euler": (FlowMatchEulerDiscreteScheduler, {}, 1e-6),
}


@pytest.mark.parametrize("solver", THEIR_SCHEDULERS)
@pytest.mark.parametrize("steps", [4, 20, 50])
def test_levels_are_as_near_to_diffusers_as_is_said(solver, steps):
    kind, options, bound = THEIR_SCHEDULERS[solver]
    for shift in (3.0, 5.0, 12.0):
        theirs = kind(**options, **{"shift" if solver == "euler" else "flow_shift": shift})
        ours = read_scheduler(theirs)
        assert (ours.solver, ours.shift) == (solver, shift)
        theirs.set_timesteps(steps)
        sigmas = levels(ours.solver, steps, ours.shift, ours.schedule).sigmas
        assert relative(sigmas, theirs.sigmas) <= bound


def test_schedulers_are_honoured_or_refused_by_name(models):
    pipe = Wan22Pipeline.from_pretrained(models["t2v"][1], torch_dtype=DTYPE, device=DEVICE)
    pipe.scheduler = FlowMatchEulerDiscreteScheduler(shift=7.0)
    recipe = pipe(prompt=PROMPT, **SMALL).recipe
    assert (recipe["solver"], recipe["shift"]) == ("euler", 7.0)
    with pytest.raises(OptionError, match="DDIMScheduler is no scheduler that is known here"):
        pipe.scheduler = diffusers.DDIMScheduler()
    with pytest.raises(OptionError, match=r"shift_terminal=0\.1 is not known here"):
        pipe.scheduler = FlowMatchEulerDiscreteScheduler(shift=7.0, shift_terminal=0.1)
    with pytest.raises(OptionError, match="use_karras_sigmas=True is not known here"):
        pipe.scheduler = UniPCMultistepScheduler.from_config(pipe.scheduler.config, use_karras_sigmas=True)


def test_what_is_saved_has_the_boundary_and_scheduler_of_the_pipeline(models, tmp_path):
    pipe = Wan22Pipeline.from_pretrained(models["t2v"][1], device=DEVICE, boundary_ratio=0.5)
    pipe.scheduler = FlowMatchEulerDiscreteScheduler(shift=7.0)
    pipe.save_pretrained(tmp_path / "saved")
    again = Wan22Pipeline.from_pretrained(tmp_path / "saved", device=DEVICE)
    assert again.engine.variant.boundary == 0.5
    assert again.scheduler == pipe.scheduler == Scheduler("euler", 7.0, "normal")
    theirs = FlowMatchEulerDiscreteScheduler.from_pretrained(tmp_path / "saved", subfolder="scheduler")
    assert theirs.config.shift == 7.0
    assert diffusers.WanPipeline.load_config(tmp_path / "saved")["boundary_ratio"] == 0.5


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"variant": "fp16"}, OptionError, "variant='fp16' names files of one precision"),
        ({"revision": "x"}, OptionError, "is a folder, which has no revision 'x'"),
        ({"device_map": {"vae": "cpu"}}, OptionError, "device_map by part is not known here"),
        ({"image_encoder": object()}, OptionError, "Wan2.2 has no image_encoder"),
        ({"vae": "vae"}, OptionError, "vae must be a module with weights"),
        ({"quantization_config": {}}, OptionError, "files that are quantised already"),
        ({"boundary_ratio": 2.0}, OptionError, "boundary_ratio must be from 0 to 1, not 2.0"),
        ({"nonsense": 1}, TypeError, "from_pretrained takes no 'nonsense'"),
    ],
)
def test_options_that_make_no_sense_are_one_clear_error(models, options, kind, message):
    with pytest.raises(kind, match=message):
        Wan22Pipeline.from_pretrained(models["t2v"][1], **options)


def test_every_argument_of_diffusers_calls_is_known():
    ours = inspect.signature(Wan22Pipeline.__call__).parameters
    for theirs, without in (
        (diffusers.WanPipeline, set()),
        (diffusers.WanImageToVideoPipeline, {"image_embeds"}),  # of Wan2.1's image encoder
        (diffusers.WanVideoToVideoPipeline, {"timesteps"}),
    ):
        assert set(inspect.signature(theirs.__call__).parameters) - set(ours) == without
