"""`wan22 plan`: what a video takes on some hardware, before anything is loaded or downloaded."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wan22.catalog import ALIASES, NANO
from wan22.cli import options as o
from wan22.cli import report
from wan22.cli.catalogue import gigabytes
from wan22.clock import duration
from wan22.errors import OptionError, choose
from wan22.production import planned
from wan22.production.planned import model_of

if TYPE_CHECKING:
    from wan22.catalog import Variant
    from wan22.memory.hardware import Hardware
    from wan22.memory.plan import Plan
    from wan22.parallel.links import Link
    from wan22.planning import Model
    from wan22.scaling import Scaled
    from wan22.types import Request

CARDS = ((8, 16), (12, 32), (16, 32), (24, 64), (32, 64), (48, 128), (80, 256))
"""GB of a card and of the host's memory beside it, of the table."""

TASKS = ("t2v", "i2v", "v2v", "s2v", "animate")
_SECONDS_OF_AUDIO = 5.0


ModelArgument = Annotated[
    str, typer.Argument(metavar="NAME|PATH", help="A catalogue name, also of a model that is not here.")
]
TaskOption = Annotated[
    str | None, typer.Option(metavar="T", help="t2v, i2v, v2v, s2v or animate. [default: the model's first]")
]
SizeOption = Annotated[str | None, typer.Option(metavar="WxH", help="Pixels. [default: the model's own]")]
FramesOption = Annotated[int | None, typer.Option(metavar="N", help="Frames. [default: the model's own]")]
SecondsOption = Annotated[float | None, typer.Option(metavar="S", help="Duration, in place of --frames.")]
StepsOption = Annotated[int | None, typer.Option(metavar="N", help="Steps. [default: the model's own]")]
GuidanceOption = Annotated[str | None, typer.Option(metavar="G", help="A number, or LOW,HIGH; 1 is without.")]
DtypeOption = Annotated[str, typer.Option(metavar="T", help="float32, bfloat16, float16, or auto.")]
VaeDtypeOption = Annotated[
    str, typer.Option("--vae-dtype", metavar="T", help="Of the VAE: float32 or bfloat16.")
]
QuantizeOption = Annotated[
    str, typer.Option(metavar="KIND", help="fp8, int8 or int4, or none: what matrices are kept in.")
]
MemoryOption = Annotated[
    str, typer.Option(metavar="PLAN", help="device, host, disk, stream, ranks (with --gpus), or auto.")
]
GpuOption = Annotated[str | None, typer.Option(metavar="NAME", help="A card, such as 'RTX 4060'.")]
VramOption = Annotated[str | None, typer.Option(metavar="SIZE", help="Free memory of the card, such as 8GB.")]
RamOption = Annotated[
    str | None, typer.Option(metavar="SIZE", help="Free memory of the host. [default: what is free here]")
]
DeviceOption = Annotated[
    str, typer.Option(metavar="D", help="A device of this machine, if no card is named.")
]
GpusOption = Annotated[
    int | None, typer.Option(metavar="N", help="Say what so many devices take that make it together.")
]
ParallelOption = Annotated[
    str | None, typer.Option(metavar="L", help="How they divide it: guidance=2,context=4. [default: chosen]")
]
LinkOption = Annotated[
    str, typer.Option(metavar="LINK", help="What connects them: nvlink, pcie5, 400g and others.")
]
TableOption = Annotated[bool, typer.Option("--table", help="A table of cards from 8 to 80 GB, in Markdown.")]


def plan(
    model: ModelArgument = NANO,
    task: TaskOption = None,
    size: SizeOption = None,
    frames: FramesOption = None,
    seconds: SecondsOption = None,
    steps: StepsOption = None,
    guidance: GuidanceOption = None,
    dtype: DtypeOption = "auto",
    vae_dtype: VaeDtypeOption = "float32",
    quantize: QuantizeOption = "none",
    memory: MemoryOption = "auto",
    gpu: GpuOption = None,
    vram: VramOption = None,
    ram: RamOption = None,
    device: DeviceOption = "auto",
    table: TableOption = False,
    gpus: GpusOption = None,
    parallel: ParallelOption = None,
    link: LinkOption = "nvlink",
    json: o.Json = False,
) -> None:
    """Say what a video would take: memory, how the model is kept, and time.

    It is computed from the networks themselves, without weights; times are estimates. See docs/memory.md. Exit code 1
    if it does not fit.
    """
    show = report.answer(json)
    row = _row(model)
    asked = request_of(
        row, task, o.parse_size(size), frames, seconds, steps=steps, guidance=o.parse_guidance(guidance)
    )
    if table:
        known = model_of(row, dtype, "cuda", vae_dtype, quantize)
        found = [(card, of_table(known, asked, card)) for card in CARDS]
        show.result(
            {"table": [made.as_json() | {"card": list(card)} for card, made in found]}, _rows(row, found)
        )
        return
    from wan22.planning import advised, plan_job
    from wan22.request import resolve

    if "+" in device:
        from wan22.parallel.places import devices_of

        places = devices_of(device, gpus) or []
        gpus, device = len(places), places[0]
    if gpus is not None and gpus < 1:
        raise OptionError(f"--gpus must be a whole number from 1, not {gpus}")
    if gpus is not None and gpu is None and vram is None:
        gpu = _card_of_ranks(device)
    way = _link(link)
    hardware = _hardware(gpu, vram, ram, device)
    if gpus is not None:
        hardware = hardware.shared(gpus).among(gpus, way.reached)
    known = model_of(row, dtype, hardware.device, vae_dtype, quantize)
    made = advised(plan_job(resolve(asked, row), known, hardware, memory), asked, known, memory)
    many = None if gpus is None else _on_many(asked, known, hardware, parallel, way)
    more = {} if many is None else {"many": many.as_json()}
    shown = [*lines(made), *([] if many is None else ["", *many.lines()])]
    show.result({"model": row.name, **made.as_json(), **more}, shown)
    if not made.fits:
        raise typer.Exit(1)


def _link(name: str) -> Link:
    """Raises OptionError for an unknown one."""
    from wan22.parallel.links import LINKS

    return LINKS[choose("link", name, tuple(LINKS))]


def _card_of_ranks(device: str) -> str | None:
    """The card that stands for those of a machine without any."""
    from wan22.memory.device import pick_device

    return None if pick_device(device).type == "cuda" else "H200"


def _on_many(asked: Request, known: Model, hardware: Hardware, parallel: str | None, way: Link) -> Scaled:
    """On several devices. Raises ParallelError for a layout that cannot be."""
    from wan22.parallel.layout import Layout
    from wan22.planning import experts_of, tokens_of
    from wan22.request import resolve
    from wan22.scaling import scaled

    job = resolve(asked, known.variant)
    gpus = hardware.ranks
    guided = not all(expert.alone for expert in experts_of(job, tokens_of(job)))
    heads = known.variant.dit.heads
    layout = Layout.pick(gpus, heads, guided=guided) if parallel is None else Layout.parse(parallel)
    layout.check(gpus, heads)
    return scaled(job, known, hardware, layout, way)


def _row(name: str) -> Variant:
    """A row by catalogue name, hub id or folder."""
    from wan22.cli.models import find_row

    return find_row(ALIASES.get(name, name))


def request_of(
    row: Variant,
    task: str | None = None,
    size: tuple[int, int] | None = None,
    frames: int | None = None,
    seconds: float | None = None,
    **rest: Any,
) -> Request:
    """A request of that kind, with an image, a clip and audio that stand for any."""
    from wan22.types import Request

    task = _first(row) if task is None else choose("task", task, TASKS)
    width, height = size or row.defaults.size
    image = planned.still(width, height)
    length = frames or (round(seconds * row.defaults.fps) if seconds else row.defaults.frames)
    told: dict[str, Any] = {
        "t2v": {},
        "i2v": {"image": image},
        "v2v": {"video": planned.clip(width, height, frames or row.defaults.frames, row.defaults.fps)},
        "s2v": {"image": image, "audio": planned.silence(seconds or _SECONDS_OF_AUDIO)},
        "animate": {
            "image": image,
            "driving": planned.driving(row, width, height, length),
        },
    }[task]
    return Request(prompt="a " * 60, size=size, frames=frames, seconds=seconds, **told, **rest)


def _first(row: Variant) -> str:
    if row.animate is not None:
        return "animate"
    return "s2v" if row.speech is not None else "i2v" if row.image_required else "t2v"


def _hardware(gpu: str | None, vram: str | None, ram: str | None, device: str) -> Hardware:
    """What is said of the hardware, or this machine."""
    from dataclasses import replace

    import psutil

    from wan22.memory import hardware as known
    from wan22.memory.device import pick_device

    host = psutil.virtual_memory().available if ram is None else known.parse_bytes(ram, "--ram")
    free = None if vram is None else known.parse_bytes(vram, "--vram")
    if gpu is not None:
        return known.of_card(gpu, host, free)
    if free is not None:
        return known.of_memory(free, host)
    found = known.here(pick_device(device))
    if ram is None:
        return found
    return replace(found, host=host, free=found.free if found.device == "cuda" else host)


def lines(made: Plan) -> Iterator[str]:
    """A plan for people: a line for each stage, and whether it fits."""
    hardware = made.hardware
    yield f"{hardware.name}: {gigabytes(hardware.room)} for tensors, {gigabytes(hardware.host)} of host memory"
    yield ""
    table = [("STAGE", "WEIGHTS", "TO WORK IN", "PEAK", "ABOUT", "OF THE RATE", "KEPT")]
    for stage in made.stages:
        table.append(
            (
                stage.name,
                gigabytes(stage.weights),
                gigabytes(stage.activations),
                gigabytes(stage.peak),
                duration(stage.seconds),
                f"{stage.roof:.0%}",
                stage.kept,
            )
        )
    widths = [max(len(line[i]) for line in table) for i in range(len(table[0]))]
    for line in table:
        yield "  ".join(f"{cell:{width}}" for cell, width in zip(line, widths, strict=True)).rstrip()
    yield ""
    for part, why in {stage.part: stage.why for stage in made.stages}.items():
        yield f"{part}: {why}"
    host = f", {gigabytes(made.host)} of weights in host memory" if made.host else ""
    yield f"in all about {duration(made.seconds)}, {gigabytes(made.peak)} at the peak{host}"
    yield (
        "it fits"
        if made.fits
        else f"it does not fit; {made.advice or 'nothing smaller of this model does either'}"
    )


def of_table(known: Model, asked: Request, card: tuple[int, int]) -> Plan:
    """The plan on a card of so many GB, with so many GB of host memory."""
    from wan22.memory.hardware import GB, of_memory
    from wan22.planning import advised, plan_job
    from wan22.request import resolve

    vram, ram = card
    hardware = of_memory(vram * GB, round(0.8 * ram * GB))  # what the system leaves of it
    return advised(plan_job(resolve(asked, known.variant), known, hardware), asked, known)


def _rows(row: Variant, found: list[tuple[tuple[int, int], Plan]]) -> Iterator[str]:
    yield "| model | card, GB | host, GB | transformer | VAE | text | peak, GB | at the peak |"
    yield "|---|--:|--:|---|---|---|--:|---|"
    for (vram, ram), made in found:
        expert = row.experts[0]
        kept = [_short(made, part) for part in (expert, "vae", "text")]
        peak = f"{made.peak / 1e9:.1f}" if made.fits else f"does not fit; {made.advice}"
        yield f"| {row.name} | {vram} | {ram} | {' | '.join(kept)} | {peak} | {made.worst.name} |"


def _short(made: Plan, part: str) -> str:
    scheme = made.schemes[part]
    kept = {"device": "stays", "host": "from the host", "disk": "from disk"}[scheme.rest]
    return kept + (", block by block" if scheme.stream and part != "vae" else "")
