"""All sizes of one job, computed once: what is asked, what is drawn, the latent grid, the tokens.

The only place where strides are multiplied. It knows the catalogue's numbers and nothing of networks.

A model draws on a grid (multiples of 16 or 32 pixels, 4n + 1 frames); people ask for anything. So a job has two
sizes: `draw` is what the network makes, `out` is what the person gets, cut or scaled from it.
"""

import math
from dataclasses import dataclass, replace
from numbers import Real

from wan22.catalog import Size, Variant
from wan22.errors import SizeError
from wan22.fields import MAX_FPS, MAX_FRAMES, MAX_SIDE
from wan22.types import Clip

MAX_LATENT_FRAMES = 1024
"""The positions that the official rotation tables hold (spec: transformer, section 4)."""

LONGER = 1.5
"""A video of more than so many times the trained length is made in several clips."""

OVERLAP = 1
"""Frames at the beginning of a clip that show the end of the one before: models were trained to go on from one."""


@dataclass(frozen=True)
class Canvas:
    """The sizes of one job.

    `draw` and `out` are (width, height); `scaled` says that `out` is a resize of `draw` (a model kept to its
    trained sizes), else it is cut from its centre. `frames` are delivered. They are made in `clips`, one after another,
    of `drawn_frames` each, of which all but the first clip begin with `overlap` frames that show the end of the one
    before. A video of one clip is resampled over the same time if `stretched`, else its first frames are delivered.
    `latent` is the grid (t, h, w) of a clip's latents, each of `stride_time` pixel frames but the first.
    """

    draw: Size
    out: Size
    drawn_frames: int
    frames: int
    fps: float
    latent: tuple[int, int, int]
    stride_time: int
    scaled: bool
    stretched: bool
    clips: int = 1
    overlap: int = 0
    notices: tuple[str, ...] = ()

    def span(self, clip: int) -> tuple[int, int]:
        """The first frame that clip `clip` (from 0) delivers, and the first that it does not."""
        fresh = self.drawn_frames - self.overlap
        begin = 0 if clip == 0 else self.overlap + clip * fresh
        end = self.overlap + (clip + 1) * fresh
        return begin, self.frames if clip == self.clips - 1 else end

    @property
    def tokens(self) -> int:
        """Tokens of the transformer: latent positions in patches of 1 x 2 x 2."""
        t, h, w = self.latent
        return t * (h // 2) * (w // 2)


def fit(
    variant: Variant,
    *,
    size: Size | None,
    frames: int | None,
    seconds: float | None,
    fps: float | None,
    image: Size | None = None,
    ends: bool = False,
    chain: bool = True,
) -> Canvas:
    """Compute the canvas of a request; `image` is the size of its first image or clip, if it has one.

    `ends` says that the video must end on an image, so that drawn frames cannot simply be left out at its end. A video
    that is much longer than the model was trained on is made in several clips, unless `chain` is false.

    Raises SizeError, naming the value, the rule and the nearest that works.
    """
    fps = variant.defaults.fps if fps is None else fps
    if not (_is_number(fps) and 0 < fps <= MAX_FPS):
        raise SizeError(
            f"fps must be above 0 and at most {MAX_FPS}, not {fps}; this model's own is {variant.defaults.fps:g}"
        )
    fps = float(fps)
    frames = _frame_count(variant, frames, seconds, fps)
    out = _out_size(variant, size, image)
    long = max(variant.trained.frames)
    chained = chain and not ends and frames > LONGER * long
    if not chained:
        _check_one_clip(variant, frames)
    if variant.trained.only:
        return _trained_canvas(variant, out, frames, fps, ends, chained)
    side, _ = variant.grid
    draw = (_up(out[0], side), _up(out[1], side))
    drawn = long if chained else _up(frames - 1, variant.grid[1]) + 1
    notices = []
    if draw != out:
        notices.append(f"drawn at {draw[0]}x{draw[1]} (multiples of {side}) and cut to {out[0]}x{out[1]}")
    areas = [w * h for w, h in variant.trained.sizes]
    if not 0.9 * min(areas) <= draw[0] * draw[1] <= 1.1 * max(areas):
        names = ", ".join(f"{w}x{h}" for w, h in variant.trained.sizes)
        notices.append(f"{variant.name} was trained at {names}; {draw[0]}x{draw[1]} may look worse")
    if drawn > long:
        notices.append(f"{variant.name} was trained on {long} frames; {drawn} may drift or repeat")
    if chained:
        return _chained(variant, draw, out, frames, fps, notices=notices)
    return _canvas(variant, draw, out, drawn, frames, fps, notices=tuple(notices))


def fit_speech(
    variant: Variant,
    *,
    size: Size | None,
    frames: int | None,
    seconds: float | None,
    fps: float | None,
    image: Size,
    audio_seconds: float,
    clips: int | None = None,
) -> Canvas:
    """Compute the canvas of a video that audio drives: as long as the audio, or as asked, in at most `clips` clips.

    Raises SizeError, naming the value, the rule and what works.
    """
    speech = variant.speech
    assert speech is not None
    rate = variant.defaults.fps
    if fps is not None and fps != rate:
        raise SizeError(f"{variant.name} makes {rate:g} frames a second; fps cannot be {fps}")
    if clips is not None and (not _is_whole(clips) or clips < 1):
        raise SizeError(f"clips must be a whole number from 1, not {clips}")
    if frames is None and seconds is None:
        if audio_seconds * rate < 1:
            raise SizeError(
                f"the audio lasts {audio_seconds:.3f} s, less than one frame at {rate:g} frames a second; "
                "give a longer one, or say with seconds how long the video is to be"
            )
        frames = max(1, round(audio_seconds * rate))
    frames = _frame_count(variant, frames, seconds, rate)
    if clips is not None:
        frames = min(frames, int(clips) * speech.clip_frames)
    out = _speech_size(variant, size, image)
    if variant.trained.only:
        draw = _nearest_trained(variant, out)
        notices = (*_scaled_notice(variant, draw, out), *_cut_notice(image, draw))
    else:
        draw = (_up(out[0], speech.side), _up(out[1], speech.side))
        notices = () if draw == out else (
            f"drawn at {draw[0]}x{draw[1]} (multiples of {speech.side}) and cut to {out[0]}x{out[1]}",
        )  # fmt: skip
    canvas = _canvas(
        variant,
        draw,
        out,
        speech.clip_frames,
        frames,
        rate,
        scaled=variant.trained.only and draw != out,
        clips=-(-frames // speech.clip_frames),
        notices=notices,
    )
    # The latent frame that stands for one image is the reference's or the history's.
    return replace(canvas, latent=(speech.clip_frames // variant.vae.stride_time, *canvas.latent[1:]))


def fit_animate(
    variant: Variant,
    *,
    size: Size | None,
    frames: int | None,
    seconds: float | None,
    fps: float | None,
    driving: Clip,
    carried: int | None = None,
) -> Canvas:
    """Compute the canvas of a video that a driving one moves, whose pose is given: of its size and rate, and as long or
    as asked. Each clip takes over `carried` frames from the one before.

    Raises SizeError, naming the value, the rule and what works.
    """
    animate = variant.animate
    assert animate is not None
    rate, (length, high, wide) = driving.fps, driving.frames.shape[:3]
    carried = animate.carried[0] if carried is None else carried
    allowed = [
        count for count in animate.carried if 2 * count <= animate.clip_frames
    ]  # else they would run out
    if carried not in allowed:
        known = " or ".join(map(str, allowed))
        raise SizeError(f"carried must be {known}, the frames that a clip takes over, not {carried!r}")
    if fps is not None and fps != rate:
        raise SizeError(
            f"the driving video has {rate:g} frames a second, and so has the result; fps cannot be {fps}"
        )
    if not 0 < rate <= MAX_FPS:
        raise SizeError(
            f"the driving video must have above 0 and at most {MAX_FPS} frames a second, not {rate:g}"
        )
    frames = length if frames is None and seconds is None else _frame_count(variant, frames, seconds, rate)
    if frames > length:
        raise SizeError(
            f"the driving video has {length} frames, and {frames} are asked for; ask for at most {length}"
        )
    if frames <= carried:
        raise SizeError(
            f"a video of {frames} frames is too short for clips that take over {carried}; {carried + 1} or more work"
        )
    out = (wide, high) if size is None else _out_size(variant, size, None)
    side = variant.grid[0]
    draw = _up(out[0], side), _up(out[1], side)
    notices = () if draw == out else (
        f"drawn at {draw[0]}x{draw[1]} (multiples of {side}) and cut to {out[0]}x{out[1]}",
    )  # fmt: skip
    drawn = animate.clip_frames
    clips = max(1, -(-(frames - carried) // (drawn - carried)))
    canvas = _canvas(
        variant, draw, out, drawn, frames, float(rate), clips=clips, overlap=carried, notices=notices
    )
    # The reference image is a latent frame of its own, before those of the video.
    return replace(canvas, latent=(canvas.latent[0] + 1, *canvas.latent[1:]))


def speech_size(image: Size, area: int, side: int) -> Size:
    """S2V's rule: the first of a hundred scales from large to small whose sides, rounded up to multiples of `side`,
    have no more than `area` pixels (spec: speech_to_video, section 9).
    """
    width, height = image
    if width * height <= area:
        low, high = 0.1, 1.0
    else:
        d = side - 1
        a, b, c = height * width, d * (height + width), d * d - area
        low = (-b + math.sqrt(b * b - 2 * a * c)) / (
            2 * a
        )  # 2ac as in the release: it makes the grid of scales
        high = math.sqrt(area / a)
    for i in range(100):
        scale = high - (high - low) * i / 100
        h, w = _up(int(height * scale), side), _up(int(width * scale), side)
        if h * w <= area:
            return w, h
    ratio = width / height
    w, h = math.sqrt(area * ratio), math.sqrt(area / ratio)
    return min(int(w // side * side), width // side * side), min(int(h // side * side), height // side * side)


def _speech_size(variant: Variant, size: Size | None, image: Size) -> Size:
    assert variant.speech is not None
    if size is not None:
        return _out_size(variant, size, image)
    area = variant.defaults.size[0] * variant.defaults.size[1]
    if variant.trained.only:
        # The image is cut to the shape that is drawn: cutting the video to the image's would cut twice.
        draw = _nearest_trained(variant, image)
        scale = math.sqrt(area / math.prod(draw))
        return round(draw[0] * scale), round(draw[1] * scale)
    out = speech_size(image, area, variant.speech.side)
    if min(out) < variant.speech.side:
        raise SizeError(
            f"a {image[0]}x{image[1]} image is too narrow for {area} pixels; crop it, or give a size"
        )
    return out


def _check_one_clip(variant: Variant, frames: int) -> None:
    most = (MAX_LATENT_FRAMES - 1) * variant.vae.stride_time + 1
    if frames > most:
        raise SizeError(
            f"{frames} frames are too many for the one clip that a last image or a clip to start from asks for; "
            f"at most {most}"
        )


def _chained(
    variant: Variant, draw: Size, out: Size, frames: int, fps: float, *, notices: list[str], **flags: object
) -> Canvas:
    """Clips of the trained length, each beginning with the end of the one before."""
    drawn = max(variant.trained.frames)
    overlap = min(OVERLAP, drawn - 1)
    clips = 1 + -(-max(0, frames - drawn) // (drawn - overlap))
    notices = [
        *notices,
        f"{frames} frames are made in {clips} clips of {drawn}, each going on from the one before",
    ]
    return _canvas(
        variant, draw, out, drawn, frames, fps, clips=clips, overlap=overlap, notices=tuple(notices), **flags
    )


def _nearest_trained(variant: Variant, out: Size) -> Size:
    """The trained size that is nearest in shape."""
    return min(
        variant.trained.sizes,
        key=lambda s: (abs(math.log(s[0] / s[1] * out[1] / out[0])), abs(s[0] - out[0])),
    )


def _scaled_notice(variant: Variant, draw: Size, out: Size) -> tuple[str, ...]:
    if draw == out:
        return ()
    return (
        f"{variant.name} draws {draw[0]}x{draw[1]}, the nearest size that it was trained on; "
        f"the video is scaled to {out[0]}x{out[1]}",
    )


def _cut_notice(image: Size, draw: Size) -> tuple[str, ...]:
    """Say that much of an image will not be seen."""
    scale = max(draw[0] / image[0], draw[1] / image[1])
    seen = round(draw[0] / scale), round(draw[1] / scale)
    if math.prod(seen) > 0.9 * math.prod(image):
        return ()
    return (f"of the {image[0]}x{image[1]} image the middle {seen[0]}x{seen[1]} is shown",)


def _trained_canvas(
    variant: Variant, out: Size, frames: int, fps: float, ends: bool, chained: bool
) -> Canvas:
    """The nearest trained size in shape, scaled to `out`; the shortest trained length that is long enough."""
    draw = _nearest_trained(variant, out)
    notices = list(_scaled_notice(variant, draw, out))
    if chained:
        return _chained(variant, draw, out, frames, fps, notices=notices, scaled=draw != out)
    longer = [n for n in sorted(variant.trained.frames) if n >= frames]
    drawn = longer[0] if longer else max(variant.trained.frames)
    stretched = drawn != frames if ends else drawn < frames
    if stretched:
        notices.append(
            f"{variant.name} draws {drawn} frames; they are spread over the {frames} that were asked"
        )
    return _canvas(
        variant,
        draw,
        out,
        drawn,
        frames,
        fps,
        scaled=draw != out,
        stretched=stretched,
        notices=tuple(notices),
    )


def _canvas(
    variant: Variant, draw: Size, out: Size, drawn: int, frames: int, fps: float, **rest: object
) -> Canvas:
    vae = variant.vae
    latent = ((drawn - 1) // vae.stride_time + 1, draw[1] // vae.stride_space, draw[0] // vae.stride_space)
    flags = {"scaled": False, "stretched": False, **rest}
    return Canvas(draw, out, drawn, frames, fps, latent, vae.stride_time, **flags)


def _frame_count(variant: Variant, frames: int | None, seconds: float | None, fps: float) -> int:
    if frames is not None and seconds is not None:
        raise SizeError(f"give frames ({frames}) or seconds ({seconds}), not both")
    if seconds is not None:
        if not (_is_number(seconds) and seconds > 0):
            raise SizeError(f"seconds must be above 0, not {seconds}")
        frames = max(1, round(seconds * fps))
    elif frames is None:
        frames = variant.defaults.frames
    if not _is_whole(frames) or not 1 <= frames <= MAX_FRAMES:
        asked = "" if seconds is None else f" ({seconds:g} seconds at {fps:g} frames a second)"
        raise SizeError(f"frames must be a whole number from 1 to {MAX_FRAMES}, not {frames}{asked}")
    return int(frames)


def _out_size(variant: Variant, size: Size | None, image: Size | None) -> Size:
    if size is None:
        if image is None:
            return variant.defaults.size
        area = variant.defaults.size[0] * variant.defaults.size[1]
        return image_size(variant, image, area)
    least = variant.grid[0]
    if not isinstance(size, tuple | list) or len(size) != 2 or not all(map(_is_number, size)):
        raise SizeError(
            f"size must be (width, height) in pixels, such as {variant.defaults.size}, not {size!r}"
        )
    for name, value in zip(("width", "height"), size, strict=True):
        if not _is_whole(value) or not least <= value <= MAX_SIDE:
            near = tuple(min(max(round(v), least), MAX_SIDE) for v in size)
            raise SizeError(
                f"{name} must be a whole number from {least} to {MAX_SIDE}, not {value}; "
                f"the nearest size that works is {near[0]}x{near[1]}"
            )
    return int(size[0]), int(size[1])


def image_size(variant: Variant, image: Size, area: int) -> Size:
    """The official size (width, height) for an image: about `area` pixels in the image's own shape.

    A model kept to its trained sizes is scaled anyway: whole steps of its grid nearest to the shape.
    A model told by channels rounds down to multiples of 16 (spec: sampling, section 7); one told by known
    latents takes the better of two roundings to multiples of 32 (section 8).
    """
    width, height = image
    side = variant.grid[0]
    if variant.trained.only:
        near = (math.sqrt(area * width / height), math.sqrt(area * height / width))
        return max(1, round(near[0] / side)) * side, max(1, round(near[1] / side)) * side
    size = known_size(image, area, side) if variant.image == "known" else channels_size(image, area)
    if min(size) < side:
        raise SizeError(f"a {width}x{height} image is too narrow for {area} pixels; crop it, or give a size")
    return size


def channels_size(image: Size, area: int) -> Size:
    """I2V-A14B's rule: scale to the area, round the latent grid down to even numbers."""
    ratio = image[1] / image[0]

    def latent(side: float) -> int:
        return int(side // 8 // 2 * 2)

    return latent(math.sqrt(area / ratio)) * 8, latent(math.sqrt(area * ratio)) * 8


def known_size(image: Size, area: int, side: int) -> Size:
    """TI2V-5B's rule: round width first or height first, and keep whichever bends the shape less."""
    ratio = image[0] / image[1]
    width = math.sqrt(area * ratio)
    height = area / width
    candidates = []
    w = int(width // side * side)
    if w:
        candidates.append((w, int(area / w // side * side)))
    h = int(height // side * side)
    if h:
        candidates.append((int(area / h // side * side), h))

    def bend(size: Size) -> float:
        if min(size) <= 0:
            return math.inf
        mine = size[0] / size[1]
        return max(ratio / mine, mine / ratio)

    if len(candidates) == 2 and bend(candidates[0]) < bend(candidates[1]):
        return candidates[0]
    return candidates[-1] if candidates else (0, 0)


def _up(value: int, step: int) -> int:
    return -(-value // step) * step


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def _is_whole(value: object) -> bool:
    return _is_number(value) and value == int(value)
