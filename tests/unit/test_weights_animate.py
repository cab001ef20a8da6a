"""Models of animation: recognised in every dialect, found with their encoder of images, converted, changed by LoRAs."""

import json
import shutil
from dataclasses import replace

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save_file
from test_weights_folders import official, same, save, values
from test_weights_load import DIT, TEXT, VAE, loaded, weights

from wan22.arch import AnimateArch, CLIPArch
from wan22.errors import CheckpointError, KeysError
from wan22.models.face import blur_kernel
from wan22.weights.convert import convert
from wan22.weights.dialects import DIALECTS, comfy, diffusers
from wan22.weights.edits.lora import AddLoRAs, Source
from wan22.weights.find import find_layout, find_parts
from wan22.weights.inspect import describe
from wan22.weights.load import load_module, meta_module
from wan22.weights.lora.file import open_adapters
from wan22.weights.lora.fitting import fit
from wan22.weights.lora.write import convert_lora, write_lora
from wan22.weights.reader import open_reader
from wan22.weights.recognise import recognise
from wan22.weights.verify import verify

FACES = AnimateArch(
    channels=(8, 6, 4), style_dim=6, motion_dim=3, direction_dim=10, conv_dim=12, every=2, image_dim=80
)
ANIMATE = replace(DIT, in_channels=36, layers=4, animate=FACES)
CLIP = CLIPArch(dim=80, ffn_dim=96, heads=1, layers=3, image_size=28)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache of the hub."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))


def transformer() -> dict[str, torch.Tensor]:
    """Random weights of a tiny network, with the kernels that all have."""
    return {name: blur_kernel() if name.endswith(".kernel") else t for name, t in weights(ANIMATE).items()}


def tower() -> dict[str, torch.Tensor]:
    """Random weights of a whole image tower, under its official names: with what is not computed."""
    whole = weights(replace(CLIP, layers=CLIP.layers + 1))
    end = {"post_norm.weight": (80,), "post_norm.bias": (80,), "head": (80, 16)}
    generator = torch.Generator().manual_seed(1)
    return whole | {name: torch.randn(shape, generator=generator) for name, shape in end.items()}


def tower_file() -> dict[str, torch.Tensor]:
    """The official file of both towers."""
    text = {"textual.blocks.0.attn.q.weight": torch.ones(2, 2), "log_scale": torch.tensor(2.0)}
    return text | {f"visual.{name}": tensor for name, tensor in tower().items()}


def cut(dialect, native):
    """The tensors of a file in a dialect, cut as it has them."""
    found = {}
    for name, tensor in native.items():
        pieces = dialect.fold.cut(dialect.from_native(name), tuple(tensor.shape))
        parts = tensor.chunk(len(pieces)) if len(pieces) > 1 else [tensor]
        for piece, part in zip(pieces, parts, strict=False):
            found[piece.name] = (part.T if piece.transposed else part.reshape(piece.shape)).contiguous()
    return found


def official_folder(folder):
    """A tiny model in the layout of the release."""
    official(folder)
    for name in ("high", "low"):
        shutil.rmtree(folder / f"{name}_noise_model")
    save(folder / "diffusion_pytorch_model-00001-of-00001.safetensors", transformer())
    (folder / "config.json").write_text(json.dumps({"model_type": "animate", "num_heads": 1}))
    torch.save(tower_file(), folder / "models_clip_open-clip-xlm-roberta-large-vit-huge-14.pth")
    (folder / "xlm-roberta-large").mkdir()
    torch.save({"state_dict": relighting()}, folder / "relighting_lora.ckpt")
    return folder


def relighting(rank=4):
    """What a LoRA for relighting changes: every linear layer of the blocks, the image's keys and values too."""
    generator = torch.Generator().manual_seed(2)
    attention = [f"{a}.{p}" for a in ("self_attn", "cross_attn") for p in "qkvo"]
    found = {}
    for i in range(ANIMATE.layers):
        for name in (*attention, "cross_attn.k_img", "cross_attn.v_img", "ffn.0", "ffn.2"):
            out, into = weights(ANIMATE)[f"blocks.{i}.{name}.weight"].shape
            found[f"blocks.{i}.{name}.lora_A.weight"] = torch.randn(rank, into, generator=generator)
            found[f"blocks.{i}.{name}.lora_B.weight"] = torch.randn(out, rank, generator=generator)
    return found


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("dialect", "prefix"),
    [(d, prefix) for d in DIALECTS["dit"] for prefix in (d.prefix, "x.")],
    ids=lambda value: value if isinstance(value, str) else value.name,
)
def test_a_transformer_is_recognised_and_loads_to_the_same_values(tmp_path, dialect, dtype, prefix):
    native = {name: tensor.to(dtype).float() for name, tensor in transformer().items()}
    theirs = {
        prefix + name.removeprefix(dialect.prefix): tensor.to(dtype)
        for name, tensor in cut(dialect, native).items()
    }
    save_file(theirs, tmp_path / "a.safetensors")
    with open_reader(tmp_path / "a.safetensors") as reader:
        found = recognise(reader)
    assert (found.part, found.task, found.arch) == ("dit", "animate", ANIMATE)
    found.require_supported()
    assert same(values(tmp_path / "a.safetensors"), native)


@pytest.mark.parametrize("scaled", ["face_adapter.0.to_k.weight", "face_adapter.0.to_v.weight"])
def test_pieces_in_8_bits_make_a_whole_one(tmp_path, scaled):
    theirs = cut(diffusers.DIT, transformer())
    weight = theirs[scaled]
    scale = weight.abs().amax() / 448
    theirs[scaled] = (weight / scale).to(torch.float8_e4m3fn)
    theirs[f"{scaled.removesuffix('.weight')}.scale_weight"] = scale
    save_file(theirs, tmp_path / "a.safetensors")
    name = "face_adapter.fuser_blocks.0.linear1_kv.weight"
    error = values(tmp_path / "a.safetensors")[name] - transformer()[name]
    assert 0 < error.abs().max() <= weight.abs().max() / 16


def test_pieces_of_different_dtypes_are_no_whole_one(tmp_path):
    theirs = cut(diffusers.DIT, transformer())
    theirs["face_adapter.0.to_k.weight"] = theirs["face_adapter.0.to_k.weight"].half()
    save_file(theirs, tmp_path / "a.safetensors")
    with pytest.raises(
        CheckpointError, match=r"to_k.weight and .*to_v.weight are one tensor here, and stored as"
    ):
        values(tmp_path / "a.safetensors")


def test_half_of_a_face_adapter_is_missing_by_name(tmp_path):
    theirs = cut(diffusers.DIT, transformer())
    del theirs["face_adapter.1.to_v.weight"]
    save_file(theirs, tmp_path / "a.safetensors")
    with pytest.raises(
        KeysError, match=r"fuser_blocks\.1\.linear1_kv\.weight.*unexpected: face_adapter\.1\.to_k"
    ):
        loaded(ANIMATE, tmp_path / "a.safetensors")
    assert "a part of a character animation network" in describe(tmp_path / "a.safetensors")["problem"]


@pytest.mark.parametrize("gone", ["face_encoder.", "motion_encoder.", "pose_patch_embedding."])
def test_a_network_that_lacks_a_part_is_refused(tmp_path, gone):
    left = {name: tensor for name, tensor in transformer().items() if not name.startswith(gone)}
    save_file(left, tmp_path / "a.safetensors")
    assert "a part of a character animation network" in describe(tmp_path / "a.safetensors")["problem"]
    assert not verify(tmp_path / "a.safetensors").ok


@pytest.mark.parametrize("dialect", DIALECTS["image"], ids=lambda d: d.name + d.marks[0])
@pytest.mark.parametrize("end", [True, False])
def test_a_tower_loads_whatever_its_names_with_its_end_or_without(tmp_path, dialect, end):
    native = {name: tensor for name, tensor in tower().items() if end or name != "head"}
    theirs = tower_file() if dialect.prefix else cut(dialect, native)
    theirs |= {} if dialect.name == "official" else {"text_model.embeddings.x.weight": torch.ones(1)}
    torch.save(theirs, tmp_path / "a.pth")
    (tmp_path / "config.json").write_text('{"num_attention_heads": 1}')
    with open_reader(tmp_path / "a.pth") as reader:
        found = recognise(reader)
        read = load_module(meta_module(CLIP), reader, dtype=torch.float32).state_dict()
    assert (found.part, found.arch) == ("image", CLIP)
    assert same(read, {name: native[name] for name in read})
    assert verify(tmp_path / "a.pth").ok


def test_a_tower_without_its_last_block_says_how_many_there_were(tmp_path):
    left = {name: tensor for name, tensor in tower().items() if not meta_module(CLIP).is_unused(name)}
    save(tmp_path / "image_encoder.safetensors", {f"visual.{name}": tensor for name, tensor in left.items()})
    said = {"image": "reference", "image_encoder": {"heads": 1, "layers": 3}}
    (tmp_path / "variant.json").write_text(json.dumps(said))
    with open_reader(tmp_path / "image_encoder.safetensors") as reader:
        assert recognise(reader).arch == CLIP
    assert same(values(tmp_path / "image_encoder.safetensors"), left)


def test_an_official_folder_is_found_with_its_encoder_of_images_and_its_lora(tmp_path):
    folder = official_folder(tmp_path / "m")
    layout = find_layout(folder)
    layout.require_complete()
    assert layout.is_animate_model and not layout.is_speech_model
    assert layout.parts["image"].name == "models_clip_open-clip-xlm-roberta-large-vit-huge-14.pth"
    assert layout.relighting == folder / "relighting_lora.ckpt"
    layout.parts["image"].unlink()
    with pytest.raises(CheckpointError, match=r"Missing: the encoder of images \(models_clip_"):
        find_parts(folder)


def test_a_comfy_tree_is_found_among_other_encoders_of_images(tmp_path):
    root = tmp_path / "ComfyUI" / "models"
    save(root / "diffusion_models" / "wan2.2_animate_14B_bf16.safetensors", transformer())
    save(root / "diffusion_models" / "other_high.safetensors", weights(DIT))
    save(root / "vae" / "wan_2.1_vae.safetensors", weights(VAE))
    text = {comfy.TEXT.from_native(name): tensor for name, tensor in weights(TEXT).items()}
    save(
        root / "text_encoders" / "umt5.safetensors", text | {"spiece_model": torch.ones(2, dtype=torch.uint8)}
    )
    save(root / "clip_vision" / "clip_vision_h.safetensors", cut(DIALECTS["image"][2], tower()))
    narrow = replace(CLIP, dim=160)
    save(root / "clip_vision" / "clip_vision_g.safetensors", cut(DIALECTS["image"][2], weights(narrow)))
    save(root / "loras" / "WanAnimate_relight_lora_fp16.safetensors", relighting())
    layout = find_layout(root.parent, task="animate")
    layout.require_complete()
    assert layout.parts["dit"].name == "wan2.2_animate_14B_bf16.safetensors"
    assert layout.parts["image"].name == "clip_vision_h.safetensors"
    assert layout.relighting is not None and layout.relighting.parent.name == "loras"
    assert "image" not in find_layout(root.parent, task="t2v").parts


@pytest.mark.parametrize("way", [("diffusers",), ("comfy",), ("diffusers", "comfy"), ("comfy", "diffusers")])
def test_a_model_goes_through_the_layouts_and_stays_the_same(tmp_path, way):
    source = official_folder(tmp_path / "source")
    folder = source
    for i, dialect in enumerate(way):
        folder = convert(folder, tmp_path / f"{i}", dialect)
    before, after = find_parts(source), find_parts(folder)
    assert before.keys() == after.keys() > {"image"}
    for part in before.keys() - {"tokenizer"}:
        assert same(values(before[part]), values(after[part])), part
    lora = find_layout(folder).relighting
    assert lora is not None and lora.read_bytes() == (source / "relighting_lora.ckpt").read_bytes()
    assert verify(folder).ok


def test_a_diffusers_folder_opens_in_diffusers_and_transformers(tmp_path):
    theirs, transformers = pytest.importorskip("diffusers"), pytest.importorskip("transformers")
    folder = convert(official_folder(tmp_path / "source"), tmp_path / "m", "diffusers")
    index = json.loads((folder / "model_index.json").read_text())
    assert index["_class_name"] == "WanAnimatePipeline"
    assert index["transformer"] == ["diffusers", "WanAnimateTransformer3DModel"]
    assert index["image_encoder"] == ["transformers", "CLIPVisionModel"]
    config = json.loads((folder / "scheduler" / "scheduler_config.json").read_text())
    assert config["flow_shift"] == 5.0
    network = theirs.WanAnimateTransformer3DModel.from_pretrained(folder / "transformer")
    weight = network.face_adapter[1].to_v.weight
    assert torch.equal(weight, transformer()["face_adapter.fuser_blocks.1.linear1_kv.weight"][128:])
    image = load_file(folder / "image_encoder" / "model.safetensors")
    assert torch.equal(image["visual_projection.weight"], tower()["head"].T)
    encoder = transformers.CLIPVisionModel.from_pretrained(folder / "image_encoder")
    assert encoder.config.num_hidden_layers == 3 and encoder.config.hidden_act == "gelu"
    transformers.CLIPImageProcessor.from_pretrained(folder / "image_processor")


def test_official_code_knows_the_released_sizes_only(tmp_path):
    source = convert(official_folder(tmp_path / "source"), tmp_path / "comfy", "comfy")
    with pytest.raises(CheckpointError, match="the official code knows no others"):
        convert(source, tmp_path / "again", "official")


def test_the_relighting_lora_is_added_whole(tmp_path):
    folder = official_folder(tmp_path / "m")
    path = folder / "relighting_lora.ckpt"
    (use,) = fit([path], ("dit",), ANIMATE, "tiny").on("dit")
    assert use.adapter.pairs == 12 * ANIMATE.layers and not use.adapter.skipped
    assert use.adapter.ranks == {4: 48}
    native = transformer()
    with open_reader(path) as lora, open_reader(find_parts(folder)["dit"]) as reader:
        edit = AddLoRAs([Source(lora, use.adapter.changes, 1.0)])
        changed = load_module(meta_module(ANIMATE), reader, dtype=torch.float32, edit=edit).state_dict()
    given = relighting()
    for name, tensor in native.items():
        pair = [given.get(name.replace("weight", f"lora_{x}.weight")) for x in "BA"]
        expected = tensor if pair[0] is None else tensor + pair[0] @ pair[1]
        assert torch.allclose(changed[name], expected, atol=1e-5), name


@pytest.mark.parametrize("dialect", ["comfy", "diffusers", "kohya", "lightx2v"])
def test_loras_of_the_image_go_through_every_dialect(tmp_path, dialect):
    path = convert_lora(relit(tmp_path), tmp_path / "b.safetensors", dialect)
    (adapter,) = open_adapters(path, image=True)
    assert adapter.changes.keys() == {n.replace("lora_A.", "") for n in relighting() if "lora_A" in n}
    (plain,) = open_adapters(path)  # for a network that reads no image
    assert plain.skipped >= 16 and plain.pairs == 40
    notices = fit([path], ("dit",), replace(ANIMATE, animate=None), "tiny").notices
    assert any("left out" in notice for notice in notices)
    assert describe(path)["lora"][0]["pairs"] == 48


def relit(tmp_path):
    save_file(relighting(), tmp_path / "a.safetensors")
    return tmp_path / "a.safetensors"


def test_loras_of_the_face_are_of_animation_only(tmp_path):
    name = "face_adapter.fuser_blocks.0.linear1_kv.weight"
    pair = {name: (torch.ones(2, 128), torch.ones(256, 2))}
    path = write_lora(tmp_path / "a.safetensors", pair, alpha=2.0, dialect="kohya")
    (use,) = fit([path], ("dit",), ANIMATE, "tiny").on("dit")
    assert list(use.adapter.changes) == [name]
    with pytest.raises(KeysError, match=r"made for another model than tiny.*face_adapter"):
        fit([path], ("dit",), replace(ANIMATE, animate=None), "tiny")
    with pytest.raises(CheckpointError, match="Diffusers has two matrices where"):
        convert_lora(path, tmp_path / "b.safetensors", "diffusers")
    there = {f"transformer.face_adapter.0.to_k.lora_{x}.weight": torch.ones(2, 2) for x in "AB"}
    save_file(there, tmp_path / "c.safetensors")
    with pytest.raises(CheckpointError, match=r"the face adapters of Animate by Diffusers' names"):
        open_adapters(tmp_path / "c.safetensors")
