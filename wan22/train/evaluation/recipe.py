"""What an evaluation is to do, read from a small TOML file and checked before anything is loaded or made.

    model = "nano"                 # a catalogue name, a folder, a run's output
    prompts = "held-out"           # or a file: one prompt a line, or JSON lines {"prompt", "image", "audio", "labels"}
    count = 64
    references = "clips/"          # real clips; NAME.txt beside NAME.mp4 says what it shows

docs/evaluation.md has every key.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wan22.director.judge import check_labels
from wan22.errors import MediaError, OptionError, choose
from wan22.files import parse_json, read_text, read_toml
from wan22.train.evaluation.extractors import KINDS, Extractor, open_extractor
from wan22.train.log import Log
from wan22.train.settings import renamed
from wan22.weights.lora import LoRA

HELD_OUT = "held-out"
TASKS = ("text", "image")
_OLD_TASK = "picture"
_OLD_NAMES = {"sound": "audio"}
"""Keys of prompts in JSON lines by the names that they had before; read with a notice for one release."""
SUFFIXES = (".mp4", ".mov", ".webm", ".mkv", ".gif", ".avi")


SIGMAS = tuple(round((i + 0.5) / 20, 4) for i in range(20))
"""The middles of twenty equal bands of noise."""


@dataclass(frozen=True)
class EvalPrompt:
    """One video to make: its prompt, the labels that it is judged by (None: what the prompt says), its files."""

    prompt: str
    labels: Mapping[str, str] | None = None
    image: Path | None = None
    audio: Path | None = None


@dataclass(frozen=True)
class Bands:
    """Validation loss: at which noise levels, over how many noises and how many held-out clips."""

    sigmas: tuple[float, ...] = SIGMAS
    seeds: int = 1
    clips: int = 16


@dataclass(frozen=True)
class EvalRecipe:
    """An evaluation. None is the model's own, as in a Request.

    `task` "image" gives each video its first frame: the prompt's own image, else that of the reference of the same
    number. `prompt_list` is empty for the film set's held-out list, whose references are the set's own renders.
    """

    model: str = "nano"
    loras: tuple[LoRA, ...] = ()
    prompts: str = HELD_OUT
    count: int | None = None
    seed: int = 0
    task: str = "text"
    negative: str | None = None
    size: tuple[int, int] | None = None
    frames: int | None = None
    fps: float | None = None
    steps: int | None = None
    solver: str | None = None
    shift: float | None = None
    guidance: float | tuple[float, float] | None = None
    guidance_rescale: float | None = None
    references: Path | None = None
    device: str = "auto"
    dtype: str = "auto"
    loss: Bands | None = field(default_factory=Bands)
    extractors: Mapping[str, Extractor] = field(default_factory=dict)
    prompt_list: tuple[EvalPrompt, ...] = ()
    clips: tuple[Path, ...] = ()

    @property
    def videos(self) -> int:
        """How many videos are made."""
        return self.count or len(self.prompt_list) or 32


def load_eval_recipe(path: Path, log: Log | None = None) -> EvalRecipe:
    """Read and check a recipe; files in it are relative to its folder. `log` takes a notice for each old name.

    Raises OptionError for an unknown key (naming the nearest), a value of another type, or files that are not there,
    and MediaError for a recipe, prompts or references that cannot be read.
    """
    values = read_toml(path, MediaError)
    for key in values:
        choose("key of an evaluation", key, tuple(_READ))
    folder = path.parent
    if values.get("task") == _OLD_TASK:
        values["task"] = "image"
        if log is not None:
            log(
                f'notice: task = "{_OLD_TASK}" is now task = "image"; the old name is read for one more release'
            )
    found = {
        key: _prompts(key, value, folder, log) if key == "prompts" else _READ[key](key, value, folder)
        for key, value in values.items()
    }
    if "prompts" in found:
        found["prompts"], found["prompt_list"] = found["prompts"]
    if "references" in found:
        found["clips"] = _clips(found["references"])
    recipe = EvalRecipe(**found)
    _check(recipe)
    return recipe


def _check(recipe: EvalRecipe) -> None:
    """What no key can say alone."""
    from wan22.train.evaluation.metrics import MIN_SAMPLES

    real = recipe.clips or not recipe.prompt_list
    for kind in ("fid", "fvd"):
        if kind in recipe.extractors and not real:
            raise OptionError(f"extractors.{kind} compares with real clips: give references = 'FOLDER'")
    if "fvd" in recipe.extractors:
        for what, number in (
            ("videos (count)", recipe.videos),
            ("references", len(recipe.clips) or recipe.videos),
        ):
            if number < MIN_SAMPLES:
                raise OptionError(f"FVD needs at least {MIN_SAMPLES} {what}, not {number}")
    if recipe.task == "image" and not real and any(each.image is None for each in recipe.prompt_list):
        raise OptionError(
            "task = 'image' needs an image for every prompt, or references whose first frames are given"
        )
    if "sync" in recipe.extractors and not any(each.audio for each in recipe.prompt_list):
        raise OptionError(
            'extractors.sync needs prompts as JSON lines that name an audio file: {"prompt": ..., "audio": ...}'
        )


def _clips(folder: Path) -> tuple[Path, ...]:
    if not folder.is_dir():
        raise OptionError(f"there is no folder of references {folder}")
    found = tuple(sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES))
    if not found:
        raise OptionError(f"{folder} holds no clips; references end in {', '.join(SUFFIXES)}")
    return found


def caption_of(clip: Path) -> str:
    """What the text file beside a clip says it shows; empty if there is none."""
    beside = clip.with_suffix(".txt")
    return read_text(beside, MediaError).strip() if beside.is_file() else ""


# How each key is read: (key, value, the recipe's folder) to a field of EvalRecipe.


def _of(*types: type, least: float | None = None) -> Callable[[str, Any, Path], Any]:
    names = " or ".join(t.__name__ for t in types)

    def read(key: str, value: Any, folder: Path) -> Any:
        if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
            raise OptionError(f"{key} must be {names}, not {value!r}")
        if least is not None and value < least:
            raise OptionError(f"{key} must be {least:g} or more, not {value!r}")
        return value

    return read


def _pair(key: str, value: Any, folder: Path) -> Any:
    """[width, height], or two guidances (low noise, high noise), or one number for both."""
    if key == "guidance" and isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    if not (isinstance(value, list) and len(value) == 2 and all(isinstance(v, (int, float)) for v in value)):
        raise OptionError(f"{key} must be a list of two numbers, not {value!r}")
    return tuple(value)


def _task(key: str, value: Any, folder: Path) -> str:
    return choose("task", str(value), TASKS)


def _model(key: str, value: Any, folder: Path) -> str:
    """A folder beside the recipe, or what the catalogue makes of the name."""
    name = _of(str)(key, value, folder)
    return str(folder / name) if (folder / name).is_dir() else name


def _references(key: str, value: Any, folder: Path) -> Path:
    return folder / Path(_of(str)(key, value, folder)).expanduser()


def _loras(key: str, value: Any, folder: Path) -> tuple[LoRA, ...]:
    found = []
    for each in value if isinstance(value, list) else [value]:
        table = {"file": each} if isinstance(each, str) else each
        if not isinstance(table, dict) or not isinstance(table.get("file"), str):
            raise OptionError(f"loras holds paths, or tables with file, strength and expert; not {each!r}")
        for name in table:
            choose("key of a LoRA", name, ("file", "strength", "expert"))
        path = folder / Path(table["file"]).expanduser()
        if not path.exists():
            raise OptionError(f"there is no LoRA {path}")
        strength = _of(int, float)("strength", table.get("strength", 1.0), folder)
        found.append(LoRA(path, float(strength), table.get("expert")))
    return tuple(found)


def _loss(key: str, value: Any, folder: Path) -> Bands | None:
    if value is False:
        return None
    table = _of(dict)(key, {} if value is True else value, folder)
    for name in table:
        choose("key of loss", name, ("sigmas", "seeds", "clips"))
    sigmas = table.get("sigmas", list(SIGMAS))
    numbers = [_of(int, float)("sigmas", s, folder) for s in _of(list)("loss.sigmas", sigmas, folder)]
    bands = Bands(
        tuple(float(s) for s in numbers),
        _of(int, least=1)("loss.seeds", table.get("seeds", 1), folder),
        _of(int, least=1)("loss.clips", table.get("clips", 16), folder),
    )
    check_bands(bands.sigmas, bands.seeds)
    return bands


def check_bands(sigmas: Sequence[float], seeds: int) -> None:
    """Raise OptionError if these are no noise levels and number of noises."""
    if not sigmas or not all(0 < sigma <= 1 for sigma in sigmas):
        raise OptionError(f"noise levels lie above 0 and up to 1; got {list(sigmas)}")
    if seeds < 1:
        raise OptionError(f"at least one noise seed is needed, not {seeds}")


def _extractors(key: str, value: Any, folder: Path) -> dict[str, Extractor]:
    table = _of(dict)(key, value, folder)
    for kind in table:
        choose("extractor", kind, KINDS)
    return {kind: open_extractor(kind, said, folder) for kind, said in table.items()}


def _prompts(
    key: str, value: Any, folder: Path, log: Log | None = None
) -> tuple[str, tuple[EvalPrompt, ...]]:
    name = _of(str)(key, value, folder)
    if name == HELD_OUT:
        return name, ()
    path = folder / Path(name).expanduser()
    lines = [line.strip() for line in read_text(path, MediaError).splitlines()]
    json_lines = path.suffix.lower() in (".jsonl", ".ndjson")
    found = [
        _json_line(path, number, line, log) if json_lines else EvalPrompt(line)
        for number, line in enumerate(lines, 1)
        if line
    ]
    if not found:
        raise MediaError(f"{path} holds no prompt: give one a line")
    return name, tuple(found)


def _json_line(path: Path, number: int, line: str, log: Log | None = None) -> EvalPrompt:
    table = parse_json(line, f"{path}, line {number}", MediaError)
    if not isinstance(table, dict) or not isinstance(table.get("prompt"), str):
        raise MediaError(f'{path}, line {number}: needs an object with a "prompt", not {line[:60]!r}')
    table = renamed(table, _OLD_NAMES, log)
    for name in table:
        choose(f"key in {path.name}, line {number},", name, ("prompt", "labels", "image", "audio"))
    files = {
        name: path.parent / Path(table[name]).expanduser() for name in ("image", "audio") if name in table
    }
    for name, file in files.items():
        if not file.is_file():
            raise MediaError(f"{path}, line {number}: there is no {name} {file}")
    labels = table.get("labels")
    if labels is not None:
        if not isinstance(labels, dict):
            raise MediaError(
                f'{path}, line {number}: labels are values by axis, {{"colour": "red"}}, not {labels!r}'
            )
        check_labels(labels, f"labels in {path.name}, line {number},")
    return EvalPrompt(table["prompt"], labels, **files)


_READ: Mapping[str, Callable[[str, Any, Path], Any]] = {
    "model": _model,
    "loras": _loras,
    "prompts": _prompts,
    "count": _of(int, least=1),
    "seed": _of(int, least=0),
    "task": _task,
    "negative": _of(str),
    "size": _pair,
    "frames": _of(int, least=1),
    "fps": _of(int, float, least=0.1),
    "steps": _of(int, least=1),
    "solver": _of(str),
    "shift": _of(int, float),
    "guidance": _pair,
    "guidance_rescale": _of(int, float, least=0),
    "references": _references,
    "device": _of(str),
    "dtype": _of(str),
    "loss": _loss,
    "extractors": _extractors,
}

KEYS: Sequence[str] = tuple(_READ)
"""Every key that a recipe may have."""
