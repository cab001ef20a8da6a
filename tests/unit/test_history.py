"""The past of the VAE's layers may rest on the host: the same numbers, in bounded memory of the device."""

from contextlib import contextmanager

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from unit.test_vae import LAYOUTS, latents, random_video, vae

from wan22.codec import WHOLE_LATENTS, Codec, at_once
from wan22.memory.history import HostHistory
from wan22.memory.meter import metered
from wan22.models.vae import History, WanVAE

CPU = torch.device("cpu")


class LateStreams:
    """What stands for torch.cuda: a copy in a stream of its own is done when the main stream waits for it, not before.

    So a wait that is forgotten gives wrong numbers.
    """

    def __init__(self):
        self.copies = 0
        outer = self

        class Stream:
            def __init__(self, device=None):
                self.told = []

            def wait_event(self, event):
                event.happen() if self is outer.main else self.told.append(event.happen)

        class Event:
            def record(self, stream):
                self.stream, self.until = stream, len(stream.told)

            def happen(self):
                for i, tell in enumerate(self.stream.told[: self.until]):
                    self.stream.told[i] = lambda: None
                    tell()

        class Late(TorchDispatchMode):
            def __torch_dispatch__(self, func, types, args=(), kwargs=None):
                if func is not torch.ops.aten.copy_.default:
                    return func(*args, **(kwargs or {}))
                outer.copies += 1
                args[0].fill_(torch.nan)
                outer.stream_now.told.append(lambda: args[0].copy_(args[1]))
                return args[0]

        self.Stream, self.Event, self.mode, self.main = Stream, Event, Late, None
        self.main = Stream()

    def current_stream(self, device):
        return self.main

    @contextmanager
    def stream(self, stream):
        self.stream_now = stream
        with self.mode():
            yield


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("chunk", [1, 2])
@torch.inference_mode()
def test_where_the_past_rests_changes_no_bit(layout, chunk):
    net = vae(layout)
    z, pixels = latents(net.arch, 3, 2, 2), random_video(net.arch, 2, 2, 1)
    history = HostHistory(CPU, LateStreams())
    assert torch.equal(net.decode(z, chunk=chunk, history=history), net.decode(z, chunk=chunk))
    history.close()
    history = HostHistory(CPU, LateStreams())
    assert torch.equal(net.encode(pixels, chunk=chunk, history=history), net.encode(pixels, chunk=chunk))


@torch.inference_mode()
def test_what_a_layer_needs_is_under_way_when_the_layer_before_works():
    net, streams = vae("nano"), LateStreams()
    history = HostHistory(CPU, streams)
    asked, ahead = 0, 0

    def past(layer):
        nonlocal asked, ahead
        if history._pieces.get(layer):
            asked += 1
            ahead += history._coming is not None and history._coming[0] is layer
        return HostHistory.past(history, layer)

    history.past = past
    for _ in net.decode_stream(latents(net.arch, 6, 2, 2), history=history):
        pass
    assert ahead > 0.6 * asked  # all but where a frame is not followed by what followed the last one


@torch.inference_mode()
def test_a_history_that_is_closed_has_no_copy_under_way():
    net, streams = vae("nano"), LateStreams()
    history = HostHistory(CPU, streams)
    list(net.decode_stream(latents(net.arch, 3, 2, 2), history=history))
    history.close()
    assert history._coming is None and history._leaving is None


def counted(arch, way, frames, host):
    """The most bytes beside the weights on an accelerator."""
    with torch.device("meta"):
        net = WanVAE(arch)
    with metered("cuda") as meter:
        meter.place(net, torch.bfloat16)
        history = HostHistory(torch.device("meta")) if host else History()
        if way == "decode":
            stream = net.decode_stream(meter.empty(1, arch.z, frames, 4, 4), history=history)
        else:
            side = 4 * arch.stride_space
            stream = net.encode_stream(
                (meter.empty(1, 3, 1, side, side) for _ in range(1 + (frames - 1) * arch.stride_time)),
                history=history,
            )
        for part in stream:
            del part
        return meter.counts


@pytest.mark.parametrize("way", ["decode", "encode"])
def test_memory_does_not_grow_with_the_video_and_is_less_with_the_past_on_the_host(way):
    arch = LAYOUTS["nano"]
    here, host = (counted(arch, way, 3, host) for host in (False, True))
    longer = arch.z * 4 * 4 * 4 * 4 if way == "decode" else 0  # the latents are there whole
    assert counted(arch, way, 4, False).peak <= here.peak + longer
    assert host.peak < 0.9 * here.peak
    assert here.syncs == host.syncs == 0


def test_where_memory_is_short_a_small_video_goes_frame_by_frame_too():
    assert at_once(WHOLE_LATENTS, host_history=False) and not at_once(WHOLE_LATENTS + 1, host_history=False)
    assert not at_once(1, host_history=True)
    network = vae("2.2")
    z = latents(network.arch, 3, 2, 2)
    parts = [list(Codec(CPU, host_history=frugal).decode(network, z)) for frugal in (False, True)]
    assert len(parts[0]) == 1 < len(parts[1])
    whole, single = (torch.cat(part, dim=1) for part in parts)
    assert (whole - single).norm() <= 1e-5 * whole.norm()
