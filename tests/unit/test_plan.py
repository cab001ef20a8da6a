"""How parts are kept follows from what they take and what is there; what cannot be is refused with what would."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

import wan22
from tests.unit.tiny import tiny_speech_variant, tiny_variant, write_tiny
from wan22.assembly import FLOAT32
from wan22.catalog import VARIANTS
from wan22.cli import plan as cli
from wan22.errors import DeviceError, OptionError
from wan22.memory.hardware import (
    CARDS,
    CONTEXT,
    GB,
    Hardware,
    card,
    measured,
    of_card,
    of_memory,
    parse_bytes,
    quickest,
)
from wan22.memory.meter import Counts
from wan22.memory.plan import PartSize, Stage, plan, refuse
from wan22.memory.scheme import Scheme
from wan22.models.dit import NoiseLevels, WanDiT
from wan22.models.meta import meta_module
from wan22.planning import (
    Model,
    PartDtype,
    advised,
    cached,
    part_size,
    plan_job,
    quantised,
    stages_of,
)
from wan22.request import resolve
from wan22.sampling.cache import CACHES, StepCache
from wan22.types import Audio, Finished, Notice, Request

BF16 = torch.bfloat16
SIZES = {
    "high": PartSize(30, 2, 29),
    "low": PartSize(30, 2, 29),
    "text": PartSize(11, 1, 9),
    "vae": PartSize(1, 1),
}


def hardware(free, host, device="cuda"):
    reserve = CONTEXT if device == "cuda" else 0
    return Hardware("a card", device, free + reserve, host, {BF16: 1e12, torch.float32: 5e11}, 1e11)


def stages(forward=10, decode=20, chunked=4, history=3):
    def of(plain, small, of_scheme):
        return lambda scheme: Counts(
            small if of_scheme(scheme) else plain, {("matmul", BF16): 1e9}, 10, 10**6
        )

    low = of(forward, chunked, lambda s: s.chunk)
    return [
        Stage("text", "text", of(1, 1, bool)),
        Stage("high", "high", low, 40),
        Stage("low", "low", low, 40),
        Stage("decode", "vae", of(decode, history, lambda s: s.host_history)),
    ]


@pytest.mark.parametrize(
    ("free", "host", "high", "vae"),
    [
        (92, 0, ("device", False, False), ("device", False, False)),
        (91, 100, ("host", False, False), ("host", False, False)),
        (91, 0, ("disk", False, False), ("disk", False, False)),
        (39, 100, ("host", False, True), ("host", False, False)),
        (20, 100, ("host", True, True), ("host", False, True)),
        (
            6,
            40,
            ("host", True, True),
            ("host", False, True),
        ),  # beside one expert, the host has room for the VAE
    ],
)
def test_the_fastest_scheme_that_fits_is_taken(free, host, high, vae):
    made = plan(stages(), SIZES, hardware(free, host))
    assert made.fits and made.peak <= free
    found = [(s.rest, s.stream, s.chunk is not None) for s in (made.schemes["high"], made.schemes["vae"])]
    assert found == [high, vae]
    assert made.host <= host


def test_on_the_cpu_nothing_waits_beside_it():
    made = plan(stages(), SIZES, hardware(50, 50, "cpu"))
    assert made.fits and {scheme.rest for scheme in made.schemes.values()} == {"disk"} and made.host == 0


@pytest.mark.parametrize("memory", ["device", "host", "disk", "stream"])
def test_an_order_is_followed_and_said_to_be_too_large(memory):
    made = plan(stages(), SIZES, hardware(6, 1000), memory)
    assert {s.rest for s in made.schemes.values()} == {"host" if memory == "stream" else memory}
    assert made.fits == (memory == "stream")
    with pytest.raises(OptionError, match=r"'ram'.*auto, device, host, disk, stream"):
        plan(stages(), SIZES, hardware(5, 5), "ram")


def test_what_fits_in_no_way_is_refused_with_its_numbers():
    made = plan(stages(), SIZES, hardware(3 * GB, 0))
    refuse(made)
    sizes = {name: PartSize(*(GB * n for n in (s.whole, s.streamed, s.passing))) for name, s in SIZES.items()}
    made = plan(stages(4 * GB, 4 * GB, 4 * GB, 3 * GB), sizes, hardware(5 * GB, 0))
    with pytest.raises(
        DeviceError, match=r"high takes 6\.0 GB \(2\.0 GB of weights, 4\.0 GB .* 5\.0 GB are free"
    ):
        refuse(made)


def test_time_is_that_of_the_arithmetic_or_of_the_way_of_the_weights():
    quick = plan(stages(), SIZES, hardware(92, 0))
    one = next(stage for stage in quick.stages if stage.name == "high")
    assert one.seconds == pytest.approx(40 * (1e9 / 1e12 / 0.8 + 1e6 / (1e11 * 0.85)))
    assert one.roof == pytest.approx(40 * 1e9 / 1e12 / one.seconds)
    huge = {name: PartSize(s.whole, s.streamed, s.passing * 10**10) for name, s in SIZES.items()}
    slow = plan(stages(), huge, hardware(6, 100))
    assert next(s for s in slow.stages if s.name == "high").seconds == pytest.approx(40 * 29e10 / 25e9)


def test_cards_are_known_by_their_names():
    for name in CARDS:
        assert (
            card(name)[0]
            == card(f"NVIDIA GeForce {name}")[0]
            == card(name.lower().replace(" ", "-"))[0]
            == name
        )
    assert card("NVIDIA H100 80GB HBM3")[0] == "H100"
    assert card("NVIDIA GeForce RTX 4070 Ti SUPER")[0] == "RTX 4070 Ti SUPER"
    assert of_card("rtx4090", 5).free == 24 * 2**30
    with pytest.raises(OptionError, match=r"'RTX 4061'.*RTX 4060"):
        card("RTX 4061")
    with pytest.raises(OptionError, match="give --vram"):
        card("")


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("8GB", 8 * 10**9),
        ("8 GiB", 8 * 2**30),
        ("8000MB", 8 * 10**9),
        ("0.5tb", 5 * 10**11),
        (" 16g ", 16 * 10**9),
    ],
)
def test_sizes_have_units(text, size):
    assert parse_bytes(text, "--vram") == size


@pytest.mark.parametrize("text", ["8", "GB", "", "-8GB", "0GB", "8 GX", "8,5GB", "nan GB"])
def test_other_sizes_are_refused(text):
    with pytest.raises(OptionError, match="--vram must be a size with its unit, such as 8GB"):
        parse_bytes(text, "--vram")


def test_a_cpu_is_measured():
    flops, bandwidth = measured()
    assert min(flops.values()) > 1e7 and bandwidth > 1e6


def test_a_rate_is_that_of_the_try_that_nothing_interrupted():
    waits = iter([9.0, 0.5, 0.2, 7.0, *[3.0] * 100])
    now, runs = [0.0], []

    def work():
        runs.append(next(waits))
        now[0] += runs[-1]

    assert quickest(work, 8.0, lambda: now[0]) == pytest.approx(0.2)
    assert (
        runs[0] == 9.0 and len(runs) == 5
    )  # the first try, and what comes after the time, count for nothing
    assert quickest(work, 0.0, lambda: now[0]) == 3.0  # one counts, however long it takes


def test_the_rate_of_a_cpu_is_measured_by_one_thread_for_all():
    seen, before = [], torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                "wan22.memory.hardware.quickest", lambda work: seen.append(torch.get_num_threads()) or 1e-3
            )
            flops, bandwidth = measured.__wrapped__()
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert (
        set(seen) == {1} and flops[torch.float32] == 2 * 2 * 192**3 / 1e-3 and bandwidth == 2 * 2**22 / 1e-3
    )


@pytest.mark.parametrize("products", [False, True])
def test_the_command_plans_in_the_dtype_that_the_cpu_computes_in(monkeypatch, products):
    monkeypatch.setattr("wan22.memory.precision.has_bfloat16_products", lambda: products)
    row = VARIANTS["ti2v-5B"]
    model = cli.model_of(row, "auto", "cpu")
    assert model.dtype == (BF16 if products else torch.float32)
    kept = part_size(row.text, BF16, "cpu")
    assert model.sizes("cpu")["text"] == kept
    assert cli.model_of(row, "auto", "cuda").dtype == BF16


def test_the_bytes_of_a_part_are_those_of_its_tensors():
    arch = VARIANTS["s2v-14B"].dit
    whole = sum(
        p.numel() * (4 if any(part in name for part in FLOAT32) else 2)
        for name, p in meta_module(arch).named_parameters()
    )
    size = part_size(arch, PartDtype(BF16), "cuda")
    assert size.whole == whole and size.passing < whole
    assert size.streamed < 0.1 * whole
    vae = part_size(VARIANTS["ti2v-5B"].vae, torch.float32, "cuda")
    # Two of its layers are there, of the decoder or of the encoder.
    wide = 2 * (2 * (27 * 1024 * 1024 + 1024) + 2 * 1024) * 4
    assert wide <= vae.streamed < wide + 10**5 and vae.passing > 0.99 * vae.whole


def image():
    return np.zeros((32, 48, 3), np.uint8)


@pytest.mark.parametrize(
    ("image_kind", "given", "names"),
    [
        (None, {}, ["text", "high", "low", "decode"]),
        ("known", {"image": image()}, ["text", "condition", "high", "low", "decode"]),
        ("channels", {"image": image()}, ["text", "condition", "high", "low", "decode"]),
        (None, {"frames": 17}, ["text", "condition", "high", "low", "decode"]),  # a chain of clips
    ],
)
@pytest.mark.parametrize("device", ["cuda", "cpu"])
def test_the_stages_of_a_job(image_kind, given, names, device):
    row = tiny_variant(image_kind)
    job = resolve(Request(prompt="a ball", **given), row)
    model = Model(row, torch.float32)
    found = list(stages_of(job, model, device, 5))
    assert [stage.name for stage in found] == names
    assert (
        sum(s.calls for s in found if s.part in ("high", "low")) == 4 * job.canvas.clips
    )  # both branches in a batch
    made = plan_job(job, model, hardware(GB, GB, device))
    assert made.fits and {s.rest for s in made.schemes.values()} == {"device"}
    assert 0 < made.peak < 10**7
    assert made.as_json()["stages"][0]["name"] == "text"


def test_the_stages_of_speech():
    row = tiny_speech_variant()
    audio = Audio(np.ones(32_000, np.float32), 16_000)
    job = resolve(Request(prompt="a ball", image=image(), audio=audio), row)
    found = list(stages_of(job, Model(row, torch.float32, audio=1000), "cuda", 5))
    assert [s.name for s in found] == ["text", "condition", "condition", "audio", "dit", "decode"]
    assert plan_job(job, Model(row, torch.float32, audio=1000), hardware(GB, GB)).fits


@pytest.mark.parametrize(("choice", "samples"), [("first-block", 3), ("teacache", 2)])
def test_what_a_step_cache_keeps_is_counted(choice, samples):
    row = tiny_variant(None)
    job = resolve(Request(prompt="a ball", steps=6, cache=f"{choice}:0.5"), row)
    network, levels = WanDiT(row.dit), NoiseLevels(torch.ones(2, 1))
    rule = CACHES[choice].rule(
        lambda: {level.timestep: torch.ones(1) for level in job.schedule}, None, torch.mean
    )
    cache = StepCache(job.walk.cache, rule, job.schedule)
    cache.begin(job.schedule[0])
    with torch.inference_mode():
        text = network.read_text([torch.zeros(3, 8)] * 2)
        around = partial(cache.around, (0, 1))
        network(torch.zeros(2, 4, *job.canvas.latent), levels, text, around=around)
    kept = [
        *cache._added.values(),
        *(v for v in vars(rule).values() if isinstance(v, torch.Tensor) and v.dim() == 3),
    ]
    held = sum(tensor.nbytes for tensor in kept)
    assert held == cached(job, row.dit, torch.float32, 2) == samples * job.canvas.tokens * row.dit.dim * 4
    plain = resolve(Request(prompt="a ball", steps=6), row)
    peaks = [
        next(s for s in stages_of(one, Model(row, torch.float32), "cuda", 5) if s.name == "high")
        .counts(Scheme("device"))
        .peak
        for one in (job, plain)
    ]
    assert peaks[0] - peaks[1] == held


@pytest.mark.parametrize("device", ["cuda", "cpu"])
@pytest.mark.parametrize("kind", ["fp8", "int8"])
def test_the_weight_that_is_dequantised_is_counted(kind, device):
    row = tiny_variant(None)
    row = replace(row, dit=replace(row.dit, dim=128, ffn_dim=512))
    job = resolve(Request(prompt="a ball"), row)
    stored = Model(row, BF16, networks=quantised(row, BF16, BF16, kind))
    peaks = [
        next(s for s in stages_of(job, model, device, 5) if s.name == "high").counts(Scheme("device")).peak
        for model in (stored, Model(row, BF16))
    ]
    assert peaks[0] - peaks[1] >= 128 * 512 * BF16.itemsize


def test_the_smallest_change_that_fits_is_advised():
    row, request = tiny_variant(None), Request(prompt="a ball", size=(256, 256), frames=9)
    model = Model(row, torch.float32)
    need = plan_job(resolve(request, row), model, hardware(GB, 0)).worst
    room = need.activations // 2 + 400_000
    made = plan_job(resolve(request, row), model, hardware(room, 0), "device")
    assert not made.fits
    told = advised(made, request, model, "device")
    assert told.advice.endswith("would fit")
    small = advised(plan_job(resolve(request, row), model, hardware(1000, 0)), request, model)
    assert not small.fits and small.advice == ""
    with pytest.raises(DeviceError, match="take another device or a smaller model"):
        refuse(small)


def test_a_card_that_is_not_known_by_name_is_its_memory():
    made = of_memory(8 * GB, 16 * GB)
    assert (made.free, made.host, made.room) == (8 * GB, 16 * GB, 8 * GB - CONTEXT)


def test_the_engine_plans_and_keeps_its_parts_so(tmp_path, monkeypatch):
    engine = wan22.load(write_tiny(tmp_path / "tiny", None), device="cpu")
    request = Request(prompt="a red ball", seed=1, steps=2)
    made = engine.plan(request)
    assert made.fits and made.stages[0].name == "text"
    assert not [e for e in engine.generate(request) if isinstance(e, Notice) and e.text.startswith("plan")]
    monkeypatch.setattr("wan22.planner.SMALL_FREE", 10**18)  # as if the model were large
    need = made.peak

    def free(device, ours=0):
        return Hardware("a CPU", "cpu", need - 1, need, {BF16: 1e12, torch.float32: 1e12}, 1e11)

    monkeypatch.setattr("wan22.planner.here", free)
    told = []
    monkeypatch.setattr("wan22.planner.keep_no_freed_memory", lambda: told.append(True))
    events = list(engine.generate(request))
    assert next(e.text for e in events if isinstance(e, Notice)).startswith("plan: about 0:00")
    assert {engine._placement.scheme(part).rest for part in engine._placement.parts} == {"disk"}
    assert isinstance(events[-1], Finished)
    assert told == [True]
    engine.planner.memory = "disk"  # an order is followed
    list(engine.generate(request))
    need = 1000
    with pytest.raises(DeviceError, match="are free on a CPU"):
        next(engine.generate(request))
    engine.planner.memory = "auto"
    with pytest.raises(DeviceError, match="take another device or a smaller model"):
        next(engine.generate(request))


def test_what_is_on_the_device_counts_as_free(tmp_path):
    engine = wan22.load(write_tiny(tmp_path / "tiny", None), device="cpu")
    assert engine._placement.resident == 0
    list(engine.generate(Request(prompt="a red ball", steps=2, switch_step=1)))
    assert engine._placement.resident == sum(
        size.whole for size in engine.planner.model.sizes("cpu").values()
    )


@pytest.mark.slow
def test_the_documented_table_is_what_the_command_gives():
    row = VARIANTS["ti2v-5B"]
    card = (8, 16)
    made = cli.of_table(cli.model_of(row, "auto", "cuda"), cli.request_of(row), card)
    *kept, peak, worst = list(cli._rows(row, [(card, made)]))[-1].strip("| ").split(" | ")
    document = (Path(__file__).parents[2] / "docs" / "memory.md").read_text("utf-8")
    (line,) = (line for line in document.splitlines() if line.startswith("| ti2v-5B | 8 |"))
    *shown, shown_peak, shown_worst = line.strip("| ").split(" | ")
    assert (kept, worst) == (shown, shown_worst)
    # Shape checks, which the tests have on, keep the arguments of a call alive a little longer.
    assert float(peak) == pytest.approx(float(shown_peak), rel=0.05)


@pytest.mark.parametrize(
    ("free", "ranks", "high", "stays"),
    [
        (92, 2, "device", 72),  # all fit whole on each
        (91, 2, "ranks", 1 + 15 + 15 + 5 + 2 + 2 + 1),  # the VAE, half of each, and what is no block
        (41, 4, "ranks", 1 + 8 + 8 + 3 + 2 + 2 + 1),
        (20, 2, "host", 0),  # not even divided
        (91, 1, "host", 0),
    ],
)
def test_ranks_divide_the_weights_that_do_not_fit_whole(free, ranks, high, stays):
    made = plan(stages(), SIZES, replace(hardware(free, 100), ranks=ranks))
    assert made.fits and made.schemes["high"].rest == high
    last = made.stages[-1]
    assert last.weights == stays + (1 if high == "host" else 0)  # while the VAE works
    if high == "ranks":
        assert made.schemes["vae"] == Scheme("device", host_history=made.schemes["vae"].host_history)
        assert made.schemes["text"].stream and "divided among" in made.stages[0].why


def test_what_comes_from_other_ranks_takes_its_time():
    def seconds(peers):
        made = plan(stages(), SIZES, replace(hardware(91, 100), ranks=2, peers=peers))
        return next(stage.seconds for stage in made.stages if stage.name == "high")

    assert seconds(1.0) == pytest.approx(40 * 29 / 2) and seconds(1e12) < 1
