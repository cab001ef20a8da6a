"""The options of `from_pretrained`: what they come to here, and what they cannot."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wan22.errors import CheckpointError, OptionError
from wan22.fields import OPTIONS

logger = logging.getLogger("wan22")

COMPONENTS = (
    "vae",
    "text_encoder",
    "transformer",
    "transformer_2",
    "scheduler",
    "tokenizer",
    "audio_encoder",
)
"""What may be given in the place of a part of the model."""

_ABSENT = ("image_encoder", "image_processor")
_DONE = {
    "local_files_only": (None, True, False),
    "low_cpu_mem_usage": (None, True),
    "use_safetensors": (None, True),
    "token": None,
    "proxies": None,
    "force_download": (None, False),
    "trust_remote_code": (None, False),
    "disable_mmap": (None, False),
    "output_loading_info": (None, False),
}
"""Options of Diffusers that ask for what is done anyway, with the values that do; None for any value."""

_ADVICE = {
    "quantization_config": "give quantize='int8', 'fp8' or 'int4', or files that are quantised already (fp8 or GGUF)",
    "custom_pipeline": "build on wan22.Engine",
    "max_memory": "give memory=, one of auto, device, host, disk",
    "offload_folder": "give memory='disk', which reads parts from where they are",
    "expand_timesteps": "the model's own files say it",
    "subfolder": "give the folder itself",
    "force_download": "`wan22 download` or `hf download` gets files",
    "use_safetensors": "files of every kind are read by what is in them",
}


def check_options(options: Mapping[str, Any]) -> None:
    """Raise OptionError or TypeError for options that cannot be served."""
    for name, value in options.items():
        if name in COMPONENTS:
            continue
        if name in _ABSENT:
            if value is not None:
                raise OptionError(f"Wan2.2 has no {name} (Wan2.1's image to video had); leave it away")
        elif name in _DONE:
            meant = _DONE[name]
            if meant is not None and value not in meant:
                raise OptionError(f"{name}={value!r} is not known here; {_ADVICE.get(name, 'leave it away')}")
        elif name in _ADVICE:
            if value is not None:
                raise OptionError(f"from_pretrained takes no {name} here; {_ADVICE[name]}")
        else:
            raise TypeError(
                f"from_pretrained takes no {name!r}. It takes parts, torch_dtype, device, device_map, memory, "
                f"cache_dir, revision, boundary_ratio, options of the engine ({', '.join(OPTIONS)}), and in the place "
                f"of parts: {', '.join(COMPONENTS)}"
            )


def check_variant(variant: str | None, torch_dtype: Any) -> None:
    """A variant of files is a precision that is read and cast in any case, so that it must not be asked in vain."""
    if variant is not None:
        raise OptionError(
            f"variant={variant!r} names files of one precision; here the files of the folder are read, and torch_dtype "
            f"({torch_dtype}) is what they become. Leave variant away and give torch_dtype"
        )


def device_of(device: Any, device_map: Any) -> str:
    """The device that is asked for by either word."""
    if device_map is None:
        return str(device)
    if str(device) != "auto":
        raise OptionError(f"give device={device} or device_map={device_map}, not both")
    if isinstance(device_map, Mapping):
        raise OptionError(
            "device_map by part is not known here: one device works, and memory= says where parts rest"
        )
    if device_map in ("balanced", "auto"):
        logger.warning(
            "device_map=%r: one device works here; where parts rest is chosen by what fits (memory=)",
            device_map,
        )
        return "auto"
    return str(device_map)


def in_cache(name: str, *, cache_dir: Any = None, revision: str | None = None) -> Path | None:
    """The folder of a repository of the hub in the local cache, or None. Nothing is downloaded."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        found = snapshot_download(name, revision=revision, cache_dir=cache_dir, local_files_only=True)
    except (LocalEntryNotFoundError, HFValidationError, HfHubHTTPError):
        return None
    return Path(found)


def find_model(model: Any, cache_dir: Any, revision: str | None) -> Any:
    """The model as `wan22.load` takes it: a name or folder, or what a cache has of a revision."""
    if cache_dir is None and revision is None:
        return model
    if model is None:
        raise OptionError("cache_dir and revision say which copy of a model is meant; give the model, too")
    if Path(model).expanduser().is_dir():
        if revision is not None:
            raise OptionError(f"{model} is a folder, which has no revision {revision!r}; leave revision away")
        return model
    found = in_cache(str(model), cache_dir=cache_dir, revision=revision)
    if found is None:
        at = "" if revision is None else f" --revision {revision}"
        where = "" if cache_dir is None else f" --cache-dir {cache_dir}"
        raise CheckpointError(
            f"{model} is not in the cache that is asked for; `hf download {model}{at}{where}` gets it"
        )
    return found
