"""The procedural film set: labels, captions and rendered clips, for training and for tests."""

from wan22.stage.labels import AXES, Shot, Split, sample
from wan22.stage.render import render

__all__ = ["AXES", "Shot", "Split", "render", "sample"]
