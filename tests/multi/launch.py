"""Several gloo processes of one thread each, for tests: started when first needed, and kept for the tests that follow.

    from launch import run
    results = run(2, function, *args)       # function(rank, *args) in two processes; what each returned, in order

`function` stands at the top of a module; torch.distributed is initialised when it is called, and ended after it. Values
travel by torch.save. A failure of one rank ends all, and the tracebacks are the error here.
"""

import atexit
import io
import multiprocessing
import os
import tempfile
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import torch

LIMIT = 240
"""Seconds after which ranks that have not answered hang."""


class RankError(AssertionError):
    """A rank failed; the message is its traceback."""


def run(size: int, function: Callable[..., Any], *args: Any) -> list[Any]:
    """What `function(rank, *args)` returns in each of `size` processes."""
    while len(_ranks) < size:
        _ranks.append(_start())
    with tempfile.TemporaryDirectory() as folder:
        work = _written((function, args, size, str(Path(folder, "store"))))
        for rank, (_, pipe) in enumerate(_ranks[:size]):
            pipe.send_bytes(_written((rank, work)))
        return _answers([pipe for _, pipe in _ranks[:size]])


def _answers(pipes: list[Connection]) -> list[Any]:
    found: dict[int, Any] = {}
    errors: dict[int, str] = {}
    while len(found) + len(errors) < len(pipes):
        waiting = {pipe: i for i, pipe in enumerate(pipes) if i not in found and i not in errors}
        # Where one has failed the others wait for it in vain, or fail for it: who answers soon is asked.
        ready = wait(list(waiting), 2 if errors else LIMIT)
        if not ready:
            break
        for pipe in ready:
            rank = waiting[pipe]
            try:
                error, result = _read(pipe.recv_bytes())
            except EOFError:
                error, result = "its process ended", None
            if error:
                errors[rank] = error
            else:
                found[rank] = result
    if len(found) < len(pipes):
        stop()
        said = [f"rank {rank} of {len(pipes)}:\n{error}" for rank, error in errors.items()]
        raise RankError("\n".join(said) or f"after {LIMIT} s only ranks {sorted(found)} have answered")
    return [found[rank] for rank in range(len(pipes))]


_ranks: list[tuple[Any, Connection]] = []


def _start() -> tuple[Any, Connection]:
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(theirs,), daemon=True)
    process.start()
    theirs.close()
    return process, ours


def stop() -> None:
    """End all ranks; the next `run` starts them anew."""
    for process, pipe in _ranks:
        process.kill()
        process.join()
        pipe.close()
    _ranks.clear()


atexit.register(stop)


def _serve(pipe: Connection) -> None:
    """A rank: do what comes, until nobody is there any more."""
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.set_num_threads(1)
    while True:
        try:
            rank, work = _read(pipe.recv_bytes())
        except EOFError:
            return
        try:
            answer = "", _call(rank, *_read(work))
        except BaseException:
            answer = traceback.format_exc(), None
        pipe.send_bytes(_written(answer))


def _call(rank: int, function: Callable[..., Any], args: tuple[Any, ...], size: int, store: str) -> Any:
    import torch.distributed as dist

    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=size)
    try:
        return function(rank, *args)
    finally:
        dist.destroy_process_group()


def _written(value: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def _read(data: bytes) -> Any:
    return torch.load(io.BytesIO(data), weights_only=False)
