"""`python -m wan22.nano RECIPE [--stage S] [--folder F] [--minutes M]`: train by a recipe, or go on from a stop.

`python -m wan22.nano all --minutes M [--device cuda] [--export FOLDER]`: the whole of it, sized to so many minutes.
"""

import argparse
import sys
from pathlib import Path

from wan22.errors import OptionError, Wan22Error, choose


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m wan22.nano", description=__doc__)
    parser.add_argument(
        "recipe", help="the recipe: nano, nano-speech, nano-fast; or all, which needs --minutes"
    )
    parser.add_argument("--stage", default="all", help="one stage of it, or all (the default)")
    parser.add_argument(
        "--folder", type=Path, default=None, help="where the run is kept (default: runs/RECIPE)"
    )
    parser.add_argument(
        "--minutes", type=float, default=None,
        help="stop after this time; run again to go on. Of all: how long the whole recipe may take",
    )  # fmt: skip
    parser.add_argument("--device", default="cpu", help="all and nano: where it learns, cpu or cuda")
    parser.add_argument(
        "--export",
        type=Path,
        default=None,
        metavar="FOLDER",
        help="all: where the model is copied in the end",
    )
    parser.add_argument("--teacher", default="nano", help="nano-fast: the model that is distilled")
    parser.add_argument("--threads", type=int, default=None, help="threads of torch (default: all cores)")
    options = parser.parse_args(arguments)
    try:
        choose("recipe", options.recipe, ("all", "nano", "nano-speech", "nano-fast"))
        _check(options)
        import torch

        if options.threads:
            torch.set_num_threads(options.threads)
        _run(options, options.folder or Path("runs") / options.recipe)
    except Wan22Error as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        return 2
    except KeyboardInterrupt:
        print("stopped; run again to go on", file=sys.stderr)  # noqa: T201
        return 130
    return 0


def _check(options: argparse.Namespace) -> None:
    """Raise OptionError for options that this recipe does not have."""
    if options.recipe == "all" and options.minutes is None:
        raise OptionError("all needs --minutes, by which it is sized, as in --minutes 8")
    if options.recipe == "all" and options.stage != "all":
        raise OptionError("--stage is for one recipe; all does every stage by its share of the time")
    if options.export is not None and options.recipe != "all":
        raise OptionError(f"--export is for all; {options.recipe} leaves its model in the run's folder")
    if options.device != "cpu" and options.recipe not in ("all", "nano"):
        raise OptionError(f"{options.recipe} learns on the cpu; --device is for all and nano")


def _run(options: argparse.Namespace, folder: Path) -> None:
    from wan22.memory.device import pick_device

    if options.recipe == "nano-fast":
        from wan22.nano.recipes import nano_fast

        nano_fast.run(options.stage, folder, options.teacher, log=_say, minutes=options.minutes)
    elif options.recipe == "nano-speech":
        from wan22.nano import speech_stages

        speech_stages.run(options.stage, folder, log=_say, minutes=options.minutes)
    elif options.recipe == "nano":
        from wan22.nano import stages

        device = pick_device(options.device)
        stages.run(options.stage, folder, log=_say, minutes=options.minutes, device=device)
    else:
        from wan22.nano import whole

        whole.make(folder, options.minutes, pick_device(options.device), log=_say, export=options.export)


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
