"""What other jobs made for a job (references.py), as files in its own folder."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from wan22.atomic import temporary_file
from wan22.errors import MediaError, OutputError
from wan22.jobs import references
from wan22.jobs.folder import RESULT, Folder
from wan22.jobs.job import Job

GIVEN = "given"
"""The folder of a job with what other jobs made for it."""


def path_of(folder: Folder, job: str, value: str) -> Path:
    """The file that a field of a job's request means: an input, or what another job made for it."""
    reference = references.read(value)
    if reference is None:
        return folder.input(value)
    return folder.job(job) / GIVEN / "-".join(filter(None, (reference.job, reference.frame)))


def bring(folder: Folder, job: Job) -> None:
    """Put what the job's request says of other jobs into its folder, where it is not yet there.

    Raises MediaError for what is gone, OptionError for a frame that is not there, OutputError for a full disk.
    """
    for name, reference in references.of_request(job.request):
        target = path_of(folder, job.id, job.request[name])
        if not target.exists():
            source = _made(folder, name, reference)
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                _put(source, target, reference.frame)
            except OSError as error:
                raise OutputError(f"{target.parent} cannot be written: {error.strerror}") from error


def _made(folder: Folder, name: str, reference: references.Reference) -> Path:
    """The first file of a job's result."""
    place = folder.job(reference.job)
    try:
        path = place / json.loads((place / RESULT).read_text(encoding="utf-8"))["files"][0]["name"]
    except (OSError, ValueError, KeyError, IndexError):
        path = None
    if path is None or not path.is_file():
        raise MediaError(
            f"{name}: job {reference.job} is gone, or has made no file. Give another image or video"
        )
    return path


def _put(source: Path, target: Path, frame: str | None) -> None:
    with temporary_file(target) as part:
        if frame is None:
            try:
                os.link(source, part)
            except OSError:  # a file system without links
                shutil.copyfile(source, part)
        else:
            from wan22.media.image import save
            from wan22.media.video import frame_of

            save(part, frame_of(source, frame)[0], "png", None)
        part.replace(target)
