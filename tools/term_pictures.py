"""`python -m tools.term_pictures`: a small picture of every term of the director, for the studio.

The film set draws them, so they show what a term means in the world: the light, the lens, the way of the camera. What
it has no label for is planned by hand (`scene`), and visual styles are filters over its image (`finish`): `DRAWN` says
for each term how. Files are `studio/public/terms/AXIS/TERM.webp`, at most 4 KB; movements are animated. With `--sheet
FILE` all of them are laid out on one page, to be looked at.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image, ImageDraw

from wan22.director.terms import AXES, TERMS, Term
from wan22.stage.labels import Shot
from wan22.stage.render import _PLACES, _image, _layers
from wan22.stage.scene import Scene, plan

ROOT = Path(__file__).parents[1] / "studio" / "public" / "terms"
WIDTH, HEIGHT = 128, 80
FRAMES, FPS = 9, 4.0
MOST = 4096
"""Bytes of a file."""

Frames = np.ndarray
"""uint8 (T, H, W, 3)."""


@dataclass(frozen=True)
class Drawing:
    """How a term is drawn: `shot` are labels of the film set, `scene` changes what is planned, `finish` the frames.

    `part`: how much of the subject's height is seen from the top of its head, of a drawing that is four times as large.
    """

    shot: dict[str, str] = field(default_factory=dict)
    scene: Callable[[Scene], Scene] | None = None
    finish: Callable[[Frames], Frames] | None = None
    frames: int = 1
    part: float = 0.0
    seed: int = 3


def _with(**values: Any) -> Callable[[Scene], Scene]:
    """A change of the plan: numbers take the place of what is there, functions get it."""

    def change(scene: Scene) -> Scene:
        said = {}
        for name, value in values.items():
            part = getattr(scene, name)
            said[name] = value(part) if callable(value) else torch.full_like(part, value)
        return scene._replace(**said)

    return change


def _from(x: float, y: float, z: float) -> Callable[[torch.Tensor], torch.Tensor]:
    """A direction of light in place of another."""
    way = torch.tensor([x, y, z], dtype=torch.float32)
    return lambda part: (way / way.norm()).view(1, 3, 1, 1, 1).expand_as(part).clone()


def _colour(*rgb: float) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda part: torch.tensor(rgb, dtype=torch.float32).view(1, 3, 1, 1, 1).expand_as(part).clone()


def _times(by: float) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda part: part * by


# Visual styles: filters over the film set's image


def _each(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Frames], Frames]:
    return lambda frames: np.stack([change(frame) for frame in frames])


def _flat(frame: np.ndarray, levels: int, smooth: int = 3) -> np.ndarray:
    """Few tones without texture."""
    for _ in range(smooth):
        frame = cv2.bilateralFilter(frame, 7, 40, 7)
    step = 256 / levels
    return ((frame // step + 0.5) * step).clip(0, 255).astype(np.uint8)


def _inked(frame: np.ndarray, of: np.ndarray) -> np.ndarray:
    """Dark lines where the colours of another image meet."""
    edges = cv2.Canny(cv2.GaussianBlur(of, (0, 0), 1.0), 60, 120)[..., None] / 255
    return (frame * (1 - 0.9 * edges)).astype(np.uint8)


def _displaced(frame: np.ndarray, reach: float, size: float, seed: int = 0) -> np.ndarray:
    """Pixels from beside: a rough edge, as of fibres or wet paper."""
    random = np.random.default_rng(seed)
    height, width = frame.shape[:2]
    noise = [
        cv2.GaussianBlur(random.normal(size=(height, width)).astype(np.float32), (0, 0), size) * size * 3
        for _ in range(2)
    ]
    columns, rows = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    return cv2.remap(
        frame, columns + reach * noise[0], rows + reach * noise[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT
    )  # fmt: skip


def _textured(frame: np.ndarray, strength: float, size: float, seed: int = 1) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(size=frame.shape[:2]).astype(np.float32)
    if size:
        noise = cv2.GaussianBlur(noise, (0, 0), size)
    noise = noise / noise.std()
    return (frame * (1 + strength * noise[..., None])).clip(0, 255).astype(np.uint8)


def _pixels(frame: np.ndarray) -> np.ndarray:
    small = Image.fromarray(frame).resize((WIDTH // 4, HEIGHT // 4), Image.Resampling.BOX)
    few = small.quantize(16, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).convert("RGB")
    return np.asarray(few.resize((WIDTH, HEIGHT), Image.Resampling.NEAREST))


def _watercolour(frame: np.ndarray) -> np.ndarray:
    wet = _displaced(cv2.stylization(frame, sigma_s=20, sigma_r=0.35), 0.9, 3.0)
    return (_textured(wet, 0.02, 0.8) * 0.75 + 255 * 0.25).astype(np.uint8)


def _oil(frame: np.ndarray) -> np.ndarray:
    painted = cv2.medianBlur(_displaced(frame, 2.2, 1.5), 5)
    return _textured(painted, 0.09, 1.0)


def _tilt_shift(frame: np.ndarray) -> np.ndarray:
    """Sharp in a band, blurred above and below it, and colours as of a toy."""
    soft = cv2.GaussianBlur(frame, (0, 0), 4.0)
    rows = np.abs(np.linspace(-1, 1, HEIGHT) - 0.1)[:, None, None]
    blur = ((rows - 0.22) / 0.3).clip(0, 1)
    mixed = frame * (1 - blur) + soft * blur
    grey = mixed.mean(axis=2, keepdims=True)
    return (grey + (mixed - grey) * 1.5).clip(0, 255).astype(np.uint8)


def _grain(frame: np.ndarray) -> np.ndarray:
    return _textured(cv2.GaussianBlur(frame, (0, 0), 0.4), 0.035, 0.5)


def _cartoon(frame: np.ndarray) -> np.ndarray:
    return _inked(_flat(frame, 5), frame)


def _grey_cartoon(frame: np.ndarray) -> np.ndarray:
    return np.repeat(cv2.cvtColor(_cartoon(frame), cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)


def _anime(frame: np.ndarray) -> np.ndarray:
    return _inked(_flat(frame, 8), frame)


def _game(frame: np.ndarray) -> np.ndarray:
    """What a game lays over its world: bars and a map."""
    image = Image.fromarray(frame)
    pen = ImageDraw.Draw(image, "RGBA")
    for top, share, colour in ((5, 0.8, (220, 60, 60)), (11, 0.5, (70, 130, 230))):
        pen.rectangle((5, top, 45, top + 4), fill=(0, 0, 0, 140))
        pen.rectangle((6, top + 1, 6 + int(38 * share), top + 3), fill=(*colour, 255))
    pen.ellipse((104, 56, 124, 76), fill=(0, 0, 0, 130), outline=(255, 255, 255, 220))
    pen.polygon(((114, 61), (117, 69), (111, 69)), fill=(255, 255, 255, 255))
    return np.asarray(image)


def _stop_motion(frames: Frames) -> Frames:
    """Every image stands twice as long, and nothing stands quite still."""
    still = frames[::2]
    return np.stack([np.roll(frame, ((-1) ** i, (i % 3) - 1), (0, 1)) for i, frame in enumerate(still)])


def _mirrored(frame: np.ndarray) -> np.ndarray:
    half = frame[:, : WIDTH // 2]
    return np.concatenate([half, half[:, ::-1]], axis=1)


def _shoulder(frame: np.ndarray) -> np.ndarray:
    """Somebody's head and shoulder, near and dark, in front of what they look at."""
    mask = Image.new("L", (WIDTH * 4, HEIGHT * 4))
    pen = ImageDraw.Draw(mask)
    pen.ellipse((30, 40, 170, 220), fill=255)
    pen.rounded_rectangle((-90, 200, 235, 420), 90, fill=255)
    cover = np.asarray(mask.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS))[..., None] / 255
    cover = cv2.GaussianBlur(cover.astype(np.float32), (0, 0), 1.2)[..., None]
    return (frame * (1 - cover) + np.array([46, 38, 40]) * cover).astype(np.uint8)


def _flicker(frames: Frames) -> Frames:
    light = 0.86 + 0.14 * np.random.default_rng(5).random(len(frames))
    return (frames * light[:, None, None, None]).astype(np.uint8)


# Every term


def _label(axis: str, key: str, **more: str) -> Drawing:
    return Drawing({axis: key} | more)


_ROBOT = {"subject": "robot", "colour": "red", "shot_size": "medium"}
_PARTS = {
    "extreme-close-up": 0.26,
    "close-up": 0.42,
    "medium-close-up": 0.56,
    "medium": 0.72,
    "medium-wide": 0.9,
}
"""How much of a figure a shot shows, from the top of its head. The film set's own labels are of how large a body is."""
_MOVING = {"shot_size": "medium", "subject": "cube", "colour": "red", "surroundings": "meadow"}
_NIGHT = {"time": "night", "surroundings": "snow"}


def _styles() -> dict[str, Drawing]:
    still = {"subject": "robot", "shot_size": "close-up", "colour": "red"}
    walk = still | {"action": "travel-right", "shot_size": "wide"}
    return {
        "realistic": Drawing(
            still | {"focus": "shallow", "light_quality": "hard-light", "time": "sunset"},
            finish=_each(_grain),
        ),
        "felt": Drawing(still, finish=_each(lambda f: _textured(_displaced(f, 1.3, 0.7), 0.06, 0.7))),
        "3d-cartoon": Drawing(still | {"material": "glossy", "saturation": "high-saturation"}),
        "pixel-art": Drawing(still, finish=_each(_pixels)),
        "puppet-animation": Drawing(walk, finish=_stop_motion, frames=FRAMES),
        "3d-game": Drawing(still | {"camera_angle": "high-angle"}, finish=_each(_game)),
        "claymation": Drawing(
            still | {"subject": "mushroom"},
            finish=_each(lambda f: _textured(_displaced(f, 0.9, 3.0), 0.07, 2.2)),
        ),
        "anime": Drawing(
            still | {"saturation": "high-saturation", "light_quality": "hard-light"},
            finish=_each(_anime),
        ),
        "watercolor": Drawing(still, finish=_each(_watercolour)),
        "black-and-white-animation": Drawing(still, finish=_each(_grey_cartoon)),
        "oil-painting": Drawing(still, finish=_each(_oil)),
        "tilt-shift": Drawing(
            still | {"camera_angle": "high-angle", "shot_size": "wide"}, finish=_each(_tilt_shift)
        ),
        "time-lapse": Drawing({"shot_size": "extreme-wide", "subject": "robot"}),
    }


def _lights() -> dict[str, Drawing]:
    ball = {"subject": "ball", "colour": "red", "shot_size": "close-up"}
    lamp = ball | {"shot_size": "medium", "light_source": "practical"}
    dim = _with(ambient=_times(0.4), sun=_times(0.0))
    return {
        "daylight": Drawing(ball | {"shot_size": "medium"}),
        "artificial": Drawing(
            lamp | _NIGHT,
            scene=_with(lamp_x=_times(-1.8), lamp_y=_times(1.6), lamp_z=_times(-4.0), ambient=_times(0.6)),
        ),
        "moonlight": Drawing(ball | _NIGHT | {"shot_size": "medium", "light_direction": "backlight"}),
        "practical": Drawing(lamp | _NIGHT),
        "firelight": Drawing(
            lamp | _NIGHT | {"tone": "warm", "surroundings": "desert"},
            scene=_with(lamp_y=lambda y: y * 0 + 0.12, ambient=_times(0.5)), finish=_flicker, frames=6,
        ),
        "fluorescent": Drawing(
            ball | {"light_direction": "top-light", "shot_size": "medium"},
            scene=_with(grade=_colour(0.92, 1.02, 0.97), sun=_times(0.55), ambient=_times(1.25)),
        ),
        "overcast": Drawing(ball | {"shot_size": "medium", "light_source": "overcast"}),
        "sunny": Drawing(ball | {"shot_size": "medium", "light_quality": "hard-light"}, scene=_with(sun=_times(1.2))),
        "mixed-light": Drawing(lamp | {"time": "dusk", "tone": "cool"}),
        "soft-light": Drawing(ball | {"light_quality": "soft-light"}, scene=_with(soft=1.0)),
        "hard-light": Drawing(ball | {"light_quality": "hard-light"}, scene=_with(sun=_times(1.15))),
        "top-light": Drawing(ball | {"light_direction": "top-light", "light_quality": "hard-light"}),
        "side-light": Drawing(
            ball | {"light_direction": "left", "light_quality": "hard-light"},
            scene=_with(light=_from(-0.96, 0.2, -0.1), ambient=_times(0.6)),
        ),
        "backlight": Drawing(
            ball | {"light_direction": "backlight", "light_quality": "hard-light", "shot_size": "medium"},
            scene=_with(ambient=_times(0.75)),
        ),
        "underlight": Drawing(
            ball | {"light_quality": "hard-light", "time": "dusk"},
            scene=_with(light=_from(-0.15, -0.9, -0.4), ambient=_times(0.5), sun=lambda s: s * 0 + 0.7),
        ),
        "edge-light": Drawing(
            ball | {"light_quality": "hard-light", "time": "night"},
            scene=lambda s: _with(light=_from(0.8, 0.35, 0.75), sun=lambda p: p * 0 + 1.3)(dim(s)),
        ),
        "silhouette": Drawing(
            {"subject": "robot", "time": "sunset", "shot_size": "medium", "light_direction": "backlight"},
            scene=_with(subject=_colour(0, 0, 0), ambient=_times(0.25), sun=_times(0.15)),
        ),
    }  # fmt: skip


def _cameras() -> dict[str, Drawing]:
    odd = {
        "orbit": _MOVING | {"camera": "orbit-left", "subject": "robot"},
        "follow": _MOVING | {"camera": "follow", "action": "travel-right", "subject": "robot"},
        "handheld": _MOVING | {"grip": "handheld"},
        "compound": _MOVING | {"camera": "dolly-in+crane-up"},
        "static": _MOVING | {"action": "bounce", "subject": "ball"},
    }
    keys = (term.key for term in TERMS if term.axis == "camera")
    return {key: Drawing(odd.get(key, _MOVING | {"camera": key}), frames=FRAMES) for key in keys}


def _drawings() -> dict[str, Drawing]:
    ball = {"colour": "red", "shot_size": "medium"}
    angles = {
        key: _ROBOT | {"camera_angle": key}
        for key in ("eye-level", "low-angle", "high-angle", "dutch-angle", "overhead")
    }
    found = _styles() | _lights() | _cameras()
    found |= {
        key: Drawing({"time": key} | ball) for key in ("dawn", "sunrise", "day", "sunset", "dusk", "night")
    }
    found |= {
        "warm": _label("tone", "warm", **ball),
        "cool": _label("tone", "cool", **ball),
        "mixed-colors": Drawing(
            ball | {"colour": "blue"},
            scene=_with(grade=_colour(1.1, 0.95, 0.98), zenith=_colour(0.15, 0.5, 0.75)),
        ),
        "high-saturation": _label("saturation", "high-saturation", **ball),
        "low-saturation": _label("saturation", "low-saturation", **ball),
        "monochrome": Drawing(ball, scene=_with(saturation=0.0)),
        "high-contrast": _label("contrast", "high-contrast", light_quality="hard-light", **ball),
        "low-contrast": _label("contrast", "low-contrast", **ball),
    }
    found |= {
        key: Drawing(_ROBOT | {"shot_size": "extreme-close-up"}, part=part) for key, part in _PARTS.items()
    }
    found |= {key: Drawing(_ROBOT | {"shot_size": key}) for key in ("wide", "extreme-wide")}
    found |= {key: Drawing(shot) for key, shot in angles.items()}
    found |= {
        "aerial": Drawing(
            _ROBOT | {"camera_angle": "high-angle", "shot_size": "extreme-wide"},
            scene=_with(focal=_times(0.6)),
        ),
        "over-the-shoulder": Drawing(
            _ROBOT | {"composition": "right-heavy", "focus": "shallow"}, finish=_each(_shoulder)
        ),
    }
    found |= {
        key: _label("lens", key, **_ROBOT) for key in ("wide-angle", "normal-lens", "telephoto", "fisheye")
    }
    found |= {key: _label("composition", key, **_ROBOT) for key in ("center", "left-heavy", "right-heavy")}
    found |= {
        "balanced": Drawing(ball | {"action": "collide"}, scene=_with(x=-1.1, other_x=1.25)),
        "symmetrical": Drawing(
            {"subject": "ball", "shot_size": "medium"},
            scene=_with(light=_from(0, 0.7, -0.7)),
            finish=_each(_mirrored),
        ),
        "short-side": Drawing(_ROBOT | {"composition": "left-heavy"}, scene=_with(turn=_times(-1.0))),
    }
    return found


DRAWN = _drawings()
"""How each term is drawn, by its key."""
BY_LABEL = frozenset(key for key, one in DRAWN.items() if one.scene is None and one.finish is None)
"""What the film set draws by its own labels alone."""


def draw(term: Term) -> Frames:
    """The frames of a term."""
    if term.key == "time-lapse":
        times = ("sunrise", "day", "day", "sunset", "dusk", "night", "night", "dawn")
        return np.concatenate([_rendered(Drawing(DRAWN[term.key].shot | {"time": time})) for time in times])
    return _rendered(DRAWN[term.key])


def _rendered(drawing: Drawing) -> Frames:
    shot = Shot(**{"subject": "ball"} | drawing.shot)
    width, height = (4 * WIDTH, 4 * HEIGHT) if drawing.part else (WIDTH, HEIGHT)
    scene = plan(
        [shot], height=height, width=width, frames=drawing.frames, fps=FPS, seed=drawing.seed, moments=len(_PLACES)
    )  # fmt: skip
    if drawing.scene is not None:
        scene = drawing.scene(scene)
    frames = _image(scene, shot.subject, height, width, _layers)[0].numpy()
    if drawing.part:
        frames = np.stack([_cut(frame, drawing.part) for frame in frames])
    return frames if drawing.finish is None else drawing.finish(frames)


def _cut(frame: np.ndarray, part: float) -> np.ndarray:
    """The upper `part` of a figure that fills the image, with a little room over its head."""
    image = Image.fromarray(frame)
    height = part * image.height
    width, top = height * WIDTH / HEIGHT, 0.02 * image.height
    left = (image.width - width) / 2
    return np.asarray(
        image.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS, box=(left, top, left + width, top + height))
    )


def packed(frames: Frames) -> bytes:
    """An animated or still WebP of at most `MOST` bytes, as good as that allows."""
    images = [Image.fromarray(frame) for frame in frames]
    for quality in (80, 70, 60, 50, 42, 35, 28, 22, 16, 10, 5):
        place = io.BytesIO()
        more = {"save_all": True, "append_images": images[1:], "duration": int(1000 / FPS), "loop": 0}
        images[0].save(place, "WEBP", quality=quality, method=6, **(more if len(images) > 1 else {}))
        if place.tell() <= MOST:
            return place.getvalue()
    raise ValueError(f"{len(images)} frames do not fit into {MOST} bytes")


def sheet(found: dict[str, Frames], place: Path) -> None:
    """All pictures on one page; of a movement its first and its last frame."""
    cells = []
    for term in TERMS:
        frames = found[term.key]
        cells += [(term.key, frames[0])] + ([("", frames[-1])] if len(frames) > 1 else [])
    columns = 12
    page = Image.new("RGB", (columns * WIDTH, -(-len(cells) // columns) * (HEIGHT + 12)), "white")
    pen = ImageDraw.Draw(page)
    for at, (name, frame) in enumerate(cells):
        left, top = at % columns * WIDTH, at // columns * (HEIGHT + 12)
        page.paste(Image.fromarray(frame), (left, top + 12))
        pen.text((left + 2, top), name, fill="black")
    page.save(place)


def main(arguments: Sequence[str] | None = None) -> None:
    """Draw the pictures of all terms."""
    parser = argparse.ArgumentParser(prog="python -m tools.term_pictures", description=__doc__)
    parser.add_argument("--sheet", type=Path, metavar="FILE", help="also lay all of them out on one page")
    parser.add_argument("--axis", action="append", choices=[axis.key for axis in AXES], help="only this axis")
    parser.add_argument("-o", "--output", type=Path, default=ROOT, metavar="FOLDER")
    asked = parser.parse_args(arguments)
    found = {}
    for term in TERMS:
        if asked.axis and term.axis not in asked.axis:
            continue
        found[term.key] = draw(term)
        place = asked.output / term.axis / f"{term.key}.webp"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(packed(found[term.key]))
    if asked.sheet:
        sheet(found, asked.sheet)
    print(f"{len(found)} pictures in {asked.output}")


if __name__ == "__main__":
    main()
