"""A run on several devices: the leader has the recipe, and every rank trains by it (parallel/group.py starts them)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from wan22.errors import ParallelError
from wan22.train.distributed import DistributedWorld
from wan22.train.run import train

if TYPE_CHECKING:
    from wan22.parallel.group import Group, Team
    from wan22.train.log import Log
    from wan22.train.recipe import Recipe
    from wan22.train.run import Outcome, Stop

FOLLOW = "wan22.train.together:follow"


def train_together(
    team: Team, recipe: Recipe, *, minutes: float | None = None, log: Log, stop: Stop = lambda: False
) -> Outcome:
    """Train as run.train does, leading the ranks of a team. Raises its errors, and ParallelError if a rank is lost."""
    from wan22.parallel.group import is_lost

    group = team.begin(FOLLOW)()
    try:
        group.control.broadcast((recipe, minutes))
        outcome = train(recipe, minutes=minutes, log=log, stop=stop, world=_world(group, recipe))
    except BaseException as error:
        found = group.why(error) if is_lost(error) else None
        group.end(broken=True)
        if found is not None:
            raise found from error
        raise
    group.end()
    return outcome


def follow(group: Group) -> None:
    """Be a rank that does what the leader does."""
    recipe, minutes = group.control.broadcast(None)
    world = _world(group, recipe)
    train(recipe, minutes=minutes, log=_unheard, world=world)


def _world(group: Group, recipe: Recipe) -> DistributedWorld:
    world = DistributedWorld(group.control, group.device, recipe.parallel)
    if group.hosts > 1:
        _check_shared(world, recipe.path(recipe.output))
    return world


def _check_shared(world: DistributedWorld, folder: Path) -> None:
    """Raise ParallelError unless all machines see the folder of the run, where each rank writes its shards."""
    probe = folder / ".shared"
    try:
        world.first(lambda: (folder.mkdir(parents=True, exist_ok=True), probe.write_text(""))[1])
        if world.any(not probe.is_file()):
            raise ParallelError(
                f"{folder} is not the same folder on all machines: put `output` on a disk that all of them share"
            )
    finally:
        if world.leads:
            probe.unlink(missing_ok=True)


def _unheard(line: str) -> None:
    """The leader says it."""
