"""A timeline as a finished file: everything is checked, then frames and audio are made and written as they come.

A timeline of N frames gives N frames. Where a loudness is asked the audio is mixed twice: once to measure it. Closing
the iterator cancels; nothing is left then. Memory does not grow with length.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from wan22.errors import OptionError, OutputError, RequestError
from wan22.files import PathLike
from wan22.media import output_paths
from wan22.media.provenance import Marking
from wan22.media.recipe_text import RECIPE_LIMIT, dump_recipe
from wan22.timeline import loudness
from wan22.timeline.document import dump
from wan22.timeline.formats import Format, format_of, size_of
from wan22.timeline.frames import frames
from wan22.timeline.items import Timeline
from wan22.timeline.mix import LAYOUT, SAMPLE_RATE, has_audio, mixed, sample_at
from wan22.timeline.output import Output, audio_to, images_to, video_to
from wan22.timeline.rules import LOUDNESS
from wan22.timeline.sources import Resolve, Sources
from wan22.timeline.text import Texts
from wan22.version import __version__

__all__ = ["KEY", "Rendered", "Rendering", "Settings", "render"]

KEY = "timeline"
"""The recipe's entry: the document that was rendered."""

_GIF_SIDE = 640  # pixels of the longer side, where no size is asked

Blocks = Callable[[], Iterator[np.ndarray]]


@dataclass(frozen=True)
class Settings:
    """How a timeline is delivered.

    `format` is a key of FORMATS, or None for what the target's name says; `size` "1080x1920" or a shape, "9:16".
    `captions` is "burn" for the first language that there is, or "burn:ko"; None leaves them out. `loudness` in LUFS,
    None for the timeline's own. `existing` says what becomes of a file that has the target's name.
    """

    format: str | None = None
    size: str | None = None
    captions: str | None = None
    loudness: float | None = None
    quality: str = "high"
    existing: output_paths.Existing = "refuse"
    marking: Marking | None = None


@dataclass(frozen=True)
class Rendering:
    """How far it is: `stage` is "measure" (of the audio) or "render"; `done` of `total` frames."""

    stage: str
    done: int
    total: int


@dataclass(frozen=True)
class Rendered:
    """The end: the file's name and recipe, and what a person should know of it."""

    path: str
    recipe: dict[str, Any]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Job:
    timeline: Timeline
    target: PathLike
    sources: Sources
    texts: Texts
    form: Format
    settings: Settings
    first: int
    last: int

    @property
    def total(self) -> int:
        return self.last - self.first

    def mix(self) -> Iterator[np.ndarray]:
        """The audio as it is in the timeline."""
        return mixed(self.timeline, self.sources, self.first, self.last)

    @property
    def loudness(self) -> float | None:
        asked = self.settings.loudness
        return self.timeline.loudness if asked is None else asked


def render(
    timeline: Timeline, target: PathLike, resolve: Resolve, settings: Settings | None = None
) -> Iterator[Rendering | Rendered]:
    """Check all that can be checked, and return an iterator that renders `timeline` to `target`; Rendered is its last.

    Raises MediaError that names a clip whose media is missing or damaged, OptionError and SizeError for impossible
    settings, OutputError for a place that cannot be written, RequestError for a timeline without a frame. What only
    decoding shows is raised on the way; no file is there then.
    """
    settings = settings or Settings()
    form = format_of(target, settings.format)
    _check_asked(form, settings)
    size = _size(timeline, form, settings)
    first, last = timeline.first or 0, min(timeline.length, timeline.last or timeline.length)
    if last <= first:
        raise RequestError(f"the timeline {timeline.name!r} has no frame to render, from {first} to {last}.")
    texts = Texts(timeline, size, _language(timeline, settings.captions))
    rate = timeline.fps
    needed, kind = int((last - first) / rate * SAMPLE_RATE * 6), "wav"
    if form.codec:
        kind = form.encoding(target, rate, size, settings.quality).kind
        needed = output_paths.estimate_bytes(size, last - first, target)
        texts.check()
    overwrite = settings.existing == "replace"
    output_paths.check_output(target, bytes_needed=needed, overwrite=overwrite, kind=kind)
    (settings.marking or Marking.asked()).check()
    sources = Sources(timeline, resolve)
    if any(output_paths.same_file(target, path) for path in sources.paths):
        raise OutputError(f"{target} is one of the timeline's own media. Choose another name.")
    return _rendered(_Job(timeline, target, sources, texts, form, settings, first, last))


def _check_asked(form: Format, settings: Settings) -> None:
    """Raise OptionError for a setting that is impossible, or says nothing of this format."""
    asked = settings.loudness
    if asked is not None and not LOUDNESS[0] <= asked <= LOUDNESS[1]:
        raise OptionError(f"a loudness is {LOUDNESS[0]:g} to {LOUDNESS[1]:g} LUFS, not {asked:g}")
    unsaid = {
        "loudness": asked is not None and not form.audio,
        "captions": settings.captions is not None and not form.codec,
        "size": settings.size is not None and not form.codec,
    }
    for name, said in unsaid.items():
        if said:
            raise OptionError(f"{name} says nothing of {form.what}. Leave it out, or choose another format.")


def _rendered(job: _Job) -> Iterator[Rendering | Rendered]:
    notes = list(job.sources.notices)
    audible = has_audio(job.timeline, job.sources) and job.form.audio
    audio: Blocks | None = None
    if audible:
        audio = yield from _levelled(job, notes)
    elif not job.form.codec:
        audio = job.mix
        notes.append("nothing is audible in this timeline: the file is silent")
    recipe = _recipe(job)
    with _output(job, recipe, audio=audio is not None) as output:
        yield from _written(job, output, audio)
    yield Rendered(output.place, recipe, tuple(notes))


def _written(job: _Job, output: Output, audio: Blocks | None) -> Iterator[Rendering]:
    """Write frame by frame, and the audio as far as each frame lasts."""
    blocks, fps = iter(()) if audio is None else audio(), job.timeline.fps
    begin, written = sample_at(job.first, fps), 0
    images = frames(job.timeline, job.sources, job.texts, job.first, job.last) if job.form.codec else None
    for frame in range(job.first, job.last):
        if images is not None:
            output.image(next(images))
        while written < sample_at(frame + 1, fps) - begin:
            block = next(blocks, None)
            if block is None:
                break
            output.audio(block)
            written += len(block)
        yield Rendering("render", frame + 1 - job.first, job.total)
    for block in blocks:
        output.audio(block)


def _levelled(job: _Job, notes: list[str]) -> Generator[Rendering, None, Blocks]:
    """The audio at the loudness that is asked, or as it is; nowhere above full scale."""
    target = job.loudness
    if target is None:
        return lambda: loudness.limited(job.mix(), 0.0)
    found = yield from _measured(job, job.mix)
    if found.integrated <= loudness.SILENCE:
        notes.append("its audio is too short or too quiet to have a loudness: it is as it is")
        return lambda: loudness.limited(job.mix(), 0.0)

    def louder(decibels: float) -> Blocks:
        gain = np.float32(10 ** (decibels / 20))
        return lambda: loudness.limited((block * gain for block in job.mix()), loudness.CEILING)

    gain = target - found.integrated
    if found.true_peak + gain > loudness.CEILING:  # the limiter takes loudness away
        after = yield from _measured(job, louder(gain))
        gain += target - after.integrated
        if target - after.integrated > 1:
            after = yield from _measured(job, louder(gain))
        if abs(target - after.integrated) > 1:
            reached = f"{after.integrated:.1f} LUFS at {loudness.CEILING:g} dBTP"
            notes.append(f"its peaks are too high for {target:g} LUFS: it has {reached}")
    return louder(gain)


def _measured(job: _Job, blocks: Blocks) -> Generator[Rendering, None, loudness.Loudness]:
    meter, done = loudness.Meter(SAMPLE_RATE, LAYOUT), 0
    for block in blocks():
        meter.push(block)
        done += len(block)
        yield Rendering("measure", min(job.total, int(done * job.timeline.fps / SAMPLE_RATE)), job.total)
    return meter.measured()


def _output(job: _Job, recipe: dict[str, Any], *, audio: bool) -> AbstractContextManager[Output]:
    settings = job.settings
    if not job.form.codec:
        return audio_to(job.target, existing=settings.existing)
    encoding = job.form.encoding(job.target, job.timeline.fps, job.texts.size, settings.quality)
    # What no model made any part of is not said to be made by one.
    made = any(part is not None for part in recipe["joined"])
    marking = (settings.marking or Marking.asked()) if made else None
    if job.form.audio:
        return video_to(
            job.target, encoding, recipe, audio=audio, existing=settings.existing, marking=marking
        )
    return images_to(job.target, encoding, recipe, existing=settings.existing, marking=marking)


def _recipe(job: _Job) -> dict[str, Any]:
    """The document, and the recipes of the videos that are seen in it; without the document if that is too long."""
    document = dump(job.timeline)
    for track in document["tracks"]:
        for item in track["items"]:
            item.pop("recipe", None)
            item.pop("takes", None)
            if "path" in item.get("media", {}):
                item["media"] = item["media"] | {"path": Path(item["media"]["path"]).name}
    recipe = {
        "wan22": __version__,
        "title": job.timeline.name,
        "joined": job.sources.recipes(job.timeline),
        KEY: document,
    }
    try:
        dump_recipe(recipe)
    except OutputError:
        recipe[KEY] = {"name": job.timeline.name, "frames": job.total, "longer_than": RECIPE_LIMIT}
    return recipe


def _size(timeline: Timeline, form: Format, settings: Settings) -> tuple[int, int]:
    size = size_of(settings.size, timeline.size)
    if settings.size is None and form.codec == "gif" and max(size) > _GIF_SIDE:
        scale = Fraction(_GIF_SIDE, max(size))
        size = round(size[0] * scale), round(size[1] * scale)
    return size


def _language(timeline: Timeline, asked: str | None) -> str | None:
    """The language of the captions that are drawn. Raises OptionError for one that there is not."""
    if asked is None:
        return None
    there = list(dict.fromkeys(caption.language for caption in timeline.captions))
    burn, _, language = asked.partition(":")
    if burn != "burn":
        raise OptionError(f'captions are "burn", or "burn:" and a language, not {asked!r}')
    if not there:
        raise OptionError("the timeline has no captions to burn in")
    if language and language not in there:
        raise OptionError(f"the timeline has no captions in {language!r}; there are: {', '.join(there)}")
    return language or there[0]
