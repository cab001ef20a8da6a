"""What the studio asks beside jobs: what is said of jobs, and what is made of what they made."""

from __future__ import annotations

from wan22.server import (
    audio,
    boards,
    direction,
    documents,
    interchange,
    materials,
    measuring,
    plans,
    recipes,
    renders,
    storyboards,
)

ROUTERS = [
    each.router
    for each in (
        interchange, audio, boards, direction, documents, materials, measuring, plans, recipes, renders, storyboards
    )
]  # fmt: skip
