"""Damaged files against every reader: `python -m bench.fuzz --count 300 [--kind NAME] [--seed N]`.

A small real file of each kind is changed (cut off, bits turned over, pieces moved, values of another type, nested
without end), then read as a command would read it. It must be read, or refused by an error of ours; anything else, and
whatever takes longer than `--limit` seconds, is printed with its seed, and the exit code is 1.
tests/unit/test_fuzz.py runs the same in seconds.
"""

from __future__ import annotations

import argparse
import copy
import json
import random
import re
import signal
import struct
import sys
import tempfile
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from wan22.errors import Wan22Error

Read = Callable[[Path], object]
Change = Callable[[bytes, random.Random], bytes]

ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 7, 2**31, 2**63, -(2**63), 10**40, 10**400, 0.5, -0.0, 1e308,
    float("nan"), float("inf"), "", "x", "\0", "\ud800", "../../etc/passwd", "/dev/zero", "http://127.0.0.1:9/",
    "x" * 5000, "9" * 5000, "한국어", "a\nb",
    [], {}, [1], [-1, -1], ["x"], [None], [[1]], {"a": 1}, {"": {}}, [0.0] * 4,
)  # fmt: skip
"""What a value may be replaced by."""


def bytes_changed(data: bytes, rng: random.Random) -> bytes:
    """Cut, turn over, overwrite, remove, repeat or insert; most often near the beginning, where headers are."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8))):
        at = rng.randrange(max(1, min(len(out), rng.choice((16, 64, 1024, len(out) or 1)))))
        length = rng.choice((1, 2, 4, 8, 64))
        match rng.randrange(7):
            case 0:
                del out[rng.randrange(len(out) + 1) :]
            case 1:
                if out:
                    out[at % len(out)] ^= 1 << rng.randrange(8)
            case 2:
                out[at : at + length] = bytes(rng.choice((0, 255, 127, 128)) for _ in range(length))
            case 3:
                del out[at : at + length]
            case 4:
                out[at:at] = out[at : at + length] * rng.choice((1, 3))
            case 5:
                out[at:at] = rng.randbytes(length)
            case _:
                number = rng.choice((0, 1, -1, 2**31 - 1, -(2**31)))
                out[at : at + 4] = struct.pack(rng.choice("<>") + "i", number)
    return bytes(out)


def value_changed(value: Any, rng: random.Random) -> Any:
    """A copy of a JSON value with one or a few of its parts replaced, removed, renamed, or nested."""
    box = {"": copy.deepcopy(value)}
    for _ in range(rng.choice((1, 1, 1, 3))):
        places = list(_places(box))
        parent, key = rng.choice(places)
        match rng.randrange(8):
            case 0 if parent is not box:
                del parent[key]
            case 1 if parent is not box and isinstance(parent, dict):
                parent[rng.choice(("", "x", f"{key}x", "__metadata__"))] = parent.pop(key)
            case 2:
                parent[key] = nested(rng.choice((3, 70, 3000)), rng)
            case 3:
                parent[key] = [parent[key]] * rng.choice((1, 2))
            case 4 if isinstance(parent[key], int | float) and not isinstance(parent[key], bool):
                parent[key] = rng.choice(
                    (-parent[key], parent[key] * 1000, str(parent[key]), parent[key] + 0.5)
                )
            case _:
                parent[key] = copy.deepcopy(rng.choice(ODD))
    return box[""]


def _places(value: Any, depth: int = 0) -> list[tuple[Any, Any]]:
    if depth > 20 or not isinstance(value, dict | list):
        return []
    keys = list(value) if isinstance(value, dict) else list(range(len(value)))
    return [place for key in keys for place in ((value, key), *_places(value[key], depth + 1))]


def nested(depth: int, rng: random.Random) -> Any:
    """A list or an object in another, and so on."""
    value: Any = 1
    for _ in range(depth):
        value = [value] if rng.random() < 0.5 else {"a": value}
    return value


def _dumped(value: Any) -> str:
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(20_000)
    try:
        return json.dumps(value)
    finally:
        sys.setrecursionlimit(before)


def json_changed(data: bytes, rng: random.Random) -> bytes:
    """A JSON text with another value in it."""
    return _dumped(value_changed(json.loads(data), rng)).encode()


def lines_changed(data: bytes, rng: random.Random) -> bytes:
    """JSON Lines with another value in one of them."""
    lines = data.splitlines()
    at = rng.randrange(len(lines))
    lines[at] = json_changed(lines[at], rng)
    return b"\n".join(lines)


def header_changed(data: bytes, rng: random.Random) -> bytes:
    """A safetensors file with another header, also in the JSON texts of its metadata."""
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    texts = [key for key, value in header.get("__metadata__", {}).items() if value.startswith("{")]
    if texts and rng.random() < 0.5:
        key = rng.choice(texts)
        header["__metadata__"][key] = _dumped(value_changed(json.loads(header["__metadata__"][key]), rng))
    else:
        header = value_changed(header, rng)
    text = _dumped(header).encode()
    return len(text).to_bytes(8, "little") + text + data[8 + length :]


def text_changed(data: bytes, rng: random.Random) -> bytes:
    """A TOML, YAML or CSV text with another value behind one of its signs."""
    text = data.decode()
    places = [found for found in re.finditer(r"(?<=[=:,\[])[^=:,\[\]\n]+", text)] or [re.search(".*", text)]
    found = rng.choice(places)
    odd = rng.choice((*ODD, nested(rng.choice((3, 70, 20_000)), rng) if rng.random() < 0.1 else "x"))
    try:
        value = rng.choice((_dumped(odd), str(odd)))
    except RecursionError:
        value = "[" * 20_000
    assert found is not None
    more = rng.choice(
        (value, value, value, f"&a {value}", "*a", "!!python/object:os.system x", "2024-99-99", "{" * 300)
    )
    return (text[: found.start()] + more + text[found.end() :]).encode("utf-8", "surrogatepass")


@dataclass(frozen=True)
class Kind:
    """A kind of file: how a good one is made in an empty folder, how it is read, and what more can be done to it."""

    make: Callable[[Path], Path]
    read: Read
    changes: tuple[Change, ...] = ()

    def changed(self, data: bytes, rng: random.Random) -> bytes:
        """The bytes of a good file, damaged."""
        return rng.choice((bytes_changed, *self.changes * 2))(data, rng)


def ends_well(kind: Kind, good: Path, data: bytes, seed: int) -> None:
    """Damage the `good` file in place and read it; whatever ends in no error of ours is raised."""
    good.write_bytes(kind.changed(data, random.Random(seed)))
    try:
        kind.read(good)
    except Wan22Error as error:
        if not str(error).strip():
            raise AssertionError("an error without a word") from error


# -- weights


def _tiny(folder: Path) -> Path:
    from unit.tiny import write_tiny

    return write_tiny(folder / "tiny")


def _tiny_file(name: str) -> Callable[[Path], Path]:
    return lambda folder: _tiny(folder) / name


def _whole(path: Path) -> None:
    """What inspect, verify and the loader do to a file of weights."""
    from wan22.weights.inspect import describe
    from wan22.weights.reader import open_reader
    from wan22.weights.recognise import recognise
    from wan22.weights.verify import verify

    verify(path)
    describe(path)
    with open_reader(path) as reader:
        for name in reader.infos:
            reader.read(name)
        if len(reader.infos) > len(_state()):
            recognise(reader)


def _load(path: Path) -> None:
    """What a command does to the folder of a model."""
    import wan22
    from wan22.cli.models import _facts, _one
    from wan22.types import Request

    _facts(*_one(str(path.parent)))
    engine = wan22.load(path.parent, device="cpu")
    engine.check(Request(prompt="a red ball"))
    engine.encode_text(["a red ball rolls"])


def _state() -> dict[str, Any]:
    import torch

    generator = torch.Generator().manual_seed(0)
    return {"a.weight": torch.randn(4, 3, generator=generator), "b": torch.ones(2, dtype=torch.bfloat16)}


def _pickle(folder: Path) -> Path:
    import torch

    torch.save(_state(), folder / "w.pth")
    return folder / "w.pth"


def _gguf(folder: Path) -> Path:
    import gguf

    writer = gguf.GGUFWriter(str(folder / "w.gguf"), "wan")
    writer.add_array("comfy.gguf.orig_shape.a.weight", [4, 8])
    writer.add_tensor("a.weight", np.ones((4, 8), np.float32))
    writer.add_tensor("b", np.ones((8, 64), np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return folder / "w.gguf"


def _index(folder: Path) -> Path:
    from safetensors.torch import save_file

    names = {}
    for number, (name, tensor) in enumerate(_state().items(), 1):
        file = f"m-{number:05}-of-00002.safetensors"
        save_file({name: tensor}, folder / file)
        names[name] = file
    (folder / "m.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": names}))
    return folder / "m.safetensors.index.json"


def _lora(folder: Path) -> Path:
    import torch
    from safetensors.torch import save_file

    tensors = {
        "diffusion_model.blocks.0.self_attn.q.lora_down.weight": torch.ones(2, 24),
        "diffusion_model.blocks.0.self_attn.q.lora_up.weight": torch.ones(24, 2),
        "diffusion_model.blocks.0.self_attn.q.alpha": torch.tensor(1.0),
    }
    notes = {
        "lora_adapter_metadata": json.dumps(
            {"transformer.lora_alpha": 4, "transformer.alpha_pattern": {"q": 2}}
        )
    }
    save_file(tensors, folder / "style.safetensors", metadata=notes)
    return folder / "style.safetensors"


def _adapters(path: Path) -> None:
    from wan22.weights.lora.file import open_adapters

    open_adapters(path)


def _pieces(folder: Path) -> Path:
    def field(number: int, kind: int, value: bytes) -> bytes:
        return bytes([number << 3 | kind]) + (bytes([len(value)]) if kind == 2 else b"") + value

    pieces = [("<unk>", 2), ("</s>", 3), ("<pad>", 3), ("▁", 1), ("▁red", 1), ("b", 1), ("all", 4)]
    data = b"".join(
        field(
            1,
            2,
            field(1, 2, text.encode()) + field(2, 5, struct.pack("<f", -1.0)) + field(3, 0, bytes([kind])),
        )
        for text, kind in pieces
    )
    (folder / "spiece.model").write_bytes(data + field(2, 2, field(3, 0, b"\x01")) + field(3, 2, b""))
    return folder / "spiece.model"


def _split(path: Path) -> None:
    from wan22.conditioning.text import Tokenizer

    data = path.read_bytes()
    tokenizer = Tokenizer.from_pieces(data) if path.suffix == ".model" else Tokenizer.open(path)
    tokenizer.encode(["a red ball"], 8)
    tokenizer.unread("a red ball")


# -- images, videos, audio, and the recipes in them

RECIPE: dict[str, Any] = {
    "wan22": "0.1",
    "model": "nano",
    "weights": {"high": "sha256:1"},
    "prompt": "a red ball rolls",
    "negative": "a cube",
    "size": [48, 32],
    "size_given": True,
    "frames": 5,
    "fps": 8.0,
    "steps": 2,
    "solver": "unipc",
    "shift": 5.0,
    "guidance": [3.0, 4.0],
    "seed": 3,
    "dtype": "float32",
    "inputs": {"image": "sha256:2", "audio": "sha256:3"},
    "files": {"image": "who.png", "audio": "say.wav"},
    "loras": {"style": {"file": "s.safetensors", "weights": "sha256:4", "high": 1.0}},
    "audio": {
        "said": {"engine": "server", "url": "http://127.0.0.1:9", "text": "hi", "sample": {"name": "v.wav"}}
    },
    "audio_seconds": 0.5,
    "frames_sha256": "0" * 64,
}
"""A recipe with everything that one may have."""


def _image(name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        from PIL import Image

        pixels = np.arange(16 * 24 * 3, dtype=np.uint8).reshape(16, 24, 3)
        image = Image.fromarray(pixels)
        more = {"save_all": True, "append_images": [image.rotate(90)]} if name.endswith(".gif") else {}
        image.save(folder / name, **more)
        return folder / name

    return make


def _see(path: Path) -> None:
    from wan22.media.image import read_image
    from wan22.media.recipe import read_recipe
    from wan22.media.video import probe

    for read in (read_image, probe, read_recipe):
        try:
            read(path)
        except Wan22Error:
            continue


def _clip(name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        from wan22.media.video import VideoWriter

        with VideoWriter(folder / name, fps=8, size=(32, 16), recipe=RECIPE, quality="draft") as writer:
            writer.add(np.arange(5 * 16 * 32 * 3, dtype=np.int64).astype(np.uint8).reshape(5, 16, 32, 3))
        return folder / name

    return make


def _watch(path: Path) -> None:
    from wan22.media.audio import probe_audio
    from wan22.media.recipe import read_recipe
    from wan22.media.video import probe, read_clip, stream_clip

    for read in (probe, read_clip, read_recipe, probe_audio, lambda each: list(stream_clip(each, 2))):
        try:
            read(path)
        except Wan22Error:
            continue


def _tone(name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        import av

        rate = 48000 if name.endswith(".ogg") else 16000
        with av.open(str(folder / name), "w") as container:
            codec = {".wav": "pcm_s16le", ".flac": "flac", ".mp3": "libmp3lame", ".ogg": "libopus"}[
                Path(name).suffix
            ]
            stream = container.add_stream(codec, rate=rate)
            wave = (np.sin(np.arange(rate // 5) / 20) * 9000).astype(np.int16)[None]
            frame = av.AudioFrame.from_ndarray(wave, format="s16", layout="mono")
            frame.sample_rate = rate
            resampler = av.AudioResampler(stream.format, stream.layout, rate)
            for each in (*resampler.resample(frame), None):
                container.mux(stream.encode(each))
        return folder / name

    return make


def _hear(path: Path) -> None:
    from wan22.media.audio import probe_audio, read_audio

    probe_audio(path)
    read_audio(path)


def _told(folder: Path) -> Path:
    from wan22.media.image import write_image
    from wan22.weights.fingerprint import fingerprint

    for name in ("who.png", "a.png"):
        write_image(folder / name, np.zeros((32, 48, 3), np.uint8), RECIPE)
    for name in ("say.wav", "v.wav"):
        (folder / name).write_bytes(_tone("b.wav")(folder).read_bytes())
    (folder / "s.safetensors").write_bytes(_lora(folder).read_bytes())
    lora = {"file": "s.safetensors", "weights": fingerprint(folder / "s.safetensors"), "high": 1.0}
    (folder / "recipe.json").write_text(json.dumps({**RECIPE, "loras": {"style": lora}}))
    return folder / "recipe.json"


def _again(path: Path) -> None:
    """What --from does before anything is loaded: the recipe stands in a file of its own here, to be changed."""
    from wan22.catalog import VARIANTS
    from wan22.media.image import write_image
    from wan22.production import rerender
    from wan22.production.audio import AudioOptions
    from wan22.request import resolve
    from wan22.types import Request

    try:
        recipe = json.loads(path.read_bytes())
        write_image(path.with_name("a.png"), np.zeros((32, 48, 3), np.uint8), recipe)
    except (ValueError, TypeError, RecursionError):
        return  # not even JSON: what a container then holds is no recipe
    found = rerender.follow(
        str(path.with_name("a.png")), {}, {}, AudioOptions(speaker="http://127.0.0.1:9"), ()
    )
    rerender.model_of(found.recipe)
    rerender.differences(found.recipe, RECIPE)
    for place in found.files.values():
        assert Path(place).parent == path.parent, f"it left its folder: {place}"
    resolve(Request(**found.given), VARIANTS["t2v-A14B"])


def _kept(folder: Path) -> Path:
    import torch
    from safetensors.torch import save_file

    _tiny(folder)
    notes = {"wan22": json.dumps({**RECIPE, "inputs": {}, "size": [48, 32]}), "wan22.output": "a.mp4"}
    save_file({"latents": torch.zeros(4, 2, 4, 6)}, folder / "a.mp4.latents.safetensors", metadata=notes)
    return folder / "a.mp4.latents.safetensors"


def _finish(path: Path) -> None:
    """What `wan22 decode` does."""
    import wan22
    from wan22.production.publish import place_of, read_latents

    tensors, recipe, intended = read_latents(str(path))
    assert Path(place_of(str(path), intended)).parent == path.parent
    engine = wan22.load(path.parent / "tiny", device="cpu")
    list(engine.decode_latents(tensors, recipe))


def _long(path: Path) -> Any:
    from wan22.media.long_video import LongVideo

    return LongVideo(path, fps=8, size=(32, 16), identity={"a": {"b": [1]}}, quality="draft")


def _unfinished(folder: Path) -> Path:
    with _long(folder / "a.mp4") as video:
        for _ in range(2):
            video.add(np.zeros((3, 16, 32, 3), np.uint8))
            video.finish_clip(b"carry")
    return video.folder / "video.json"


def _go_on(path: Path) -> None:
    """Take up an unfinished video, whose other files are put back first."""
    saved = {each: each.read_bytes() for each in path.parent.iterdir() if each != path}
    try:
        with _long(path.parent.with_suffix("")) as video:
            assert video.carry is None or video.carry.parent == path.parent, "it left its folder"
    finally:
        path.parent.mkdir(exist_ok=True)
        for each, content in saved.items():
            each.write_bytes(content)


# -- texts


def _text(name: str, text: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / name).write_text(text, "utf-8")
        (folder / "a.png").write_bytes(_image("b.png")(folder).read_bytes())
        (folder / "a.txt").write_text("a red ball")
        (folder / "p.jsonl").write_text('{"prompt": "a red ball", "labels": {"colour": "red"}}')
        return folder / name

    return make


def _script(path: Path) -> None:
    from wan22.cli.storyboard import _text as script_text
    from wan22.storyboard.script import read_script

    read_script(script_text(path), path.name)


def _sources(path: Path) -> None:
    from wan22.train.data.sources import collect

    collect((path,))


def _training(path: Path) -> None:
    from wan22.train.recipe import read_recipe

    read_recipe(path)


def _evaluation(path: Path) -> None:
    from wan22.train.evaluation.recipe import load_eval_recipe

    load_eval_recipe(path)


def _shot(path: Path) -> None:
    from wan22.cli.measure import _typed

    _typed(str(path))


SCRIPT = """title: A ball
subject: &who a red ball
style: realistic
size: 64x48
seed: 3
seconds: 2.5
fps: 8
defaults: {time: day}
shots:
- it rolls left
- {prompt: "{subject} jumps", camera: pan left, seconds: 1, seed: 4, image: who.png}
- prompt: it stands
  subject: none
"""
PLAIN = (
    "subject: a red ball\nseed: 3\nsize: 64x48\n\nShot 1: It rolls.\nCamera: pan left\n\nShot 2: It jumps.\n"
)
TRAINING = """output = "run"
[model]
name = "nano"
[data]
sources = ["clips"]
size = [64, 48]
frames = [9, 17]
fps = 8
[adapter]
rank = 8
[optimiser]
steps = {high = 20, low = 10}
learning_rate = 1e-4
warmup = 2
"""
DATASET = """[general]
resolution = [64, 48]
caption_extension = ".txt"
[[datasets]]
image_directory = "."
num_repeats = 2
target_frames = [1, 25]
"""
EVALUATION = """model = "nano"
prompts = "p.jsonl"
count = 4
seed = 1
size = [64, 48]
guidance = [3, 4.5]
loss = {sigmas = [0.5, 0.9], seeds = 2}
"""
TABLE = 'video,caption,extra\na.png,a red ball,1\nb.png,"two, three",2\n'
ROWS = '{"image": "a.png", "caption": "a red ball"}\n{"video": "b.png", "text": ["x", "y"], "n": {"a": [1]}}'
LIST = '[{"path": "a.png", "caption": "a"}, {"path": "b.png", "cap": ["b"]}]'
SHOT = '{"subject": "a dog", "camera": ["pan_left"], "time": ["day"]}'

KINDS: dict[str, Kind] = {
    "safetensors": Kind(_tiny_file("vae.safetensors"), _whole, (header_changed,)),
    "a model's network": Kind(_tiny_file("high_noise_model.safetensors"), _load, (header_changed,)),
    "a model's row": Kind(_tiny_file("variant.json"), _load, (json_changed,)),
    "a model's tokenizer": Kind(_tiny_file("tokenizer.json"), _load, (json_changed,)),
    "pth": Kind(_pickle, _whole),
    "gguf": Kind(_gguf, _whole),
    "index": Kind(_index, _whole, (json_changed,)),
    "lora": Kind(_lora, _adapters, (header_changed,)),
    "sentencepiece": Kind(_pieces, _split),
    **{name: Kind(_image(f"a.{name}"), _see) for name in ("png", "jpg", "webp", "gif", "tiff", "bmp")},
    **{name: Kind(_clip(f"a.{name}"), _watch) for name in ("mp4", "webm")},
    **{name: Kind(_tone(f"a.{name}"), _hear) for name in ("wav", "flac", "mp3", "ogg")},
    "recipe": Kind(_told, _again, (json_changed,)),
    "latents": Kind(_kept, _finish, (header_changed,)),
    "unfinished": Kind(_unfinished, _go_on, (json_changed,)),
    "storyboard in yaml": Kind(_text("s.yaml", SCRIPT), _script, (text_changed,)),
    "storyboard in text": Kind(_text("s.txt", PLAIN), _script, (text_changed,)),
    "training recipe": Kind(_text("r.toml", TRAINING), _training, (text_changed,)),
    "dataset file": Kind(_text("d.toml", DATASET), _sources, (text_changed,)),
    "evaluation": Kind(_text("e.toml", EVALUATION), _evaluation, (text_changed,)),
    "csv": Kind(_text("t.csv", TABLE), _sources, (text_changed,)),
    "jsonl": Kind(_text("t.jsonl", ROWS), _sources, (lines_changed,)),
    "json table": Kind(_text("t.json", LIST), _sources, (json_changed,)),
    "shot": Kind(_text("s.json", SHOT), _shot, (json_changed,)),
}  # fmt: skip


def _too_long(number: int, frame: object) -> None:
    raise TimeoutError("it took too long")


def main() -> int:
    """Run the long form."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100, help="damaged files of each kind")
    parser.add_argument("--kind", choices=KINDS, action="append", help="only this kind; again for more")
    parser.add_argument("--seed", type=int, default=0, help="the first seed")
    parser.add_argument("--limit", type=int, default=20, help="seconds for one file")
    options = parser.parse_args()
    signal.signal(signal.SIGALRM, _too_long)
    bad = 0
    for name in options.kind or KINDS:
        seen: set[str] = set()
        with tempfile.TemporaryDirectory() as folder:
            good = KINDS[name].make(Path(folder))
            data = good.read_bytes()
            for seed in range(options.seed, options.seed + options.count):
                signal.alarm(options.limit)
                try:
                    ends_well(KINDS[name], good, data, seed)
                except Exception as error:
                    bad += 1
                    where = traceback.extract_tb(error.__traceback__)[-1]
                    ours = [
                        at for at in traceback.extract_tb(error.__traceback__) if "/wan22/" in at.filename
                    ][-1:]
                    at = ours[0] if ours else where
                    line = f"{type(error).__name__}: {str(error)[:100]!r} at {Path(at.filename).name}:{at.lineno}"
                    if line.partition(":")[0] + str(at.lineno) not in seen:
                        print(f"{name}, seed {seed}: {line}", flush=True)
                    seen.add(line.partition(":")[0] + str(at.lineno))
                finally:
                    signal.alarm(0)
        print(f"{name}: {options.count} files", file=sys.stderr, flush=True)
    print(f"{bad} ended badly")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
