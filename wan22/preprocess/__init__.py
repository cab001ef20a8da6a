"""From a driving video to what Wan2.2-Animate is driven by: pose, face, and to replace someone background and mask.

    prepared = prepare("dance.mp4", image, replace=True)
    prepared.save("dance")

It knows no model of video and no terminal. The networks that find people are given to it (backend.py).
"""

from wan22.preprocess.backend import Preprocessor
from wan22.preprocess.making import Options, prepare, redraw
from wan22.preprocess.prepared import Prepared, check_free
from wan22.preprocess.record import Record

__all__ = ["Options", "Prepared", "Preprocessor", "Record", "check_free", "prepare", "redraw"]
