"""Model files as people have them: relatives, trees of several models, files named by part, all-in-one files."""

import json
from dataclasses import replace

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import save_file
from test_weights_folders import TI2V, VAE_TI2V, official, save, values
from test_weights_load import DIT, TEXT, VAE, weights
from tiny import write_tiny

import wan22
from wan22.catalog import VARIANTS
from wan22.errors import CheckpointError, OptionError
from wan22.library import open_model
from wan22.request import resolve
from wan22.sampling import levels
from wan22.types import Request
from wan22.weights.convert import convert
from wan22.weights.dialects import diffusers
from wan22.weights.inspect import describe
from wan22.weights.reader import open_reader
from wan22.weights.recognise import recognise
from wan22.weights.tokenizer import Pieces, read_spiece
from wan22.weights.verify import verify

I2V = replace(DIT, in_channels=36)
PIECES = Pieces(
    (
        ("<pad>", 0.0, 3),
        ("</s>", 0.0, 3),
        ("<unk>", 0.0, 2),
        ("▁a", -1.0, 1),
        ("▁cat", -2.0, 1),
        ("▁", -3.0, 1),
    ),
    b"",
)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache of the hub."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def rest(root, *, spiece=True):
    """A VAE, and a text encoder with its tokenizer, in a ComfyUI tree."""
    save(root / "vae" / "wan_2.1_vae.safetensors", weights(VAE))
    theirs = {diffusers.TEXT.from_native(name): tensor for name, tensor in weights(TEXT).items()}
    if spiece:
        theirs["spiece_model"] = torch.tensor(list(PIECES.encode()), dtype=torch.uint8)
    save(root / "text_encoders" / "umt5_xxl_fp16.safetensors", theirs)
    return root


RELATIVES = {
    "vace": ["vace_blocks.0.before_proj.weight", "vace_patch_embedding.weight"],
    "fun-camera": ["control_adapter.conv.weight"],
    "fun-control": ["ref_conv.weight"],
    "humo": ["audio_proj.audio_proj_glob_1.layer.bias"],
    "multitalk": [
        "audio_proj.proj1.weight",
        "blocks.0.audio_cross_attn.kv_linear.weight",
        "blocks.0.norm_x.weight",
    ],
    "recammaster": ["blocks.0.cam_encoder.weight", "blocks.0.projector.weight"],
    "animate": ["pose_patch_embedding.weight", "face_adapter.fuser_blocks.0.k_norm.weight"],
    "lynx": ["blocks.0.self_attn.ref_adapter.to_k_ref.weight"],
    "scail": ["patch_embedding_pose.weight"],
    "skyreels": ["fps_embedding.weight"],
    "flf2v": ["img_emb.emb_pos", "img_emb.proj.0.weight", "blocks.0.cross_attn.k_img.weight"],
    "i2v-2.1": ["img_emb.proj.0.weight", "blocks.0.cross_attn.k_img.weight"],
    "turbowan": ["blocks.0.self_attn.attn_op.local_attn.proj_l.weight"],
    "fastwan-vsa": ["blocks.0.to_gate_compress.weight"],
}
DIFFUSERS = {
    "vace": ["vace_blocks.0.proj_in.weight", "vace_patch_embedding.weight"],
    "animate": ["pose_patch_embedding.weight", "face_adapter.0.to_q.weight"],
    "flf2v": ["condition_embedder.image_embedder.pos_embed", "blocks.0.attn2.add_k_proj.weight"],
    "i2v-2.1": ["condition_embedder.image_embedder.norm1.weight", "blocks.0.attn2.add_k_proj.weight"],
    "skyreels": ["fps_embedding.weight"],
    "fastwan-vsa": ["blocks.0.to_gate_compress.weight"],
}
CASES = [
    (task, names, way)
    for task, names in RELATIVES.items()
    for way in ("official", "model.diffusion_model.", "x.")
]
CASES += [(task, names, "diffusers") for task, names in DIFFUSERS.items()]


@pytest.mark.parametrize(("task", "names", "way"), CASES)
def test_a_relative_is_refused_by_name_everywhere_and_in_every_dialect(tmp_path, task, names, way):
    tensors = weights(DIT)
    if way == "diffusers":
        tensors = {diffusers.DIT.from_native(name): tensor for name, tensor in tensors.items()}
    prefix = "" if way in ("official", "diffusers") else way
    tensors = {
        prefix + name: tensor for name, tensor in (tensors | dict.fromkeys(names, torch.ones(2))).items()
    }
    path = tmp_path / "a.safetensors"
    save_file({name: tensor.clone() for name, tensor in tensors.items()}, path)
    found = describe(path)
    assert found["task"] == task
    assert f"({task}), which is not supported yet" in found["problem"]
    assert not verify(path).ok
    for refuse in (lambda: convert(path, tmp_path / "b", "official"), lambda: open_model(path)):
        with pytest.raises(CheckpointError, match=rf"\({task}\), which is not supported"):
            refuse()


@pytest.mark.parametrize(
    ("channels", "said"), [(48, "Fun-Control"), (52, "Fun-Control"), (32, "camera"), (20, "SCAIL")]
)
def test_a_relative_is_known_by_its_channels(tmp_path, channels, said):
    save(tmp_path / "a.safetensors", weights(replace(DIT, in_channels=channels)))
    assert said in describe(tmp_path / "a.safetensors")["problem"]


def test_a_transformer_with_tensors_of_nobody_is_no_good(tmp_path):
    save(tmp_path / "a.safetensors", weights(DIT) | {"blocks.0.extra_thing.weight": torch.ones(1)})
    assert "such as blocks.0.extra_thing.weight" in describe(tmp_path / "a.safetensors")["problem"]
    assert not verify(tmp_path / "a.safetensors").ok


def test_a_t5_of_another_family_is_no_text_encoder(tmp_path):
    tensors = weights(TEXT)
    del tensors["blocks.1.pos_embedding.embedding.weight"]
    save(tmp_path / "t5xxl.safetensors", tensors)
    with (
        open_reader(tmp_path / "t5xxl.safetensors") as reader,
        pytest.raises(CheckpointError, match="T5 encoder"),
    ):
        recognise(reader)


@pytest.mark.parametrize(
    ("high", "low"),
    [
        ("a_t2vHigh", "a_t2vLow"),
        ("wan2.2_t2vHIGHNOISEFP8", "wan2.2_t2vLOWNOISEFP8"),
        ("W_HIGH_fp8", "W_LOW_fp8"),
        ("HighNoise/W-Q4", "LowNoise/W-Q4"),
    ],
)
def test_pairs_are_told_from_names_in_subfolders_too(tmp_path, high, low):
    root = rest(tmp_path / "ComfyUI" / "models")
    for name in (high, low):
        save(root / "diffusion_models" / "Wan" / "2.2" / f"{name}.safetensors", weights(DIT))
    model = open_model(tmp_path / "ComfyUI")
    assert model.parts["high"].name == f"{high.rpartition('/')[2]}.safetensors"
    assert model.variant.name != "t2v-A14B" and model.variant.experts == ("high", "low")
    assert model.parts["high"] != model.parts["low"]


def test_one_expert_of_a_pair_says_what_is_missing(tmp_path):
    root = rest(tmp_path / "m")
    save(root / "diffusion_models" / "a_high_noise.safetensors", weights(DIT))
    with pytest.raises(CheckpointError, match="Missing: the low-noise expert"):
        open_model(root)


def test_a_lone_network_is_no_half_of_a_pair(tmp_path):
    root = rest(tmp_path / "m")
    save(root / "diffusion_models" / "wan_5B_low_noise.safetensors", weights(TI2V))
    save(root / "vae" / "wan2.2.safetensors", weights(VAE_TI2V))
    model = open_model(root)
    assert (model.variant.experts, model.parts["vae"].name) == (("dit",), "wan2.2.safetensors")


def two_models(tmp_path):
    root = rest(tmp_path / "m")
    for name, arch in (("t2v", DIT), ("i2v", I2V)):
        for expert in ("high", "low"):
            save(root / "diffusion_models" / f"wan_{name}_{expert}_noise.safetensors", weights(arch))
    return root


def test_several_models_in_a_tree_are_chosen_by_task_or_by_name(tmp_path):
    root = two_models(tmp_path)
    with pytest.raises(CheckpointError, match=r"several models: .*--task.*--high FILE --low FILE"):
        open_model(root)
    for task in ("t2v", "i2v"):
        assert open_model(root, task=task).parts["low"].name == f"wan_{task}_low_noise.safetensors"
    assert open_model(root, task="v2v").variant.image is None
    file = root / "diffusion_models" / "wan_i2v_high_noise.safetensors"
    model = open_model(root, {"high": file})
    assert (model.parts["high"], model.parts["low"].name) == (file, "wan_i2v_low_noise.safetensors")


def test_two_files_for_a_part_say_which_option_names_one(tmp_path):
    root = two_models(tmp_path)
    save(root / "text_encoders" / "other.safetensors", weights(TEXT))
    with pytest.raises(CheckpointError, match=r"the part 'text'.*--text FILE.*parts=\{'text': FILE\}"):
        open_model(root, task="t2v")
    text = root / "text_encoders" / "umt5_xxl_fp16.safetensors"
    assert open_model(root, {"text": text}, "t2v").tokenizer == text
    save(root / "vae" / "qwen_image_vae.safetensors", weights(VAE))  # with the same tensors
    assert open_model(root, {"text": text}, "t2v").parts["vae"].name == "wan_2.1_vae.safetensors"


def test_a_model_is_its_files_and_nothing_else(tmp_path):
    source = write_tiny(tmp_path / "tiny")
    parts = {
        name: source / f"{file}.safetensors" for name, file in (("dit", "high_noise_model"), ("vae", "vae"))
    }
    with pytest.raises(CheckpointError, match="Missing: the text encoder"):
        open_model(None, parts)
    root = two_models(tmp_path)
    files = {
        "dit": root / "diffusion_models" / "wan_t2v_high_noise.safetensors",
        "vae": root / "vae" / "wan_2.1_vae.safetensors",
        "text": root / "text_encoders" / "umt5_xxl_fp16.safetensors",
    }
    model = open_model(None, files)
    assert (model.name, model.variant.experts, model.tokenizer) == (
        "wan_t2v_high_noise",
        ("dit",),
        files["text"],
    )
    assert open_model(files["dit"], {"vae": files["vae"], "text": files["text"]}).parts == model.parts
    with pytest.raises(OptionError, match="unknown part 'unet'"):
        open_model(root, {"unet": files["dit"]})
    with pytest.raises(CheckpointError, match=r"there is no .*absent.*named as the part 'vae'"):
        open_model(root, {"vae": tmp_path / "absent"})
    with pytest.raises(CheckpointError, match="either, not both"):
        open_model(root, {"dit": files["dit"], "high": files["dit"]})


def test_python_takes_parts_in_place_of_a_models_own(tmp_path):
    source = write_tiny(tmp_path / "tiny")
    other = tmp_path / "other.safetensors"
    other.write_bytes((source / "low_noise_model.safetensors").read_bytes())
    engine = wan22.load(source, parts={"high": other}, device="cpu")
    plain = wan22.load(source, device="cpu")
    assert engine.weights["high"] == plain.weights["low"] != plain.weights["high"]
    assert engine.weights["vae"] == plain.weights["vae"]


@pytest.mark.parametrize("vae", ["vae.", "first_stage_model."])
@pytest.mark.parametrize(
    "text", ["text_encoders.umt5xxl.transformer.", "cond_stage_model.umt5xxl.transformer."]
)
def test_an_all_in_one_file_is_a_model(tmp_path, vae, text):
    theirs = {diffusers.TEXT.from_native(name): tensor for name, tensor in weights(TEXT).items()}
    root = text.partition(".")[0]
    tensors = {
        **{f"model.diffusion_model.{name}": tensor for name, tensor in weights(I2V).items()},
        **{vae + name: tensor for name, tensor in weights(VAE).items()},
        **{text + name: tensor for name, tensor in theirs.items()},
        f"{root}.umt5xxl.logit_scale": torch.ones(()),
        f"{root}.spiece_model": torch.tensor(list(PIECES.encode()), dtype=torch.uint8),
    }
    path = tmp_path / "checkpoints" / "aio.safetensors"
    save(path, tensors)
    found = describe(path)
    assert set(found["parts"]) == {"dit", "vae", "text", "tokenizer"} and not found["missing"]
    assert [found["parts"][part]["problem"] for part in ("dit", "vae", "text")] == [None] * 3
    assert verify(path).ok
    for place in (path, tmp_path):
        model = open_model(place)
        assert (model.variant.experts, set(model.parts.values())) == (("dit",), {path})
    wan22.load(path, device="cpu").vae()
    folder = convert(path, tmp_path / "made", "diffusers")
    assert all(torch.equal(tensor, weights(VAE)[name]) for name, tensor in values(folder / "vae").items())
    assert open_model(folder).variant.dit == model.variant.dit


@pytest.mark.parametrize("prefix", ["", "transformer.", "text_encoders.umt5xxl.transformer."])
def test_a_text_encoder_of_clipsave_is_read(tmp_path, prefix):
    theirs = {prefix + diffusers.TEXT.from_native(name): tensor for name, tensor in weights(TEXT).items()}
    scale = "text_encoders.umt5xxl.logit_scale" if prefix.startswith("text") else "logit_scale"
    save(tmp_path / "a.safetensors", theirs | ({scale: torch.ones(())} if prefix != "transformer." else {}))
    assert all(
        torch.equal(tensor, weights(TEXT)[name])
        for name, tensor in values(tmp_path / "a.safetensors").items()
    )


def test_a_link_to_a_lost_blob_is_named(tmp_path, cache, capsys):
    from wan22.cli.__main__ import main

    folder = cache / "models--Wan-AI--Wan2.2-T2V-A14B" / "snapshots" / "abc"
    official(folder)
    lost = folder / "Wan2.1_VAE.pth"
    lost.unlink()
    lost.symlink_to("../../blobs/" + "0" * 64)
    with pytest.raises(CheckpointError, match=r"Wan2\.1_VAE\.pth is a link to nothing"):
        open_model("t2v-A14B")
    assert not verify(folder.parents[1]).ok
    assert main(["verify", "t2v-A14B"]) == 1
    assert "is a link to nothing" in capsys.readouterr().err


def wan21(folder, arch=DIT):
    save(folder / "diffusion_pytorch_model.safetensors", weights(arch))
    torch.save(weights(VAE), folder / "Wan2.1_VAE.pth")
    torch.save(weights(TEXT), folder / "models_t5_umt5-xxl-enc-bf16.pth")
    (folder / "google" / "umt5-xxl").mkdir(parents=True)
    (folder / "google" / "umt5-xxl" / "spiece.model").write_bytes(PIECES.encode())
    return folder


def test_wan21_text_to_video_is_served_with_its_own_defaults(tmp_path):
    row = open_model(wan21(tmp_path / "m")).variant
    assert (row.defaults, row.experts, row.boundary) == (VARIANTS["t2v-2.1-14B"].defaults, ("dit",), None)
    small, large = VARIANTS["t2v-2.1-1.3B"], VARIANTS["t2v-2.1-14B"]
    assert (small.defaults.solver, large.defaults.solver, small.defaults.steps) == ("unipc", "unipc", 50)
    assert {(row.defaults.frames, row.defaults.fps) for row in (small, large)} == {(81, 16)}
    assert large.defaults.size == (1280, 720) and (720, 1280) in large.trained.sizes
    assert (small.defaults.shift, small.defaults.guidance, small.defaults.size) == (8, (6, 6), (832, 480))
    assert (large.defaults.shift, large.defaults.guidance, large.defaults.steps) == (5, (5, 5), 50)
    assert large.dit == VARIANTS["t2v-A14B"].dit


def test_a_distilled_pipeline_brings_its_own_steps(tmp_path):
    folder = convert(wan21(tmp_path / "m"), tmp_path / "fast", "diffusers")
    index = json.loads((folder / "model_index.json").read_text())
    assert open_model(folder).notices == ()
    (folder / "model_index.json").write_text(json.dumps(index | {"_class_name": "WanDMDPipeline"}))
    scheduler = folder / "scheduler" / "scheduler_config.json"
    scheduler.write_text(json.dumps(json.loads(scheduler.read_text()) | {"flow_shift": 8.0}))
    model = open_model(folder)
    assert (model.variant.defaults.steps, model.variant.defaults.guidance) == (3, (1, 1))
    assert "WanDMDPipeline" in model.notices[0]
    job = resolve(Request(prompt="a"), model.variant)
    assert [round(float(s), 3) for s in job.schedule.sigmas] == [1.0, 0.757, 0.522, 0.0]
    assert (
        job.solver == job.as_recipe()["solver"] == "lcm"
    )  # each x0 is noised anew, as the model was distilled
    assert open_model(convert(folder, tmp_path / "kept", "diffusers")).variant.defaults.sigmas == (
        1.0,
        0.757,
        0.522,
    )
    (folder / "model_index.json").write_text(json.dumps(index | {"_class_name": "WanCausalDMDPipeline"}))
    with pytest.raises(CheckpointError, match=r"is a causal model \(WanCausalDMDPipeline"):
        open_model(folder)
    (folder / "model_index.json").write_text(json.dumps(index))
    model = open_model(folder)
    assert model.variant.defaults.shift == 8 and "flow_shift 8" in model.notices[0]


FLOW = {"use_flow_sigmas": True, "prediction_type": "flow_prediction", "flow_shift": 8.0}


@pytest.mark.parametrize(
    ("config", "default", "said"),
    [
        ({"_class_name": "UniPCMultistepScheduler", **FLOW}, ("unipc", None, 8), "says flow_shift 8"),
        (
            {"_class_name": "DPMSolverMultistepScheduler", **FLOW},
            ("dpm++", None, 8),
            "walked by --solver dpm++;",
        ),
        (
            {"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 8.0},
            ("euler", "normal", 8),
            "walked by --solver euler --schedule normal; the release's is --solver unipc",
        ),
        (
            {"_class_name": "UniPCMultistepScheduler", **FLOW, "use_karras_sigmas": True},
            ("unipc", None, 8),
            "is not followed, --solver unipc is: UniPCMultistepScheduler with use_karras_sigmas=True is not known",
        ),
        (
            {"_class_name": "DDIMScheduler"},
            ("unipc", None, 5),
            "DDIMScheduler is no scheduler that is known here",
        ),
    ],
    ids=["UniPC", "DPM++", "Euler", "UniPC with Karras", "another"],
)
def test_the_scheduler_of_a_folder_is_followed_or_said(tmp_path, config, default, said):
    folder = convert(wan21(tmp_path / "m"), tmp_path / "theirs", "diffusers")
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(config))
    model = open_model(folder)
    own = model.variant.defaults
    assert (own.solver, own.schedule, own.shift) == default
    assert any(said in notice for notice in model.notices)
    job = resolve(Request(prompt="a"), model.variant)
    recipe = job.as_recipe()
    assert (job.solver, recipe.get("schedule")) == default[:2]
    again = convert(folder, tmp_path / "again", "diffusers")
    assert json.loads((again / "scheduler" / "scheduler_config.json").read_text()) == config
    assert json.loads((again / "model_index.json").read_text())["scheduler"] == [
        "diffusers",
        config["_class_name"],
    ]
    if default[1]:
        assert torch.equal(job.schedule.sigmas, levels("euler", own.steps, 8.0, "normal").sigmas)
        changed = resolve(Request(prompt="a", solver="unipc"), model.variant)
        assert "schedule" not in changed.as_recipe()


def gguf_text(path):
    import gguf

    writer = gguf.GGUFWriter(path, "t5encoder")
    writer.add_tokenizer_model("t5")
    writer.add_token_list([text for text, _, _ in PIECES.pieces])
    writer.add_token_scores([score for _, score, _ in PIECES.pieces])
    writer.add_token_types([kind for _, _, kind in PIECES.pieces])
    from wan22.weights.dialects import gguf as names

    for name, tensor in weights(TEXT).items():
        writer.add_tensor(names.TEXT.from_native(name), tensor.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def test_a_gguf_text_encoder_carries_its_tokenizer(tmp_path):
    root = two_models(tmp_path)
    (root / "text_encoders" / "umt5_xxl_fp16.safetensors").unlink()
    gguf_text(root / "text_encoders" / "umt5-xxl-F32.gguf")
    model = open_model(root, task="t2v")
    assert model.tokenizer.suffix == ".gguf"
    assert read_spiece(model.tokenizer) == PIECES.encode()
    engine = wan22.load(root, task="t2v", device="cpu")
    ids, _ = engine._tokenizer.encode(["a cat"], 4)
    assert ids.tolist() == [[3, 4, 1, 0]]


def test_a_missing_tokenizer_says_where_to_get_one(tmp_path):
    root = tmp_path / "m"
    rest(root, spiece=False)
    save(root / "diffusion_models" / "a_5B.safetensors", weights(TI2V))
    save(root / "vae" / "wan2.2.safetensors", weights(VAE_TI2V))
    with pytest.raises(
        CheckpointError, match=r"the tokenizer.*--tokenizer FILE.*hf download google/umt5-xxl"
    ):
        open_model(root)
    (tmp_path / "spiece.model").write_bytes(PIECES.encode())
    assert open_model(root, {"tokenizer": tmp_path / "spiece.model"}).tokenizer == tmp_path / "spiece.model"


@pytest.mark.parametrize("dialect", ["official", "diffusers"])
def test_a_converted_comfy_tree_loads(tmp_path, dialect):
    root = rest(tmp_path / "m")
    for expert in ("high", "low"):
        save(root / "diffusion_models" / f"a_{expert}_noise.safetensors", weights(DIT))
    folder = convert(root, tmp_path / "made", dialect)
    engine = wan22.load(folder, device="cpu")
    assert engine._tokenizer.encode(["a cat"], 4)[0].tolist() == [[3, 4, 1, 0]]


def test_a_comfy_text_encoder_gets_its_pieces_from_a_tokenizer_json(tmp_path):
    sentencepiece = pytest.importorskip("sentencepiece")
    from wan22.conditioning.spiece import read_pieces

    source = official(tmp_path / "m")
    folder = source / "google" / "umt5-xxl"
    (folder / "spiece.model").unlink()
    read_pieces(PIECES.encode()).save(str(folder / "tokenizer.json"))
    made = convert(source, tmp_path / "made", "comfy")
    data = read_spiece(next((made / "text_encoders").iterdir()))
    processor = sentencepiece.SentencePieceProcessor(model_proto=data)
    assert processor.encode("a cat") == [3, 4] and processor.eos_id() == 1 and processor.unk_id() == 2
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"tokenizer\.json is no tokenizer"):
        convert(source, tmp_path / "refused", "comfy")


def test_inspect_and_verify_take_names_and_know_lora_folders(tmp_path, capsys):
    from wan22.cli.__main__ import main

    assert main(["verify", "nano"]) == 0
    capsys.readouterr()
    assert main(["inspect", "nano", "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)["parts"]) >= {"high", "low", "vae", "text"}
    lora = {
        f"blocks.0.ffn.0.lora_{side}.weight": torch.zeros(shape)
        for side, shape in (("A", (2, 128)), ("B", (64, 2)))
    }
    for expert in ("high", "low"):
        save(tmp_path / "lora" / f"{expert}_noise.safetensors", lora)
    assert verify(tmp_path / "lora").ok
