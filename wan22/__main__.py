"""`python -m wan22` is `wan22`."""

import sys

from wan22.cli import terminal

if __name__ == "__main__":
    terminal.end_on_interrupt()  # before anything that takes time to import
    from wan22.cli.__main__ import main

    sys.exit(main())
