"""A script as requests: what each of its shots asks of a model, the same on the command line and on a server."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from wan22.production.work import present

if TYPE_CHECKING:
    from wan22.production.options import Given
    from wan22.storyboard.script import Scene, Script

INSTEAD = ("model", "size", "fps", "negative", "steps", "seed")
"""What a script says for all shots, and options say instead."""
HOW = (
    "solver", "shift", "schedule", "sigmas", "boundary", "switch_step", "guidance", "guidance_rescale",
    "guidance_interval", "cache",
)  # fmt: skip
"""What only options say."""


def overridden(script: Script, given: Given) -> Script:
    """The script with what the options of `INSTEAD` say, None being what was not said."""
    changed = replace(script, **present({name: given[name] for name in INSTEAD}))
    if given["seed"] is not None:  # one seed for all shots, also those that have their own
        changed = replace(changed, scenes=tuple(replace(scene, seed=None) for scene in changed.scenes))
    return changed


def seed_of(script: Script, scene: Scene) -> int:
    """The seed of a scene's first take."""
    return script.seed if scene.seed is None else scene.seed


def asked_of(script: Script, scene: Scene, given: Given) -> dict[str, Any]:
    """What a scene asks, by the names of `wan22.Request`; its image is left out, which is found otherwise."""
    shared = {"size": script.size, "fps": script.fps, "steps": script.steps, "negative": script.negative}
    own = {"prompt": scene.prompt, "seed": seed_of(script, scene), "seconds": scene.seconds}
    return present(shared | {name: given[name] for name in HOW} | own)
