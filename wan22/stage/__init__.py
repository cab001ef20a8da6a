"""A procedural film set: renders clips with exact labels, and says them in words.

Training data, ground truth and demos. It knows nothing of networks.
"""

from wan22.stage.caption import caption, full_caption, held_out_caption
from wan22.stage.labels import AXES, Shot, sample
from wan22.stage.render import render

__all__ = ["AXES", "Shot", "caption", "full_caption", "held_out_caption", "render", "sample"]
