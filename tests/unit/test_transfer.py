"""Frames come to the host while the device makes the next ones."""

from types import SimpleNamespace

import torch

from wan22.conditioning.color_match import ColorMatch, match_clip
from wan22.memory.transfer import to_host


class Streams:
    """What stands for torch.cuda; it notes what it is told."""

    def __init__(self):
        self.log = []
        outer = self

        class Event:
            def record(self, stream):
                self.number = sum(entry.startswith("copy") for entry in outer.log)
                outer.log.append(f"copy {self.number}")

            def synchronize(self):
                outer.log.append(f"wait {self.number}")

        self.Event = Event

    def current_stream(self, device):
        return SimpleNamespace()


def made(count, log):
    for i in range(count):
        log.append(f"make {i}")
        yield torch.full((2,), float(i))


def test_the_device_is_told_to_make_a_part_before_the_host_waits_for_the_one_before():
    streams = Streams()
    got = []
    for part in to_host(made(3, streams.log), streams):
        streams.log.append(f"use {int(part[0])}")
        got.append(part)
    assert streams.log == [
        "make 0", "copy 0", "make 1", "copy 1", "wait 0", "use 0", "make 2", "copy 2", "wait 1", "use 1", "wait 2",
        "use 2",
    ]  # fmt: skip
    assert [part.tolist() for part in got] == [[i, i] for i in range(3)]


def test_on_the_cpu_a_part_is_given_on_as_soon_as_it_is_made():
    log = []
    first = next(to_host(made(3, log)))
    assert log == ["make 0"] and first.tolist() == [0, 0]
    assert list(to_host(iter(()))) == []


def frames(seed, shift=0.0):
    return (torch.rand(3, 9, 4, 6, generator=torch.Generator().manual_seed(seed)) - 0.5 + shift).clamp(-1, 1)


def test_a_clip_is_matched_in_parts_as_it_is_whole():
    first, second = frames(0), frames(1, 0.02)
    stream, colours = match_clip(iter(first.split(2, dim=1)), {}, 1.0, to_host)
    assert colours == {}  # until the frames have passed, which they do one by one
    assert torch.equal(next(stream), first[:, :2])
    assert torch.equal(torch.cat(list(stream), dim=1), first[:, 2:])
    hold = ColorMatch.from_frames(first)
    assert torch.allclose(colours["colour.mean"], hold.mean, atol=1e-6)
    stream, later = match_clip(iter(second.split(2, dim=1)), dict(colours), 1.0, to_host)
    matched = torch.cat(list(stream), dim=1)
    assert torch.allclose(matched, hold.correct(second), atol=1e-5)
    assert not torch.allclose(matched, second, atol=1e-3)
    assert torch.equal(later["colour.mean"], colours["colour.mean"])
