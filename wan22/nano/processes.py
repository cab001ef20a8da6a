"""Work of one thread, shared among processes."""

from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


def mapped(work: Callable[[Item], Result], items: Iterable[Item], processes: int) -> list[Result]:
    """`work` of every item, in order, by so many processes; by this one, if none."""
    if not processes:
        return list(map(work, items))
    # A fresh process each: what has begun to use a GPU cannot be forked.
    with ProcessPoolExecutor(processes, get_context("spawn"), torch.set_num_threads, (1,)) as pool:
        return list(pool.map(work, items))
