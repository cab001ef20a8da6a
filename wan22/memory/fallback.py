"""A device that runs out of memory all the same: once more, by the next smaller scheme.

The plan counts what a network needs; drivers, other programs and fragments are not in it. What was made before the
failure stays: only the call that failed is made again.
"""

from collections.abc import Callable, Iterator
from itertools import islice
from typing import TypeVar

import torch

from wan22.errors import DeviceError
from wan22.memory.placement import Placement
from wan22.types import Events, Notice

T = TypeVar("T")


class Fallback:
    """Makes calls that may exhaust the device. `notices` are for the person; `said` empties them.

    again: whether a call that failed is made once more; not where others make it in step.
    """

    def __init__(self, placement: Placement) -> None:
        self._placement, self.again = placement, True
        self.notices: list[str] = []

    def said(self) -> Events:
        """What is to be said of a device that ran out of memory."""
        while self.notices:
            yield Notice(self.notices.pop(0))

    def run(self, part: str, call: Callable[[], T], forget: Callable[[], None] = lambda: None) -> T:
        """Return what `call`, which brings and uses `part`, returns.

        If the device runs out of memory, `forget` lets go of what the caller holds of the part, and the call is made
        once more by the next smaller scheme. Raises DeviceError if there is none, or if that is too large as well.
        """

        def once() -> Iterator[T]:
            yield call()

        return next(self.stream(part, once, forget))

    def stream(
        self, part: str, make: Callable[[], Iterator[T]], forget: Callable[[], None] = lambda: None
    ) -> Iterator[T]:
        """Yield what `make()` yields. After a failure it is made once more, and what was yielded before is left out.

        Raises as `run` does.
        """
        done, failed = 0, ""
        while True:
            said = ""
            try:
                for item in islice(make(), done, None):
                    done += 1
                    yield item
            except torch.OutOfMemoryError as error:
                said = str(error).partition(". ")[0]
            if not said:
                return
            # Here and not above: the error's traceback holds the tensors of the call that failed.
            forget()
            self._shrink(part, said, again=bool(failed))
            failed = said

    def _shrink(self, part: str, said: str, *, again: bool) -> None:
        place, before = self._placement, self._placement.scheme(part)
        if again or not self.again or not place.shrink(part):
            raise DeviceError(
                f"{place.device_of(part)} ran out of memory in the part {part!r} ({before}): {said}. "
                "Ask for fewer frames or a smaller size, quantise the weights, or free memory of other programs; "
                "`wan22 plan` says what fits"
            )
        self.notices.append(
            f"{place.device} ran out of memory in the part {part!r} ({before}); it goes on more slowly: "
            f"{place.scheme(part)}"
        )
