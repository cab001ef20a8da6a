"""The network of animation in half precision and with quantised matrices; what it refuses."""

import copy
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from wan22.arch import AnimateArch, DiTArch
from wan22.assembly import FLOAT32
from wan22.models.animate import AnimateDiT
from wan22.models.dit import NoiseLevels
from wan22.models.face import EqualConv, EqualLinear, MotionEncoder
from wan22.models.linear import StoredLinear
from wan22.ops.stored import Keep
from wan22.weights.load import Weights, check_complete, meta_module
from wan22.weights.reader import open_reader

FACES = AnimateArch(
    channels=(8, 6, 4),
    style_dim=6,
    motion_dim=3,
    direction_dim=10,
    conv_dim=12,
    every=2,
    image_dim=32,
    image_tokens=5,
)
ARCH = DiTArch(
    36, 16, dim=128, ffn_dim=192, heads=2, layers=4, text_dim=32, text_len=8, freq_dim=16, animate=FACES
)


def noise(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def network():
    torch.manual_seed(0)
    net = AnimateDiT(ARCH).eval()
    for name, parameter in net.named_parameters():
        if not name.startswith("motion_encoder"):
            parameter.data.normal_(1.0 if name.endswith("norm.weight") else 0.0, 0.1)
        parameter.data = parameter.data.bfloat16().float()  # as releases are
    return net


def velocity(net, dtype=torch.float32):
    text = net.read_text([noise(6, 32).to(dtype)], image=noise(1, 5, 32).to(dtype))
    driven = net.read_animate(noise(1, 16, 2, 8, 8).to(dtype), noise(1, 3, 5, 16, 16).clamp(-1, 1).to(dtype))
    x, y = noise(1, 16, 3, 8, 8), noise(1, 20, 3, 8, 8, seed=1)
    return net(x, NoiseLevels.uniform(torch.tensor([700.0])), text, y, driven)


def error(got, wanted):
    return float((got - wanted).norm() / wanted.norm())


@torch.inference_mode()
def test_half_precision_is_near_and_rounds_where_the_release_does():
    whole = network()
    half = copy.deepcopy(whole)
    for name, parameter in half.named_parameters():
        if not any(part in name for part in FLOAT32):
            parameter.data = parameter.data.bfloat16()
    assert 0 < error(velocity(half, torch.bfloat16), velocity(whole)) < 0.05
    faces = noise(2, 3, 16, 16)
    motion = half.motion_encoder(faces)
    assert motion.dtype == torch.float32 and 0 < error(motion, whole.motion_encoder(faces)) < 0.1
    assert half.motion_encoder.dec.direction.basis().dtype == torch.bfloat16
    assert half.read_face(noise(1, 3, 5, 16, 16)).dtype == torch.bfloat16
    driven = half.read_animate(noise(1, 16, 2, 8, 8), noise(1, 3, 5, 16, 16))
    assert (
        driven.added.dtype == torch.bfloat16 and not driven.added[:, :16].any() and driven.added[:, 16:].any()
    )


@torch.inference_mode()
def test_equalised_weights_are_rounded_once_more():
    conv, linear = EqualConv(6, 4, 3).bfloat16(), EqualLinear(24, 5).bfloat16()
    x, v = noise(1, 6, 5, 5).bfloat16(), noise(3, 24).bfloat16()
    scaled = (conv.weight.double() / 54**0.5).bfloat16()
    assert torch.equal(conv(x), F.conv2d(x, scaled))
    scaled = (linear.weight.double() / 24**0.5).bfloat16()
    assert torch.equal(linear(v), F.linear(v, scaled, linear.bias))


@torch.inference_mode()
def test_directions_are_orthonormal_and_have_the_signs_of_householder():
    encoder = MotionEncoder(FACES)
    basis, weight = encoder.dec.direction.basis(), encoder.dec.direction.weight
    assert torch.allclose(basis.T @ basis, torch.eye(3), atol=1e-6)
    first = (
        weight[:, 0] / weight[:, 0].norm()
    )  # LAPACK: R's diagonal has the sign opposite to the first number's
    assert torch.allclose(basis[:, 0], -first * first[0].sign(), atol=1e-6)


@pytest.mark.parametrize("kind", ["int8", "fp8"])
@torch.inference_mode()
def test_matrices_of_image_and_face_may_be_quantised(tmp_path, kind):
    whole = network()
    save_file(
        {name: tensor.contiguous() for name, tensor in whole.state_dict().items()}, tmp_path / "a.safetensors"
    )
    made = meta_module(ARCH)
    with open_reader(tmp_path / "a.safetensors") as reader:
        Weights(made, reader, dtype=torch.float32, keep=Keep(torch.float32, kind)).fill(made, "cpu")
    check_complete(made)
    stored = {path for path, module in made.named_modules() if isinstance(module, StoredLinear)}
    assert {"blocks.3.cross_attn.k_img", "face_adapter.fuser_blocks.1.linear1_kv", "img_emb.proj.1"} <= stored
    assert 0 < error(velocity(made.eval()), velocity(whole)) < 0.1


def test_what_cannot_be_is_refused():
    net = network()
    context, pose = [noise(6, 32)], noise(1, 16, 2, 8, 8)
    for image in (None, noise(1, 6, 32), noise(2, 5, 32)):
        with pytest.raises(ValueError, match=r"features of an image, \(1, 5, 32\), beside the text"):
            net.read_text(context, image=image)
    with pytest.raises(ValueError, match=r"faces are \(n, 3, 16, 16\).* not \(5, 3, 8, 8\)"):
        net.read_animate(pose, noise(1, 3, 5, 8, 8))
    with pytest.raises(ValueError, match="9 frames of faces are 3 latent frames; the poses have 2"):
        net.read_animate(pose, noise(1, 3, 9, 16, 16))
    with pytest.raises(ValueError, match="3 blocks: a network of animation reads the face after every 2-th"):
        replace(ARCH, layers=3)
