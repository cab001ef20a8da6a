"""Still images: read, write, resize, and lay out as a contact sheet.

Arrays are uint8 RGB (H, W, 3), sRGB. Colour profiles (ICC) and the colour codes of HDR images are applied.
Pixels are taken as square, whatever resolutions a file notes, as browsers do.
"""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageCms, ImageFile, ImageOps, PngImagePlugin

from wan22.atomic import temporary_file
from wan22.errors import OutputError
from wan22.files import PathLike
from wan22.media import colour
from wan22.media.opening import open_image
from wan22.media.output_paths import (
    IMAGE_KINDS,
    Existing,
    check_output,
    estimate_bytes,
    publish_file,
    target_kind,
)
from wan22.media.provenance import XMP_KEY, Marking, mark, xmp
from wan22.media.recipe_text import IMAGE_DESCRIPTION, PREFIX, RECIPE_KEY, dump_comment, dump_recipe

MAX_PIXELS = 4096 * 4096
"""Largest image that is handed on, width x height: a larger one is scaled down while it is read."""

_EXIF_LIMIT = 60_000  # a JPEG segment ends at 65,535 bytes
_CODES = 1 << 16  # bytes in which an image says the codes of its colours
_STRIP = 256  # rows of a scaled image that are made together


def read_image(path: PathLike) -> np.ndarray:
    """Read an image as uint8 RGB (H, W, 3), turned upright as its EXIF orientation says.

    Transparent parts become white. Grey, palette, CMYK and 16-bit images are converted; of an animation
    the first frame is taken. One of more than `MAX_PIXELS` is scaled down to them. Raises MediaError for a file
    that is missing, no image, damaged or cut off (never half an image), or larger than what `open_image` takes,
    which is told from the header before decoding.
    """
    with open_image(path) as image:
        return decode(image, colour_codes(path))


def decode(image: Image.Image, codes: tuple[int, int] | None = None) -> np.ndarray:
    """Decode an opened image's current frame to uint8 RGB (H, W, 3) of at most `MAX_PIXELS`.

    `codes` are the H.273 codes of its primaries and transfer, for an image without a colour profile.
    """
    scale = math.sqrt(MAX_PIXELS / (image.width * image.height))
    size = max(1, int(image.width * scale)), max(1, int(image.height * scale))
    if scale < 1 and image.format in ("JPEG", "MPO"):
        image.draft(None, size)  # decodes every second, fourth or eighth pixel's worth
    tolerant, ImageFile.LOAD_TRUNCATED_IMAGES = ImageFile.LOAD_TRUNCATED_IMAGES, False
    try:
        image.load()
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = tolerant
    profile = image.info.get("icc_profile")
    large = image.width * image.height > MAX_PIXELS
    image = ImageOps.exif_transpose(_scaled(image, size) if large else _eight_bits(image))
    alpha = image.convert("RGBA").getchannel("A") if image.has_transparency_data else None
    rgb = _srgb(image, profile)
    if profile is None and codes is not None and colour.description(codes[1], codes[0]):
        rgb = Image.fromarray(colour.to_sdr(np.asarray(rgb).astype(np.uint16) * 257, codes[1], codes[0]))
    if alpha is not None:
        rgb = Image.composite(rgb, Image.new("RGB", rgb.size, "white"), alpha)
    return np.array(rgb)


def colour_codes(path: PathLike) -> tuple[int, int] | None:
    """The H.273 codes of primaries and transfer that a HEIC, AVIF (ISO 14496-12, 12.1.5) or PNG (cICP) file says."""
    with Path(path).expanduser().open("rb") as file:
        head = file.read(_CODES)
    if (at := head.find(b"colrnclx")) >= 0 and head[4:8] == b"ftyp" and len(head) >= at + 12:
        return int.from_bytes(head[at + 8 : at + 10], "big"), int.from_bytes(head[at + 10 : at + 12], "big")
    if (at := head.find(b"cICP")) >= 0 and head.startswith(b"\x89PNG") and len(head) >= at + 6:
        return head[at + 4], head[at + 5]
    return None


def _scaled(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """`_eight_bits` of a large image at a smaller size, made in strips of rows: no second copy of it is held.

    A strip has the rows beside it that the filter looks at, so the result is that of the whole image.
    """
    rows = image.height / size[1]
    beside = math.ceil(3 * rows) + 1  # Lanczos looks at three rows of the result
    scaled = None
    for top in range(0, size[1], _STRIP):
        count = min(_STRIP, size[1] - top)
        first, last = top * rows, (top + count) * rows
        begin, end = max(0, math.floor(first) - beside), min(image.height, math.ceil(last) + beside)
        strip = _eight_bits(image.crop((0, begin, image.width, end)))
        box = (0, first - begin, image.width, min(last - begin, strip.height))
        strip = strip.resize((size[0], count), Image.Resampling.LANCZOS, box)
        if scaled is None:
            scaled = Image.new(strip.mode, size)
            scaled.info = dict(strip.info)
        scaled.paste(strip, (0, top))
    assert scaled is not None
    return scaled


def _eight_bits(image: Image.Image) -> Image.Image:
    """16 bits of grey ("I" holds them in 32) as 8, palettes as colours, one bit as grey; others as they are.

    Raises ValueError for floating-point values.
    """
    if image.mode.startswith("I"):
        grey = np.clip(np.asarray(image).astype(np.int32) + 128, 0, 65535) // 257
        grey = Image.fromarray(grey.astype(np.uint8))
        grey.info = {key: image.info[key] for key in ("exif", "transparency") if key in image.info}
        if isinstance(clear := grey.info.get("transparency"), int):
            grey.info["transparency"] = (clear + 128) // 257
        return grey
    if image.mode == "F":
        raise ValueError("floating-point values have no fixed white; export 8 or 16 bits instead")
    if image.mode in ("P", "PA"):
        return image.convert("RGBA" if image.has_transparency_data else "RGB")
    return image.convert("L") if image.mode == "1" else image


def _srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """An image in any mode as RGB, by its ICC profile; one that does not fit the image is no profile."""
    if image.mode in ("RGBA", "RGBX", "RGBa"):
        image = image.convert("RGB")
    elif image.mode in ("LA", "La"):
        image = image.convert("L")
    srgb = ImageCms.createProfile("sRGB")
    if profile is None and image.mode == "LAB":
        source = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
    elif profile is None:
        return image.convert("RGB")
    else:
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            if "srgb" in ImageCms.getProfileDescription(source).lower():
                return image.convert("RGB")
        except (OSError, ImageCms.PyCMSError):
            return image.convert("RGB")
    try:
        converted = ImageCms.profileToProfile(
            image,
            source,
            srgb,
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            outputMode="RGB",
            flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    except (ValueError, ImageCms.PyCMSError):
        return image.convert("RGB")
    assert converted is not None
    return converted


def write_image(
    path: PathLike,
    array: np.ndarray,
    recipe: dict[str, Any] | None = None,
    existing: Existing = "replace",
    marking: Marking | None = None,
) -> str:
    """Write uint8 RGB (H, W, 3) as png, jpg or webp (by the extension), with its recipe inside; return its name.

    PNG is exact, the others are of high quality. The file appears complete or not at all. An image with a recipe is
    marked as made by a model, and signed, as `marking` says (provenance.py).
    Raises OutputError for an unknown extension, a place that cannot be written, or a recipe too long
    for a JPEG.
    """
    height, width = _checked(array).shape[:2]
    kind = target_kind(path)
    if kind not in IMAGE_KINDS.values():
        raise OutputError(f"{path} names no image. Known: {', '.join(IMAGE_KINDS)}.")
    check_output(path, bytes_needed=estimate_bytes((width, height), 1, path))
    with temporary_file(Path(path)) as part:
        save(part, array, kind, recipe, marking)
        return publish_file(part, path, existing)


def save(
    path: Path,
    array: np.ndarray,
    kind: str,
    recipe: dict[str, Any] | None,
    marking: Marking | None = None,
) -> None:
    """Encode uint8 RGB (H, W, 3) into `path` itself, whatever its name, and mark it."""
    marking = Marking.asked() if marking is None else marking
    _encode(
        path, Image.fromarray(array), kind, recipe, xmp(recipe) if marking.on and recipe is not None else None
    )
    mark(path, kind, recipe, marking)


def _encode(
    path: Path, image: Image.Image, kind: str, recipe: dict[str, Any] | None, packet: bytes | None
) -> None:
    marks = {} if packet is None else {"xmp": packet}
    if kind == "png":
        notes = PngImagePlugin.PngInfo()
        if recipe is not None:
            notes.add_text(RECIPE_KEY, dump_recipe(recipe))
        if packet is not None:
            notes.add_itxt(XMP_KEY, packet.decode("ascii"))
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
        image.save(path, "JPEG", quality=95, subsampling=0, exif=exif, **marks)
    else:
        image.save(path, "WEBP", quality=95, method=4, exif=exif, **marks)


def recipe_text(path: PathLike) -> str | None:
    """The recipe in an image or GIF as it is spelt there; None if it has none."""
    with open_image(path) as image:
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
