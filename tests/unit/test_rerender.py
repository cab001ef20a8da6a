"""A file from a stranger leads nowhere: what its recipe names is looked for beside it, and nothing else is opened."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from wan22.errors import CheckpointError, MediaError, OptionError, OutputError
from wan22.media.image import write_image
from wan22.production import rerender
from wan22.production.audio import AudioOptions
from wan22.production.publish import place_of
from wan22.production.work import Machine

PIXELS = np.zeros((32, 48, 3), np.uint8)
BASE = {"model": "nano", "prompt": "a red ball", "size": [48, 32], "frames": 5, "fps": 8.0, "seed": 1}


@pytest.fixture
def stranger(tmp_path, monkeypatch):
    """Writes a video's recipe into an image in downloads/, and follows it from another folder."""
    downloads, here = tmp_path / "downloads", tmp_path / "here"
    downloads.mkdir()
    here.mkdir()
    monkeypatch.chdir(here)

    def follow(*, asked=None, **said):
        write_image(downloads / "video.png", PIXELS, {**BASE, **said})
        return rerender.follow(str(downloads / "video.png"), {}, {}, asked or AudioOptions(), ())

    follow.downloads, follow.here = downloads, here
    return follow


@pytest.mark.parametrize(
    "path", ["{secret}", "../secret/who.png", "..\\secret\\who.png", "C:\\secret\\who.png"]
)
def test_an_image_elsewhere_is_not_opened_one_of_its_name_beside_is(stranger, tmp_path, path):
    (tmp_path / "secret").mkdir()
    write_image(tmp_path / "secret" / "who.png", PIXELS)
    write_image(stranger.here / "who.png", PIXELS)
    path = path.format(secret=tmp_path / "secret" / "who.png")
    said = {"inputs": {"image": "sha256:1"}, "files": {"image": path}}
    with pytest.raises(MediaError, match=r"who\.png, which is not beside it; give it with --image"):
        stranger(**said)
    write_image(stranger.downloads / "who.png", PIXELS)
    found = stranger(**said)
    assert found.files == {"image": str(stranger.downloads / "who.png")}
    assert len(found.notes) == 1 and path in found.notes[0] and "--image" in found.notes[0]


def test_an_image_beside_that_is_another_one_is_not_taken_for_it():
    from wan22.request import input_hashes
    from wan22.types import Request

    made = input_hashes(Request(prompt="a", image=PIXELS))
    for image, typed, fits in ((PIXELS, (), True), (PIXELS + 1, (), False), (PIXELS + 1, ("image",), True)):
        request = Request(prompt="a", image=image)
        if fits:
            rerender.check_inputs({"inputs": made}, request, typed)
        else:
            with pytest.raises(MediaError, match=r"another one than it was made from; .* --image"):
                rerender.check_inputs({"inputs": made}, request, typed)


def test_a_link_beside_that_leads_out_of_the_folder_is_not_followed(stranger, tmp_path):
    write_image(tmp_path / "secret.png", PIXELS)
    (stranger.downloads / "who.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(MediaError, match="not beside it"):
        stranger(inputs={"image": "sha256:1"}, files={"image": "who.png"})


@pytest.mark.parametrize("name", ["", ".", "..", "a/..", "/"])
def test_what_is_no_name_of_a_file_is_refused(stranger, name):
    with pytest.raises(MediaError, match=r"no name of a file|not beside it"):
        stranger(inputs={"image": "sha256:1"}, files={"image": name})


def test_a_lora_elsewhere_is_not_opened(stranger, tmp_path):
    (tmp_path / "style.safetensors").write_bytes(b"x" * 64)
    (stranger.here / "style.safetensors").write_bytes(b"x" * 64)
    entry = {"file": str(tmp_path / "style.safetensors"), "weights": "sha256:0", "high": 1.0}
    with pytest.raises(CheckpointError, match=r"style\.safetensors .*not beside it; give it with --lora"):
        stranger(loras={"style": entry})


def test_an_address_in_a_file_is_asked_only_if_it_is_given(stranger):
    said = {
        "engine": "server",
        "url": "http://stranger.example/",
        "text": "hi",
        "sample": {"name": "/v/me.wav"},
    }
    recipe = {"inputs": {"audio": "sha256:1"}, "audio": {"said": said}}
    with pytest.raises(
        OptionError, match=r"http://stranger\.example/.* is not asked: give it with --speaker"
    ):
        stranger(**recipe)
    shutil.copyfile(__file__, stranger.downloads / "me.wav")
    found = stranger(**recipe, asked=AudioOptions(speaker=said["url"]))
    assert found.audio == AudioOptions(
        say="hi", speaker=said["url"], voice_sample=str(stranger.downloads / "me.wav")
    )
    other = stranger(**recipe, asked=AudioOptions(speaker="http://mine.example"))
    assert other.audio == AudioOptions(
        say="hi", speaker="http://mine.example"
    )  # nobody's voice is sent to it


@pytest.mark.parametrize("name", ["/models/theirs", "./theirs", "theirs", "~/x", "", 3, None, ["nano"]])
def test_a_model_that_is_not_in_the_catalogue_is_not_opened(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "theirs").mkdir()
    with pytest.raises(OptionError, match="--model"):
        Machine().load({**BASE, "model": name})
    for known in ("nano", "wan22-nano", "t2v-A14B", "Wan-AI/Wan2.2-T2V-A14B"):
        assert rerender.model_of({"model": known})


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"seed": "3"}, "seed is '3', and should be a whole number"),
        ({"size": [48]}, "size is .*, and should be a list of 2"),
        ({"size": "48x32"}, "size is '48x32', and should be a list"),
        ({"prompt": ["a"]}, "prompt is .*, and should be a text"),
        ({"guidance": {"low": 1}}, "guidance is"),
        ({"guidance": [1, 2, 3]}, "guidance is"),
        ({"steps": True}, "steps is True"),
        ({"files": []}, "cannot be followed|not beside it|has no name"),
        ({"inputs": {"image": 1}, "files": {"image": 7}}, "cannot be followed"),
        ({"loras": [1]}, "cannot be followed"),
        ({"loras": {"a": {"file": 3}}}, "cannot be followed"),
        (
            {"inputs": {"audio": ""}, "audio": {"said": {"engine": "espeak", "voice": 1}}},
            "cannot be followed",
        ),
    ],
)
def test_a_recipe_with_values_of_other_types_is_one_error(stranger, said, why):
    if said == {"files": []}:
        said["inputs"] = {"image": "x"}
    with pytest.raises(MediaError, match=why):
        stranger(**said)


def test_latents_go_beside_themselves_whatever_they_say():
    kept = "/downloads/a.mp4.latents.safetensors"
    assert place_of(kept, "/etc/passwd") == place_of(kept, "../x.mp4") == "/downloads/a.mp4"
    assert place_of("shots.latents.safetensors", "elsewhere/shots/") == "shots/"
    for name in ("x.safetensors", ".latents.safetensors", "a/.latents.safetensors"):
        with pytest.raises(OutputError, match="say where the video goes: -o FILE"):
            place_of(name, "a.mp4")


def test_decode_says_which_place_it_did_not_follow(tmp_path, monkeypatch, capsys):
    import torch
    from safetensors.torch import save_file
    from unit.tiny import write_tiny

    from wan22.cli.__main__ import main

    monkeypatch.chdir(tmp_path)
    write_tiny(tmp_path / "tiny")
    notes = {"wan22": json.dumps(BASE), "wan22.output": "/tmp/theirs.mp4"}
    save_file({"latents": torch.zeros(4, 2, 4, 6)}, "a.mp4.latents.safetensors", metadata=notes)
    assert main(["decode", "a.mp4.latents.safetensors", "--model", "tiny"]) == 0
    out, err = capsys.readouterr()
    assert out == "a.mp4\n" and Path("a.mp4").is_file() and not Path("/tmp/theirs.mp4").exists()
    assert "the file names /tmp/theirs.mp4, a path that is not followed; -o says another place" in err
