"""What a video will take before anything is loaded: for every stage its memory, the scheme of its part, and the time.

Pure decision: it is given what each stage counts to (workload.py), how large each part is, and the hardware.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from wan22.errors import DeviceError, choose
from wan22.memory.effects import Work
from wan22.memory.hardware import HOST_SHARE, Hardware
from wan22.memory.meter import Counts
from wan22.memory.scheme import CHOICES, CHUNK_TOKENS, FEW_TOKENS, LADDER, Scheme, divided, ordered

EFFICIENCY = {"matmul": 0.8, "attention": 0.65, "conv": 0.6, "traffic": 0.85}
"""Of the rate on paper, what kernels of each kind reach (assumed; none was measured here)."""

_LAUNCH = 5e-6
"""Seconds that starting a kernel takes."""


@dataclass(frozen=True)
class PartSize:
    """Bytes of a part's weights: all; those on the device at once while its blocks are streamed; and of what passes
    through then; and how much of that is there at once. A part without blocks cannot be streamed: `passing` is 0.
    """

    whole: int
    streamed: int
    passing: int = 0
    at_once: int = 0

    def stays(self, scheme: Scheme, ranks: int) -> int:
        """Bytes that are on the device all the time: of blocks that rest on ranks, one's part, and what is no block."""
        if scheme.rest == "ranks":
            return -(-self.passing // ranks) + self.streamed - self.at_once
        return self.whole if scheme.rest == "device" and not scheme.stream else 0

    def comes(self, scheme: Scheme) -> int:
        """Bytes beside these while the part is at work."""
        if scheme.rest == "ranks":
            return self.at_once
        if scheme.rest == "device" and not scheme.stream:
            return 0
        return self.streamed if scheme.stream and self.passing else self.whole


@dataclass(frozen=True)
class Stage:
    """A stage of the work: `calls` calls of one part. `counts` says what one call takes under a scheme; so many ranks
    are `among` whom its time is divided, if it is counted for one.
    """

    name: str
    part: str
    counts: Callable[[Scheme], Counts]
    calls: int = 1
    among: int = 1


@dataclass(frozen=True)
class StagePlan:
    """A stage as it will be: bytes on the device (`weights` of every part that is there, `activations`), the scheme and
    why it is taken, seconds and the share of the time that the arithmetic alone would take.
    """

    name: str
    part: str
    scheme: Scheme
    why: str
    weights: int
    activations: int
    seconds: float
    roof: float
    counts: Counts = field(repr=False)
    calls: int = 1

    @property
    def kept(self) -> str:
        """The scheme in words, without what this part does not heed."""
        vae, text = self.part == "vae", self.part in ("text", "audio", "image")
        return str(
            replace(
                self.scheme,
                chunk=None if vae or text else self.scheme.chunk,
                host_history=self.scheme.host_history and vae,
            )
        )

    @property
    def peak(self) -> int:
        """Bytes on the device at the peak."""
        return self.weights + self.activations


@dataclass(frozen=True)
class Plan:
    """What a video takes on some hardware. `host` are bytes of weights in host memory beside the device's; `advice`
    says what would fit, if this does not.
    """

    hardware: Hardware
    stages: tuple[StagePlan, ...]
    schemes: Mapping[str, Scheme]
    host: int
    advice: str = ""

    @property
    def peak(self) -> int:
        """Bytes on the device at the peak of all stages."""
        return max((stage.peak for stage in self.stages), default=0)

    @property
    def worst(self) -> StagePlan:
        """The stage that takes most."""
        return max(self.stages, key=lambda stage: stage.peak)

    @property
    def fits(self) -> bool:
        """Whether every stage fits on the device, and what waits on the host there."""
        return self.peak <= self.hardware.room and self.host <= self.hardware.host

    @property
    def seconds(self) -> float:
        """The whole of it."""
        return sum(stage.seconds for stage in self.stages)

    def as_json(self) -> dict[str, Any]:
        """As JSON values; bytes and seconds."""
        hardware = self.hardware
        return {
            "fits": self.fits,
            "peak": self.peak,
            "host": self.host,
            "seconds": round(self.seconds, 3),
            "advice": self.advice,
            "hardware": {
                "name": hardware.name, "device": hardware.device, "free": hardware.free, "room": hardware.room,
                "host": hardware.host,
            },
            "stages": [
                {
                    "name": stage.name, "part": stage.part, "scheme": stage.kept, "why": stage.why,
                    "weights": stage.weights, "activations": stage.activations, "peak": stage.peak,
                    "seconds": round(stage.seconds, 3), "roof": round(stage.roof, 3), "calls": stage.calls,
                    "tflop": round(stage.counts.total_flops * stage.calls / 1e12, 3),
                }
                for stage in self.stages
            ],
        }  # fmt: skip


def plan(
    stages: Sequence[Stage], sizes: Mapping[str, PartSize], hardware: Hardware, memory: str = "auto"
) -> Plan:
    """Choose how each part is kept, from the fastest to the smallest, so that every stage fits.

    memory: "auto", or an order of `scheme.CHOICES`, which is followed whether it fits or not. What does not fit at
    all keeps its smallest scheme: see `Plan.fits`. Raises OptionError for any other word.
    """
    choose("memory plan", memory, CHOICES)
    if memory != "auto":
        host = sum(size.whole for size in sizes.values()) <= HOST_SHARE * hardware.host
        schemes = ordered(sizes, memory, hardware.device, host=host, ranks=hardware.ranks)
        return _made(stages, sizes, hardware, schemes, dict.fromkeys(sizes, "as was asked"))
    together = dict.fromkeys(sizes, Scheme("device"))
    need = sum(size.whole for size in sizes.values()) + max(s.counts(Scheme("device")).peak for s in stages)
    if need <= hardware.room:
        return _made(stages, sizes, hardware, together, dict.fromkeys(sizes, "all parts fit together"))
    why = f"all together take {gigabytes(need)}, and {gigabytes(hardware.room)} are free"
    for chunk in (None, CHUNK_TOKENS, FEW_TOKENS) if hardware.ranks > 1 else ():
        among = dict.fromkeys(sizes, f"divided among {hardware.ranks} ranks: {why}")
        made = _made(stages, sizes, hardware, divided(sizes, chunk), among)
        if made.fits:
            return made
    return _apart(stages, sizes, hardware, why)


def possible(stages: Sequence[Stage], sizes: Mapping[str, PartSize], hardware: Hardware) -> bool:
    """Whether every stage fits by the smallest scheme; the answer comes with the first that does not."""
    return all(sizes[s.part].comes(LADDER[-1]) + s.counts(LADDER[-1]).peak <= hardware.room for s in stages)


def _apart(stages: Sequence[Stage], sizes: Mapping[str, PartSize], hardware: Hardware, why: str) -> Plan:
    """Each part by itself on the device, in the fastest way that leaves its stages room."""
    on_host = _hosted(stages, sizes, hardware)
    schemes, reasons = {}, {}
    for part, size in sizes.items():
        mine = [stage for stage in stages if stage.part == part]
        rungs = [s for s in LADDER[1:] if s.rest == ("host" if part in on_host else "disk")]
        rungs = [s for s in rungs if size.passing or not s.stream] or rungs[:1]
        said = why
        for rung in rungs:
            need = size.comes(rung) + max((s.counts(rung).peak for s in mine), default=0)
            schemes[part] = rung
            if need <= hardware.room:
                break
            said = f"otherwise it takes {gigabytes(need)}, and {gigabytes(hardware.room)} are free"
        reasons[part] = said
    return _made(stages, sizes, hardware, schemes, reasons)


def _hosted(stages: Sequence[Stage], sizes: Mapping[str, PartSize], hardware: Hardware) -> set[str]:
    """The parts that wait in host memory: those that are used most, as long as there is room."""
    left = HOST_SHARE * hardware.host
    if hardware.device != "cuda":
        return set()
    calls = {part: sum(s.calls for s in stages if s.part == part) for part in sizes}
    found = set()
    for part in sorted(sizes, key=lambda part: -calls[part]):
        if sizes[part].whole <= left:
            found.add(part)
            left -= sizes[part].whole
    return found


def _made(
    stages: Sequence[Stage],
    sizes: Mapping[str, PartSize],
    hardware: Hardware,
    schemes: Mapping[str, Scheme],
    reasons: Mapping[str, str],
) -> Plan:
    stay = sum(sizes[part].stays(scheme, hardware.ranks) for part, scheme in schemes.items())
    planned = []
    for stage in stages:
        scheme, size = schemes[stage.part], sizes[stage.part]
        counts = stage.counts(scheme)
        seconds, roof = _time(counts, stage, size, scheme, hardware)
        planned.append(
            StagePlan(
                stage.name, stage.part, scheme, reasons[stage.part], stay + size.comes(scheme), counts.peak, seconds,
                roof, counts, stage.calls,
            )
        )  # fmt: skip
    host = sum(sizes[part].whole for part, s in schemes.items() if s.rest == "host")
    return Plan(hardware, tuple(planned), dict(schemes), 0 if hardware.device != "cuda" else host)


def _time(
    counts: Counts, stage: Stage, size: PartSize, scheme: Scheme, hardware: Hardware
) -> tuple[float, float]:
    """Seconds of all calls, and the share of them that the arithmetic alone takes at the rate on paper. What ranks wait
    for one another is not in them: scaling.py counts it.
    """
    calls = stage.calls
    ideal = calls * sum(_on_paper(counts, hardware).values()) / stage.among
    busy = calls * busy_seconds(counts, hardware) / stage.among
    way = min(hardware.link, hardware.disk if scheme.rest == "disk" else hardware.link)
    if scheme.rest == "ranks":
        others = size.passing * (hardware.ranks - 1) / hardware.ranks
        seconds = max(busy, calls * others / hardware.peers)
    elif scheme.rest == "device" and not scheme.stream:
        seconds = busy
    elif scheme.stream and size.passing:
        seconds = max(busy, calls * (counts.passed or size.passing) / way)  # copied while it computes
    else:
        seconds = busy + size.whole / way
    return seconds, ideal / seconds if seconds else 0.0


def _on_paper(counts: Counts, hardware: Hardware) -> dict[Work, float]:
    """Seconds of each kind of product at the rate on paper."""
    slowest = min(hardware.flops.values())
    return {work: flops / hardware.flops.get(work[1], slowest) for work, flops in counts.flops.items()}


def product_seconds(counts: Counts, hardware: Hardware, kind: str) -> float:
    """What products of a kind take."""
    found = _on_paper(counts, hardware)
    return sum(seconds for work, seconds in found.items() if work[0] == kind) / EFFICIENCY[kind]


def busy_seconds(counts: Counts, hardware: Hardware) -> float:
    """What one call takes of a device whose weights are there."""
    busy = sum(product_seconds(counts, hardware, kind) for kind in {kind for kind, _ in counts.flops})
    busy += counts.traffic / (hardware.bandwidth * EFFICIENCY["traffic"])
    return max(busy, counts.kernels * _LAUNCH)


def refuse(made: Plan) -> None:
    """Raise DeviceError if a plan does not fit, with what would."""
    if made.fits:
        return
    worst, hardware = made.worst, made.hardware
    if made.peak > hardware.room:
        what = (
            f"{worst.name} takes {gigabytes(worst.peak)} ({gigabytes(worst.weights)} of weights, "
            f"{gigabytes(worst.activations)} to work in), and {gigabytes(hardware.room)} are free on {hardware.name}"
        )
    else:
        what = f"{gigabytes(made.host)} of weights wait in host memory, and {gigabytes(hardware.host)} are free there"
    raise DeviceError(f"{what}; {made.advice or 'take another device or a smaller model'}")


def gigabytes(number: float) -> str:
    """A number of bytes for people."""
    return f"{number / 1e9:.1f} GB" if number >= 1e8 else f"{number / 1e6:.0f} MB"
