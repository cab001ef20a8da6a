"""Where parts rest: plans from sizes and free memory, and parts that come and go."""

import platform
import subprocess
import sys
import weakref

import pytest
import torch
from unit.tiny import write_tiny

import wan22
from wan22.errors import DeviceError, OptionError
from wan22.memory.device import (
    channels_last,
    devices,
    free_memory,
    pick_device,
    pick_dtype,
    tf32_convolutions,
    wait,
)
from wan22.memory.placement import Placement
from wan22.memory.scheme import CHUNK_TOKENS, Scheme, ordered
from wan22.planner import at_first
from wan22.types import Frames, Request

CPU, GPU = torch.device("cpu"), torch.device("cuda")
SIZES = {"high": 30, "low": 30, "vae": 10, "text": 10}


@pytest.mark.parametrize(
    ("device", "host", "memory", "scheme"),
    [
        ("cuda", True, "device", Scheme("device")),
        ("cuda", False, "host", Scheme("host")),
        ("cpu", True, "host", Scheme("device")),  # the host is the device
        ("cpu", True, "disk", Scheme("disk")),
        ("cuda", True, "stream", Scheme("host", stream=True, chunk=CHUNK_TOKENS, host_history=True)),
        ("cuda", False, "stream", Scheme("disk", stream=True, chunk=CHUNK_TOKENS, host_history=True)),
        ("cpu", True, "stream", Scheme("disk", stream=True, chunk=CHUNK_TOKENS, host_history=True)),
    ],
)
def test_parts_are_kept_as_is_ordered(device, host, memory, scheme):
    assert ordered(SIZES, memory, device, host=host) == dict.fromkeys(SIZES, scheme)
    assert at_first(SIZES, torch.device(device), memory, host=host) == dict.fromkeys(SIZES, scheme)


@pytest.mark.parametrize(("device", "free", "host", "scheme"), [
    ("cuda", 100, True, Scheme("host")), ("cuda", 100, False, Scheme("disk")), ("cpu", 100, True, Scheme("disk")),
    ("cpu", 29, True, Scheme("disk", stream=True, chunk=CHUNK_TOKENS, host_history=True)),
])  # fmt: skip
def test_before_a_job_is_planned_the_parts_of_a_large_model_come_in_their_turn(
    monkeypatch, device, free, host, scheme
):
    monkeypatch.setattr("wan22.planner.free_memory", lambda where: free * 10**9)
    sizes = {part: size * 10**9 for part, size in SIZES.items()}
    assert at_first(sizes, torch.device(device), "auto", host=host) == dict.fromkeys(SIZES, scheme)
    assert at_first({"dit": 10**6}, torch.device(device), "auto", host=host) == {"dit": Scheme("device")}


def test_an_unknown_plan_lists_the_known():
    with pytest.raises(OptionError, match=r"'ram'.* Known: auto, device, host, disk, stream"):
        at_first(SIZES, CPU, "ram", host=True)


HOLES = """
import torch
from wan22.memory.device import keep_no_freed_memory
import psutil

def resident():
    return psutil.Process().memory_info().rss

assert keep_no_freed_memory()
torch.ones(7_500_000).sum()  # glibc would take all that is smaller from its heap from now on
before = resident()
tensors = [torch.ones(1_000_000) for _ in range(20)]
full = resident()
del tensors[::2]
print(full - before, full - resident())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc keeps what is freed")
def test_freed_memory_goes_back_to_the_system_where_it_is_short():
    done = subprocess.run([sys.executable, "-c", HOLES], capture_output=True, text=True, check=True)
    taken, returned = map(int, done.stdout.split())
    assert taken == pytest.approx(80e6, rel=0.1)
    assert returned == pytest.approx(40e6, rel=0.1)


def placement(rest, device=CPU):
    alive, loads = weakref.WeakSet(), []

    def load(name):
        def read(where):
            part = torch.nn.Linear(2, 2, device=where)
            alive.add(part)
            loads.append((name, len(alive)))
            return part

        return read

    names = ("high", "low", "vae")
    return Placement({n: load(n) for n in names}, dict.fromkeys(names, rest), device), alive, loads


def test_on_the_device_every_part_is_read_once_and_stays():
    place, alive, loads = placement("device")
    parts = [place.bring(name) for name in ("high", "low", "high", "vae", "low")]
    assert parts[0] is parts[2] and parts[1] is parts[4]
    assert loads == [("high", 1), ("low", 2), ("vae", 3)]
    assert len(alive) == 3
    place.release()  # nobody is a guest
    assert place.is_here("high")


def test_on_disk_a_part_leaves_before_the_next_one_comes():
    place, alive, loads = placement("disk")
    for name in ("high", "high", "low", "vae", "high"):
        assert place.bring(name) is place.bring(name)
        assert place.is_here(name)
    assert loads == [("high", 1), ("low", 1), ("vae", 1), ("high", 1)]
    place.release()
    assert len(alive) == 0
    assert not place.is_here("high")


def test_a_part_that_rests_on_the_host_stays_there_while_its_copy_works():
    place, _, loads = placement("host", torch.device("meta"))
    for name in ("high", "low", "high"):
        guest = place.bring(name)
        home = place._resting[name]
        assert guest is not home and type(guest) is type(home)
        assert guest.weight.is_meta and not guest.weight.requires_grad and guest.bias.is_meta
        assert home.weight.device == CPU and home.weight.sum().isfinite()
    assert [name for name, _ in loads] == ["high", "low"]


def test_on_the_host_a_part_is_read_once_and_moves():
    place, alive, loads = placement("host", torch.device("meta"))
    high = place.bring("high")
    assert high.weight.device.type == "meta"
    assert place.is_here("high") and not place.is_here("low")
    assert loads == [("high", 1)]
    assert len(alive) == 1


def test_a_part_that_cannot_be_read_leaves_nothing_half_done():
    place, _, _ = placement("disk")
    place.bring("high")
    place._loaders = {**place._loaders, "low": lambda device: 1 / 0}
    with pytest.raises(ZeroDivisionError):
        place.bring("low")
    assert not place.is_here("low") and not place.is_here("high")
    assert isinstance(place.bring("vae"), torch.nn.Module)


def test_devices_are_those_of_the_machine():
    assert devices()[-1] == "cpu"
    assert pick_device("cpu") == pick_device(CPU) == CPU
    assert str(pick_device("auto")) == devices()[0]
    with pytest.raises(DeviceError, match=r"no device 'gpu' on this machine\. Here are: .*cpu"):
        pick_device("gpu")
    with pytest.raises(DeviceError, match="'cuda:99'"):
        pick_device("cuda:99")
    assert free_memory(CPU) > 0
    wait(CPU)


def test_devices_with_a_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert devices()[:2] == ["cuda:0", "cuda:1"]
    assert pick_device("auto") == pick_device("cuda") == torch.device("cuda:0")
    assert pick_device("cuda:1") == torch.device("cuda:1")


def test_precision_follows_size_and_device():
    assert pick_dtype("auto", CPU, small=True) == torch.float32
    assert pick_dtype("auto", CPU, small=False) == torch.bfloat16
    assert pick_dtype("auto", GPU, small=True) == torch.bfloat16
    assert (
        pick_dtype("fp32", GPU, small=False) == pick_dtype(torch.float32, CPU, small=False) == torch.float32
    )
    assert pick_dtype("bf16", CPU, small=True) == torch.bfloat16
    assert pick_dtype("fp16", GPU, small=True) == torch.float16
    with pytest.raises(DeviceError, match="float16 is not usable on the CPU; take bfloat16"):
        pick_dtype("float16", CPU, small=True)
    for wrong in ("int8", torch.int8):
        with pytest.raises(DeviceError, match=r"unknown dtype 'int8'\. Known: auto, float32"):
            pick_dtype(wrong, CPU, small=True)


def test_the_precision_of_the_vae_is_said_and_what_was_set_comes_back():
    conv = torch.backends.cudnn.conv
    before = conv.fp32_precision
    conv.fp32_precision = "ieee"
    try:
        with tf32_convolutions():
            assert conv.fp32_precision == "tf32"
        assert conv.fp32_precision == "ieee"
    finally:
        conv.fp32_precision = before


def test_channels_come_last_in_memory_and_nothing_else_changes():
    from torch import nn

    part = nn.Sequential(nn.Conv3d(4, 6, 3), nn.Flatten(2, 3), nn.Conv2d(6, 2, 1))
    x = torch.randn(1, 4, 3, 4, 4)
    expected = part(x)
    for weight in part.parameters():
        weight.data = channels_last(weight.data)
    assert part[0].weight.is_contiguous(memory_format=torch.channels_last_3d)
    assert part[2].weight.is_contiguous(memory_format=torch.channels_last)
    assert torch.allclose(part(x), expected, atol=1e-5)


def test_the_vae_may_compute_in_bfloat16_and_the_recipe_says_so(tmp_path):
    engine = wan22.load(write_tiny(tmp_path / "tiny"), device="cpu", vae_dtype="bfloat16")
    assert {p.dtype for p in engine.vae().parameters()} == {torch.bfloat16}
    request = Request(prompt="a red ball", frames=5, size=(48, 32), steps=1)
    assert engine.recipe(request)["vae_dtype"] == "bfloat16"
    events = list(engine.generate(request))
    assert sum(len(event.frames) for event in events if isinstance(event, Frames)) == 5
    plain = wan22.load(tmp_path / "tiny", device="cpu")
    assert "vae_dtype" not in plain.recipe(request)
    with pytest.raises(OptionError, match="float32 or bfloat16, not in 'float16'"):
        wan22.load(tmp_path / "tiny", device="cpu", vae_dtype="float16")
