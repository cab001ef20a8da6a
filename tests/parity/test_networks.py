"""The transformer and the VAE equal the official release, layer for layer: relative error <= 1e-5."""

import pytest
import torch
from builders import build, dit_arch, vae_arch

from wan22.models.dit import NoiseLevels

BOUND = 1e-5


@pytest.mark.golden("dit_*")
@torch.inference_mode()
def test_the_velocity_is_the_official_one(golden, relative_error):
    network = build(dit_arch(golden.config), golden.weights())
    given = golden.inputs
    x = given["latents"]
    text = network.read_text([given[f"context.{i}"] for i in range(len(x))])
    levels = {
        "velocity": NoiseLevels.uniform(given["timestep"]),
        # Padding to a longer sequence must not change anything; we have none.
        "velocity_padded": NoiseLevels.uniform(given["timestep"]),
    }
    if "timestep_per_token" in given:
        levels["velocity_per_token"] = NoiseLevels.per_token(given["timestep_per_token"][0])
    assert golden.outputs
    for name, expected in golden.outputs.items():
        velocity = network(x, levels[name], text, given.get("condition"))
        assert relative_error(velocity, expected) <= BOUND, name


@pytest.mark.golden("dit_*")
@torch.inference_mode()
def test_merged_text_padding_equals_full_padding(golden, relative_error):
    network = build(dit_arch(golden.config), golden.weights())
    given = golden.inputs
    x = given["latents"][:1]
    context = given["context.0"]
    padded = torch.zeros(golden.config["text_len"], context.shape[1])
    padded[: len(context)] = context
    channels = given.get("condition")
    levels = NoiseLevels.uniform(given["timestep"][:1])
    merged = network(x, levels, network.read_text([context]), channels)
    full = network(x, levels, network.read_text([padded]), channels)
    assert relative_error(merged, full) <= BOUND


@pytest.mark.golden("vae_*")
@pytest.mark.parametrize("chunk", [None, 1, 2])
@torch.inference_mode()
def test_encoding_and_decoding_are_the_official_ones(golden, relative_error, chunk):
    vae = build(vae_arch(golden.config, residual=golden.name == "vae_2_2"), golden.weights())
    lengths = [name.removeprefix("video.") for name in golden.inputs]
    assert lengths
    for length in lengths:
        latent = vae.encode(golden.inputs[f"video.{length}"], chunk=chunk)
        assert relative_error(latent, golden.outputs[f"latent.{length}"]) <= BOUND
        decoded = vae.decode(golden.outputs[f"latent.{length}"], chunk=chunk)
        assert relative_error(decoded, golden.outputs[f"decoded.{length}"]) <= BOUND


@pytest.mark.golden("s2v_transformer*")
@torch.inference_mode()
def test_the_velocity_of_speech_is_the_official_one(golden, relative_error):
    network = build(dit_arch(golden.config), golden.weights())
    given = golden.inputs
    text = network.read_text([given["context.0"]])
    levels = NoiseLevels.uniform(given["timestep"])
    assert {"velocity", "velocity.drop_motion"} <= golden.outputs.keys()
    for name, motion in (("velocity", given["motion_latents"]), ("velocity.drop_motion", None)):
        extra_tokens = network.read_speech(
            given["ref_latents"], given["audio"], motion, given["pose_latents"]
        )
        velocity = network(given["latents"], levels, text, extra_tokens=extra_tokens)
        assert relative_error(velocity, golden.outputs[name]) <= BOUND, name
