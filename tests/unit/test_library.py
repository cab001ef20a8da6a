"""Which models are here: names, folders of every layout, the hub's cache, and what is said of those that are not."""

import io
import json
import random
import shutil
from dataclasses import replace

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import save_file
from test_weights_folders import official, save
from test_weights_load import DIT, TEXT, VAE, weights
from tiny import write_tiny

import wan22
from wan22 import library
from wan22.catalog import EMBEDDED, VARIANTS
from wan22.conditioning.spiece import read_pieces
from wan22.errors import CheckpointError, OptionError
from wan22.library import cached, open_model
from wan22.pipeline import collect
from wan22.types import Frames, Request
from wan22.weights.convert import convert
from wan22.weights.dialects.comfy import SPIECE
from wan22.weights.fingerprint import fingerprint
from wan22.weights.load import meta_module


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache of the hub."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def in_cache(cache, name, fill):
    """Put a model into the cache as the hub's client does."""
    folder = cache / f"models--{name.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("abc")
    (folder / "snapshots").mkdir()
    fill(folder / "snapshots" / "abc")
    return folder


def test_our_own_folder_is_a_model_with_the_row_that_it_says(tmp_path):
    folder = write_tiny(tmp_path / "mine", only=True)
    model = open_model(folder)
    assert (model.name, model.variant.name, model.variant.trained.only) == ("mine", "tiny", True)
    assert set(model.parts) == {"high", "low", "vae", "text"}
    assert model.tokenizer.exists()
    assert open_model(str(folder)) == model


@pytest.mark.parametrize("name", ["nano", "wan22-nano", "wan2.2-nano"])
def test_the_embedded_model_has_its_names_and_its_own_row(name, tmp_path, monkeypatch):
    write_tiny(tmp_path / "embedded")
    monkeypatch.setattr(library, "EMBEDDED", tmp_path / "embedded")
    assert open_model(name).name == "tiny"  # the row's name: "nano" in the one that is shipped
    assert EMBEDDED.parent.name == "assets"


@pytest.mark.parametrize(
    "name", ["t2v-A14B", "T2V-a14b", "Wan-AI/Wan2.2-T2V-A14B", "Wan-AI/Wan2.2-T2V-A14B-Diffusers"]
)
def test_a_released_model_is_found_in_the_hubs_cache_by_any_of_its_names(cache, name):
    in_cache(cache, "Wan-AI/Wan2.2-T2V-A14B", official)
    model = open_model(name)
    assert model.name == "t2v-A14B"
    assert model.variant.boundary == 0.875
    assert model.variant.dit == DIT  # the sizes are those of the tensors
    assert cached(VARIANTS["t2v-A14B"]) == cache / "models--Wan-AI--Wan2.2-T2V-A14B"


def test_the_hubs_cache_may_hold_the_diffusers_layout(cache, tmp_path):
    official(tmp_path / "source")
    in_cache(
        cache,
        "Wan-AI/Wan2.2-T2V-A14B-Diffusers",
        lambda path: convert(tmp_path / "source", path, "diffusers"),
    )
    assert open_model("t2v-A14B").parts["high"].name == "transformer"


def test_a_download_that_stopped_names_what_is_missing(cache):
    folder = in_cache(cache, "Wan-AI/Wan2.2-T2V-A14B", official)
    (folder / "snapshots" / "abc" / "Wan2.1_VAE.pth").unlink()
    with pytest.raises(CheckpointError, match=r"not a complete model\. Missing: the VAE"):
        open_model("t2v-A14B")


@pytest.mark.parametrize("layout", ["official", "diffusers", "comfy"])
@pytest.mark.parametrize("task", ["t2v", "ti2v"])
def test_a_folder_of_every_layout_is_the_same_model(tmp_path, layout, task):
    folder = official(tmp_path / "source", task)
    if layout != "official":
        folder = convert(folder, tmp_path / layout, layout)
    row = open_model(folder).variant
    expected = VARIANTS["t2v-A14B" if task == "t2v" else "ti2v-5B"]
    assert (row.image, row.defaults, row.experts) == (expected.image, expected.defaults, expected.experts)
    assert row.boundary == expected.boundary


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("t2v-A14", OptionError, r"unknown model .t2v-A14.\. Did you mean 't2v-A14B'\? Known: nano.*path of a folder"),
        ("t2v-A14B", CheckpointError, "is not on this machine. `wan22 download t2v-A14B` gets it .* 'nano'"),
        ("./absent", CheckpointError, "there is no folder"),
        ("/absent", CheckpointError, "there is no folder /absent"),
        ("~/absent-model", CheckpointError, "there is no folder"),
        ("a/b/c", CheckpointError, "there is no folder a/b/c"),
    ],
)  # fmt: skip
def test_a_model_that_is_not_here_is_one_clear_error(name, kind, message):
    with pytest.raises(kind, match=message):
        open_model(name)


def test_one_file_is_not_a_model(tmp_path):
    save(tmp_path / "x.safetensors", weights(DIT))
    with pytest.raises(CheckpointError, match="is one file; a model is a folder with its experts"):
        open_model(tmp_path / "x.safetensors")


def spoil_json(folder):
    (folder / "variant.json").write_text("{")


def spoil_row(folder):
    row = json.loads((folder / "variant.json").read_text())
    del row["dit"]
    (folder / "variant.json").write_text(json.dumps(row))


def spoil_vae(folder):
    row = json.loads((folder / "variant.json").read_text())
    row["dit"]["out_channels"] = 16
    (folder / "variant.json").write_text(json.dumps(row))


def spoil_text(folder):
    row = json.loads((folder / "variant.json").read_text())
    row["dit"]["text_dim"] = 16
    (folder / "variant.json").write_text(json.dumps(row))


def spoil_boundary(folder):
    row = json.loads((folder / "variant.json").read_text())
    row["boundary"] = None
    (folder / "variant.json").write_text(json.dumps(row))


def spoil_expert(folder):
    (folder / "low_noise_model.safetensors").unlink()


def spoil_tokenizer(folder):
    (folder / "tokenizer.json").write_text("{}")


def spoil_bytes(folder):
    path = folder / "vae.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (spoil_json, r"variant\.json"),
        (spoil_row, r"variant\.json does not describe a model: 'dit'"),
        (spoil_vae, "the transformer draws 16 channels and the VAE has 4"),
        (spoil_text, "reads text of width 16, and the text encoder gives 8"),
        (spoil_boundary, "two experts and does not say at which noise they change"),
        (spoil_expert, r"Missing: the low-noise expert"),
        (spoil_tokenizer, "is not a tokenizer"),
        (spoil_bytes, r"Missing: the VAE.* Not read: .*vae\.safetensors"),
    ],
)
def test_a_spoilt_model_is_one_clear_error_at_loading(tmp_path, spoil, message):
    folder = write_tiny(tmp_path / "m")
    spoil(folder)
    with pytest.raises(CheckpointError, match=message):
        wan22.load(folder, device="cpu")


def test_experts_of_different_sizes_are_no_model(tmp_path):
    folder = official(tmp_path / "m")
    small = replace(DIT, ffn_dim=32)
    save(folder / "low_noise_model" / "diffusion_pytorch_model.safetensors", weights(small))
    with pytest.raises(CheckpointError, match=r"the experts in .* differ in size"):
        open_model(folder)


def test_a_fingerprint_is_of_the_content(tmp_path):
    folder = write_tiny(tmp_path / "a")
    shutil.copytree(folder, tmp_path / "b")
    first, second = (wan22.load(tmp_path / name, device="cpu").weights for name in "ab")
    assert first == second
    assert len(set(first.values())) == 4
    tensors = {name: t + 1 for name, t in weights(VAE).items()}
    save_file(tensors, tmp_path / "x.safetensors")
    before = fingerprint(tmp_path / "x.safetensors")
    save_file(weights(VAE), tmp_path / "x.safetensors")
    assert fingerprint(tmp_path / "x.safetensors") != before
    blob = tmp_path / "blobs" / ("0" * 64)
    blob.parent.mkdir()
    shutil.copy(tmp_path / "x.safetensors", blob)
    (tmp_path / "y.safetensors").symlink_to(blob)
    assert fingerprint(tmp_path / "y.safetensors") == f"sha256:{'0' * 64}"


@pytest.fixture(scope="module", params=[False, True], ids=["unknown", "bytes"])
def pieces(request):
    """A SentencePiece model of made-up words, as bytes, and SentencePiece's own reading of it."""
    sentencepiece = pytest.importorskip("sentencepiece")
    rng = random.Random(0)
    syllables = "ba ke lo mi nu ra so ti wa zu er in on th st ca".split()
    words = ["".join(rng.choices(syllables, k=rng.randint(1, 4))) for _ in range(400)]
    lines = [" ".join(rng.choices(words, k=6)) + "," for _ in range(500)]
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_writer=model, vocab_size=300, model_type="unigram", pad_id=0, eos_id=1,
        unk_id=2, bos_id=-1, byte_fallback=request.param, num_threads=1, minloglevel=2,
    )  # fmt: skip
    data = model.getvalue()
    return data, sentencepiece.SentencePieceProcessor(model_proto=data), words


def test_the_tokenizer_within_a_comfy_file_reads_as_sentencepiece_does(pieces):
    data, theirs, words = pieces
    ours = read_pieces(data)
    rng = random.Random(1)
    texts = ["", "a", "ｂａｋｅ lomi", "nura, soti.", "☃ bake", "ke ½ lo", "Bake KELO"]
    texts += [" ".join(rng.choices(words, k=8)) for _ in range(50)]
    for text in texts:
        assert ours.encode(text, add_special_tokens=False).ids == theirs.encode(text), text
    assert ours.get_vocab_size() == theirs.vocab_size()


@pytest.mark.parametrize("data", [b"", b"pieces", b"\x0a\xff\x01", b"\x0a\x03abc"])
def test_bytes_that_are_no_sentencepiece_model_are_one_clear_error(data):
    with pytest.raises(CheckpointError, match="carries no SentencePiece model"):
        read_pieces(data)


def test_a_comfy_tree_without_a_tokenizer_folder_makes_a_video(tmp_path, pieces):
    data, _, words = pieces
    text = replace(TEXT, vocab=300)
    drawn = torch.Generator().manual_seed(0)
    tensors = {
        n: 0.1 * torch.randn(t.shape, generator=drawn) for n, t in meta_module(text).state_dict().items()
    }
    folder = official(tmp_path / "source")
    torch.save(tensors, folder / "models_t5_umt5-xxl-enc-bf16.pth")
    (folder / "google" / "umt5-xxl" / "spiece.model").write_bytes(data)
    comfy = convert(folder, tmp_path / "comfy", "comfy")
    shutil.rmtree(comfy / "tokenizer", ignore_errors=True)
    from wan22.weights.reader import open_reader

    model = open_model(comfy)
    with open_reader(model.parts["text"]) as reader:
        assert SPIECE in reader.infos
    assert model.tokenizer == model.parts["text"]
    engine = wan22.load(comfy, device="cpu", dtype="float32")
    events = list(engine.generate(Request(prompt=words[0], size=(32, 16), frames=1, steps=1, guidance=1)))
    assert sum(len(e.frames) for e in events if isinstance(e, Frames)) == 1


@pytest.mark.parametrize("dialect", ["diffusers", "comfy"])
def test_a_converted_model_of_our_own_is_the_same_model(tmp_path, dialect):
    ours = write_tiny(tmp_path / "tiny", only=True)
    theirs = convert(ours, tmp_path / dialect, dialect)
    assert open_model(theirs).variant == open_model(ours).variant
    request = wan22.Request(prompt="a red ball", steps=2, seed=3)
    videos = [collect(wan22.load(folder, device="cpu").generate(request)).frames for folder in (ours, theirs)]
    assert (videos[0] == videos[1]).all()
