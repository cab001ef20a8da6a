"""The video of a job while it is made: its finished clips, wherever the attempts at it have them."""

from __future__ import annotations

from wan22.jobs.attempt import WORK
from wan22.jobs.folder import Folder
from wan22.media.growing import SUFFIX, Growing, read_growing


def growing_of(folder: Folder, id: str) -> Growing | None:
    """What of a job's video can be played; None if nothing, or if it is not made clip by clip.

    Of two attempts, one of which takes over what the other had, the one that has more.
    """
    try:
        folders = list(folder.job(id).glob(f"{WORK}*/*{SUFFIX}"))
    except OSError:  # an attempt is cleared away meanwhile
        return None
    found = [read_growing(each) for each in folders]
    return max((each for each in found if each is not None), key=lambda each: len(each.clips), default=None)
