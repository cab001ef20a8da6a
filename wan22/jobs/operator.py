"""What the operator of a server says of models, LoRAs and the engine: operator.json in the data folder.

    {"models": {"film": "/models/my-wan"}, "loras": {"ink": "/loras/ink.safetensors"}, "engine": {"memory": "host"}}

Clients use the names; paths never come from them, nor do the options of the engine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wan22.errors import OptionError, choose
from wan22.fields import OPTIONS
from wan22.files import check_value, read_json

FILE = "operator.json"


@dataclass(frozen=True)
class Operator:
    """models, loras: files and folders by the names that clients use. engine: keywords of `wan22.load`."""

    models: Mapping[str, str] = field(default_factory=dict)
    loras: Mapping[str, str] = field(default_factory=dict)
    engine: Mapping[str, Any] = field(default_factory=dict)


def read_operator(folder: Path) -> Operator:
    """Read operator.json of a data folder; without one, nothing is said. Raises OptionError for what is wrong in it."""
    path = folder / FILE
    if not path.exists():
        return Operator()
    said = read_json(path, OptionError)
    try:
        for name in said:
            choose("entry", name, ("models", "loras", "engine"))
        for name in ("models", "loras"):
            check_value(Mapping[str, str], said.get(name, {}), name)
        check_value(Mapping[str, object], said.get("engine", {}), "engine")
        for name in said.get("engine", {}):
            choose("option of the engine", name, tuple(o for o in OPTIONS if o not in ("device", "gpus")))
    except (TypeError, ValueError, OptionError) as error:
        raise OptionError(f"{path}: {error}") from None
    return Operator(said.get("models", {}), said.get("loras", {}), said.get("engine", {}))
