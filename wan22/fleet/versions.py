"""What must be equal on all machines of a fleet: a job that goes on elsewhere goes on in the same program."""

from __future__ import annotations

import sys
from importlib.metadata import PackageNotFoundError, version

from wan22.errors import DeviceError
from wan22.version import __version__


def versions() -> dict[str, str]:
    """Of wan22, Python and torch on this machine."""
    found = {"wan22": __version__, "python": f"{sys.version_info.major}.{sys.version_info.minor}"}
    try:
        found["torch"] = version("torch").partition("+")[0]  # the rest says for which devices it was built
    except PackageNotFoundError:
        found["torch"] = "none"
    return found


def check_versions(server: dict[str, str]) -> None:
    """Raise DeviceError if this machine has other versions than the server."""
    here = versions()
    other = [f"{name} {here[name]}, the server {said}" for name, said in server.items() if here[name] != said]
    if other:
        raise DeviceError(
            f"this machine has {'; '.join(other)}. Install the same, or a job could not go on elsewhere"
        )
