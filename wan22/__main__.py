"""`python -m wan22` is `wan22`."""

import sys

from wan22.cli.__main__ import main

if __name__ == "__main__":
    sys.exit(main())
