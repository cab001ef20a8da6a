"""A video that several devices make together is planned for one of them: what it keeps, computes and waits for."""

import json
import subprocess

import pytest
import torch

from tests.unit.tiny import tiny_variant
from wan22.cli.__main__ import main
from wan22.codec import Codec
from wan22.memory.hardware import GB, of_memory
from wan22.memory.scheme import Scheme
from wan22.parallel import count, links
from wan22.parallel.layout import Layout
from wan22.planning import Model, decoding, plan_job
from wan22.production import planned
from wan22.request import resolve
from wan22.types import Request


@pytest.mark.parametrize("host_history", [False, True])
def test_of_several_ranks_each_decodes_some_rows(host_history):
    """What is planned for one of them is what the busiest of a group is counted to take."""
    arch, scheme = tiny_variant().vae, Scheme("device", host_history=host_history)
    one, three = (decoding(arch, (2, 9, 4), torch.float32, "cuda", scheme, ranks) for ranks in (1, 3))

    def codec(device, rows, *told):
        return Codec(device, host_history=host_history, rows=rows).decode(*told)

    counted = count.decode(arch, (2, 9, 4), torch.float32, Layout(context=3), codec).counts
    assert (three.peak, three.flops) == (counted.peak, counted.flops)
    assert one.total_flops <= 3 * three.total_flops < 2 * one.total_flops


def test_a_video_of_ranks_is_planned_with_its_work_divided():
    row = tiny_variant()
    job = resolve(Request(prompt="a", frames=5, guidance=4.0), row)
    on_one, on_two = (
        plan_job(job, Model(row, torch.float32), of_memory(80 * GB, 80 * GB).among(ranks)) for ranks in (1, 2)
    )
    for one, two in zip(on_one.stages, on_two.stages, strict=True):
        if one.part == "vae":
            assert two.counts.total_flops < one.counts.total_flops
        elif one.part != "text":
            assert two.seconds == pytest.approx(one.seconds / 2)


MATRIX = """\
\t\x1b[4mGPU0\tGPU1\tGPU2\tNIC0\tCPU Affinity\x1b[0m
GPU0\t X \tNV18\t{0}\tPIX\t0-47
GPU1\tNV18\t X \tNV18\tSYS\t0-47
GPU2\t{0}\tNV18\t X \tSYS\t0-47
NIC0\tPIX\tSYS\tSYS\t X
"""


@pytest.mark.parametrize(("said", "lanes"), [("NV18", 18), ("NV4", 4), ("PHB", 0), ("SYS", 0)])
def test_the_link_of_ranks_is_what_the_driver_says_that_all_cards_have(monkeypatch, said, lanes):
    matrix = MATRIX.format(said)
    assert links.nvlinks(matrix) == lanes
    assert links.nvlinks("GPU0\t X \t0-47\n") == links.nvlinks("") == 0
    monkeypatch.setattr(
        links.subprocess, "run", lambda *told, **how: subprocess.CompletedProcess(told, 0, matrix, "")
    )
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    links.between_cards.cache_clear()
    rate = links.between_cards(torch.device("cuda:0"))
    assert rate == (lanes * 25e9 * links.REACHED or None)
    assert lanes != 18 or rate == links.LINKS["nvlink"].reached
    assert links.between_cards(torch.device("cpu")) is None
    links.between_cards.cache_clear()


def test_without_a_driver_the_link_of_ranks_is_that_to_the_host(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    links.between_cards.cache_clear()
    assert links.between_cards(torch.device("cuda:0")) is None
    assert (card := of_memory(80 * GB, GB)).among(2, None).peers == card.link
    links.between_cards.cache_clear()


def planned_by(capsys, *words):
    code = main(["plan", "nano", "--json", *words])
    said = capsys.readouterr()
    return code, [json.loads(line) for line in said.out.splitlines()][-1], said.err


def test_the_command_plans_for_several_devices(capsys):
    code, said, _ = planned_by(capsys, "--gpus", "2", "--memory", "ranks", "--gpu", "H200", "--frames", "9")
    many = said["many"]
    assert code == 0 and said["fits"]
    assert (many["gpus"], many["parallel"]) == (2, "guidance=2,context=1,ring=1")
    assert [stage["name"] for stage in many["stages"]] == ["high", "low", "decode"] and many[
        "weights_shared"
    ] == many["weights"] // 2
    kept = {stage["part"]: stage["scheme"] for stage in said["stages"]}
    assert kept["vae"].startswith("on the device") and kept["text"] == "on all ranks, streamed block by block"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--memory", "ranks"), "say --gpus N"),
        (("--gpus", "0"), "from 1"),
        (("--gpus", "2", "--link", "rope"), "unknown link"),
        (("--gpus", "2", "--parallel", "context=3"), "takes 3 ranks"),
    ],
)
def test_a_plan_for_several_devices_that_cannot_be_is_refused(capsys, words, says):
    code, _, error = planned_by(capsys, *words)
    assert code == 2 and says in error


def test_devices_that_are_named_together_are_planned_as_ranks():
    one, two = planned.hardware_of("cpu"), planned.hardware_of("cpu+cpu")
    assert (one.ranks, two.ranks, two.name) == (1, 2, f"2 x {one.name}")
    assert two.room < 0.7 * one.room
