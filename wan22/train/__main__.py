"""`python -m wan22.train RECIPE`: the old place of `python -m wan22.nano RECIPE`, kept for one release."""

import runpy
import sys

if __name__ == "__main__":
    print("note: python -m wan22.train is now python -m wan22.nano", file=sys.stderr)  # noqa: T201
    runpy.run_module("wan22.nano", run_name="__main__", alter_sys=True)
