"""ComfyUI, as far as nodes need it: the one file that imports its modules (its type classes are v3.py's).

Each is imported where it is used, so that a node that does not need one works where it is missing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from fractions import Fraction
from importlib import import_module
from pathlib import Path
from typing import Any

from wan22.errors import OptionError

from .definition import NONE

LOG = logging.getLogger("wan22.comfyui")

FOLDERS = {
    "high": ("diffusion_models", "unet_gguf"),
    "low": ("diffusion_models", "unet_gguf"),
    "dit": ("diffusion_models", "unet_gguf"),
    "vae": ("vae",),
    "text": ("text_encoders", "clip_gguf"),
    "audio": ("audio_encoders",),
    "image": ("clip_vision",),
    "checkpoint": ("checkpoints",),
    "lora": ("loras",),
}
"""ComfyUI's folders of models in which the files of a part lie; those with `gguf` are ComfyUI-GGUF's."""


def files(part: str) -> list[str]:
    """The names of the files of a part, as ComfyUI lists them; "none" is the first."""
    import folder_paths

    known = [folder for folder in FOLDERS[part] if folder in folder_paths.folder_names_and_paths]
    return [NONE, *dict.fromkeys(name for folder in known for name in folder_paths.get_filename_list(folder))]


def path_of(part: str, name: str) -> Path:
    """Where a file of a part lies. Raises OptionError, naming the folders that were searched."""
    import folder_paths

    known = [folder for folder in FOLDERS[part] if folder in folder_paths.folder_names_and_paths]
    for folder in known:
        if found := folder_paths.get_full_path(folder, name):
            return Path(found)
    raise OptionError(
        f"there is no file {name!r} in ComfyUI's {' or '.join(FOLDERS[part])}; choose one of the list, or put it there"
    )


def temporary_folder() -> Path:
    """Where files lie that are nobody's result; ComfyUI empties it when it starts."""
    import folder_paths

    return Path(folder_paths.get_temp_directory()) / "wan22"


def device() -> str:
    """The device on which ComfyUI works, such as "cuda:0"."""
    from comfy import model_management

    return str(model_management.get_torch_device())


def check_interrupted() -> None:
    """Raise ComfyUI's exception if the person has asked to stop."""
    from comfy import model_management

    model_management.throw_exception_if_processing_interrupted()


def progress_bar(total: int) -> Any:
    """ComfyUI's bar of a node: `update_absolute(value, total, preview)`."""
    from comfy.utils import ProgressBar

    return ProgressBar(total)


def show(text: str, node: str | None) -> None:
    """Write a text to ComfyUI's log, and on the node while it runs, where this ComfyUI can."""
    LOG.info("%s", text)
    if node is None:
        return
    try:
        server = import_module("server").PromptServer.instance
    except (ImportError, AttributeError):
        return  # no server, as in scripts: the log has it
    if hasattr(server, "send_progress_text"):
        server.send_progress_text(text, node)


def make_room(name: str) -> None:
    """Have ComfyUI move its own models away from a device, as it does for a model of its own."""
    import torch
    from comfy import model_management

    if not name.startswith("cpu"):
        free = getattr(model_management.free_memory, "without_wan22", model_management.free_memory)
        free(1e30, torch.device(name))


def share_memory(release: Callable[[Any, float], None], drop: Callable[[], None]) -> None:
    """Take part when ComfyUI frees memory: `release(device, bytes)` when it needs some, `drop()` when everything is
    to be unloaded. It has no hook for that, so its two functions are wrapped, once.
    """
    from comfy import model_management

    free, unload = (
        getattr(function, "without_wan22", function)
        for function in (model_management.free_memory, model_management.unload_all_models)
    )

    def free_memory(memory_required: float, device: Any, *rest: Any, **more: Any) -> Any:
        result = free(memory_required, device, *rest, **more)
        release(device, memory_required)
        return result

    def unload_all_models(*rest: Any, **more: Any) -> Any:
        drop()
        return unload(*rest, **more)

    setattr(free_memory, "without_wan22", free)  # noqa: B010 - a function has no such attribute of its own
    setattr(unload_all_models, "without_wan22", unload)  # noqa: B010
    model_management.free_memory, model_management.unload_all_models = free_memory, unload_all_models


def free_bytes(device: Any) -> float:
    """What is free on a device, as ComfyUI counts."""
    from comfy import model_management

    return model_management.get_free_memory(device)


def empty_cache() -> None:
    """Give back to the device what PyTorch keeps for later."""
    from comfy import model_management

    model_management.soft_empty_cache()


def video_of(images: Any, fps: float, audio: Any = None) -> Any:
    """A VIDEO of IMAGEs and AUDIO."""
    implementation, parts = _video_classes()
    rate = Fraction(fps).limit_denominator(1001)
    return implementation.VideoFromComponents(
        parts.VideoComponents(images=images, audio=audio, frame_rate=rate)
    )


def video_file(path: Path | str) -> Any:
    """A VIDEO that is a file; it is read when it is needed."""
    implementation, _ = _video_classes()
    return implementation.VideoFromFile(str(path))


def _video_classes() -> Sequence[Any]:
    try:
        from comfy_api.latest import InputImpl, Types
    except ImportError:
        return import_module("comfy_api.input_impl"), import_module("comfy_api.util")
    return InputImpl, Types
