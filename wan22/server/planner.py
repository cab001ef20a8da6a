"""The process that plans jobs for the server, which itself imports no torch: `python -m wan22.server.planner`.

A JSON object a line comes in (`planned`'s arguments), one goes out: the plan, or an `error` that says what is
wrong with the request. It ends when its input does.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from wan22 import fields
from wan22.errors import Wan22Error
from wan22.production.options import as_work, from_json
from wan22.production.planned import Media, extended, plan_of
from wan22.production.work import check_strength


def planned(said: dict[str, Any]) -> dict[str, Any]:
    """The plan of a job: `command` and `request` as the server checked it, `media` of its files by field, `model`,
    `device`, `engine`. Raises Wan22Error.
    """
    with fields.naming(lambda field: field.name):
        work = as_work(from_json(said["command"], said["request"], lambda id: id))
        check_strength(work)
        media = {name: Media(**known) for name, known in said["media"].items()}
        if said["extends"]:
            work, media = extended(work, media)
        made = plan_of(work, media, said["model"], said["device"], said["engine"])
    times = work.count * (work.takes.number or 1)
    return made.as_json() | {"videos": times}


def main() -> None:
    """Answer until the input ends."""
    for line in sys.stdin:
        try:
            answer = planned(json.loads(line))
        except Wan22Error as error:
            answer = {"error": " ".join(str(error).split())}
        except Exception as error:  # of this request alone: the next one may be planned
            answer = {"failed": f"{type(error).__name__}: {error}"}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
