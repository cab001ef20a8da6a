"""An engine on two processes makes what one makes, and ends as one."""

import os
import signal
from types import SimpleNamespace

import numpy as np
import pytest
from unit.tiny import write_tiny

import wan22
from wan22.errors import CheckpointError, OptionError, OutputError, ParallelError, SizeError, Wan22Error
from wan22.parallel.group import Group
from wan22.types import Frames, Latents, Progress, Reply, Request

REQUEST = Request(prompt="a red ball rolls left at sunset", frames=5, steps=3)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The same model on one process and on two."""
    folder = write_tiny(tmp_path_factory.mktemp("models") / "tiny", layers=2)
    two = wan22.load(folder, device="cpu", gpus=2)
    try:
        yield SimpleNamespace(folder=folder, one=wan22.load(folder, device="cpu"), two=two)
    finally:
        two.close()


def frames(events):
    return np.concatenate([event.frames for event in events if isinstance(event, Frames)]).astype(int)


def equal(made, request, **told):
    """Whether both make the same frames, to the rounding of one grey level."""
    return (
        np.abs(frames(made.one.generate(request, **told)) - frames(made.two.generate(request, **told))).max()
        <= 1
    )


def test_two_processes_make_what_one_makes(made):
    assert equal(made, REQUEST)


def test_a_video_that_is_closed_leaves_the_ranks_at_work(made):
    events = made.two.generate(REQUEST)
    for event in events:
        if isinstance(event, Progress):
            break
    events.close()
    assert equal(made, REQUEST)


def test_a_reply_reaches_all_ranks(made):
    def stopped(engine):
        events = engine.generate(REQUEST)
        found, reply = [], None
        try:
            while True:
                event = events.send(reply)
                reply = Reply(x=event.x * 0.5, stop=event.index == 2) if isinstance(event, Progress) else None
                found.append(event)
        except StopIteration:
            return found

    one, two = stopped(made.one), stopped(made.two)
    assert [type(event) for event in one] == [type(event) for event in two]
    assert sum(isinstance(event, Progress) for event in two) == 2
    assert np.abs(frames(one) - frames(two)).max() <= 1


class Kept:
    """A journal in memory."""

    def __init__(self):
        self.entries = {}
        self.reads = 0

    def read(self, name):
        self.reads += name in self.entries
        return self.entries.get(name)

    def write(self, name, tensors):
        self.entries[name] = {key: value.cpu().clone() for key, value in tensors.items()}

    def drop(self, prefix):
        self.entries = {name: each for name, each in self.entries.items() if not name.startswith(prefix)}


def test_a_journal_of_one_process_is_gone_on_with_by_two(made):
    journal = Kept()
    events = made.one.generate(REQUEST, journal=journal)
    for event in events:
        if isinstance(event, Progress) and event.index == 2:
            break
    events.close()
    assert journal.entries
    assert np.array_equal(
        frames(made.two.generate(REQUEST, journal=journal)),
        frames(made.one.generate(REQUEST, journal=journal)),
    )
    assert journal.reads >= 4


def test_a_call_between_two_events_is_made_by_all_ranks(made):
    events = made.two.generate(REQUEST)
    found = []
    for event in events:
        found.append(event)
        if isinstance(event, Progress):
            assert (
                made.two.encode_text(["a blue cube"])[0].shape
                == made.one.encode_text(["a blue cube"])[0].shape
            )
    assert np.abs(frames(found) - frames(made.one.generate(REQUEST))).max() <= 1


def test_latents_are_decoded_by_all_ranks(made):
    latents = next(event for event in made.one.generate(REQUEST) if isinstance(event, Latents))
    found = frames(made.two.decode_latents(latents.tensors, latents.recipe))
    assert np.abs(found - frames(made.one.decode_latents(latents.tensors, latents.recipe))).max() <= 1


def test_the_recipe_says_how_many_and_how(made):
    said = made.two.recipe(REQUEST)
    assert (said["gpus"], said["parallel"]) == (2, "guidance=2,context=1,ring=1")
    assert (
        made.two.recipe(Request(prompt="a ball", guidance=1.0))["parallel"] == "guidance=1,context=2,ring=1"
    )
    assert "gpus" not in made.one.recipe(REQUEST)


def test_a_mistake_ends_no_rank(made):
    before = made.two.pids
    with pytest.raises(SizeError):
        made.two.generate(Request(prompt="a ball", frames=-1))
    with pytest.raises(Wan22Error):
        made.two.use_loras(["nothing.safetensors:x"])
    assert made.two.pids == before


class Unwritable(Kept):
    def write(self, name, tensors):
        raise OutputError("the folder of the checkpoint is gone")


def test_a_mistake_that_is_found_while_a_video_is_made_ends_no_rank(made):
    """One that all ranks find, and one that only the leader can: both are the error, and the next video is made."""
    before = made.two.pids
    events = made.two.generate(REQUEST, journal=Kept())
    while not isinstance(next(events), Progress):
        pass
    with pytest.raises(OptionError, match="takes no replies"):
        events.send(Reply(guided=False))
        list(events)
    with pytest.raises(OutputError, match="is gone"):
        list(made.two.generate(REQUEST, journal=Unwritable()))
    with pytest.raises(CheckpointError):
        list(made.two.decode_latents({}, made.one.recipe(REQUEST)))
    assert equal(made, REQUEST)
    assert made.two.pids == before


@pytest.mark.parametrize(
    "ask", [lambda e: e.vae(), lambda e: e.expert("high"), lambda e: e.show("vae", None)]
)
def test_what_only_one_device_can_is_refused(made, ask):
    with pytest.raises(ParallelError, match="without gpus"):
        ask(made.two)


def test_step_caches_are_measured_on_one_device(made):
    with pytest.raises(ParallelError, match="one device"):
        made.two.recorder = object()


def test_a_process_leads_one_group(made):
    with pytest.raises(ParallelError, match="close the engine"):
        Group.start(["cpu", "cpu"], "wan22.engine:follow")


@pytest.mark.slow
def test_a_rank_that_is_killed_ends_all_with_one_error_and_the_next_video_begins_anew(made):
    """And no process is left of those that were."""
    before = made.two.pids
    events = made.two.generate(REQUEST)
    for event in events:
        if isinstance(event, Progress):
            os.kill(before[0], signal.SIGKILL)
            break
    with pytest.raises(ParallelError, match=r"rank 1 on cpu .* ended by SIGKILL") as caught:
        list(events)
    assert caught.value.lost
    with pytest.raises(ProcessLookupError):
        os.kill(before[0], 0)
    assert equal(made, REQUEST)
    assert made.two.pids != before
    events = made.two.generate(REQUEST)
    next(events)
    made.two.close()
    events.close()  # there is nobody left to tell
