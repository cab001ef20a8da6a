"""`wan22 image`: an image, which is a video of one frame."""

from __future__ import annotations

from wan22.cli import options as o
from wan22.cli import remote, report
from wan22.fields import IMAGE
from wan22.production.options import as_work
from wan22.production.work import make
from wan22.production.workflow import resolved


@o.takes(IMAGE)
def image(given: o.Given) -> None:
    """Make an image: a video of one frame.

    Prints the path of the file.
    """
    if remote.is_remote(given):
        remote.make(given, "image")
        return
    work = resolved(as_work(given))
    with report.choose(given["json"]) as show:
        make(work, show)
