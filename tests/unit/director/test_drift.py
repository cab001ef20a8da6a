"""Drift, measured on videos whose drift is known: what drifts is told by how much, the rest stays at zero."""

import json
from functools import cache

import numpy as np
import pytest
from PIL import Image

from wan22.director.drift import DriftMeter, measure_drift
from wan22.director.drift_plot import plot_drift
from wan22.director.look import Look, cells, ciede2000, edge_width, lab, likeness, shift, zoom
from wan22.director.trend import AXES
from wan22.errors import MediaError
from wan22.stage import Shot, render

pytestmark = pytest.mark.slow

FPS, SECONDS = 8, 6
CLOCK = np.arange(FPS * SECONDS) / FPS
MIDDLES = np.arange(SECONDS) + (FPS - 1) / 2 / FPS  # of the seconds
OVERLAP = {"red-green", "blue-yellow", "colour"}  # other views of what brightness, saturation and hue show


@cache
def stage(height=40, width=60, frames=FPS * SECONDS, **labels):
    shot = Shot(**{"tone": "warm", "surroundings": "desert", "colour": "purple", **labels})
    video = render([shot], height=height, width=width, frames=frames, fps=FPS)[0].numpy()
    video.flags.writeable = False
    return video


def unlab(colours):
    """CIELAB to sRGB; what `lab` must undo."""
    matrix = np.array([[3.2404542, -1.5371385, -0.4985314], [-0.9692660, 1.8760108, 0.0415560],
                       [0.0556434, -0.2040259, 1.0572252]])  # fmt: skip
    y = (colours[..., 0] + 16) / 116
    f = np.stack([y + colours[..., 1] / 500, y, y - colours[..., 2] / 200], -1)
    xyz = np.where(f > 6 / 29, f**3, (f - 4 / 29) * 108 / 841) * [0.95047, 1.0, 1.08883]
    linear = np.clip(xyz @ matrix.T, 0, 1)
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.round(255 * encoded).astype(np.uint8)


def graded(frames, change):
    """Apply change(L, chroma, seconds) -> (L, chroma) to every frame; chroma is a* + i b*."""
    result = []
    for frame, seconds in zip(frames, CLOCK, strict=True):
        colours = lab(frame).astype(np.float64)
        light, chroma = change(colours[..., 0], colours[..., 1] + 1j * colours[..., 2], seconds)
        result.append(unlab(np.stack([light, chroma.real, chroma.imag], -1)))
    return np.stack(result)


def blurred(frame, sigma):
    fy, fx = np.fft.fftfreq(frame.shape[0])[:, None], np.fft.fftfreq(frame.shape[1])
    gain = np.exp(-2 * np.pi**2 * sigma**2 * (fx**2 + fy**2))[..., None]
    return np.clip(np.fft.ifft2(np.fft.fft2(frame, axes=(0, 1)) * gain, axes=(0, 1)).real, 0, 255).astype(
        np.uint8
    )


@pytest.fixture(scope="module")
def calm():
    """A bouncing ball in muted colours, so that a drift stays within what a screen can show."""
    return graded(stage(action="bounce"), lambda light, chroma, _: (50 + 0.6 * (light - 50), 0.45 * chroma))


@pytest.fixture(scope="module")
def plain(calm):
    return measure_drift(calm, FPS)


def steady(drift, but=()):
    """The axes aside from `but` drift by less than half of what people notice."""
    for name, axis in drift.axes.items():
        if name not in but:
            assert abs(axis.total) < axis.visible / 2 and axis.verdict == "steady", (name, axis)
    return True


# What one number is


def test_white_grey_and_pure_red_have_their_known_cielab_colours():
    found = lab(np.array([[255, 255, 255], [119, 119, 119], [255, 0, 0]]))
    np.testing.assert_allclose(found, [[100, 0, 0], [50.03, 0, 0], [53.24, 80.09, 67.20]], atol=0.03)


def test_the_colour_difference_equals_the_published_pairs():
    one = np.array(
        [[50, 2.6772, -79.7751], [50, 2.5, 0], [2.0776, 0.0795, -1.135], [22.7233, 20.0904, -46.694]]
    )
    two = np.array(
        [[50, 0, -82.7485], [50, 3.1736, 0.5854], [0.9033, -0.0636, -0.5514], [23.0331, 14.973, -42.5619]]
    )
    np.testing.assert_allclose(ciede2000(one, two), [2.0425, 1.0, 0.9082, 2.0373], atol=1e-4)
    np.testing.assert_allclose(ciede2000(two, one), ciede2000(one, two), atol=1e-9)


@pytest.mark.parametrize("sigma", [0.7, 1.0, 1.5])
def test_the_width_of_edges_is_the_blur_that_they_have(sigma):
    frame = np.zeros((96, 160, 3), np.uint8)
    frame[:, 80:] = 200
    frame = blurred(np.roll(frame, 40, axis=1), sigma)
    assert edge_width(frame) == pytest.approx(np.hypot(sigma, np.sqrt(1 / 12)), rel=0.1)


def test_the_width_of_edges_does_not_know_contrast():
    frame = blurred(stage()[0], 1.0)
    assert edge_width(frame // 2 + 40) == pytest.approx(edge_width(frame), rel=0.02)


def test_a_look_is_found_again_after_exposure_and_hue_changed_but_not_in_another_image():
    video = stage(height=96, width=144, frames=2)
    look = Look.of(video[0])
    colours = lab(video[0])
    turned = (colours[..., 1] + 1j * colours[..., 2]) * 0.5 * np.exp(0.2j)
    other = unlab(np.stack([20 + 0.5 * colours[..., 0], turned.real, turned.imag], -1))
    assert likeness([look], look) == pytest.approx(1, abs=1e-3)
    assert likeness([look], Look.of(other)) > 0.97
    assert likeness([look], Look.of(np.roll(video[0], 9, axis=1))) > 0.9
    cube = stage(height=96, width=144, frames=2, subject="cube", colour="green", surroundings="meadow")
    assert likeness([look], Look.of(cube[0])) < 0.6
    assert (
        likeness([look], Look.of(np.random.default_rng(0).integers(0, 256, video[0].shape, np.uint8))) < 0.2
    )


def test_the_shift_of_a_whole_image_is_found_and_that_of_a_subject_is_not():
    light = lab(cells(stage(height=128, width=192, frames=2, action="travel-left")[0]))[..., 0]
    assert shift(light[:, :-5], light[:, 5:]) == pytest.approx((-5, 0), abs=0.3)
    moved = light.copy()
    moved[10:20, 5:15] = light[10:20, 8:18]
    right, down = shift(light, moved) or (0, 0)
    assert abs(right) < 0.5 and abs(down) < 0.5


@pytest.mark.parametrize("growth", [-0.1, 0.0, 0.1])
def test_the_growth_of_an_image_is_found(growth):
    y, x = np.mgrid[-24:24, -36:36].astype(float)

    def scene(scale):
        return 50 + 20 * np.sin(x / scale / 5) * np.cos(y / scale / 4)

    assert zoom(scene(1), scene(np.exp(growth))) == pytest.approx(growth, abs=0.01)


# Known drifts


def test_a_video_that_rests_measures_zero_in_every_axis():
    drift = measure_drift(np.repeat(stage()[:1], len(CLOCK), 0), FPS)
    assert all(abs(axis.per_second) < 1e-6 for axis in drift.axes.values())
    assert drift.travel < 1e-6 and not drift.cuts


@pytest.mark.parametrize(
    "labels",
    [{"action": "bounce"}, {"action": "spin", "subject": "cube"}, {"camera": "pan-left"},
     {"camera": "pan-right", "time": "sunset"}],
)  # fmt: skip
def test_movement_and_a_slow_pan_are_no_drift(labels):
    drift = measure_drift(stage(**labels), FPS)
    assert {name: axis.verdict for name, axis in drift.axes.items()} == dict.fromkeys(AXES, "steady")


@pytest.mark.parametrize("camera", ["static", "dolly-in", "dolly-out"])
def test_a_dolly_is_told_as_a_camera_that_comes_nearer_or_goes(camera):
    drift = measure_drift(stage(camera=camera, shot_size="close-up", action="bounce"), FPS)
    sign = {"static": 0, "dolly-in": 1, "dolly-out": -1}[camera]
    assert (drift.growth > 1.15) == bool(sign) and np.sign(np.log(drift.zoom[-1])) == sign


def test_a_pan_is_told_as_a_camera_that_moves():
    assert measure_drift(stage(camera="pan-left"), FPS).travel > 0.1 > measure_drift(stage(), FPS).travel


@pytest.mark.parametrize("rate", [0.5, -0.5])
def test_growing_brightness_is_measured_and_leaks_nowhere(calm, rate):
    drift = measure_drift(graded(calm, lambda light, chroma, s: (light + rate * s, chroma)), FPS)
    assert drift.axes["brightness"].per_second == pytest.approx(rate, rel=0.05)
    assert steady(drift, {"brightness", "colour"})


@pytest.mark.parametrize("factor", [1.02, 0.97])
def test_growing_saturation_is_measured_and_leaks_nowhere(calm, plain, factor):
    drift = measure_drift(graded(calm, lambda light, chroma, s: (light, chroma * factor**s)), FPS)
    start = plain.axes["saturation"].start
    expected = start * (factor ** MIDDLES[-1] - factor ** MIDDLES[0]) / (MIDDLES[-1] - MIDDLES[0])
    assert drift.axes["saturation"].per_second == pytest.approx(expected, rel=0.1)
    assert steady(drift, {"saturation", *OVERLAP})


def test_a_turn_of_hue_is_measured_and_leaks_nowhere(calm):
    drift = measure_drift(
        graded(calm, lambda light, c, s: (light, c * np.exp(1j * np.radians(1.5 * s)))), FPS
    )
    assert drift.axes["hue"].per_second == pytest.approx(1.5, rel=0.1)
    assert drift.axes["hue"].verdict == "drifts"
    assert steady(drift, {"hue", *OVERLAP})


def test_a_growing_cast_is_measured(calm):
    drift = measure_drift(graded(calm, lambda light, chroma, s: (light, chroma + 0.3j * s)), FPS)
    assert drift.axes["blue-yellow"].per_second == pytest.approx(0.3, rel=0.1)
    assert abs(drift.axes["red-green"].per_second) < 0.02
    assert steady(drift, {"hue", "saturation", *OVERLAP})


def test_falling_contrast_is_measured_and_leaks_nowhere(calm, plain):
    middle = plain.axes["brightness"].start
    drift = measure_drift(
        graded(calm, lambda light, chroma, s: (middle + (light - middle) * 0.97**s, chroma)), FPS
    )
    start = plain.axes["contrast"].start
    expected = start * (0.97 ** MIDDLES[-1] - 0.97 ** MIDDLES[0]) / (MIDDLES[-1] - MIDDLES[0])
    assert drift.axes["contrast"].per_second == pytest.approx(expected, rel=0.1)
    assert steady(drift, {"contrast"})


def test_growing_blur_is_measured_and_leaks_nowhere():
    video = stage(height=64, width=96)
    sigma = 0.8 + 0.05 * CLOCK
    drift = measure_drift((blurred(frame, s) for frame, s in zip(video, sigma, strict=True)), FPS)
    own = edge_width(video[0])
    widths = np.hypot(own, 0.8 + 0.05 * MIDDLES)
    expected = 100 * widths[0] / widths
    slope = (expected[-1] - expected[0]) / (MIDDLES[-1] - MIDDLES[0])
    assert drift.axes["sharpness"].per_second == pytest.approx(slope, rel=0.15)
    assert steady(drift, {"sharpness"})


def test_a_subject_that_becomes_another_loses_its_identity():
    one, two = stage(colour="red"), stage(subject="cube", colour="blue")
    share = (CLOCK / CLOCK[-1])[:, None, None, None]
    drift = measure_drift(((1 - share) * one + share * two).astype(np.uint8), FPS)
    assert drift.axes["identity"].verdict == "drifts" and drift.axes["identity"].per_second < 0
    assert drift.axes["identity"].start > 0.97


def test_features_of_ones_own_take_the_place_of_the_measure():
    angle = iter(np.radians(2 * np.arange(len(CLOCK) // 2)))

    def features(image):
        assert image.dtype == np.uint8
        turn = next(angle)
        return np.array([np.cos(turn), np.sin(turn)])

    drift = measure_drift(stage(), FPS, features=features)
    assert drift.axes["identity"].end == pytest.approx(np.cos(np.radians(2 * 21.5 - 6)), abs=0.02)


# Cuts and seams


def test_a_cut_is_found_and_slopes_do_not_cross_it(calm):
    two = stage(time="night")
    drift = measure_drift([calm[:40], two], FPS)
    assert drift.cuts == (40,)
    assert [(shot.start, shot.end) for shot in drift.shots] == [(0, 40), (40, 88)]
    assert abs(drift.axes["brightness"].end - drift.axes["brightness"].start) > 10
    assert drift.axes["brightness"].verdict == "steady"


def test_a_flash_is_no_cut(calm):
    video = calm.copy()
    video[20] = 255
    assert not measure_drift(video, FPS).cuts


def test_the_step_at_a_border_is_told_and_is_no_cut(calm):
    video = graded(calm, lambda light, chroma, s: (light + (3 if s >= 4 else 0), chroma))
    quiet, loud = measure_drift(video, FPS, borders=(0, 16, 32)).seams
    assert (quiet.frame, loud.frame, loud.seconds) == (16, 32, 4.0)
    assert loud.brightness == pytest.approx(3, abs=0.2) and abs(quiet.brightness) < 0.3
    assert loud.times > 5 and quiet.times < 2
    black = video.copy()
    black[32:] = 0
    assert measure_drift(black, FPS).cuts == (32,) and not measure_drift(black, FPS, borders=(32,)).cuts


def test_the_sharpness_step_at_a_border_is_told():
    video = stage(height=64, width=96)
    video = np.stack([blurred(frame, 0.8 if i < 32 else 1.2) for i, frame in enumerate(video)])
    assert measure_drift(video, FPS, borders=(32,)).seams[0].sharpness == pytest.approx(-29, abs=6)


# While a video is made


def test_pieces_and_single_frames_measure_alike_and_the_result_may_be_asked_on_the_way(calm, plain):
    meter = DriftMeter(FPS)
    for first in range(0, len(calm), 7):
        meter.add(calm[first : first + 7])
        if first == 28:
            assert meter.result().frames == 35
    assert meter.result() == plain == measure_drift(iter(calm), FPS)


def test_a_border_may_be_told_when_it_comes(calm):
    meter = DriftMeter(FPS)
    for first in (0, 16, 32):
        meter.border()
        meter.add(calm[first : first + 16])
    assert meter.result().seams == measure_drift(calm, FPS, borders=(16, 32)).seams != ()


def test_memory_does_not_grow_with_the_video(calm):
    import tracemalloc

    meter, piece = DriftMeter(FPS), calm[:16, :32, :32]
    tracemalloc.start()
    used = []
    for _ in range(9):
        meter.add(piece)
        used.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    assert used[-1] - used[4] < 8_000, "8 seconds more, less than a kilobyte each"


def test_a_video_without_colour_or_detail_has_axes_that_nobody_can_tell():
    drift = measure_drift(np.full((24, 32, 48, 3), 128, np.uint8), FPS)
    unknown = {name for name, axis in drift.axes.items() if axis.verdict == "unknown"}
    assert unknown == {"hue", "sharpness", "identity"}
    assert json.loads(json.dumps(drift.as_json(), allow_nan=False))["axes"]["hue"]["per_second"] is None


def test_the_json_says_everything(plain):
    found = json.loads(json.dumps(plain.as_json(), allow_nan=False))
    assert list(found["axes"]) == list(AXES)
    assert len(found["axes"]["contrast"]["values"]) == len(found["times"]) == SECONDS
    assert found["seconds"] == 6 and found["cuts"] == [] and found["size"] == [60, 40]
    assert [(shot["start"], shot["end"]) for shot in found["takes"]] == [(0, FPS * SECONDS)]


def test_the_plot_is_an_image(plain, tmp_path):
    plot_drift(plain, tmp_path / "plot.png")
    with Image.open(tmp_path / "plot.png") as plot:
        assert plot.format == "PNG" and plot.size[0] > 1000


# What is refused


@pytest.mark.parametrize("seconds", [0.5, 1.8])
def test_less_than_two_seconds_is_refused(calm, seconds):
    with pytest.raises(MediaError, match="from 2 s"):
        measure_drift(calm[: round(seconds * FPS)], FPS)


@pytest.mark.parametrize("fps", [0, -8, float("nan"), float("inf")])
def test_an_impossible_rate_is_refused(fps):
    with pytest.raises(MediaError, match="fps must be positive"):
        DriftMeter(fps)


@pytest.mark.parametrize(
    "frames", [np.zeros((2, 32, 32, 3)), np.zeros((32, 32), np.uint8), np.zeros((2, 8, 32, 3), np.uint8)]
)
def test_what_is_no_video_is_refused(frames):
    with pytest.raises(MediaError, match="needs uint8"):
        DriftMeter(FPS).add(frames)


def test_a_change_of_size_is_refused(calm):
    meter = DriftMeter(FPS)
    meter.add(calm)
    with pytest.raises(MediaError, match="changes its size"):
        meter.add(calm[:, :, :40])
