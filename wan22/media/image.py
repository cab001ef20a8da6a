"""Still images: read, write, resize, and lay out as a contact sheet.

Arrays are uint8 RGB (H, W, 3). Colour profiles are not applied: values are taken as sRGB.
"""

from __future__ import annotations

import warnings
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageFile, ImageOps, PngImagePlugin

from wan22.atomic import written
from wan22.errors import MediaError, OutputError
from wan22.files import PathLike, reading
from wan22.media.file_types import IMAGES, sniff
from wan22.media.output_paths import IMAGE_KINDS, check_output, estimate_bytes, target_kind
from wan22.media.recipe_text import IMAGE_DESCRIPTION, PREFIX, RECIPE_KEY, dump_comment, dump_recipe

MAX_PIXELS = 40_000_000
"""Largest image that is decoded, width x height."""

_EXIF_LIMIT = 60_000  # a JPEG segment ends at 65,535 bytes


@contextmanager
def opened(path: PathLike) -> Generator[Image.Image]:
    """Open an image: only its header is read, and its size is checked, before the caller decodes.

    Raises MediaError for anything that goes wrong, here or while the caller decodes.
    """
    kind = sniff(path)
    if kind not in IMAGES:
        raise MediaError(f"{path} is a clip, not an image. Give it as the video, or save one frame as PNG.")
    what, remedy = f"cannot be read as {kind.upper()}", "Copy, download or export it again."
    # Pillow warns of what is refused below anyway (size) or does no harm (odd EXIF).
    with reading(path, MediaError, what, remedy), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Image.open(path, formats=[kind]) as image:
                width, height = image.size
                if width * height > MAX_PIXELS:
                    raise MediaError(
                        _too_large(path, f"{width}x{height}, {width * height / 1e6:.0f} megapixels")
                    )
                yield image
        except OSError as error:
            if "truncated" not in str(error):
                raise
            raise MediaError(f"{path} is cut off: {error}. {remedy}") from error
        except Image.DecompressionBombError:
            raise MediaError(_too_large(path, "more than 178 megapixels")) from None


def read_image(path: PathLike) -> np.ndarray:
    """Read an image as uint8 RGB (H, W, 3), turned upright as its EXIF orientation says.

    Transparent parts become white. Grey, palette, CMYK and 16-bit images are converted; of an animation
    the first frame is taken. Raises MediaError for a file that is missing, no image, damaged or cut off
    (never half an image), or larger than `MAX_PIXELS`, which is told from the header before decoding.
    """
    with opened(path) as image:
        return decode(image)


def decode(image: Image.Image) -> np.ndarray:
    """Decode an opened image's current frame to uint8 RGB (H, W, 3)."""
    tolerant, ImageFile.LOAD_TRUNCATED_IMAGES = ImageFile.LOAD_TRUNCATED_IMAGES, False
    try:
        image.load()
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = tolerant
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):  # 16 bits of grey; "I" holds them in 32
        grey = np.clip(np.asarray(image).astype(np.int64) + 128, 0, 65535) // 257
        return np.repeat(grey.astype(np.uint8)[..., None], 3, axis=2)
    if image.mode == "F":
        raise ValueError("floating-point values have no fixed white; export 8 or 16 bits instead")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        image = Image.new("RGBA", layer.size, "white")
        image.alpha_composite(layer)
    return np.array(image.convert("RGB"))


def write_image(path: PathLike, array: np.ndarray, recipe: dict[str, Any] | None = None) -> None:
    """Write uint8 RGB (H, W, 3) as png, jpg or webp (by the extension), with its recipe inside.

    PNG is exact, the others are of high quality. The file appears complete or not at all.
    Raises OutputError for an unknown extension, a place that cannot be written, or a recipe too long
    for a JPEG.
    """
    height, width = _checked(array).shape[:2]
    kind = target_kind(path)
    if kind not in IMAGE_KINDS.values():
        raise OutputError(f"{path} names no image. Known: {', '.join(IMAGE_KINDS)}.")
    check_output(path, bytes_needed=estimate_bytes((width, height), 1, path))
    with written(Path(path)) as part:
        save(part, array, kind, recipe)


def save(path: Path, array: np.ndarray, kind: str, recipe: dict[str, Any] | None) -> None:
    """Encode uint8 RGB (H, W, 3) into `path` itself, whatever its name."""
    image = Image.fromarray(array)
    if kind == "png":
        notes = PngImagePlugin.PngInfo()
        if recipe is not None:
            notes.add_text(RECIPE_KEY, dump_recipe(recipe))
        image.save(path, "PNG", pnginfo=notes, compress_level=4)
        return
    exif = Image.Exif()
    if recipe is not None:
        comment = dump_comment(recipe)
        if kind == "jpeg" and len(comment) > _EXIF_LIMIT:
            raise OutputError(
                f"the recipe has {len(comment):,} bytes and a JPEG carries {_EXIF_LIMIT:,}. "
                "Write a .png or .webp."
            )
        exif[IMAGE_DESCRIPTION] = comment.decode("ascii")
    if kind == "jpeg":
        image.save(path, "JPEG", quality=95, subsampling=0, exif=exif)
    else:
        image.save(path, "WEBP", quality=95, method=4, exif=exif)


def recipe_text(path: PathLike) -> str | None:
    """The recipe in an image or GIF as it is spelt there; None if it has none."""
    with opened(path) as image:
        if isinstance(text := image.info.get(RECIPE_KEY), str):
            return str(text)
        comment = image.info.get("comment") or image.getexif().get(IMAGE_DESCRIPTION) or ""
    text = comment.decode("ascii", "replace") if isinstance(comment, bytes) else str(comment)
    return text.removeprefix(PREFIX) if text.startswith(PREFIX) else None


def resize(array: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Scale uint8 (H, W, 3) or (T, H, W, 3) to `size` (width, height) with Lanczos; the shape is not kept."""
    if array.ndim == 4:
        return np.stack([resize(frame, size) for frame in array])
    if array.shape[:2] == (size[1], size[0]):
        return array.copy()
    return np.array(Image.fromarray(_checked(array)).resize(size, Image.Resampling.LANCZOS))


def contact_sheet(frames: np.ndarray, columns: int, gap: int = 4) -> np.ndarray:
    """Lay uint8 frames (T, H, W, 3) out in rows of `columns`, `gap` dark pixels apart: uint8 (H', W', 3)."""
    if frames.ndim != 4 or not len(frames) or columns < 1:
        raise ValueError(
            f"a contact sheet needs frames (T, H, W, 3) and columns >= 1, not {frames.shape}, {columns}"
        )
    count, height, width = frames.shape[:3]
    columns = min(columns, count)
    rows = -(-count // columns)
    sheet = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, 3), 24, np.uint8)
    for index, frame in enumerate(frames):
        top, left = (index // columns) * (height + gap), (index % columns) * (width + gap)
        sheet[top : top + height, left : left + width] = frame
    return sheet


def _checked(array: np.ndarray) -> np.ndarray:
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3:
        raise ValueError(f"an image must be uint8 (H, W, 3), not {array.dtype} {array.shape}")
    return array


def _too_large(path: PathLike, what: str) -> str:
    return f"{path} claims {what}; the limit is {MAX_PIXELS // 1_000_000} megapixels. Scale it down first."
