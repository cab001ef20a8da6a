"""Models that audio drives: recognised, found with their encoder of audio in every layout, converted, loaded."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from test_weights_folders import official, same, save, values
from test_weights_load import DIT, TEXT, VAE, _fp8, equal, loaded, weights

from wan22 import library
from wan22.arch import SpeechArch
from wan22.catalog import VARIANTS, Speech, to_json
from wan22.cli.catalogue import weigh
from wan22.errors import CheckpointError, KeysError
from wan22.library import open_model
from wan22.weights.convert import convert
from wan22.weights.dialects import DIALECTS, comfy
from wan22.weights.find import AUDIO_HUB, find_parts
from wan22.weights.fingerprint import fingerprint
from wan22.weights.inspect import describe
from wan22.weights.reader import open_reader
from wan22.weights.recognise import ARCH_KEY, recognise
from wan22.weights.verify import verify
from wan22.weights.wav2vec2 import audio_config, audio_parameters, load_audio_encoder

GOLDEN = Path(__file__).parent.parent / "parity" / "goldens" / "s2v_audio.safetensors"
SPEECH = SpeechArch(audio_dim=16, audio_states=25, audio_tokens=4, inject=(1, 0))
S2V = replace(DIT, speech=SPEECH)
CONFIG = {"model_type": "s2v", "audio_inject_layers": [1, 0]}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache of the hub."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


@pytest.fixture(scope="module")
def recorded():
    """The recorded encoder of audio: its config, and its weights under the newest of its names."""
    with safe_open(GOLDEN, "pt") as file:
        config = json.loads(file.metadata()["config"])["wav2vec2"]
    tensors = load_file(GOLDEN)
    return config, {n.removeprefix("weights/"): t for n, t in tensors.items() if n.startswith("weights/")}


def native(tensors):
    table = next(d for d in DIALECTS["audio"] if all(d.to_native(name) for name in tensors))
    return {table.to_native(name): tensor for name, tensor in tensors.items()}


def audio_folder(folder, recorded, dialect=DIALECTS["audio"][0]):
    """The recorded encoder in the layout of Hugging Face."""
    config, tensors = recorded
    save(folder / "model.safetensors", {dialect.from_native(n): t for n, t in native(tensors).items()})
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "vocab.json").write_text('{"a": 1}')
    return folder


def official_s2v(folder, recorded):
    """A tiny model in the layout of the release."""
    official(folder)
    for name in ("high", "low"):
        place = folder / f"{name}_noise_model"
        (place / "diffusion_pytorch_model.safetensors").unlink()
        place.rmdir()
    save(folder / "diffusion_pytorch_model-00001-of-00001.safetensors", weights(S2V))
    (folder / "config.json").write_text(json.dumps(CONFIG))
    audio_folder(folder / "wav2vec2-large-xlsr-53-english", recorded)
    return folder


def comfy_s2v(root, recorded):
    """A tiny model as single files of other people, which say nothing of themselves."""
    save(root / "diffusion_models" / "wan2.2_s2v_14B_bf16.safetensors", weights(S2V))
    (root / "diffusion_models" / "config.json").write_text(json.dumps(CONFIG))
    save(root / "vae" / "wan_2.1_vae.safetensors", weights(VAE))
    text = {comfy.TEXT.from_native(name): tensor for name, tensor in weights(TEXT).items()}
    text["spiece_model"] = torch.tensor([1, 2], dtype=torch.uint8)
    save(root / "text_encoders" / "umt5.safetensors", text)
    config, tensors = recorded
    half = {name: tensor.half() for name, tensor in tensors.items()}
    save(root / "audio_encoders" / "wav2vec2_large_english_fp16.safetensors", half)
    (root / "audio_encoders" / "config.json").write_text(json.dumps(config))
    return root


def test_sizes_that_tensors_show_are_told_by_them_and_the_blocks_by_what_lies_beside(tmp_path):
    path = tmp_path / "x.safetensors"
    save(path, weights(S2V))
    with (
        open_reader(path) as reader,
        pytest.raises(CheckpointError, match=r'"audio_inject_layers": \[\.\.\] \(2 of'),
    ):
        recognise(reader)
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    with open_reader(path) as reader:
        found = recognise(reader)
    assert (found.part, found.task, found.arch) == ("dit", "s2v", S2V)
    found.require_supported()
    own = replace(S2V, speech=replace(SPEECH, history=(1, 2, 4), inject=(0, 1)))
    save_file(weights(S2V), path, metadata={ARCH_KEY: json.dumps(asdict(own))})
    with open_reader(path) as reader:
        assert recognise(reader).arch == own  # its own word comes first


@pytest.mark.parametrize("blocks", [[0], [0, 0], [0, 2], [-1, 0], [0, 1, 1]])
def test_blocks_that_do_not_fit_the_injectors_are_refused(tmp_path, blocks):
    save(tmp_path / "x.safetensors", weights(S2V))
    (tmp_path / "config.json").write_text(json.dumps({"audio_inject_layers": blocks}))
    with (
        open_reader(tmp_path / "x.safetensors") as reader,
        pytest.raises(
            CheckpointError, match=r"has 2 injectors of audio and 2 blocks.*different numbers from 0 to 1"
        ),
    ):
        recognise(reader)


@pytest.mark.parametrize("dialect", DIALECTS["dit"], ids=lambda d: f"{d.name}-{d.prefix}")
def test_a_network_that_hears_loads_from_every_dialect(tmp_path, dialect):
    theirs = {dialect.from_native(name): tensor for name, tensor in weights(S2V).items()}
    save(tmp_path / "x.safetensors", theirs)
    assert equal(loaded(S2V, tmp_path / "x.safetensors"), weights(S2V))


@pytest.mark.parametrize("style", ["legacy", "comfy"])
def test_scaled_fp8_of_its_blocks_and_its_injectors_is_multiplied_out(tmp_path, style):
    named = {
        name.replace("audio_injector.injector.", "blocks.audio_injector."): t
        for name, t in weights(S2V).items()
    }
    stored, true = _fp8(named, style)  # which quantises what begins with "blocks."

    def back(tensors):
        return {
            n.replace("blocks.audio_injector.", "audio_injector.injector."): t for n, t in tensors.items()
        }

    save(tmp_path / "x.safetensors", back(stored))
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    assert equal(loaded(S2V, tmp_path / "x.safetensors"), back(true))
    found = describe(tmp_path / "x.safetensors")
    assert (found["task"], found["quantised"]) == ("s2v", "fp8")
    assert stored["blocks.audio_injector.0.q.weight"].dtype == torch.float8_e4m3fn


@pytest.mark.parametrize("place", ["official", "comfy", "comfy with a folder"])
def test_a_model_is_found_with_its_encoder_of_audio(tmp_path, recorded, place):
    folder = (
        official_s2v(tmp_path / "m", recorded) if place == "official" else comfy_s2v(tmp_path / "m", recorded)
    )
    if place == "comfy with a folder":
        (folder / "audio_encoders" / "wav2vec2_large_english_fp16.safetensors").unlink()
        audio_folder(folder / "audio_encoders" / "xlsr", recorded)
    names = {
        "official": "wav2vec2-large-xlsr-53-english",
        "comfy": "wav2vec2_large_english_fp16.safetensors",
        "comfy with a folder": "xlsr",
    }
    assert find_parts(folder)["audio"].name == names[place]
    model = open_model(folder)
    assert set(model.parts) == {"dit", "vae", "text", "audio"}
    row = VARIANTS["s2v-14B"]
    assert (model.variant.dit, model.variant.speech, model.variant.image) == (S2V, row.speech, "reference")
    assert verify(folder).ok, verify(folder).problems
    assert describe(folder)["parts"]["audio"]["part"] == "audio"


def test_a_missing_encoder_of_audio_is_named_with_where_to_get_it(tmp_path, recorded, cache):
    folder = official_s2v(tmp_path / "m", recorded)
    (folder / "wav2vec2-large-xlsr-53-english").rename(tmp_path / "away")
    with pytest.raises(CheckpointError, match=f"Missing: the encoder of audio .*hf download {AUDIO_HUB}"):
        find_parts(folder)
    hub = cache / f"models--{AUDIO_HUB.replace('/', '--')}"
    audio_folder(hub / "snapshots" / "abc", recorded)
    assert find_parts(folder)["audio"] == hub / "snapshots" / "abc"


def test_encoders_of_audio_do_not_concern_a_model_that_is_deaf(tmp_path, recorded):
    folder = official(tmp_path / "m")
    audio_folder(folder / "wav2vec2-large-xlsr-53-english", recorded)
    assert "audio" not in find_parts(folder)
    comfy = convert(folder, tmp_path / "c", "comfy")
    for name in "ab":
        save(comfy / "audio_encoders" / f"{name}.safetensors", recorded[1])
    assert "audio" not in find_parts(comfy)


def test_an_encoder_of_other_sizes_is_not_of_this_model(tmp_path, recorded):
    folder = official_s2v(tmp_path / "m", recorded)
    narrow = replace(S2V, speech=replace(SPEECH, audio_dim=8))
    save(folder / "diffusion_pytorch_model-00001-of-00001.safetensors", weights(narrow))
    with pytest.raises(
        CheckpointError, match=r"takes 25 hidden states of width 8, and .* gives 25 of width 16"
    ):
        open_model(folder)


@pytest.mark.parametrize("way", [("diffusers",), ("comfy",), ("diffusers", "comfy", "official")])
def test_a_model_goes_through_the_layouts_and_stays_the_same(tmp_path, recorded, way):
    source = official_s2v(tmp_path / "source", recorded)
    folder = source
    for i, dialect in enumerate(way):
        folder = convert(folder, tmp_path / f"{i}-{dialect}", dialect)
    before, after = find_parts(source), find_parts(folder)
    assert before.keys() == after.keys()
    for part in ("dit", "vae", "text"):
        assert same(values(before[part]), values(after[part])), part
    assert audio_config(before["audio"]) == audio_config(after["audio"])
    with open_reader(before["audio"]) as a, open_reader(after["audio"]) as b:
        assert same({n: a.read(n) for n in a.infos}, {n: b.read(n) for n in b.infos})
    assert fingerprint(after["audio"]).startswith("sha256:")
    assert open_model(folder).variant.dit == S2V
    if way[0] == "diffusers":
        index = json.loads((tmp_path / "0-diffusers" / "model_index.json").read_text())
        assert index["transformer"] == ["diffusers", "WanS2VTransformer3DModel"]
        assert (tmp_path / "0-diffusers" / "audio_encoder" / "vocab.json").is_file()


def test_another_motion_history_has_no_place_in_the_official_layout(tmp_path):
    arch = replace(S2V, speech=replace(SPEECH, history=(1, 2, 4)))
    save_file(weights(arch), tmp_path / "x.safetensors", metadata={ARCH_KEY: json.dumps(asdict(arch))})
    with pytest.raises(CheckpointError, match=r"history of \(1, 2, 4\).*diffusers or comfy"):
        convert(tmp_path / "x.safetensors", tmp_path / "y", "official")
    made = convert(tmp_path / "x.safetensors", tmp_path / "z", "diffusers")
    with open_reader(made) as reader:
        assert recognise(reader).arch == arch


@pytest.mark.parametrize("dialect", DIALECTS["audio"], ids=["released", "new", "bare", "bare and new"])
def test_the_encoder_of_audio_is_the_stock_one_under_all_of_its_names(tmp_path, recorded, dialect):
    transformers = pytest.importorskip("transformers")
    config, tensors = recorded
    folder = audio_folder(tmp_path / "a", recorded, dialect)
    model = load_audio_encoder(folder)
    stock = transformers.Wav2Vec2ForCTC(transformers.Wav2Vec2Config(**config)).eval()
    stock.load_state_dict(tensors)
    samples = load_file(GOLDEN)["in/waveform"][None]
    with torch.inference_mode():
        ours = model(samples, output_hidden_states=True).hidden_states
        theirs = stock(samples, output_hidden_states=True).hidden_states
    assert len(ours) == 25 and all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
    assert not model.training and not any(p.requires_grad for p in model.parameters())
    assert audio_parameters(folder) == sum(p.numel() for p in model.parameters())


def test_half_precision_becomes_float32_and_the_small_files_name_the_heads(tmp_path, recorded):
    pytest.importorskip("transformers")
    path = find_parts(comfy_s2v(tmp_path / "m", recorded))["audio"]
    model = load_audio_encoder(path)
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert model.config.num_attention_heads == recorded[0]["num_attention_heads"] == 2
    (path.parent / "config.json").unlink()
    with pytest.raises(
        CheckpointError, match=r"other sizes than wav2vec2-large.*Put its config\.json beside it"
    ):
        audio_config(path)


def test_of_two_formats_of_one_encoder_the_safetensors_are_read(tmp_path, recorded):
    folder = audio_folder(tmp_path / "a", recorded)
    torch.save(native(recorded[1]), folder / "pytorch_model.bin")
    with open_reader(folder) as reader:
        assert [file.name for file in reader.files] == ["model.safetensors"]
    (folder / "model.safetensors").unlink()
    assert audio_config(folder)["hidden_size"] == 16  # the other alone is read as well


def test_an_encoder_that_is_not_whole_is_one_clear_error_before_data_is_read(tmp_path, recorded):
    pytest.importorskip("transformers")
    config, tensors = recorded
    name = "wav2vec2.encoder.layers.3.attention.k_proj.weight"
    folder = audio_folder(tmp_path / "a", (config, {n: t for n, t in tensors.items() if n != name}))
    with pytest.raises(CheckpointError, match=f"lacks 1 tensors, such as {name}"):
        load_audio_encoder(folder)
    folder = audio_folder(tmp_path / "b", (config, {**tensors, name: torch.zeros(3, 16)}))
    with pytest.raises(KeysError, match=r"k_proj.weight is \[3, 16\], not \[16, 16\]"):
        load_audio_encoder(folder)
    save(tmp_path / "dit.safetensors", weights(DIT))
    with pytest.raises(CheckpointError, match="is a dit network, not an encoder of audio"):
        audio_config(tmp_path / "dit.safetensors")


def sharing(tmp_path, recorded, parts):
    """Our own small model in `mine`, whose VAE lies with another in `other`."""
    comfy_s2v(tmp_path / "all", recorded)
    mine, other = tmp_path / "mine", tmp_path / "other"
    audio_folder(mine / "audio_encoder", recorded)
    (tmp_path / "all" / "diffusion_models" / "wan2.2_s2v_14B_bf16.safetensors").rename(
        mine / "dit.safetensors"
    )
    (tmp_path / "all" / "text_encoders" / "umt5.safetensors").rename(mine / "text.safetensors")
    other.mkdir()
    (tmp_path / "all" / "vae" / "wan_2.1_vae.safetensors").rename(other / "vae.safetensors")
    row = replace(VARIANTS["s2v-14B"], name="mine", dit=S2V, vae=VAE, text=TEXT)
    (mine / "variant.json").write_text(json.dumps(to_json(row) | {"parts": parts}))
    return mine


def test_a_folder_of_ours_may_share_a_part_with_another(tmp_path, recorded):
    mine = sharing(tmp_path, recorded, {"vae": "../other/vae.safetensors"})
    model = open_model(mine)
    assert model.parts["vae"].samefile(tmp_path / "other" / "vae.safetensors")
    assert model.variant.name == "mine"
    made = convert(mine, tmp_path / "made", "comfy")  # where it has a copy of its own
    assert find_parts(made)["vae"].parent == made / "vae"
    assert open_model(made).variant == model.variant


def test_the_embedded_model_that_speaks_is_opened_by_its_name_and_weighed_with_what_it_shares(
    tmp_path, recorded, monkeypatch
):
    mine = sharing(tmp_path, recorded, {"vae": "../other/vae.safetensors"})
    monkeypatch.setattr(library, "EMBEDDED_SPEECH", mine)
    model = open_model("nano-s2v")
    assert (model.name, model.variant.name) == ("mine", "mine")
    row = replace(model.variant, speech=Speech(audio=None))  # with an encoder of its own
    tensors = [weights(S2V), weights(VAE), weights(TEXT), recorded[1], {"spiece_model": torch.zeros(2)}]
    assert weigh(row, mine).parameters == sum(t.numel() for part in tensors for t in part.values())


@pytest.mark.parametrize(
    ("parts", "says"),
    [
        (
            {"vae": "../away/vae.safetensors"},
            r"its vae is at '\.\./away/vae\.safetensors', and there is none",
        ),
        ({"vae": "/vae.safetensors"}, "its vae is at '/vae.safetensors', and there is none"),
        ({"eye": "../other/vae.safetensors"}, r"its parts are \{'eye'.*of dit, high, low, vae, text"),
        (["vae"], r"its parts are \['vae'\]"),
    ],
)
def test_a_shared_part_that_is_not_there_is_one_clear_error(tmp_path, recorded, parts, says):
    with pytest.raises(CheckpointError, match=says):
        open_model(sharing(tmp_path, recorded, parts))
