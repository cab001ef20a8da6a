"""The shots of a storyboard as one video: what must hold before they are made, and the joining."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from wan22.errors import MediaError, OutputError, RequestError
from wan22.version import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wan22.canvas import Canvas
    from wan22.media.provenance import Marking
    from wan22.production.shots import Shot

KEY = "joined"
"""The recipe's entry: the recipe of each video that was joined, in order."""


def check_join(shots: Sequence[Shot], canvases: Sequence[Canvas], target: Path) -> None:
    """Raise RequestError for shots that differ in size or rate, OutputError if `target` is somebody else's file."""
    first = canvases[0]
    for shot, canvas in zip(shots, canvases, strict=True):
        if (canvas.out, canvas.fps) != (first.out, first.fps):
            raise RequestError(
                f"{shot.scene.where}: it is {_form(canvas)}, and the first shot is {_form(first)}; shots that are "
                "joined have one size and rate: say Size: and Fps: for all, or do not join them"
            )
    if target.exists() and not _is_ours(target):
        raise OutputError(
            f"{target} was not joined by wan22, so it is not replaced: move it, or choose another -o"
        )


def join(videos: Sequence[Path], target: Path, title: str, marking: Marking | None = None) -> dict[str, Any]:
    """Join videos to `target` and return the recipe inside: the title, and the recipe of each."""
    from wan22.media.join import join_videos
    from wan22.media.recipe import read_recipe

    recipe = {"wan22": __version__, "title": title, KEY: [read_recipe(video) for video in videos]}
    join_videos(videos, target, recipe, marking)
    return recipe


def _is_ours(target: Path) -> bool:
    from wan22.media.recipe import read_recipe

    try:
        return KEY in (read_recipe(target) or {})
    except MediaError:
        return False


def _form(canvas: Canvas) -> str:
    return f"{canvas.out[0]}x{canvas.out[1]} at {canvas.fps:g} frames a second"
