"""Where networks come from: what `wan22 preprocess --setup` installs, or a folder that a person has.

Nothing is fetched unasked. `install` takes the files out of the wheel of MediaPipe, which it has pip download;
MediaPipe itself is not installed, as it needs other versions of numpy and protobuf. The files are told by their hashes.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import zipfile
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from wan22.atomic import written_folder
from wan22.errors import MissingModelError
from wan22.files import PathLike
from wan22.preprocess import official
from wan22.preprocess.backend import Preprocessor
from wan22.preprocess.landmark_networks import LandmarkNetworks, Network

WHEEL = "mediapipe==0.10.21"
"""The last release whose networks are files of the wheel; Apache 2.0."""
_PLATFORM = ("--platform", "manylinux_2_28_x86_64", "--python-version", "3.11", "--implementation", "cp")
"""The networks are the same in every wheel; this one is taken on every machine."""

FILES = {
    "pose_detection.tflite": "9ba9dd3d42efaaba86b4ff0122b06f29c4122e756b329d89dca1e297fd8f866c",
    "pose_landmark_full.tflite": "e9a5c5cb17f736fafd4c2ec1da3b3d331d6edbe8a0d32395855aeb2cdfd64b9f",
    "face_landmark.tflite": "1055cb9d4a9ca8b8c688902a3a5194311138ba256bcc94e336d8373a5f30c814",
    "hand_landmark_full.tflite": "11c272b891e1a99ab034208e23937a8008388cf11ed2a9d776ed3d01d0ba00e3",
}
"""The files and their SHA-256, in the order of `LandmarkNetworks`."""
SETUP = "wan22 preprocess --setup"
_EXTRA = "pip install 'wan22-studio[preprocess]'"


def place() -> Path:
    """Where `install` puts the networks."""
    from platformdirs import user_cache_path

    return user_cache_path("wan22") / "preprocess"


def open_networks(folder: PathLike | None = None) -> Preprocessor:
    """Open the networks in a folder, or those that are installed.

    A folder is one of the official release (det/, pose2d/), or has the files of `FILES`. The official networks make no
    masks: those that are installed do, if they are there.
    Raises MissingModelError that says how to get what is missing.
    """
    if folder is None:
        return landmark_networks(place()).preprocessor()
    path = Path(folder).expanduser()
    if official.is_official(path):
        opened = official.open_official(path)
        if not is_installed(place()):
            return opened
        masks = landmark_networks(place()).preprocessor()
        return replace(opened, mask=masks.mask, names=opened.names | {"mask": masks.names["mask"]})
    if not is_installed(path):
        raise MissingModelError(
            f"{folder} has neither {official.DETECTOR} and {official.POSE}, as the official release does, nor "
            f"{', '.join(FILES)}. Without --models, those that `{SETUP}` installs are used."
        )
    return landmark_networks(path).preprocessor()


def is_installed(folder: Path) -> bool:
    """Whether all files are there."""
    return all((folder / name).is_file() for name in FILES)


def landmark_networks(folder: Path) -> LandmarkNetworks:
    """Open the networks of MediaPipe in a folder. Raises MissingModelError without them, or without LiteRT."""
    if not is_installed(folder):
        raise MissingModelError(
            f"the networks that find people are not here ({folder}). Install them (16 MB): {SETUP}. Or name the "
            "folder process_checkpoint of Wan2.2-Animate-14B with --models."
        )
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        raise MissingModelError(f"LiteRT, which runs these networks, is not installed: {_EXTRA}") from error

    def opened(name: str) -> Network:
        try:
            with _quiet():
                at_work = Interpreter(model_path=str(folder / name), num_threads=min(4, os.cpu_count() or 1))
                at_work.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise MissingModelError(
                f"{folder / name} cannot be read: {error}. Install it again: {SETUP}"
            ) from error
        (taken,), given = at_work.get_input_details(), at_work.get_output_details()

        def network(image: np.ndarray) -> list[np.ndarray]:
            at_work.set_tensor(taken["index"], image[None].astype(np.float32))
            at_work.invoke()
            return [at_work.get_tensor(each["index"]) for each in given]

        return network

    return LandmarkNetworks(*(opened(name) for name in FILES))


@contextmanager
def _quiet() -> Generator[None]:
    """Keep LiteRT from writing to stderr that it starts, which it does past Python."""
    kept = os.dup(2)
    try:
        with Path(os.devnull).open("w") as nothing:
            os.dup2(nothing.fileno(), 2)
            yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def install(folder: Path | None = None, wheel: PathLike | None = None) -> Path:
    """Take the networks out of MediaPipe's wheel, and return their folder.

    `wheel` is the wheel, if it is here already; otherwise pip downloads it (35 MB) from the index that it is set to.
    Raises MissingModelError if it cannot be had, or if a file is not what it was when this was written.
    """
    folder = folder or place()
    with written_folder(folder, replace=lambda path: path.name in FILES) as part:
        if wheel is None:
            wheel = _downloaded(part)
        try:
            with zipfile.ZipFile(wheel) as archive:
                inside = {Path(name).name: name for name in archive.namelist()}
                for name, digest in FILES.items():
                    content = archive.read(inside[name])
                    if hashlib.sha256(content).hexdigest() != digest:
                        raise MissingModelError(
                            f"{name} in {wheel} is not the file of {WHEEL}: its hash differs."
                        )
                    (part / name).write_bytes(content)
        except (KeyError, OSError, zipfile.BadZipFile) as error:
            raise MissingModelError(f"{wheel} is no wheel of {WHEEL}: {error}.") from error
        for file in part.glob("*.whl"):
            file.unlink()
    return folder


def _downloaded(folder: Path) -> Path:
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        WHEEL,
        "--no-deps",
        "--only-binary",
        ":all:",
        *_PLATFORM,
    ]
    done = subprocess.run(
        [*command, "--dest", str(folder)],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    found = list(folder.glob("*.whl"))
    if done.returncode or not found:
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise MissingModelError(
            f"pip could not download {WHEEL}: {last}. Download its wheel elsewhere, and name it: {SETUP} --wheel FILE."
        )
    return found[0]
