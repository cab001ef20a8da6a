"""LATENTs of ours decode in ComfyUI and theirs in ours: the same shape, the same scale."""

import pytest
import torch

from wan22.catalog import VARIANTS
from wan22.errors import OptionError

WAN21 = VARIANTS["t2v-A14B"].vae
WAN22 = VARIANTS["ti2v-5B"].vae


class LatentFormat:
    """ComfyUI's latent formats Wan21 and Wan22 by their formula; scale_factor is 1."""

    scale_factor = 1.0

    def __init__(self, arch):
        self.mean, self.std = (torch.tensor(row).view(1, -1, 1, 1, 1) for row in (arch.mean, arch.std))

    def process_in(self, latent):
        return (latent - self.mean) * self.scale_factor / self.std

    def process_out(self, latent):
        return latent * self.std / self.scale_factor + self.mean


@pytest.fixture
def of_comfy(package):
    import sys

    return sys.modules[f"{package.__name__}.values"]


@pytest.mark.parametrize(
    ("arch", "channels", "mean", "std"),
    [
        (WAN21, 16, (-0.7571, -0.7089, -0.9113), (2.8184, 1.4541, 2.3275)),
        (WAN22, 48, (-0.2289, -0.0052, -0.1323), (0.4765, 1.0364, 0.4514)),
    ],
)
def test_the_scale_is_that_of_the_published_formats(arch, channels, mean, std):
    assert (len(arch.mean), arch.mean[:3], arch.std[:3]) == (channels, mean, std)


@pytest.mark.parametrize("arch", [WAN21, WAN22])
def test_a_latent_of_ours_is_what_comfyui_samples(of_comfy, arch):
    z = torch.randn(arch.z, 3, 4, 6)
    made = of_comfy.latent(z, arch, {})["samples"]
    torch.testing.assert_close(made, LatentFormat(arch).process_out(z[None]))
    torch.testing.assert_close(LatentFormat(arch).process_in(made), z[None])


@pytest.mark.parametrize("arch", [WAN21, WAN22])
def test_a_latent_of_comfyui_is_what_we_decode(of_comfy, arch):
    z = torch.randn(2, arch.z, 3, 4, 6)
    found = of_comfy.normalised({"samples": LatentFormat(arch).process_out(z)}, arch)
    torch.testing.assert_close(found, z)


@pytest.mark.parametrize("shape", [(1, 48, 3, 4, 6), (1, 16, 4, 6)])
def test_a_latent_of_another_vae_is_refused(of_comfy, shape):
    with pytest.raises(OptionError, match=r"the model's VAE decodes \(b, 16, t, h, w\)"):
        of_comfy.normalised({"samples": torch.zeros(shape)}, WAN21)


def decoded(run, latent, **given):
    (model,) = run("Wan22Load", model="nano")
    return run("Wan22Decode", model=model, latent=latent, **given)


def drawn(variant, seed):
    """Latents of the smallest video that nano draws, as ComfyUI's sampler would leave them."""
    arch, (width, height), frames = variant.vae, min(variant.trained.sizes), min(variant.trained.frames)
    shape = ((frames - 1) // arch.stride_time + 1, height // arch.stride_space, width // arch.stride_space)
    z = torch.randn((1, arch.z, *shape), generator=torch.Generator().manual_seed(seed))
    return {"samples": LatentFormat(arch).process_out(z)}, (frames, height, width, 3)


def test_a_latent_without_a_recipe_is_decoded_as_it_is(run):
    (model,) = run("Wan22Load", model="nano")
    latent, shape = drawn(model.engine().variant, seed=0)
    images, _, fps = decoded(run, latent)
    assert images.shape == shape and fps == model.engine().variant.defaults.fps
    assert decoded(run, latent, fps=7.0)[2] == 7.0


def test_a_batch_is_decoded_video_by_video(run):
    (model,) = run("Wan22Load", model="nano")
    one, shape = drawn(model.engine().variant, seed=0)
    other, _ = drawn(model.engine().variant, seed=1)
    both = {"samples": torch.cat([one["samples"], other["samples"]])}
    images = decoded(run, both)[0]
    torch.testing.assert_close(images[: shape[0]], decoded(run, one)[0])
    torch.testing.assert_close(images[shape[0] :], decoded(run, other)[0])


def test_a_latent_that_another_node_made_longer_is_not_cut_to_its_recipe(run):
    (model,) = run("Wan22Load", model="nano")
    latent, shape = drawn(model.engine().variant, seed=0)
    recipe = {"size": [shape[2], shape[1]], "frames": max(model.engine().variant.trained.frames), "fps": 9.0}
    assert recipe["frames"] > shape[0]
    assert decoded(run, latent | {"wan22": recipe})[0].shape == shape
