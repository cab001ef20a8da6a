"""wan22: the open engine, trainer and studio for the Wan2.2 family of video models.

The names below are imported when they are first used, so that `import wan22` costs nothing.
"""

from typing import TYPE_CHECKING, Any

from wan22.version import __version__

__all__ = [
    "Audio",
    "Engine",
    "LoRA",
    "Request",
    "Video",
    "Wan22Error",
    "Wan22Pipeline",
    "__version__",
    "load",
    "read_audio",
]

_HOME = {
    "Engine": "wan22.engine",
    "LoRA": "wan22.weights.lora",
    "Request": "wan22.types",
    "Audio": "wan22.types",
    "Video": "wan22.pipeline",
    "Wan22Error": "wan22.errors",
    "Wan22Pipeline": "wan22.pipeline",
    "load": "wan22.engine",
    "read_audio": "wan22.media.audio",
}

if TYPE_CHECKING:
    from wan22.engine import Engine, load
    from wan22.errors import Wan22Error
    from wan22.media.audio import read_audio
    from wan22.pipeline import Video, Wan22Pipeline
    from wan22.types import Audio, Request
    from wan22.weights.lora import LoRA


def __getattr__(name: str) -> Any:
    if name in _HOME:
        from importlib import import_module

        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'wan22' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
