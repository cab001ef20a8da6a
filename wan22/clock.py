"""How long the steps of a video take, and how long the rest of it will. It knows no network."""

import time


class Clock:
    """Times steps and tells how long the rest of the video will take. Within a clip, what lies between steps (an
    expert's loading, the caller's own work) is not counted, and the first one's warm-up does not spoil the estimate;
    later clips are expected to take as long as those before them, all in all.
    """

    def __init__(self, steps: int, clips: int) -> None:
        self.steps, self.clips = steps, clips
        self._began = 0.0
        self._taken: list[float] = []
        self._clip_began = time.monotonic()
        self._clip_seconds: list[float] = []

    @property
    def done(self) -> int:
        """Steps of this clip that were timed."""
        return len(self._taken)

    @property
    def last(self) -> float:
        """Seconds of the last step."""
        return self._taken[-1]

    def __enter__(self) -> None:
        self._began = time.monotonic()

    def __exit__(self, *_: object) -> None:
        self._taken.append(time.monotonic() - self._began)

    def next_clip(self) -> None:
        """A clip is finished."""
        now = time.monotonic()
        self._clip_seconds.append(now - self._clip_began)
        self._clip_began = now
        self._taken = []

    def left(self, clip: int) -> float:
        """Seconds that are left, in clip `clip` (from 0) and in those after it."""
        recent = self._taken[1:][-5:] or self._taken
        step = sum(recent) / len(recent)
        whole = self._clip_seconds[-5:] or [step * self.steps]
        later = (self.clips - clip - 1) * sum(whole) / len(whole)
        return step * (self.steps - self.done) + later
