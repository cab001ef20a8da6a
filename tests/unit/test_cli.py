"""The command line with an engine that draws noise: what is asked, what is refused, what is left on the disk."""

import json
import re
import struct
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from wan22 import library
from wan22.catalog import VARIANTS, Defaults, Trained
from wan22.cli.__main__ import main
from wan22.cli.catalogue import dit_parameters, weigh
from wan22.media.recipe import read_recipe
from wan22.media.video import read_clip
from wan22.production import rerender
from wan22.production.publish import LATENTS_SUFFIX, Target
from wan22.production.work import slug
from wan22.request import resolve
from wan22.types import ClipDone, Finished, Frames, Latents, Notice, Phase, Progress

VARIANT = replace(
    VARIANTS["ti2v-5B"],
    name="fake",
    experts=("high", "low"),
    boundary=0.9,
    defaults=Defaults((64, 32), 5, 8, steps=2, shift=5.0, guidance=(5.0, 5.0), negative="grey"),
    trained=Trained(((64, 32),), (5,)),
)


class FakeEngine:
    """Real checks and recipes; frames of seeded noise. `fail` raises in the named phase."""

    variant = VARIANT

    def __init__(self):
        self.fail: dict[str, BaseException] = {}
        self.version = "0"
        self.requests = []
        self.loaded = {}

    def load(self, model="nano", **options):
        self.loaded = {"model": model, **options}
        return self

    def check(self, request):
        return self.resolve(request).canvas

    def recipe(self, request):
        return {
            "wan22": self.version,
            "model": "nano",
            "dtype": "float32",
            **self.resolve(request).as_recipe(),
        }

    def resolve(self, request):
        return resolve(request, self.variant)

    def generate(self, request, done=None):
        job, recipe = self.resolve(request), self.recipe(request)
        self.requests.append(request)
        if job.canvas.clips > 1 or request.audio is not None:
            yield from self.clips(job, recipe, done)
            return
        yield Phase("text")
        yield Notice("a word of warning")
        yield Phase("denoise")
        for index in range(job.steps):
            self._maybe_fail("denoise")
            yield Progress(index + 1, job.steps, "high", 0.5, 0.1, 0.1, torch.zeros(1), torch.zeros(1))
        tensors = {"latents": torch.full((2, 2), float(request.seed))}
        yield Latents(tensors, recipe)
        yield from self.decode_latents(tensors, recipe)

    def clips(self, job, recipe, done):
        for clip in range(done.clip if done else 0, job.canvas.clips):
            self._maybe_fail(f"clip {clip + 1}")
            yield Progress(
                1, 1, "high", 0.5, 0.1, 0.1, torch.zeros(1), torch.zeros(1), clip + 1, job.canvas.clips
            )
            start, end = job.canvas.span(clip)
            # Each clip is drawn from what the one before left, as a real one's is.
            seed = int(done.carry["left"][0]) if done else job.request.seed
            shape = (end - start, *job.canvas.out[::-1], 3)
            frames = np.random.default_rng(seed).integers(0, 255, shape, dtype=np.uint8)
            yield Frames(start, job.canvas.frames, frames)
            carry = {"left": torch.tensor([seed + 7])} if clip + 1 < job.canvas.clips else {}
            done = ClipDone(clip + 1, job.canvas.clips, carry)
            yield done
        yield Finished(job.canvas.fps, recipe)

    def decode_latents(self, tensors, recipe):
        yield Phase("decode")
        self._maybe_fail("decode")
        width, height = recipe["size"]
        noise = np.random.default_rng(int(tensors["latents"][0, 0]) + recipe["steps"])
        frames = noise.integers(0, 255, (recipe["frames"], height, width, 3), dtype=np.uint8)
        for start in range(0, len(frames), 2):
            yield Frames(start, len(frames), frames[start : start + 2])
        yield Finished(recipe["fps"], recipe)

    def _maybe_fail(self, phase):
        if phase in self.fail:
            raise self.fail[phase]


@pytest.fixture
def engine(monkeypatch, tmp_path):
    fake = FakeEngine()
    monkeypatch.setattr("wan22.engine.load", fake.load)
    monkeypatch.chdir(tmp_path)
    return fake


@pytest.fixture
def run(capsys):
    """Run a command; return exit code, stdout, stderr."""

    def call(*arguments):
        code = main([str(argument) for argument in arguments])
        return code, *capsys.readouterr()

    return call


def everything(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


# What is made


def test_generate_prints_only_the_path_and_writes_the_video_with_its_recipe(engine, run, tmp_path):
    code, out, err = run("generate", "a red ball", "-o", "ball.mp4", "--seed", 3, "--steps", 4)
    assert (code, out) == (0, "ball.mp4\n")
    assert everything(tmp_path) == ["ball.mp4"], "the latents are removed once the video is there"
    assert read_clip("ball.mp4").frames.shape == (5, 32, 64, 3)
    recipe = read_recipe("ball.mp4")
    assert (recipe["prompt"], recipe["seed"], recipe["steps"]) == ("a red ball", 3, 4)
    assert len(recipe["frames_sha256"]) == 64
    for words in (
        "step 4 of 4",
        "high-noise expert",
        "s/step",
        "left",
        "note: a word of warning",
        "frame 5 of 5",
    ):
        assert words in err


def test_options_reach_the_request_and_the_engine(engine, run):
    code, _, err = run(
        "generate", "p", "-o", "x.mp4", "--size", "96x64", "--frames", 9, "--fps", 12, "--solver", "euler", "--shift",
        3, "--guidance", "3,4", "--guidance-rescale", 0.7, "--negative", "", "--device", "cpu", "--dtype", "float32",
        "--model", "fake",
    )  # fmt: skip
    assert code == 0, err
    request = engine.requests[0]
    assert (request.size, request.frames, request.fps, request.solver) == ((96, 64), 9, 12, "euler")
    assert (request.shift, request.guidance, request.negative, request.steps) == (3, (3, 4), "", None)
    assert request.guidance_rescale == 0.7
    machine = {"model": "fake", "device": "cpu", "dtype": "float32", "memory": "auto"}
    assert engine.loaded == machine | {"parts": {}, "task": "t2v"}


def test_files_that_are_named_as_parts_reach_the_engine(engine, run):
    code, _, err = run(
        "generate",
        "p",
        "-o",
        "x.mp4",
        "--high",
        "a",
        "--low",
        "b",
        "--vae",
        "c",
        "--text",
        "d",
        "--tokenizer",
        "e",
    )
    assert code == 0, err
    assert engine.loaded["model"] is None  # the files are all of it
    assert engine.loaded["parts"] == {"high": "a", "low": "b", "vae": "c", "text": "d", "tokenizer": "e"}


def test_without_a_name_the_video_is_called_after_the_prompt(engine, run):
    code, out, _ = run("generate", "A red ball: bounces!", "--seed", 7)
    assert (code, out) == (0, "out/a-red-ball-bounces-7.mp4\n")
    assert Path(out.strip()).is_file()


@pytest.mark.parametrize(
    ("prompt", "name"), [("$(rm -rf) `x`", "rm-rf-x"), ("빨간 공", "빨간-공"), ("!?", "video")]
)
def test_a_prompt_of_any_language_becomes_a_file_name(prompt, name):
    assert slug(prompt) == name


def test_count_makes_videos_of_successive_seeds(engine, run, tmp_path):
    code, out, _ = run("generate", "p", "-o", "out.mp4", "--seed", 5, "--count", 3)
    assert (code, out.split()) == (0, ["out-1.mp4", "out-2.mp4", "out-3.mp4"])
    assert [request.seed for request in engine.requests] == [5, 6, 7]
    assert everything(tmp_path) == ["out-1.mp4", "out-2.mp4", "out-3.mp4"]


def test_image_makes_one_image(engine, run):
    code, out, _ = run("image", "a red ball", "-o", "ball.png")
    assert (code, out) == (0, "ball.png\n")
    with Image.open("ball.png") as image:
        assert image.size == (64, 32)
    assert read_recipe("ball.png")["frames"] == 1


def test_a_sequence_is_written_into_a_folder(engine, run, tmp_path):
    code, out, _ = run("generate", "p", "-o", "shots/")
    assert (code, out) == (0, "shots/\n")
    assert everything(tmp_path) == [f"shots/frame-{i:04d}.png" for i in range(5)]


def test_json_is_one_object_for_each_event_and_stderr_is_silent(engine, run):
    code, out, err = run("generate", "p", "-o", "x.mp4", "--json")
    events = [json.loads(line) for line in out.splitlines()]
    assert (code, err) == (0, "")
    kinds = [event["event"] for event in events]
    assert kinds[:5] == ["phase", "notice", "phase", "progress", "progress"]
    assert kinds[-1] == "finished"
    assert {"step": 1, "steps": 2, "expert": "high", "seconds": 0.1}.items() <= events[3].items()
    assert events[-1]["path"] == "x.mp4"
    assert events[-1]["recipe"] == read_recipe("x.mp4")


@pytest.mark.parametrize(
    ("path", "tagged"),
    [
        ("a.mp4", "a-2.mp4"), ("/x/a.b.mp4", "/x/a.b-2.mp4"), ("shots/", "shots-2/"),
        ("d/s-%04d.png", "d/s-2-%04d.png"), ("%03d.png", "2-%03d.png"),
    ],
)  # fmt: skip
def test_a_tag_goes_before_the_extension_or_the_number(path, tagged):
    assert Target(path).tagged("2").path == tagged


# What is kept


@pytest.mark.parametrize(
    ("machine", "named"),
    [
        (["--model", "my models"], " --model 'my models'"),
        (["--high", "a", "--low", "b"], " --high a --low b"),
        (["--model", "t2v-A14B"], ""),
    ],
)
def test_a_failed_decode_names_the_model_that_a_recipe_alone_does_not_find(engine, run, machine, named):
    engine.fail["decode"] = RuntimeError("out of memory")
    code, _, err = run("generate", "p", "-o", "out.mp4", *machine)
    assert code == 1 and f"-o out.mp4{named}` finishes the job" in err


def test_a_failed_decode_keeps_the_latents_and_decode_finishes_the_same_video(engine, run, tmp_path):
    run("generate", "p", "-o", "whole.mp4", "--seed", 4)
    engine.fail["decode"] = RuntimeError("out of memory")
    code, out, err = run("generate", "p", "-o", "out.mp4", "--seed", 4)
    assert (code, out) == (1, "")
    kept = f"out.mp4{LATENTS_SUFFIX}"
    assert f"wan22 decode {kept} -o out.mp4" in err and "out of memory" in err
    assert everything(tmp_path) == [kept, "whole.mp4"]

    engine.fail.clear()
    code, out, _ = run("decode", kept)
    assert (code, out) == (0, "out.mp4\n")
    assert Path("out.mp4").read_bytes() == Path("whole.mp4").read_bytes()


def test_a_full_disk_while_writing_keeps_the_latents(engine, run, monkeypatch, tmp_path):
    def full(self, *_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("wan22.media.writer._Video.finish", full)
    code, _, err = run("generate", "p", "-o", "out.mp4")
    assert code == 1 and "No space left on device" in err
    assert everything(tmp_path) == [f"out.mp4{LATENTS_SUFFIX}"]


def test_cancelling_while_denoising_leaves_nothing(engine, run, tmp_path):
    engine.fail["denoise"] = KeyboardInterrupt()
    code, out, err = run("generate", "p", "-o", "out.mp4")
    assert (code, out, err.splitlines()[-1]) == (130, "", "cancelled, nothing was written")
    assert everything(tmp_path) == []


def test_cancelling_while_decoding_keeps_the_latents(engine, run, tmp_path):
    engine.fail["decode"] = KeyboardInterrupt()
    code, _, err = run("generate", "p", "-o", "out.mp4")
    assert code == 130 and "wan22 decode" in err.splitlines()[-1]
    assert everything(tmp_path) == [f"out.mp4{LATENTS_SUFFIX}"]


def test_a_defect_is_one_line_without_a_traceback(engine, run, monkeypatch):
    engine.fail["denoise"] = ZeroDivisionError("ours")
    code, _, err = run("generate", "p", "-o", "out.mp4")
    assert code == 1
    assert err.splitlines()[-1].startswith("error: ZeroDivisionError: ours") and "Traceback" not in err
    monkeypatch.setenv("WAN22_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        main(["generate", "p", "-o", "out.mp4"])


def test_the_same_command_takes_away_the_latents_that_a_killed_one_left(engine, run, tmp_path):
    engine.fail["decode"] = RuntimeError("no memory")
    assert run("generate", "p", "-o", "x.mp4")[0] == 1
    assert everything(tmp_path) == ["x.mp4.latents.safetensors"]
    kept = Path("x.mp4.latents.safetensors").read_bytes()
    engine.fail.clear()
    assert run("generate", "p", "--seed", 7, "-o", "x.mp4")[0] == 0  # another video
    assert everything(tmp_path) == ["x.mp4", "x.mp4.latents.safetensors"]
    assert Path("x.mp4.latents.safetensors").read_bytes() == kept
    assert run("generate", "p", "-o", "x.mp4")[0] == 0
    assert everything(tmp_path) == ["x.mp4"]


def test_an_old_video_stays_when_overwriting_is_forbidden_or_the_new_one_fails(engine, run):
    Path("out.mp4").write_bytes(b"old")
    code, _, err = run("generate", "p", "-o", "out.mp4", "--no-overwrite")
    assert code == 2 and "exists already" in err
    engine.fail["denoise"] = RuntimeError("no")
    assert run("generate", "p", "-o", "out.mp4")[0] == 1
    assert Path("out.mp4").read_bytes() == b"old"


# What is made again


def test_from_makes_the_same_video_and_says_so(engine, run):
    run("generate", "p", "-o", "out.mp4", "--seed", 9, "--frames", 6, "--guidance", "2,3")
    code, out, err = run("generate", "--from", "out.mp4")
    assert (code, out) == (0, "out-again.mp4\n")
    assert "identical: every frame has the same bits as in out.mp4" in err
    assert read_recipe("out-again.mp4") == read_recipe("out.mp4")


def test_from_names_what_differs(engine, run):
    run("generate", "p", "-o", "out.mp4")
    engine.version = "1"
    code, out, _ = run("generate", "--from", "out.mp4", "--steps", 3, "-o", "new.mp4", "--json")
    compared = next(e for e in map(json.loads, out.splitlines()) if e["event"] == "compared")
    assert code == 0 and not compared["identical"]
    assert set(compared["differences"]) == {"wan22 0 -> 1", "steps 2 -> 3"}


def test_from_finds_the_image_beside_the_video_or_asks_for_it(engine, run):
    Image.new("RGB", (64, 32), "red").save("red.png")
    assert run("generate", "p", "--image", "red.png", "-o", "out.mp4")[0] == 0
    assert read_recipe("out.mp4")["files"] == {"image": "red.png"}
    assert "identical: " in run("generate", "--from", "out.mp4")[2]
    Path("red.png").rename("moved.png")
    code, _, err = run("generate", "--from", "out.mp4")
    assert code == 2 and "made from red.png" in err and "--image" in err
    assert "identical: " in run("generate", "--from", "out.mp4", "--image", "moved.png")[2]


def test_equal_recipes_with_other_frames_point_at_the_machine():
    old, new = {"steps": 2, "frames_sha256": "a"}, {"steps": 2, "frames_sha256": "b"}
    assert "it is the machine" in rerender.differences(old, new)[0]
    assert rerender.differences(old, old) is None


def test_show_prints_the_recipe_of_videos_and_latents(engine, run):
    engine.fail["decode"] = RuntimeError("no")
    run("generate", "a red ball", "-o", "out.mp4")
    assert "a red ball" in run("show", f"out.mp4{LATENTS_SUFFIX}")[1]
    engine.fail.clear()
    run("generate", "a red ball", "-o", "out.mp4")
    assert json.loads(run("show", "out.mp4", "--json")[1])["prompt"] == "a red ball"


# What is refused: each is one line and exit code 2, before anything is drawn


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


# What is known of models


def test_parameters_are_counted_as_released():
    counts = {name: dit_parameters(row.dit) for name, row in VARIANTS.items()}
    assert counts == {
        "t2v-A14B": 14_288_491_584,
        "i2v-A14B": 14_288_901_184,
        "ti2v-5B": 4_999_787_712,
        "s2v-14B": 16_295_755_609,
        "t2v-2.1-14B": 14_288_491_584,
        "t2v-2.1-1.3B": 1_418_996_800,
    }
    assert weigh(VARIANTS["t2v-A14B"]).download == pytest.approx((2 * 57.15 + 0.508 + 11.36) * 1e9, rel=1e-3)
    assert weigh(VARIANTS["ti2v-5B"]).download == pytest.approx((20 + 2.82 + 11.36) * 1e9, rel=1e-3)
    assert weigh(VARIANTS["s2v-14B"]).download == pytest.approx((32.6 + 0.508 + 11.36 + 1.26) * 1e9, rel=1e-3)


def test_models_lists_the_catalogue_and_each_default(run, monkeypatch):
    monkeypatch.setattr(library, "cached", lambda row: None)
    code, out, _ = run("models")
    assert code == 0 and all(name in out for name in VARIANTS)
    code, out, _ = run("models", "t2v-A14B")
    for words in (
        "1280x720",
        "--frames     81",
        "--steps      40",
        "--shift      12",
        "--guidance   3,4",
        "色调艳丽",
    ):
        assert words in out
    values = json.loads(run("models", "ti2v-5B", "--json")[1])
    assert values["here"] == "absent" and values["defaults"]["fps"] == "24" and values["audio_model"] is None
    assert "audio model  jonatasgrosman/wav2vec2-large-xlsr-53-english" in run("models", "s2v-14B")[1]


def test_a_download_asks_for_the_needed_files_only(run, monkeypatch, tmp_path):
    asked = {}

    def snapshot_download(repo, **options):
        asked.update(repo=repo, **options)
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    monkeypatch.setattr("wan22.cli.models._check_room", lambda row, target: None)
    assert run("download", "Wan-AI/Wan2.2-TI2V-5B", "--to", tmp_path)[:2] == (0, f"{tmp_path}\n")
    assert asked["repo"] == "Wan-AI/Wan2.2-TI2V-5B" and asked["local_dir"] == str(tmp_path)
    assert "diffusion_pytorch_model*" in asked["allow_patterns"] and "assets/*" not in asked["allow_patterns"]
    assert not any("wav2vec2" in pattern for pattern in asked["allow_patterns"])
    assert run("download", "s2v-14B", "--to", tmp_path)[0] == 0
    assert "wav2vec2-large-xlsr-53-english/model.safetensors" in asked["allow_patterns"]


def test_a_failed_download_is_one_line(run, monkeypatch, tmp_path):
    def snapshot_download(repo, **options):
        raise OSError("no route to the hub\nand more")

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    monkeypatch.setattr("wan22.cli.models._check_room", lambda row, target: None)
    code, _, err = run("download", "t2v-A14B", "--to", tmp_path)
    assert code == 2 and "no route to the hub" in err and len(err.splitlines()) == 1


def test_modelscope_without_its_package_names_the_extra(run, monkeypatch, tmp_path):
    monkeypatch.setitem(__import__("sys").modules, "modelscope", None)
    monkeypatch.setattr("wan22.cli.models._check_room", lambda row, target: None)
    code, _, err = run("download", "t2v-A14B", "--from", "modelscope", "--to", tmp_path)
    assert code == 2 and "pip install modelscope" in err


def test_doctor_tests_the_machine(engine, run, monkeypatch):
    monkeypatch.setattr(library, "cached", lambda row: None)
    code, out, _ = run("doctor")
    assert code == 0
    for words in (
        "versions",
        "device",
        "disk",
        "t2v-A14B: here: no",
        "self-test    passed: 5 frames of 64x32",
    ):
        assert words in out
    engine.fail["denoise"] = RuntimeError("broken")
    assert run("doctor")[0] == 1


def test_the_old_names_of_options_are_read_with_a_notice(engine, run):
    asked = ("generate", "a red ball", "--frames", 13)
    code, _, err = run(*asked, "-o", "a.mp4", "--hold-colour", "0.5", "--afresh")
    assert code == 0
    assert "note: --hold-colour is called --color-match now" in err and "--afresh is called --restart" in err
    assert run(*asked, "-o", "b.mp4", "--color-match", "0.5", "--restart")[0] == 0
    assert engine.requests[0] == engine.requests[1]


def test_a_camera_that_moves_in_two_ways_is_said_in_one_option_or_two(engine, run):
    assert run("generate", "a red ball", "-o", "a.mp4", "--camera", "pan left, tilt up")[0] == 0
    assert run("generate", "a red ball", "-o", "b.mp4", "--camera", "pan left", "--camera", "tilt up")[0] == 0
    assert engine.requests[0].prompt == engine.requests[1].prompt != "a red ball"
