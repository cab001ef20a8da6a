"""What the weights of a transformer take in memory where one process has them, two have them each, and two divide them:

    python -m bench.shares --layers 24

Every case is processes of its own, on the CPU. The file holds random weights in bfloat16; each process brings every
block twice. `private` is memory that only this process has when it is done (the file's pages are the system's),
`highest` the most that was resident, both beyond what the process had before, in MB.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import torch

from bench.measure import peak, reset_peak
from bench.random_model import write_part
from wan22.arch import DiTArch
from wan22.assembly import PartSource
from wan22.parallel.group import Group
from wan22.parallel.layout import Layout
from wan22.parallel.weights import SharedWeights

CPU = torch.device("cpu")


def arch(layers: int) -> DiTArch:
    """A transformer of about 34 MB a block in bfloat16."""
    return DiTArch(16, 16, 1024, 4096, heads=8, layers=layers, text_dim=256, text_len=64)


def measured(group: Group, how: dict[str, Any]) -> dict[str, int]:
    """What this rank's process takes for all blocks of the part, divided or whole."""
    part = PartSource(Path(how["path"]), arch(how["layers"]), torch.bfloat16)
    if how["divided"]:
        part = replace(part, shared=SharedWeights(group.mesh(Layout(context=group.size)).world))
    before = psutil.Process().memory_full_info().uss
    reset_peak()
    started = peak()
    network = part.stream(CPU, "ranks") if how["divided"] else part(CPU)
    for _ in range(2):
        for block in network.get_submodule("blocks"):
            assert not next(block.parameters()).is_meta
    private = psutil.Process().memory_full_info().uss - before
    return {"private": private, "highest": peak() - started}


def follow(group: Group) -> None:
    """Be a rank whose leader says what to do."""
    how = group.control.broadcast(None)
    group.exchange(measured(group, how))


def case(how: dict[str, Any], ranks: int) -> list[dict[str, int]]:
    """A case by so many processes, of which this one is the first."""
    group = Group.start(["cpu"] * ranks, "bench.shares:follow")
    try:
        group.control.broadcast(how)
        return group.exchange(measured(group, how))
    finally:
        group.end()


def main() -> None:
    """Run the cases, each in a process, and print what every rank takes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--layers", type=int, default=24)
    parser.add_argument("--case", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.case:
        how = json.loads(asked.case)
        print(json.dumps(case(how, how["ranks"])))
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "network.safetensors")
        write_part(path, arch(asked.layers))
        print(f"{path.stat().st_size / 1e6:.0f} MB of weights, in {asked.layers} blocks")
        for name, ranks, divided in (
            ("one", 1, False),
            ("two, each whole", 2, False),
            ("two, divided", 2, True),
        ):
            how = {"path": str(path), "layers": asked.layers, "ranks": ranks, "divided": divided}
            done = subprocess.run(
                [sys.executable, "-m", "bench.shares", "--case", json.dumps(how)],
                capture_output=True,
                check=True,
            )
            found = json.loads(done.stdout.splitlines()[-1])
            said = "; ".join(
                f"private {r['private'] / 1e6:.0f}, highest {r['highest'] / 1e6:.0f}" for r in found
            )
            print(f"{name:16} {said}")


if __name__ == "__main__":
    main()
