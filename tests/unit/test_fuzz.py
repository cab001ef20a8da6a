"""Damaged files of every kind: read, or refused by an error of ours. `python -m bench.fuzz` does more of it."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.fuzz import KINDS, ends_well

EXAMPLES = 6
"""For each kind; a second for all together."""


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """A good file of each kind, and its bytes."""
    made = {name: kind.make(tmp_path_factory.mktemp("fuzz")) for name, kind in KINDS.items()}
    return {name: (path, path.read_bytes()) for name, path in made.items()}


@pytest.mark.parametrize("name", KINDS)
def test_a_good_file_of_the_kind_is_read(name, good):
    path, data = good[name]
    path.write_bytes(data)
    KINDS[name].read(path)


@pytest.mark.parametrize("name", KINDS)
def test_a_damaged_file_is_read_or_refused_by_an_error_of_ours(name, good):
    path, data = good[name]

    @settings(max_examples=EXAMPLES, deadline=None, derandomize=True, database=None)
    @given(st.integers(0, 2**32))
    def holds(seed):
        ends_well(KINDS[name], path, data, seed)

    holds()


def test_the_changes_change():
    """A fuzzer that changes nothing would find nothing."""
    for kind in ("mp4", "safetensors", "shot", "jsonl", "training recipe"):
        data = {"shot": b'{"a": [1]}', "jsonl": b'{"a": 1}\n{"b": 2}', "training recipe": b"a = 1\n"}.get(
            kind, b"\0" * 64
        )
        if kind == "safetensors":
            data = (2).to_bytes(8, "little") + b"{}" + data
        changed = {KINDS[kind].changed(data, random.Random(seed)) for seed in range(30)}
        assert len(changed - {data}) > 8, kind
