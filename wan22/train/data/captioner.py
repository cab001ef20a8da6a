"""Write a text beside every clip that has none, by a model that sees: on a chat server, or on this machine.

A model is shown frames of a clip in their order and told what a video model's text should say. A text that is there is
left alone unless it is asked for anew, so the same command goes on after any end; what fails is noted, and the others
go on. Texts are written whole or not at all.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from wan22.atomic import written
from wan22.clock import StepCounter
from wan22.director.brief import MAX_PROMPT, answer
from wan22.director.chat import ChatExtender, data_url
from wan22.director.vocabulary import PROMPT_LANGUAGES
from wan22.errors import CheckpointError, ExtendError, MediaError, OptionError, choose
from wan22.train.data.found import CLIPS, IMAGES, walk
from wan22.train.data.frames import frames_at
from wan22.train.data.probe import probe
from wan22.train.log import Log

LARGEST = 512
"""Pixels of the longer side of a frame that is shown."""

MOST_FRAMES = 32
MAX_FAILURES = 5
"""Failures of the model in a row, after which the rest is left for another time."""

_TASK = """You write the text that a video model learns from beside a clip. You see {frames} of one clip of \
{seconds:.1f} seconds, in their order of time.

Say, in this order: the subject (who or what, with visible traits), the motion (how it begins, goes on and ends), \
the scene (place, background, light), the camera (shot size, angle, its movement or that it stands still), the style.

Rules
- Only what can be seen. No guesses of names, of audio, of feelings, of what came before.
- Motion is what changes from frame to frame; what does not change stands still.
- Do not speak of frames, images, clips or videos: describe what happens.
- {length} One paragraph. Answer in {language}, with the text alone: no title, no quotation marks, no remark."""

_LENGTH = {"en": ("English", "60 to 120 words."), "zh": ("Chinese (简体中文)", "80 to 200 characters.")}


class Captioner(Protocol):
    """A model that sees images, uint8 RGB (H, W, 3), and answers."""

    def caption_images(self, images: list[np.ndarray], task: str, said: str) -> str:
        """Return the answer. Raises ExtendError if the model fails."""
        ...


@dataclass(frozen=True)
class CaptionSettings:
    """What the texts should be. `hint` is what all clips have in common. Raises OptionError for what cannot be."""

    frames: int = 6
    language: str = "en"
    hint: str | None = None

    def __post_init__(self) -> None:
        choose("language of texts", self.language, PROMPT_LANGUAGES)
        if not 1 <= self.frames <= MOST_FRAMES:
            raise OptionError(
                f"frames = {self.frames}: from 1 to {MOST_FRAMES} images of a clip can be shown"
            )
        if self.hint is not None and len(self.hint) > MAX_PROMPT:
            raise OptionError(f"the hint has {len(self.hint):,} characters; {MAX_PROMPT:,} are read")


@dataclass
class Captioned:
    """What came of a folder: files by name. `left` are those that were not tried any more."""

    written: list[Path] = field(default_factory=list)
    skipped: list[Path] = field(default_factory=list)
    failed: dict[Path, str] = field(default_factory=dict)
    left: list[Path] = field(default_factory=list)

    def lines(self) -> list[str]:
        """For a terminal."""
        lines = [f"failed: {path}: {reason}" for path, reason in self.failed.items()]
        said = f"{len(self.written)} texts written, {len(self.skipped)} were there, {len(self.failed)} failed"
        if self.left:
            said += f", {len(self.left)} not tried after {MAX_FAILURES} failures in a row; the same command goes on"
        return [*lines, said]

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "written": [str(path) for path in self.written],
            "skipped": [str(path) for path in self.skipped],
            "failed": {str(path): reason for path, reason in self.failed.items()},
            "left": [str(path) for path in self.left],
        }


def caption_folder(
    folder: Path,
    captioner: Captioner,
    settings: CaptionSettings,
    *,
    overwrite: bool = False,
    log: Log | None = None,
) -> Captioned:
    """Write a .txt beside every clip and image below `folder` that has none, or an empty one.

    Raises OptionError if there is no such folder, MediaError if it holds no clip, OutputError if a text cannot be
    written, CheckpointError for a local model that cannot be loaded.
    """
    if not folder.is_dir():
        raise OptionError(f"{folder} is no folder of clips")
    paths = [path for path in walk(folder) if path.suffix.lower() in CLIPS | IMAGES]
    if not paths:
        raise MediaError(f"{folder} holds no clip. Known endings: {', '.join(sorted(CLIPS))}.")
    done, in_a_row = Captioned(), 0
    if not overwrite:
        done.skipped += [path for path in paths if _has_text(path)]
        paths = [path for path in paths if path not in done.skipped]
    counter = StepCounter(len(paths), "clip", log)
    for path in paths:
        if in_a_row == MAX_FAILURES:
            done.left.append(path)
            continue
        try:
            made = describe(path, captioner, settings)
            in_a_row = 0
        except (MediaError, ExtendError) as error:
            done.failed[path] = " ".join(str(error).split())
            in_a_row += isinstance(error, ExtendError)
        else:
            with written(_place(path)) as part:
                part.write_text(f"{made}\n", encoding="utf-8")
            done.written.append(path)
        counter.step(detail=f"{path.name}: {done.failed.get(path) or made}")
    return done


def _has_text(path: Path) -> bool:
    text = _place(path)
    return text.is_file() and bool(text.read_bytes().strip())


def describe(path: Path, captioner: Captioner, settings: CaptionSettings) -> str:
    """Return the text of one clip. Raises MediaError for the clip, ExtendError for the model."""
    facts = probe(path)
    scale = min(1.0, LARGEST / max(facts.size))
    size = max(1, round(facts.size[0] * scale)), max(1, round(facts.size[1] * scale))
    count = 1 if facts.still else min(settings.frames, facts.frames)
    # The middles of equal parts: neither the very first frame nor the last, which are often black.
    times = [0.0] if facts.still else [facts.seconds * (i + 0.5) / count for i in range(count)]
    images = list(frames_at(path, times, facts.clock, size, facts.size))
    language, length = _LENGTH[settings.language]
    shown = "one frame" if count == 1 else f"{count} frames"
    task = _TASK.format(frames=shown, seconds=facts.seconds, length=length, language=language)
    said = "Write the text."
    if settings.hint:
        said = f"What is known of it, which the text should say where it can be seen: {settings.hint.strip()}\n{said}"
    return captioner.caption_images(images, task, said)


def _place(path: Path) -> Path:
    """Where the text of a clip stands: clip.txt, or clip.mp4.txt if that is there."""
    long = path.with_name(f"{path.name}.txt")
    return long if long.is_file() else path.with_suffix(".txt")


@dataclass(frozen=True)
class ServerCaptioner:
    """A chat server of the OpenAI form whose model sees; images go as JPEG in data URLs."""

    server: ChatExtender

    def caption_images(self, images: list[np.ndarray], task: str, said: str) -> str:
        """Ask the server. Raises ExtendError."""
        parts: list[dict[str, Any]] = [
            {"type": "image_url", "image_url": {"url": data_url(image)}} for image in images
        ]
        return self.server.ask(task, [*parts, {"type": "text", "text": said}])


def server_captioner(
    url: str, model: str | None, *, key: str | None = None, timeout: float = 120.0
) -> ServerCaptioner:
    """A server by its address (URL, or URL#MODEL). Raises OptionError for an address or timeout that cannot be."""
    address, _, named = url.partition("#")
    return ServerCaptioner(ChatExtender(address, model or named or None, key, timeout))


@dataclass(frozen=True)
class LocalCaptioner:
    """A vision model in a folder, or in the cache under its hub name, through transformers; nothing is downloaded."""

    model: str
    most_tokens: int = 400

    def caption_images(self, images: list[np.ndarray], task: str, said: str) -> str:
        """Ask the model, greedily. Raises CheckpointError if it cannot be loaded, ExtendError for its answer."""
        import torch
        from PIL import Image

        processor, network = self._loaded
        shown = [{"type": "image", "image": Image.fromarray(image)} for image in images]
        # One turn: not every vision model's template knows a system's.
        turns = [{"role": "user", "content": [*shown, {"type": "text", "text": f"{task}\n\n{said}"}]}]
        given = processor.apply_chat_template(
            turns, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
        ).to(network.device, network.dtype)
        with torch.inference_mode():
            made = network.generate(**given, max_new_tokens=self.most_tokens, do_sample=False)
        tokens = made[0, given["input_ids"].shape[1] :]
        if len(tokens) >= self.most_tokens:
            raise ExtendError(
                f"{self.model} did not end within {self.most_tokens} tokens; take another model"
            )
        return answer(processor.decode(tokens, skip_special_tokens=True), self.model)

    @cached_property
    def _loaded(self) -> tuple[Any, Any]:
        import torch
        from transformers import AutoModelForImageTextToText, AutoProcessor

        try:
            processor = AutoProcessor.from_pretrained(self.model, local_files_only=True)
            network = AutoModelForImageTextToText.from_pretrained(
                self.model, local_files_only=True, dtype="auto"
            )
        except (OSError, ValueError, KeyError, ImportError) as error:
            reason = str(error).strip().partition("\n")[0].rstrip(".")
            here = "" if Path(self.model).is_dir() else f" Download it first: hf download {self.model}."
            raise CheckpointError(
                f"{self.model} cannot be loaded as a vision model: {reason}.{here}"
            ) from error
        return processor, network.eval().to("cuda" if torch.cuda.is_available() else "cpu")


def local_captioner(model: str) -> LocalCaptioner:
    """A model by its folder or hub name."""
    return LocalCaptioner(model)
