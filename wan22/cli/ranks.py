"""A command that torchrun started as several processes: rank 0 runs it, the others follow."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace

from wan22.cli import remote
from wan22.production.options import Given


@contextmanager
def placed(given: Given) -> Generator[Given | None]:
    """What was asked, with the number of ranks; None on a rank that has followed another to its end, which it does with
    the body.
    """
    if os.environ.get("WORLD_SIZE", "1") == "1":
        yield given
        return
    from wan22.parallel.places import world

    mine = world()
    if mine is None:
        yield given
    elif mine.rank == 0 and not remote.is_remote(given):
        from wan22.parallel.group import leading

        with leading():
            yield replace(given, values={"gpus": mine.size} | _said(given))
    elif mine.rank == 0:
        yield given
    else:
        if not remote.is_remote(given):
            from wan22.engine import follow
            from wan22.parallel.group import Team, run_follower

            run_follower(Team.of(given["device"] or "auto", mine.size, given["parallel"]).begin(""), follow)
        yield None


def _said(given: Given) -> dict[str, object]:
    return {name: value for name, value in given.values.items() if name != "gpus" or value is not None}
