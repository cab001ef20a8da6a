"""Death and full disks at every step of every writer: a name holds the old thing or the complete new one, and the next
run clears away what was left.

A forked child writes. What it would leave, had it died before the k-th change of the file system, is copied for every
k. Or it dies within a write, where the system kills it for a file that grows beyond a limit: that reaches libraries
that are not Python.
"""

import errno
import io
import itertools
import json
import os
import resource
import shutil
import signal
import traceback
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from wan22 import atomic
from wan22.catalog import VARIANTS
from wan22.errors import MediaError, OutputError
from wan22.media import sequence_files
from wan22.media.audio import read_audio, write_audio
from wan22.media.image import read_image, write_image
from wan22.media.long_video import LongVideo
from wan22.media.recipe import read_recipe
from wan22.media.video import VideoWriter, read_clip
from wan22.train import checkpoint, export
from wan22.train.log import LossMeter, MetricsLog
from wan22.train.recipe import AdapterPart
from wan22.types import Audio
from wan22.weights.lora.file import open_adapters
from wan22.weights.lora.write import convert_lora, write_lora
from wan22.weights.reader import TensorInfo, open_reader
from wan22.weights.writer import write_json, write_shards, write_tensors

pytestmark = pytest.mark.slow

OLD, NEW = 1, 2
DEAD, WRONG = 137, 4
NOTE = "a person's own"
_CHANGES = ("rename", "replace", "link", "unlink", "mkdir", "rmdir", "truncate", "fsync")


@dataclass(frozen=True)
class Operation:
    """`write` puts a version (OLD, NEW) into a folder, `read` tells which is there whole (None: nothing), and raises
    for a half one. `names`: what is there in the end. `refusal`: what a reader may say instead while it changes."""

    write: Callable[[Path, int], object]
    read: Callable[[Path], int | None]
    names: tuple[str, ...]
    refusal: str = "never"
    keeps: str = "nothing"
    """What stays of a run that failed, because the next goes on from it."""
    old: bool = True
    """Whether it may replace what is there."""


def frames(version):
    return np.full((3, 16, 16, 3), 60 * version, np.uint8)


def clip(name, names=None, **more):
    def write(folder, version):
        with VideoWriter(f"{folder}/{name}", fps=8, size=(16, 16)) as writer:
            writer.add(frames(version))
            writer.close({"seed": version})

    def read(folder):
        path = f"{folder}/{name}"
        if is_sequence(name):
            if not sequence_files.numbered(path) and not sequence_files.unfinished_note(path).exists():
                return None
        elif not os.path.lexists(path):
            return None
        shown = read_clip(path, fps=8 if is_sequence(name) else None)
        version = read_recipe(path)["seed"]
        assert shown.frames.shape == (3, 16, 16, 3)
        assert np.abs(shown.frames - 60.0 * version).max() < 20
        return version

    return Operation(write, read, names or (name,), **more)


def is_sequence(name):
    return name.endswith("/") or "%" in name


def _write_long(folder, version, name="long.mp4"):
    with LongVideo(folder / name, fps=8, size=(16, 16), identity={"seed": version}) as video:
        for index in range(video.finished, 2):
            video.add(frames(version))
            video.finish_clip(b"carry%d" % index)
        video.close({"seed": version})


def _read_long(folder):
    if not (folder / "long.mp4").exists():
        return None
    assert len(read_clip(folder / "long.mp4").frames) == 6
    return read_recipe(folder / "long.mp4")["seed"]


def _tensors(version):
    return {"a": torch.full((7, 3), float(version)), "b": torch.full((50,), version, dtype=torch.bfloat16)}


def _infos():
    return {"a": TensorInfo((7, 3), "F32", 84), "b": TensorInfo((50,), "BF16", 100)}


def _version(path):
    with open_reader(path) as reader:
        values = {float(value) for name in reader.infos for value in reader.read(name).flatten()}
        assert sorted(reader.infos) == ["a", "b"] and len(values) == 1
    return int(values.pop())


def _write_model(folder, version):
    with atomic.written_folder(folder / "model", replace=lambda entry: True) as part:
        write_shards(part, "m", _infos(), _tensors(version).__getitem__, shard_bytes=100)
        write_json(part / "config.json", {"version": version})


def _read_model(folder):
    if not (folder / "model").exists():
        return None
    version = json.loads((folder / "model" / "config.json").read_text())["version"]
    assert _version(folder / "model") == version
    assert len(list((folder / "model").iterdir())) == 4
    return version


def _write_lora(folder, version):
    pair = torch.full((2, 8), float(version)), torch.full((8, 2), float(version))
    write_lora(folder / "l.safetensors", {"blocks.0.self_attn.q.weight": pair}, alpha=2.0)


def _read_lora(folder):
    if not (folder / "l.safetensors").exists():
        return None
    (adapter,) = open_adapters(folder / "l.safetensors")
    with open_reader(adapter.path) as reader:
        values = {v for name in reader.infos if "lora" in name for v in reader.read(name).flatten().tolist()}
    assert len(values) == 1
    return int(values.pop())


def _write_pair(folder, version):
    """A pair in one dialect, as another."""
    pair = torch.full((2, 8), float(version)), torch.full((8, 2), float(version))
    source = folder.parent / f"pair-{version}"
    for expert in ("high", "low"):
        place = source / f"{expert}_noise.safetensors"
        if not place.exists():
            write_lora(place, {"blocks.0.self_attn.q.weight": pair}, alpha=2.0, expert=expert)
    if (folder / "pair").exists():  # it replaces nothing
        assert _read_pair(folder) == version
    else:
        convert_lora(source, folder / "pair", "kohya")


def _read_pair(folder):
    if not (folder / "pair").exists():
        return None
    one, two = open_adapters(folder / "pair")
    assert {one.expert, two.expert} == {"high", "low"}
    with open_reader(one.path) as reader:
        return int(reader.read(next(name for name in reader.infos if "lora_down" in name))[0, 0])


class _Expert:
    """As much of an expert that has learned as an export asks for."""

    step = 1

    def __init__(self, version):
        pair = torch.full((2, 8), float(version)), torch.full((8, 2), float(version))
        self.adapters = self
        self.factors = lambda: {"blocks.0.self_attn.q.weight": pair}
        self.network = torch.nn.Linear(3, 3, bias=False)
        torch.nn.init.constant_(self.network.weight, version)

    @contextmanager
    def for_inference(self):
        yield self.network


def _write_export(folder, version, write=export.write_loras):
    recipe = SimpleNamespace(adapter=AdapterPart(rank=2, dialect="comfy"), as_table=dict)
    model = SimpleNamespace(name="m", variant=VARIANTS["t2v-A14B"], parts={}, tokenizer=folder / "t.json")
    experts = SimpleNamespace(steps=("high", "low"), activate=lambda name: _Expert(version))
    write(recipe, model, experts, folder)


def _read_export(folder):
    if not (folder / "lora").exists():
        return None
    found = set()
    for adapter in open_adapters(folder / "lora"):
        with open_reader(adapter.path) as reader:
            found.add((adapter.expert, reader.read(next(iter(reader.infos)))[0, 0].item()))
    assert {expert for expert, _ in found} == {"high", "low"} and len({value for _, value in found}) == 1
    return int(found.pop()[1])


def _read_exported_model(folder):
    if not (folder / "model").exists():
        return None
    values = set()
    for name in ("high", "low"):
        with open_reader(folder / "model" / f"{name}_noise_model.safetensors") as reader:
            values.add(reader.read("weight")[0, 0].item())
    assert json.loads((folder / "model" / "variant.json").read_text())["parts"]["tokenizer"] == "../t.json"
    assert len(values) == 1
    return int(values.pop())


def _write_checkpoint(folder, version):
    checkpoint.claim(folder, _Recipe(), {})
    checkpoint.newest(folder, "dit", print)
    for step in range(version + 1):
        if not checkpoint.steps_of(folder, "dit") or step > checkpoint.steps_of(folder, "dit")[-1]:
            checkpoint.save(folder, "dit", step, _tensors(step), {"step": step})


class _Recipe:
    def as_table(self):
        return {}


def _read_checkpoint(folder):
    said = []
    there = checkpoint.newest(folder, "dit", said.append)
    assert not said
    if there is not None:
        assert there.notes["step"] == there.step == there.tensors["a"][0, 0]
    return None if there is None else max(OLD, there.step)


def _write_wav(folder, version):
    write_audio(folder / "a.wav", Audio(np.full(800, 0.1 * version, np.float32), 16000))


def _read_wav(folder):
    if not (folder / "a.wav").exists():
        return None
    heard = read_audio(folder / "a.wav").samples
    assert len(heard) == 800
    return round(float(heard.mean()) * 10)


def _text(name, value, load):
    def read(folder):
        return load((folder / name).read_text("utf-8")) if (folder / name).exists() else None

    return Operation(lambda folder, version: atomic.write_text(folder / name, value(version)), read, (name,))


def _write_log(folder, version):
    log = MetricsLog(folder, tensorboard=False)
    log.resume({"dit": 0})
    for step in range(1, version + 1):
        log.write("dit", step, LossMeter(), 0.1)


def _read_log(folder):
    lines = MetricsLog(folder, tensorboard=False).lines()
    assert [line["step"] for line in lines] == list(range(1, len(lines) + 1))
    return max(OLD, len(lines))


def _read_image(folder):
    if not (folder / "i.png").exists():
        return None
    version = read_recipe(folder / "i.png")["seed"]
    assert np.array_equal(read_image(folder / "i.png"), frames(version)[0])
    return version


OPERATIONS = {
    "image": Operation(
        lambda folder, version: write_image(folder / "i.png", frames(version)[0], {"seed": version}),
        _read_image,
        ("i.png",),
    ),
    "audio": Operation(_write_wav, _read_wav, ("a.wav",)),
    "mp4": clip("v.mp4"),
    "webm": clip("v.webm"),
    "gif": clip("v.gif"),
    "sequence": clip("shots/"),
    "sequence in a shared folder": clip(
        "s-%02d.png", ("s-00.png", "s-01.png", "s-02.png"), refusal="half a sequence"
    ),
    "long video": Operation(_write_long, _read_long, ("long.mp4",), keeps="long.mp4.unfinished", old=False),
    "latents": Operation(
        lambda folder, version: write_tensors(folder / "x.latents.safetensors", _tensors(version)),
        lambda folder: (
            _version(folder / "x.latents.safetensors")
            if (folder / "x.latents.safetensors").exists()
            else None
        ),
        ("x.latents.safetensors",),
    ),
    "model": Operation(_write_model, _read_model, ("model",)),
    "LoRA": Operation(_write_lora, _read_lora, ("l.safetensors",)),
    "pair of LoRAs": Operation(_write_pair, _read_pair, ("pair",), old=False),
    "exported LoRAs": Operation(_write_export, _read_export, ("lora",)),
    "exported model": Operation(
        partial(_write_export, write=export.write_model), _read_exported_model, ("model",)
    ),
    "checkpoint": Operation(
        _write_checkpoint,
        _read_checkpoint,
        ("dit-00000001.safetensors", "dit-00000002.safetensors", "run.json"),
        keeps="dit-00000000.safetensors",
    ),
    "JSON": _text("r.json", lambda v: json.dumps({"v": v, "more": "x" * 99}), lambda t: json.loads(t)["v"]),
    "report": _text("r.html", lambda v: f"<p>{v}</p>", lambda t: int(t.removeprefix("<p>").removesuffix("</p>"))),
    "log": Operation(_write_log, _read_log, ("log.jsonl",)),
}  # fmt: skip


def child(work):
    """Run `work` in a forked process; return its exit code."""
    number = os.fork()
    if number == 0:
        code = WRONG
        try:
            signal.alarm(60)
            atomic._sweep_once.cache_clear()
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            work()
            code = 0
        except BaseException:
            os.write(2, traceback.format_exc().encode())
        finally:
            os._exit(code)
    status = os.waitpid(number, 0)[1]
    return DEAD if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGXFSZ else status >> 8


def before_steps(act, folder, patch):
    """Let `act(name, k)` happen before the k-th change of the file system below `folder`; `patch` is pytest's."""
    count, acting = itertools.count(1), []

    def counted(name, call, writes):
        def step(*arguments, **more):
            if not acting and writes(*arguments, **more):
                acting.append(name)
                try:
                    act(name, next(count))
                finally:
                    acting.clear()
            return call(*arguments, **more)

        return step

    def opens(path, mode="r", *_, **__):
        return bool(set("wax+") & set(mode)) and str(path).startswith(str(folder))

    for name in _CHANGES:
        patch.setattr(os, name, counted(name, getattr(os, name), lambda *_, **__: True))
    flags = os.O_WRONLY | os.O_RDWR | os.O_CREAT
    patch.setattr(os, "open", counted("open", os.open, lambda path, how, *_, **__: bool(how & flags)))
    patch.setattr(io, "open", counted("open", io.open, opens))


def full(event):
    """What a full disk refuses: nothing that makes room."""
    if event not in ("unlink", "rmdir", "truncate"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@contextmanager
def limited(size, reaction):
    """Let the system refuse, or kill for, what makes a file longer than `size` bytes; the libraries' writes too."""
    before = signal.signal(signal.SIGXFSZ, reaction)
    most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, most[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, most)
        signal.signal(signal.SIGXFSZ, before)


def there(operation, folder):
    """The version that is there, or the reader's refusal where one is due."""
    try:
        return operation.read(folder)
    except MediaError as error:
        assert operation.refusal in str(error)
        return "refused"


def check_left(operation, folder):
    left = {entry.name for entry in folder.iterdir()}
    assert left == {"notes.txt", *(name.strip("/") for name in operation.names)}
    assert (folder / "notes.txt").read_text() == NOTE


@pytest.fixture(params=OPERATIONS)
def operation(request):
    return OPERATIONS[request.param]


@pytest.fixture
def begun(tmp_path, operation, monkeypatch):
    """Gives new folders with a person's note and, where it may be replaced, the old version."""
    monkeypatch.setattr(
        os, "fsync", lambda handle: None
    )  # a process's death is no power cut; this is quicker
    former = tmp_path / "former"
    former.mkdir()
    (former / "notes.txt").write_text(NOTE)
    if operation.old:
        operation.write(former, OLD)
    numbers = itertools.count()
    return lambda: shutil.copytree(former, tmp_path / str(next(numbers)))


def recovered(operation, folder):
    """After a death: nothing half under the name; the next run makes all well."""
    before = {OLD if operation.old else None, NEW}
    assert there(operation, folder) in before | ({"refused"} if operation.refusal != "never" else set())
    atomic._sweep_once.cache_clear()
    operation.write(folder, NEW)
    assert operation.read(folder) == NEW
    check_left(operation, folder)


def test_death_at_every_step_leaves_the_old_or_the_new(operation, begun, tmp_path):
    folder, left = begun(), tmp_path / "left"
    left.mkdir()

    def work():
        def copy(_, k):
            shutil.copytree(folder, left / str(k), symlinks=True)

        before_steps(copy, folder, pytest.MonkeyPatch())
        operation.write(folder, NEW)

    assert child(work) == 0
    assert len(list(left.iterdir())) > 3
    for place in {content(place): place for place in (*left.iterdir(), folder)}.values():
        recovered(operation, place)


def content(folder):
    """Names and bytes of all that is in a folder."""
    return tuple(
        (str(path.relative_to(folder)), path.read_bytes() if path.is_file() else None)
        for path in sorted(folder.rglob("*"))
    )


def sizes(operation, folder):
    """Lengths at which a file of the operation is begun, half done and all but done."""
    operation.write(folder, NEW)
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != "notes.txt"]
    longest = max(path.stat().st_size for path in files)
    return 0, longest // 2, longest - 1


def test_death_within_a_write_leaves_the_old_or_the_new(operation, begun):
    for size in sizes(operation, begun()):
        folder = begun()

        def work(folder=folder, size=size):
            with limited(size, signal.SIG_DFL):
                operation.write(folder, NEW)

        assert child(work) == DEAD
        recovered(operation, folder)


def kept_whole(operation, folder, failed):
    """After a failure: the old version or the complete new one, and nothing of ours is left."""
    version = there(operation, folder)
    assert version in ({OLD if operation.old else None, NEW} if failed else {NEW})
    names = {name.strip("/") for name in operation.names} | {"notes.txt", operation.keeps}
    assert {entry.name for entry in folder.iterdir()} <= names
    assert (folder / "notes.txt").read_text() == NOTE


def test_a_disk_full_at_any_step_is_said_and_costs_nothing(operation, begun):
    for k in itertools.count(1):
        folder, reached, failed = begun(), [], False

        def act(event, step, k=k, reached=reached):
            if step == k:
                reached.append(event)
                full(event)

        with pytest.MonkeyPatch.context() as patch:
            before_steps(act, folder, patch)
            try:
                operation.write(folder, NEW)
            except OutputError as error:
                assert os.strerror(errno.ENOSPC) in str(error)
                failed = True
        kept_whole(operation, folder, failed)
        if not reached:
            assert k > 3
            break


def test_a_disk_full_within_a_write_is_said_and_costs_nothing(operation, begun):
    for size in sizes(operation, begun()):
        folder = begun()
        with limited(size, signal.SIG_IGN), pytest.raises(OutputError):
            operation.write(folder, NEW)
        kept_whole(operation, folder, True)


def test_an_export_keeps_what_a_person_put_beside_it(tmp_path):
    _write_export(tmp_path, OLD)
    (tmp_path / "lora" / "notes.txt").write_text(NOTE)
    (tmp_path / "lora" / "best").mkdir()
    mine = tmp_path / "lora" / "mine.safetensors"
    write_tensors(mine, _tensors(5))
    _write_export(tmp_path, NEW)
    assert (tmp_path / "lora" / "notes.txt").read_text() == NOTE
    assert _version(mine) == 5 and (tmp_path / "lora" / "best").is_dir()
    mine.unlink()
    assert _read_export(tmp_path) == NEW


def test_what_is_swept_is_provably_of_a_dead_writer(tmp_path):
    dead = []
    child(lambda: atomic.temporary_name(tmp_path / "a.mp4").touch())
    dead += tmp_path.iterdir()
    former = tmp_path / ".b.mp4.0123abcd.part"  # of earlier versions, which named no process
    stays = [
        atomic.temporary_name(tmp_path / "c.mp4"),
        tmp_path / ".d.mp4.part",
        tmp_path / "e.0123abcd.part",
    ]
    stays += [tmp_path / ".f.mp4.89abcdef.part"]  # like the former, and of today
    for path in (former, *stays):
        path.touch()
    for path in (former, *stays[:3]):
        os.utime(path, (0, 0))
    assert sorted(atomic.swept(tmp_path)) == sorted([*dead, former])
    assert sorted(tmp_path.iterdir()) == sorted(stays)
