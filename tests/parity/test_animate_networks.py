"""The networks of animation equal the official release: relative error <= 1e-5."""

from functools import partial

import pytest
import torch
from builders import animate_arch, build, clip_arch, dit_arch
from torch import nn

from wan22.models.clip import CLIPVision, clip_pixels
from wan22.models.dit import NoiseLevels
from wan22.models.face import FaceEncoder, MotionEncoder, blur_kernel

BOUND = 1e-5


class Faces(nn.Module):
    """The motion encoder and the face encoder, under the names of the release."""

    def __init__(self, config: dict) -> None:
        super().__init__()
        arch = animate_arch(config)
        self.motion_encoder = MotionEncoder(arch)
        self.face_encoder = FaceEncoder(arch, config["face_encoder"]["hidden_dim"])

    def assert_expected(self, golden, relative_error, face, kind: str) -> None:
        """Every stage of a video of faces."""
        frames = face[0].transpose(0, 1)
        near = partial(check, golden, relative_error)
        appearance = torch.cat([self.motion_encoder.enc.net_app(frame[None]) for frame in frames])
        near(f"appearance{kind}", appearance)
        near(f"coefficients{kind}", self.motion_encoder.enc.fc(appearance))
        motion = self.motion_encoder(frames)
        near(f"motion{kind}", motion)
        near(f"memory{kind}", self.face_encoder(motion[None]))
        near("directions", self.motion_encoder.dec.direction.basis())


def check(golden, relative_error, name: str, ours: torch.Tensor) -> None:
    assert relative_error(ours, golden.outputs[name]) <= BOUND, name


@pytest.mark.golden("animate_motion")
@torch.inference_mode()
def test_faces_become_the_official_tokens(golden, relative_error):
    faces = Faces(golden.config)
    faces.load_state_dict(golden.weights())
    for length in golden.config["lengths"]:
        faces.assert_expected(golden, relative_error, golden.inputs[f"face.{length}"], f".{length}")
    near = partial(check, golden, relative_error)
    given = {name: tensor for name, tensor in golden.inputs.items() if name.startswith("motion.")}
    assert given
    for name, motion in given.items():
        near(name.replace("motion", "memory"), faces.face_encoder(motion))
    size = golden.config["motion_encoder"]["size"]
    near("motion.minus_one", faces.motion_encoder(-torch.ones(1, 3, size, size)))


@pytest.mark.slow
@pytest.mark.golden("animate_motion_full")
@torch.inference_mode()
def test_faces_of_the_true_size_become_the_official_tokens(golden, relative_error):
    from test_hashed import given, hashed

    config = golden.config
    weights = {}
    for k, (name, shape) in enumerate(config["keys"]):
        h = hashed(k + config["weight_offset"], shape)
        if name.startswith("motion_encoder."):
            h = (0.2 if name.endswith(".bias") else 3.4641) * h
        elif "norm" in name and name.endswith(".weight"):
            h = 1 + 0.2 * h
        else:
            h = (0.2 if len(shape) <= 1 else 0.3) * h
        weights[name] = blur_kernel() if name.endswith(".kernel") else h.float()
    faces = Faces(config)
    faces.load_state_dict(weights)
    face = given(config["input_index"], *config["input_shape"])
    faces.assert_expected(golden, relative_error, face, "")


def animation(golden):
    network = build(dit_arch(golden.config), golden.weights())
    given = golden.inputs
    x = given["latents"]
    text = network.read_text([given[f"context.{i}"] for i in range(len(x))], image=given["clip_features"])
    return (
        network,
        text,
        partial(network, x, NoiseLevels.uniform(given["timestep"]), text, given["condition"]),
    )


@pytest.mark.golden("animate_transformer*")
@pytest.mark.parametrize("chunk", [None, 5])
@pytest.mark.parametrize("grad", [False, True])
def test_the_velocity_is_the_official_one(golden, relative_error, chunk, grad):
    with torch.set_grad_enabled(grad):
        network, _, velocity = animation(golden)
        network.chunk = chunk
        given, near = golden.inputs, partial(check, golden, relative_error)
        for name, face in (("", given["face"]), (".face_minus_one", torch.full_like(given["face"], -1))):
            near(f"face_tokens{name}", network.read_face(face))
            near(f"velocity{name}", velocity(network.read_animate(given["pose_latents"], face)))


@pytest.mark.golden("animate_transformer*")
@torch.inference_mode()
def test_a_tap_adds_the_official_numbers_to_any_part_of_the_tokens(golden, relative_error):
    network, _, _ = animation(golden)
    given = golden.inputs
    hidden = given["adapter_hidden.0"]
    tap = network.read_animate(given["pose_latents"], given["face"]).taps[0]
    whole = tap(hidden.clone())
    check(golden, relative_error, "adapter.0", whole - hidden)
    for first in range(0, hidden.shape[1], 7):  # as a rank that has some of the tokens
        part = hidden[:, first : first + 7].clone()
        assert relative_error(tap(part, None, first), whole[:, first : first + 7]) <= BOUND


@pytest.mark.golden("animate_clip*")
@torch.inference_mode()
def test_images_become_the_official_features(golden, relative_error):
    arch = clip_arch(golden.config)
    tower = CLIPVision(arch)
    weights = {name.removeprefix("visual."): tensor for name, tensor in golden.weights().items()}
    tower.load_state_dict({name: weights[name] for name in tower.state_dict()})
    images = {name: image for name, image in golden.inputs.items() if name.startswith("image.")}
    assert images
    for name, image in images.items():
        i = name.split(".")[1].split("_")[0]
        pixels = clip_pixels(image.float().permute(2, 0, 1)[None] / 127.5 - 1, arch.image_size)
        check(golden, relative_error, f"pixels.{i}", pixels)
        check(golden, relative_error, f"features.{i}", tower(pixels))
