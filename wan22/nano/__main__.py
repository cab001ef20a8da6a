"""`python -m wan22.nano RECIPE [--stage S] [--folder F] [--minutes M]`: train by a recipe, or go on from a stop."""

import argparse
import sys
from pathlib import Path

from wan22.errors import Wan22Error, choose


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m wan22.nano", description=__doc__)
    parser.add_argument("recipe", help="the recipe: nano, nano-speech, nano-fast")
    parser.add_argument("--stage", default="all", help="one stage of it, or all (the default)")
    parser.add_argument(
        "--folder", type=Path, default=None, help="where the run is kept (default: runs/RECIPE)"
    )
    parser.add_argument(
        "--minutes", type=float, default=None, help="stop after this time; run again to go on"
    )
    parser.add_argument("--teacher", default="nano", help="nano-fast: the model that is distilled")
    parser.add_argument("--threads", type=int, default=None, help="threads of torch (default: all cores)")
    options = parser.parse_args(arguments)
    try:
        choose("recipe", options.recipe, ("nano", "nano-speech", "nano-fast"))
        import torch

        from wan22.nano import speech_stages, stages

        if options.threads:
            torch.set_num_threads(options.threads)
        folder = options.folder or Path("runs") / options.recipe
        if options.recipe == "nano-fast":
            from wan22.nano.recipes import nano_fast

            nano_fast.run(options.stage, folder, options.teacher, log=_say, minutes=options.minutes)
            return 0
        run = stages.run if options.recipe == "nano" else speech_stages.run
        run(options.stage, folder, log=_say, minutes=options.minutes)
    except Wan22Error as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        return 2
    except KeyboardInterrupt:
        print("stopped; run again to go on", file=sys.stderr)  # noqa: T201
        return 130
    return 0


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
