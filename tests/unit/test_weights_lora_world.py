"""LoRA files as the world has them: the layouts that other programs write, and what of them does not fit."""

import json

import pytest
import torch
from loras import (
    DIT,
    EXPERTS,
    RANK,
    TRAINED,
    base,
    deltas,
    draw,
    expected,
    flat,
    know,
    lightx2v,
    merged,
    module,
    near,
    pairs,
    theirs,
    written,
)
from safetensors.torch import load_file, save_file

from wan22.errors import CheckpointError, KeysError, OptionError
from wan22.production.options import parse_lora
from wan22.weights.lora import LoRA, fit, open_adapters
from wan22.weights.lora.write import write_lora
from wan22.weights.verify import verify

__all__ = ["base"]  # the fixture


def saved(path, keys, lora):
    """A file of pairs, named by `keys`: official name to the module's name in the file."""
    tensors = {}
    for name, (down, up) in lora.items():
        tensors[f"{keys(name)}.lora_down.weight"], tensors[f"{keys(name)}.lora_up.weight"] = down, up
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path)
    return path


PREFIXES = (
    "unet. _orig_mod. model. module. dit. diffusion_model. transformer. base_model.model. pipe.dit. "
    "transformer._orig_mod. _orig_mod.transformer. module.diffusion_model. base_model.model.transformer. "
    "model.diffusion_model. unet.model. pipe.dit._orig_mod."
)


@pytest.mark.parametrize("prefix", PREFIXES.split())
def test_prefixes_are_read_in_any_stacking(tmp_path, base, prefix):
    lora = pairs()
    wanted = expected(base, deltas(lora, 1.0))
    assert near(merged(base, saved(tmp_path / "a.safetensors", lambda n: prefix + module(n), lora)), wanted)
    assert near(merged(base, saved(tmp_path / "b.safetensors", lambda n: prefix + theirs(n), lora)), wanted)


@pytest.mark.parametrize(
    "keys",
    [
        lambda name: f"lora_unet__{flat(name)}",
        lambda name: f"lora_unet__{theirs(name).replace('.', '_')}",
        lambda name: f"lora_unet_{module(name)}",
        lambda name: f"lora_unet_{module(name).replace('.', '_', 1)}",
        lambda name: f"lora_unet__{module(name)}",
    ],
)
def test_flat_names_with_two_underscores_or_dots_are_read(tmp_path, base, keys):
    lora = pairs()
    path = saved(tmp_path / "x.safetensors", keys, lora)
    assert near(merged(base, path), expected(base, deltas(lora, 1.0)))
    assert open_adapters(path)[0].dialect == "kohya"


IMAGE_ONLY = {
    "comfy": lambda i: [
        f"diffusion_model.blocks.{i}.cross_attn.k_img.lora_down.weight",
        f"diffusion_model.blocks.{i}.cross_attn.k_img.lora_up.weight",
        f"diffusion_model.blocks.{i}.cross_attn.v_img.diff_b",
        f"diffusion_model.blocks.{i}.cross_attn.norm_k_img.diff",
        "diffusion_model.img_emb.proj.1.lora_down.weight",
        "diffusion_model.img_emb.proj.1.lora_up.weight",
        "diffusion_model.img_emb.proj.0.diff",
    ],
    "diffusers": lambda i: [
        f"transformer.blocks.{i}.attn2.add_k_proj.lora_A.weight",
        f"transformer.blocks.{i}.attn2.add_v_proj.lora_B.weight",
        "transformer.condition_embedder.image_embedder.ff.net.0.proj.lora_A.weight",
    ],
    "kohya": lambda i: [
        f"lora_unet_blocks_{i}_cross_attn_k_img.lora_down.weight",
        f"lora_unet_blocks_{i}_cross_attn_v_img.alpha",
        "lora_unet_img_emb_proj_1.lora_up.weight",
    ],
}


@pytest.mark.parametrize("form", IMAGE_ONLY)
def test_what_only_wan21s_image_to_video_has_is_left_out_with_one_notice(tmp_path, base, form):
    lora = pairs()
    extra = {name: draw(RANK, 128) for i in range(2) for name in IMAGE_ONLY[form](i)}
    path = written(tmp_path / "x.safetensors", lora, form, alpha=RANK, extra=extra)
    assert near(merged(base, path), expected(base, deltas(lora, 1.0)))
    fitted = fit([path], EXPERTS, DIT, "tiny")
    (notice,) = [text for text in fitted.notices if "left out" in text]
    assert f"{len(extra)} tensors" in notice and "k_img, v_img, norm_k_img, img_emb" in notice
    assert open_adapters(path)[0].skipped == len(extra)
    assert not any("all of its" in text for text in fitted.notices)


def test_exactly_those_are_left_out(tmp_path):
    other = {"diffusion_model.blocks.0.cross_attn.k_pose.lora_A.weight": draw(RANK, 128)}
    path = written(tmp_path / "x.safetensors", pairs(), extra=other)
    with pytest.raises(CheckpointError, match="k_pose"):
        open_adapters(path)
    only = {name: draw(RANK, 128) for name in IMAGE_ONLY["comfy"](0)}
    with pytest.raises(CheckpointError, match=r"changes nothing that Wan2\.2 has"):
        open_adapters(written(tmp_path / "y.safetensors", {}, extra=only))


@pytest.mark.parametrize("prefix", ["", "base_model.model.", "transformer."])
@pytest.mark.parametrize("anchor", ["^", ""])
def test_peft_patterns_match_the_modules_own_name(tmp_path, base, prefix, anchor):
    lora = pairs(TRAINED[:2])
    folder = tmp_path / "style"
    tensors = {}
    for name, (down, up) in lora.items():
        tensors[f"{prefix}{theirs(name)}.lora_A.weight"] = down
        tensors[f"{prefix}{theirs(name)}.lora_B.weight"] = up
    folder.mkdir()
    save_file(tensors, folder / "adapter_model.safetensors")
    said = {"r": 8, "lora_alpha": 8, "rank_pattern": {f"{anchor}{theirs(TRAINED[1])}": RANK}}
    said["alpha_pattern"] = {f"{anchor}{theirs(TRAINED[1])}": 2, "^attn1.to_q": 100}
    (folder / "adapter_config.json").write_text(json.dumps(said))
    changes = deltas({TRAINED[0]: lora[TRAINED[0]]}, 8 / RANK) | deltas(
        {TRAINED[1]: lora[TRAINED[1]]}, 2 / RANK
    )
    assert near(merged(base, folder), expected(base, changes))


def test_a_combined_file_of_ai_toolkit_is_a_pair(tmp_path, base):
    high, low = pairs(seed=1), pairs(seed=2)
    tensors = {}
    for prefix, lora in (("transformer_1", high), ("transformer_2", low)):
        for name, (down, up) in lora.items():
            tensors[f"diffusion_model.{prefix}.{module(name)}.lora_A.weight"] = down
            tensors[f"diffusion_model.{prefix}.{module(name)}.lora_B.weight"] = up
    path = tmp_path / "both.safetensors"
    save_file(tensors, path)
    assert near(merged(base, path, expert="high"), expected(base, deltas(high, 1.0)))
    assert near(merged(base, path, expert="low"), expected(base, deltas(low, 1.0)))


def test_an_old_checkpoint_of_tensors_is_read(tmp_path, base):
    lora = pairs()
    tensors = load_file(written(tmp_path / "x.safetensors", lora, "dit"))
    torch.save({"state_dict": tensors}, tmp_path / "x.ckpt")
    assert near(merged(base, tmp_path / "x.ckpt"), expected(base, deltas(lora, 1.0)))


def test_the_patch_embedding_of_text_to_video_is_left_out_when_asked(tmp_path, base, monkeypatch):
    know(monkeypatch, {})
    lora, _, _ = lightx2v()
    extra = {"diffusion_model.patch_embedding.diff": draw(128, 36, 1, 2, 2)}
    path = written(tmp_path / "x.safetensors", lora, "down and up", extra=extra)
    with pytest.raises(KeysError, match=r"leave that out with --lora FILE~patch_embedding"):
        fit([path], EXPERTS, DIT, "tiny")
    asked = LoRA(path, skip=("patch_embedding",))
    assert near(merged(base, asked), expected(base, deltas(lora, 1.0)))
    fitted = fit([asked], EXPERTS, DIT, "tiny")
    assert any("1 tensors of patch_embedding are left out, as asked" in text for text in fitted.notices)
    assert fitted.recipe()["x.safetensors"]["skip"] == ["patch_embedding"]
    with pytest.raises(OptionError, match="changes nothing in head"):
        fit([LoRA(path, skip=("head",))], EXPERTS, DIT, "tiny")


def test_what_is_left_out_is_asked_for_on_the_command_line():
    assert parse_lora("a.safetensors:0.8@low~patch_embedding") == (
        "a.safetensors",
        0.8,
        "low",
        ("patch_embedding",),
    )
    assert parse_lora("~/a.safetensors~head~time_embedding") == (
        "~/a.safetensors",
        1.0,
        None,
        ("head", "time_embedding"),
    )
    assert parse_lora("~/a~b.safetensors") == ("~/a~b.safetensors", 1.0, None)


@pytest.mark.parametrize(
    "names", [("i2vHigh", "i2vLow"), ("cat_HN", "cat_LN"), ("x_HIGH_lightx2v", "x_LOW_lightx2v")]
)
def test_names_of_the_world_are_a_pair(tmp_path, names):
    for name in names:
        written(tmp_path / "pair" / f"{name}.safetensors", pairs(TRAINED[:1]))
    assert [adapter.expert for adapter in open_adapters(tmp_path / "pair")] == ["high", "low"]


@pytest.mark.parametrize("experts", [("high", "low"), (None,)])
def test_a_folder_of_ours_is_verified_as_good(tmp_path, experts):
    for expert in experts:
        file = tmp_path / "lora" / (f"{expert}_noise.safetensors" if expert else "lora.safetensors")
        write_lora(file, pairs(TRAINED[:2]), alpha=4, expert=expert)
    assert verify(tmp_path / "lora").problems == []
    assert verify(file).problems == []
    if len(experts) == 2:
        file.rename(file.with_name("other.safetensors"))
        save_file(load_file(file.with_name("other.safetensors")), file.with_name("other.safetensors"))
        assert "A folder is a pair" in verify(tmp_path / "lora").problems[0]


def test_a_quantised_lora_is_refused(tmp_path):
    path = written(tmp_path / "x.safetensors", pairs())
    tensors = load_file(path)
    save_file({k: t.to(torch.int8) if "lora_A" in k else t for k, t in tensors.items()}, path)
    with pytest.raises(CheckpointError, match="stored as I8, quantised in a way that is not read of a LoRA"):
        open_adapters(path)
