# ruff: noqa: F811 - a test's arguments are named as the fixtures that are imported
"""What the command line refuses: each is one line and exit code 2, before anything is drawn."""

import json
import re
import struct
import zlib
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from unit.fake_engine import engine, everything, run  # noqa: F401 - fixtures

from wan22 import library


def png_header(width, height):
    """A PNG that claims a size and holds nothing."""
    content = b"\x89PNG\r\n\x1a\n"
    for body in (
        b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0),
        b"IDAT" + zlib.compress(b""),
    ):
        content += struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    return content


@pytest.fixture
def files(tmp_path):
    """Files that are not what they should be."""
    Image.effect_noise((64, 32), 90).convert("RGB").save(tmp_path / "whole.png")
    content = (tmp_path / "whole.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(content[: len(content) // 2])
    (tmp_path / "text.png").write_text("I am no image")
    (tmp_path / "huge.png").write_bytes(png_header(30_000, 30_000))
    (tmp_path / "text.mp4").write_text("I am no clip")
    (tmp_path / "file").write_text("I am no folder")
    return tmp_path


REFUSED = {
    "empty prompt": (["generate", ""], "prompt is empty"),
    "blank prompt": (["generate", "  "], "prompt is empty"),
    "no prompt": (["generate"], "there is no prompt"),
    "size without x": (["generate", "p", "--size", "640"], "such as 832x480, not '640'"),
    "size of nothing": (["generate", "p", "--size", "0x32"], "nearest size that works is 32x32"),
    "one side too small": (["generate", "p", "--size", "3x100"], "nearest size that works is 32x100"),
    "a last seed too large": (["generate", "p", "--seed", f"{2**63 - 1}", "--count", "2"], "seed must be"),
    "size too large": (["generate", "p", "--size", "99999x64"], "8192"),
    "no frames": (["generate", "p", "--frames", "0"], "frames must be a whole number from 1 to"),
    "negative frames": (["generate", "p", "--frames", "-4"], "-4"),
    "far too many frames": (["generate", "p", "--frames", "9000000"], "not 9000000"),
    "frames and seconds": (["generate", "p", "--frames", "5", "--seconds", "2"], "not both"),
    "no seconds": (["generate", "p", "--seconds", "0"], "seconds must be above 0"),
    "no fps": (["generate", "p", "--fps", "0"], "fps must be above 0"),
    "not a number": (["generate", "p", "--steps", "many"], "--steps"),
    "no steps": (["generate", "p", "--steps", "0"], "steps"),
    "guidance of words": (["generate", "p", "--guidance", "strong"], "LOW,HIGH such as 3,4; not 'strong'"),
    "guidance of three": (["generate", "p", "--guidance", "1,2,3"], "1,2,3"),
    "impossible guidance": (["generate", "p", "--guidance", "-1"], "from 0 to 100"),
    "unknown solver": (["generate", "p", "--solver", "eular"], "Did you mean 'euler'? Known: "),
    "negative seed": (["generate", "p", "--seed", "-1"], "seed must be"),
    "no videos": (["generate", "p", "--count", "0"], "--count"),
    "strength without a clip": (["generate", "p", "--strength", "0.5"], "--video"),
    "missing image": (["generate", "p", "--image", "nowhere.png"], "nowhere.png does not exist"),
    "image of text": (["generate", "p", "--image", "text.png"], "is text, not an image"),
    "image cut off": (["generate", "p", "--image", "cut.png"], "cut.png is cut off"),
    "image of 900 megapixels": (["generate", "p", "--image", "huge.png"], "claims .* megapixels; the limit is 110"),
    "last image of text": (["generate", "p", "--last-image", "text.png"], "is text, not an image"),
    "clip of text": (["generate", "p", "--video", "text.mp4"], "is text, not an image or clip"),
    "impossible strength": (["generate", "p", "--video", "whole.png", "--strength", "1.5"], "at most 1, not 1.5"),
    "unknown format": (["generate", "p", "-o", "video.xyz"], ".xyz.*Clips: .mp4"),
    "no format": (["generate", "p", "-o", "video"], "without an extension"),
    "video into an image": (["generate", "p", "-o", "video.png"], "use `wan22 image`"),
    "image into a video": (["image", "p", "-o", "image.mp4"], "use a .png"),
    "folder is a file": (["generate", "p", "-o", "file/video.mp4"], "file is a file, not a folder"),
    "cannot be written": (["generate", "p", "-o", "/proc/video.mp4"], "/proc/video.mp4 cannot be written"),
    "unknown codec": (["generate", "p", "-o", "x.mp4", "--codec", "vp9"], "Known: h264, hevc, av1"),
    "unknown quality": (["generate", "p", "-o", "x.mp4", "--quality", "best"], "Known: high, good, draft"),
    "unknown option": (["generate", "p", "--stepps", "5"], "unknown option --stepps. Did you mean --steps.*--seed"),
    "unknown command": (["generat", "p"], "generat.*Known: generate, image"),
    "from a missing file": (["generate", "--from", "nowhere.mp4"], "nowhere.mp4 does not exist"),
    "from without a recipe": (["generate", "--from", "whole.png"], "carries no recipe"),
    "show without a recipe": (["show", "whole.png"], "carries no recipe"),
    "decode of an image": (["decode", "whole.png"], "holds no latents of wan22"),
    "decode of nothing": (["decode", "nowhere"], "does not exist"),
    "unknown model": (["models", "t2v-A14C"], "Did you mean 't2v-A14B'? Known: nano"),
    "download of nothing": (["download", "t2v-A14C"], "Did you mean 't2v-A14B'"),
    "download of what is here": (["download", "nano"], "is embedded"),
    "unknown hub": (["download", "t2v-A14B", "--from", "elsewhere"], "Known: huggingface, modelscope"),
    "unknown dialect": (["convert", "a", "b", "--to", "klingon"], "Known: official, diffusers, comfy"),
    "inspect nothing": (["inspect", "nowhere.safetensors"], "nowhere.safetensors"),
    "verify nothing": (["verify", "nowhere"], "there is no nowhere"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_bad_input_is_one_line_and_exit_code_2(engine, files, run, name):
    arguments, expected = REFUSED[name]
    before = everything(files)
    code, out, err = run(*arguments)
    assert (code, out) == (2, ""), err
    assert err.startswith("error: ") and len(err.splitlines()) == 1, err
    assert re.search(expected.replace("?", r"\?"), err), err
    assert not engine.requests, "nothing may be drawn"
    assert everything(files) == before, "nothing may be left behind"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--device", "cuda:99"], "there is no device 'cuda:99' on this machine. Here are: "),
        (["--model", "t2v-A14B", "--device", "cpu"], "`wan22 download t2v-A14B`"),
        (["--model", "no-such"], "unknown model 'no-such'"),
        (["--model", "./nowhere"], "there is no folder nowhere"),
        (["--model", "empty"], "holds no part of a Wan model"),
        (["--model", "cut.safetensors"], "cut.safetensors is empty"),
    ],
)
def test_what_the_engine_cannot_load_is_one_line_too(run, tmp_path, monkeypatch, arguments, expected):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(library, "cached", lambda row: None)
    (tmp_path / "empty").mkdir()
    (tmp_path / "cut.safetensors").write_bytes(b"")
    code, out, err = run("generate", "p", "-o", "out.mp4", *arguments)
    assert (code, out) == (2, "") and expected in err and len(err.splitlines()) == 1, err


def test_without_a_command_the_help_is_shown(run):
    code, out, err = run()
    assert (code, err) == (0, "") and out.startswith("Usage: wan22") and "generate" in out


@pytest.mark.parametrize("error", [MemoryError(), torch.OutOfMemoryError("CUDA out of memory. Tried 9 GiB")])
def test_memory_that_is_not_enough_is_no_defect(engine, run, error):
    engine.fail["denoise"] = error
    code, _, err = run("generate", "p", "-o", "out.mp4")
    assert code == 1 and "smaller --size" in err and "--memory disk" in err and "defect" not in err
    assert not Path("out.mp4").exists()


def test_a_pickle_that_is_not_plain_tensors_is_refused(run, tmp_path):
    class Evil:
        def __reduce__(self):
            return print, ("this must never be printed",)

    torch.save({"a": Evil()}, tmp_path / "evil.pth")
    code, out, err = run("inspect", tmp_path / "evil.pth")
    assert (code, out) == (2, "") and err.startswith("error: ")


def test_truncated_weights_are_refused(run, tmp_path):
    file = tmp_path / "cut.safetensors"
    save_file({"a": torch.zeros(100)}, file)
    file.write_bytes(file.read_bytes()[:-40])
    assert run("inspect", file)[0] == 2
    code, _, err = run("verify", file)
    assert code == 1 and "error: " in err


def test_a_video_that_does_not_fit_on_the_disk_is_refused(engine, run, monkeypatch):
    from collections import namedtuple

    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage(1 << 40, 1 << 40, 20 << 20))
    code, _, err = run("generate", "p", "-o", "out.mp4", "--size", "1024x1024", "--frames", 400)
    assert code == 2 and "the disk has 21 MB free" in err and not engine.requests
    code, _, err = run("download", "t2v-A14B")
    assert code == 2 and "needs 127.3 GB" in err


def test_json_tells_errors_to_machines_too(engine, run):
    code, out, err = run("generate", "", "--json")
    event = json.loads(out)
    assert (code, event["event"], event["code"]) == (2, "error", 2)
    assert event["message"] in err
