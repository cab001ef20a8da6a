"""The same tiny random model, saved by Diffusers and loaded by us, makes the same video in float32.

Two things are made equal before videos are compared. The noise: Diffusers is given ours as `latents`. The noise levels:
Diffusers' UniPC spaces them otherwise than the official release (spec: sampling, section 3), so its scheduler is
handed our sigmas and timesteps, and walks them with its own code. All else is theirs on one side and ours on the
other: tokens, text encoder, image, VAE, networks, guidance, boundary between experts, solver.
"""

import inspect
import warnings

import numpy as np
import pytest
import torch
from PIL import Image
from test_diffusers_weights import TEXT, their_text, their_transformer

import wan22
from wan22 import Wan22Pipeline
from wan22.arch import DiTArch
from wan22.catalog import VAE_22
from wan22.sampling import draw_noise, levels
from wan22.types import Latents, Progress, Request

diffusers = pytest.importorskip("diffusers")
transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.filterwarnings("ignore")  # theirs are not ours

WIDTH, HEIGHT, FRAMES, STEPS = 64, 32, 9, 5
HIGH, LOW = 4.0, 3.0
PROMPT, NEGATIVE = "the cat  sees a &amp; dog", "a dog"


class OurLevels(diffusers.UniPCMultistepScheduler):
    """Their solver on our noise levels."""

    shift = 5.0

    def set_timesteps(self, count, device=None, **rest):
        super().set_timesteps(count, device=device, **rest)
        ours = levels("unipc", count, self.shift)
        self.sigmas, self.timesteps = ours.sigmas, torch.tensor(ours.timesteps).long()


def tokenizer():
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    words = ("<pad>", "</s>", "<unk>", "the", "cat", "sees", "a", "&", "dog")
    fast = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="<unk>"))
    fast.pre_tokenizer = pre_tokenizers.Whitespace()
    fast.post_processor = processors.TemplateProcessing("$A </s>", special_tokens=[("</s>", 1)])
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=fast, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    )


def lively(module):
    """Their random weights, with a head, gains and biases that are not the neutral ones of a new network."""
    with torch.no_grad():
        for name, p in module.named_parameters():
            if p.ndim < 2 or "proj_out" in name or name.endswith("gamma"):
                p.add_(0.2 * torch.randn(p.shape))
    return module.eval()


def vae_of(task):
    if task != "ti2v":
        return diffusers.AutoencoderKLWan(base_dim=8, z_dim=16, num_res_blocks=1)
    return diffusers.AutoencoderKLWan(
        base_dim=8,
        decoder_base_dim=12,
        z_dim=48,
        num_res_blocks=1,
        is_residual=True,
        in_channels=12,
        out_channels=12,
        patch_size=2,
        scale_factor_spatial=16,
        latents_mean=list(VAE_22.mean),
        latents_std=list(VAE_22.std),
    )


CHANNELS = {"t2v": (16, 16), "i2v": (36, 16), "ti2v": (48, 48)}


def save(task, folder):
    """Make a random pipeline of a task, save it with Diffusers, and return it."""
    torch.manual_seed(7)
    arch = DiTArch(*CHANNELS[task], dim=48, ffn_dim=64, heads=2, layers=2, text_dim=TEXT.dim, freq_dim=16)
    parts = {
        "tokenizer": tokenizer(),
        "text_encoder": their_text(TEXT).eval(),
        "vae": lively(vae_of(task)),
        "scheduler": OurLevels(use_flow_sigmas=True, prediction_type="flow_prediction", flow_shift=5.0),
        "transformer": lively(their_transformer(arch)),
    }
    if task != "ti2v":
        parts |= {"transformer_2": lively(their_transformer(arch)), "boundary_ratio": 0.9}
    if task == "t2v":
        made = diffusers.WanPipeline(**parts)
    else:
        made = diffusers.WanImageToVideoPipeline(**parts, expand_timesteps=task == "ti2v")
    made.set_progress_bar_config(disable=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made.save_pretrained(folder)
    return made


def relative(a, b):
    return float((a - b).norm() / b.norm())


@pytest.mark.parametrize("task", ["t2v", "i2v", "ti2v"])
def test_the_same_weights_make_the_same_video(task, tmp_path):
    theirs = save(task, tmp_path / "model")
    image = np.random.default_rng(1).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    engine = wan22.load(tmp_path / "model", device="cpu", dtype="float32")
    assert engine.variant.experts == (("dit",) if task == "ti2v" else ("high", "low"))
    request = Request(
        prompt=PROMPT,
        negative=NEGATIVE,
        image=None if task == "t2v" else image,
        size=(WIDTH, HEIGHT),
        frames=FRAMES,
        steps=STEPS,
        shift=OurLevels.shift,
        guidance=HIGH if task == "ti2v" else (LOW, HIGH),
        seed=3,
    )
    events = list(engine.generate(request))
    ours = next(e for e in events if isinstance(e, Latents)).tensors["latents"]
    options = {
        "prompt": PROMPT,
        "negative_prompt": NEGATIVE,
        "width": WIDTH,
        "height": HEIGHT,
        "num_frames": FRAMES,
        "num_inference_steps": STEPS,
        "guidance_scale": HIGH,
        "latents": draw_noise(tuple(ours.shape), 3)[None],
        "output_type": "latent",
    }
    options |= {} if task == "ti2v" else {"guidance_scale_2": LOW}
    options |= {} if task == "t2v" else {"image": Image.fromarray(image)}
    expected = theirs(**options).frames[0]
    assert ours.shape == expected.shape
    assert relative(ours, expected) <= 1e-5

    video = torch.from_numpy(theirs(**{**options, "output_type": "np"}).frames[0])  # (T, H, W, 3) in 0..1
    with torch.inference_mode():
        mine = engine.vae().decode(ours[None])[0].permute(1, 2, 3, 0)
    assert relative(mine, video * 2 - 1) <= 1e-4
    if task != "ti2v":
        assert {e.expert for e in events if isinstance(e, Progress)} == {"high", "low"}


def test_the_names_of_the_familiar_face_are_those_of_diffusers():
    ours = inspect.signature(Wan22Pipeline.__call__).parameters
    theirs = inspect.signature(diffusers.WanPipeline.__call__).parameters
    common = (
        "prompt negative_prompt height width num_frames num_inference_steps guidance_scale guidance_scale_2 generator "
        "callback_on_step_end"
    ).split()
    assert not [name for name in common if name not in theirs or name not in ours]
    has_image = inspect.signature(diffusers.WanImageToVideoPipeline.__call__).parameters
    assert {"image", "last_image"} <= set(ours) & set(has_image)
