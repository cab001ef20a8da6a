"""The nodes, in the order of ComfyUI's menu; a file each."""

from ..definition import Node
from .animate import ANIMATE
from .decode import DECODE
from .direct import DIRECT
from .load import LOAD
from .long_video import LONG_VIDEO
from .measure import MEASURE
from .plan import PLAN
from .sample import SAMPLE
from .speech import SPEECH

NODES: tuple[Node, ...] = (LOAD, DIRECT, SAMPLE, DECODE, SPEECH, ANIMATE, LONG_VIDEO, MEASURE, PLAN)
