"""What the studio asks beside jobs: what is said of jobs, and what is made of what they made."""

from __future__ import annotations

from wan22.server import boards, direction, documents, interchange, measuring, renders, storyboards

ROUTERS = [
    each.router for each in (interchange, boards, direction, documents, measuring, renders, storyboards)
]
