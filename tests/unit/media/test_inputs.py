"""Videos and images as the world has them: times, turns, pixel shapes, HDR, colour profiles, kinds and limits."""

import struct
import zlib
from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image, ImageCms

from wan22.catalog import VARIANTS
from wan22.errors import MediaError
from wan22.media import colour
from wan22.media import image as image_module
from wan22.media import video as video_module
from wan22.media.image import read_image
from wan22.media.video import probe, read_clip, stream_clip
from wan22.request import resolve
from wan22.types import Request

CODECS = {"mp4": "libx264", "mov": "libx264", "mkv": "libx264", "webm": "libvpx-vp9"}


def quarters(width=64, height=48):
    """Red and green above, blue and white below: every turn and mirror image of it is another one."""
    frame = np.zeros((height, width, 3), np.uint8)
    frame[: height // 2, : width // 2] = (200, 0, 0)
    frame[: height // 2, width // 2 :] = (0, 200, 0)
    frame[height // 2 :, : width // 2] = (0, 0, 200)
    frame[height // 2 :, width // 2 :] = (220, 220, 220)
    return frame


def corners(frame):
    """The colours of a frame's four quarters, by name, in reading order."""
    height, width = frame.shape[:2]
    names = {(1, 0, 0): "r", (0, 1, 0): "g", (0, 0, 1): "b", (1, 1, 1): "w"}
    spots = [
        (height // 4, width // 4),
        (height // 4, -width // 4),
        (-height // 4, width // 4),
        (-height // 4, -width // 4),
    ]
    return "".join(names.get(tuple((frame[spot] > 110).astype(int).tolist()), "?") for spot in spots)


def write(
    path, frames, stamps=None, base=Fraction(1, 1000), codec=None, pixels="yuv420p", setup=None, **tags
):
    """A clip whose frame k comes at stamps[k] ticks of `base` (25 a second if none are given)."""
    stamps = [40 * k for k in range(len(frames))] if stamps is None else stamps
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec or CODECS[path.suffix[1:]], rate=25)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pixels
        stream.time_base = stream.codec_context.time_base = base
        stream.codec_context.max_b_frames = 0
        for name, value in tags.items():
            setattr(stream.codec_context, name, value)
        if setup is not None:
            setup(stream)
        for pixel, stamp in zip(frames, stamps, strict=True):
            deep = pixel.dtype == np.uint16
            frame = av.VideoFrame.from_ndarray(pixel, format="rgb48le" if deep else "rgb24")
            matrix = tags.get("colorspace", 5)
            frame = frame.reformat(format=pixels, dst_colorspace=matrix)
            frame.pts, frame.time_base = stamp, base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def shades(count, width=48, height=32):
    return [np.full((height, width, 3), 20 + 20 * k, np.uint8) for k in range(count)]


def seen(frames):
    """Which of `shades` each frame is."""
    return [round((float(frame.mean()) - 20) / 20) for frame in frames]


# Times


@pytest.mark.parametrize("kind", CODECS)
def test_a_variable_rate_is_read_by_its_times_in_every_container(tmp_path, kind):
    # Five frames at 10 a second, a gap of 0.5 s, five frames at 20 a second: 10 frames in 1.2 s.
    stamps = [0, 100, 200, 300, 400, 900, 950, 1000, 1050, 1100]
    path = write(tmp_path / f"a.{kind}", shades(10), stamps)
    info = probe(path)
    assert info.variable and info.frames == 10
    assert any("variable frame rate" in text for text in info.notices)
    clip = read_clip(path, fps=20)
    assert clip.fps == 20
    assert seen(clip.frames)[:22] == [0, 0, 1, 1, 2, 2, 3, 3, *[4] * 10, 5, 6, 7, 8]
    mean = read_clip(path)
    assert mean.fps == pytest.approx(info.fps)
    assert len(mean.frames) == pytest.approx(info.seconds * info.fps, abs=1)
    assert seen(mean.frames)[0] == 0 and seen(mean.frames).count(4) >= 3
    assert [text for text in mean.notices if "variable" in text]
    assert seen(np.concatenate(list(stream_clip(path, 3)))) == seen(mean.frames)


@pytest.mark.parametrize("kind", ["mp4", "mkv", "mov"])
def test_time_begins_with_the_first_frame(tmp_path, kind):
    path = write(tmp_path / f"a.{kind}", shades(10), [2000 + 100 * k for k in range(10)])
    assert not probe(path).variable
    clip = read_clip(path)
    assert seen(clip.frames) == list(range(10)) and clip.fps == pytest.approx(10, rel=0.02)
    assert seen(read_clip(path, start=0.5, seconds=0.2).frames) == [5, 6]


def test_an_edit_list_is_obeyed(tmp_path):
    """The first three frames are cut off by an edit list, as a phone's trim does (ISO 14496-12, 8.6.6)."""
    path = write(tmp_path / "a.mp4", shades(10), [100 * k for k in range(10)])
    data = bytearray(path.read_bytes())
    at = data.index(b"elst")
    assert data[at + 4] == 0 and int.from_bytes(data[at + 8 : at + 12], "big") == 1
    length, media_time = struct.unpack(">Ii", data[at + 12 : at + 20])
    with av.open(str(path)) as container:
        scale = container.streams.video[0].time_base.denominator
    data[at + 12 : at + 20] = struct.pack(">Ii", int(length * 0.7), media_time + int(0.3 * scale))
    path.write_bytes(data)
    assert probe(path).frames == 7
    assert seen(read_clip(path).frames) == [3, 4, 5, 6, 7, 8, 9]


def test_a_rate_is_brought_down_to_the_one_asked_and_never_up(tmp_path):
    path = write(tmp_path / "a.mp4", shades(10), [100 * k for k in range(10)])
    half = read_clip(path, fps=5)
    assert (seen(half.frames), half.fps) == ([0, 2, 4, 6, 8], 5)
    assert read_clip(path, fps=30).fps == 10
    assert seen(read_clip(path, fps=10).frames) == list(range(10))


def test_a_long_freeze_is_held_and_not_taken_for_a_broken_end(tmp_path):
    path = write(tmp_path / "a.mp4", shades(4), [0, 100, 5000, 5100])
    assert seen(read_clip(path, fps=2).frames) == [0, *[1] * 9][:10]


# Turns and shapes


TURNS = [(degrees, mirror) for degrees in (0, 90, 180, 270) for mirror in (False, True)]


@pytest.mark.parametrize(("degrees", "mirror"), TURNS)
def test_each_of_the_eight_display_matrices_is_honoured(tmp_path, degrees, mirror):
    frames = [quarters()] * 2
    path = write(
        tmp_path / "a.mp4", frames, setup=lambda stream: stream.set_display_rotation(degrees, hflip=mirror)
    )
    wanted = np.rot90(quarters(), degrees // 90)
    wanted = wanted[:, ::-1] if mirror else wanted
    clip = read_clip(path)
    assert corners(clip.frames[0]) == corners(wanted)
    assert clip.frames[0].shape == wanted.shape
    assert (probe(path).width, probe(path).height) == wanted.shape[1::-1]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["jpg", "png", "webp", "tiff"])
def test_each_of_the_eight_exif_orientations_is_honoured(tmp_path, orientation, kind):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a.{kind}"
    Image.fromarray(quarters()).save(path, exif=exif)
    upright = ["rgbw", "grwb", "wbgr", "bwrg", "rbgw", "brwg", "wgbr", "gwrb"][orientation - 1]
    found = read_image(path)
    assert corners(found) == upright
    assert found.shape[:2] == ((64, 48) if orientation > 4 else (48, 64))
    assert (probe(path).width, probe(path).height) == found.shape[1::-1]


@pytest.mark.parametrize("kind", ["mp4", "mkv", "mov"])
@pytest.mark.parametrize(
    ("ratio", "width"), [(Fraction(16, 11), 93), (Fraction(1, 2), 32), (Fraction(1), 64)]
)
def test_pixels_that_are_not_square_are_made_so_with_a_notice(tmp_path, kind, ratio, width):
    path = write(tmp_path / f"a.{kind}", [quarters()] * 2, sample_aspect_ratio=ratio)
    clip = read_clip(path)
    assert clip.frames.shape == (2, 48, width, 3)
    assert corners(clip.frames[0]) == "rgbw"
    assert bool(clip.notices) == (ratio != 1)
    if clip.notices:
        assert f"64x48 are shown as {width}x48" in clip.notices[0]


def test_a_turned_clip_of_wide_pixels_is_wide_before_it_is_turned(tmp_path):
    path = write(
        tmp_path / "a.mov",
        [quarters()] * 2,
        setup=lambda stream: stream.set_display_rotation(90),
        sample_aspect_ratio=Fraction(2),
    )
    assert read_clip(path).frames.shape == (2, 128, 48, 3)


def test_frames_are_scaled_while_they_are_read(tmp_path):
    path = write(tmp_path / "a.mp4", [quarters(128, 96)] * 3)
    for cover, shape in [
        ((32, 32), (32, 43)),
        ((64, 10), (48, 64)),
        (96 * 32, (48, 64)),
        ((500, 500), (96, 128)),
    ]:
        clip = read_clip(path, cover=cover)
        assert clip.frames.shape == (3, *shape, 3)
        assert corners(clip.frames[0]) == "rgbw"
        assert [text for text in clip.notices if "is read at" in text] != [] or shape == (96, 128)
    assert next(stream_clip(path, cover=(32, 32))).shape == (3, 32, 43, 3)


def test_interlaced_video_is_said_to_be(tmp_path):
    path = write(
        tmp_path / "a.mp4",
        [quarters()] * 3,
        setup=lambda stream: setattr(stream.codec_context, "options", {"x264-params": "tff=1"}),
    )
    assert any("interlaced" in text for text in read_clip(path).notices)


# HDR


def grey_of(light, transfer):
    """A 10-bit HDR frame of one grey that sends out `light` cd/m2, as full-range R'G'B' of 16 bits."""
    if transfer == colour.PQ:
        level = float(colour.pq(np.array(light)))
    else:  # BT.2100-2, table 5: light = 1000 E ** 1.2
        scene = (light / 1000) ** (1 / 1.2)
        a, b, c = 0.17883277, 0.28466892, 0.55991073
        level = (3 * scene) ** 0.5 if scene <= 1 / 12 else a * np.log(12 * scene - b) + c
    return np.full((48, 64, 3), round(level * 65535), np.uint16)


def write_hdr(path, frame, transfer, **more):
    tags = {"color_trc": transfer, "color_primaries": 9, "colorspace": 9, "color_range": 1} | more
    return write(path, [frame] * 2, codec="libx265", pixels="yuv420p10le", **tags)


@pytest.mark.parametrize("transfer", [colour.PQ, colour.HLG])
@pytest.mark.parametrize("kind", ["mp4", "mkv"])
def test_hdr_is_brought_to_sdr_with_a_notice(tmp_path, transfer, kind):
    levels = {}
    for light in (0, 10, 50, 203, 1000):
        path = write_hdr(tmp_path / f"{light}.{kind}", grey_of(light, transfer), transfer)
        clip = read_clip(path)
        levels[light] = float(clip.frames.mean())
        assert "PQ" in clip.notices[0] if transfer == colour.PQ else "HLG" in clip.notices[0]
    # Below the knee light is kept: SDR white is 203 cd/m2 and screens show the power 2.4.
    for light in (10, 50):
        assert levels[light] == pytest.approx(255 * (light / 203) ** (1 / 2.4), abs=3)
    assert levels[0] <= 1 and levels[1000] >= 253
    assert 215 < levels[203] < 240  # the reference white leaves room for what is brighter


def test_colours_of_bt2020_become_those_of_bt709():
    linear = np.array(
        [[0.6274, 0.0691, 0.0164], [0.3293, 0.9195, 0.0880], [0.0433, 0.0114, 0.8956]]
    )  # BT.2087
    for index in range(3):  # a primary of BT.709, said in BT.2020
        level = (linear[index] ** (1 / 2.4) * 65535).round().astype(np.uint16)
        found = colour.to_sdr(level[None], 1, 9)[0]
        assert np.abs(found.astype(int) - 255 * np.eye(3, dtype=int)[index]).max() <= 12
    grey = np.full((1, 3), 30000, np.uint16)
    for primaries in (9, 11, 12):
        assert np.abs(colour.to_sdr(grey, 1, primaries).astype(int) - 30000 / 257).max() <= 1


def test_the_knee_is_monotonous_and_ends_at_white():
    ramp = np.repeat(np.arange(0, 65536, 64, dtype=np.uint16)[:, None], 3, 1)
    for transfer, peak in [
        (colour.PQ, 1000.0),
        (colour.PQ, 4000.0),
        (colour.PQ, 203.0),
        (colour.HLG, 1000.0),
    ]:
        shown = colour.to_sdr(ramp, transfer, 9, peak).astype(int)
        assert (np.diff(shown[:, 0]) >= 0).all()
        assert shown[-1].tolist() == [255] * 3 and shown[0].tolist() == [0] * 3


def test_wide_sdr_video_is_converted_and_said(tmp_path):
    path = write_hdr(tmp_path / "a.mp4", np.full((48, 64, 3), 32768, np.uint16), 1)
    clip = read_clip(path)
    assert "wide colours of BT.2020" in clip.notices[0]
    assert clip.frames.mean() == pytest.approx(128, abs=2)


# Images


def profile(primaries):
    """An ICC profile of a matrix and the power 2.2 (ICC.1, 9.3): tags of colourants in D50, and one curve."""

    def fixed(*values):
        return b"".join(struct.pack(">i", round(value * 65536)) for value in values)

    def tag(kind, content):
        return kind + bytes(4) + content

    tags = {
        b"desc": tag(b"desc", struct.pack(">I", 5) + b"test\0" + bytes(12 + 67)),
        b"wtpt": tag(b"XYZ ", fixed(0.9642, 1.0, 0.8249)),
        b"rXYZ": tag(b"XYZ ", fixed(*primaries[0])),
        b"gXYZ": tag(b"XYZ ", fixed(*primaries[1])),
        b"bXYZ": tag(b"XYZ ", fixed(*primaries[2])),
        **{
            name: tag(b"curv", struct.pack(">IH", 1, round(2.2 * 256)))
            for name in (b"rTRC", b"gTRC", b"bTRC")
        },
    }
    table, content = struct.pack(">I", len(tags)), b""
    start = 128 + 4 + 12 * len(tags)
    for name, data in tags.items():
        table += name + struct.pack(">II", start + len(content), len(data))
        content += data + bytes(-len(data) % 4)
    size = start + len(content)
    header = (
        struct.pack(">I", size) + bytes(4) + b"\x02\x10\0\0mntrRGB XYZ " + bytes(12) + b"acsp" + bytes(28)
    )
    header += fixed(0.9642, 1.0, 0.8249) + bytes(48)
    return header + table + content


ADOBE = profile([(0.6097, 0.3111, 0.0195), (0.2053, 0.6257, 0.0609), (0.1492, 0.0632, 0.7446)])


@pytest.mark.parametrize("kind", ["png", "jpg", "webp", "tiff", "heic", "avif"])
def test_a_colour_profile_is_applied(tmp_path, kind):
    path = tmp_path / f"a.{kind}"
    image = Image.new("RGB", (32, 32), (150, 200, 120))
    save_heif(image, path, icc_profile=ADOBE) if kind == "heic" else image.save(
        path, icc_profile=ADOBE, quality=100
    )
    found = read_image(path)[16, 16].astype(int)
    # In linear light 0.311, 0.586, 0.190; red of sRGB is 1.398 R - 0.398 G = 0.202, which is 124.
    assert np.abs(found - [124, 201, 115]).max() <= 6


def test_a_profile_of_srgb_and_a_damaged_one_change_nothing(tmp_path):
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for content in (srgb, b"no profile", ADOBE[:200]):
        Image.fromarray(quarters()).save(tmp_path / "a.png", icc_profile=content)
        assert np.array_equal(read_image(tmp_path / "a.png"), quarters())


def save_heif(image, path, **options):
    from pillow_heif import from_pillow

    from_pillow(image).save(path, quality=95, **options)


@pytest.mark.parametrize("kind", ["heic", "avif"])
def test_heic_and_avif_are_read_and_a_cut_one_is_refused(tmp_path, kind):
    path = tmp_path / f"a.{kind}"
    image = Image.fromarray(quarters(128, 96))
    save_heif(image, path) if kind == "heic" else image.save(path, quality=90)
    found = read_image(path)
    assert found.shape == (96, 128, 3) and corners(found) == "rgbw"
    assert read_clip(path).frames.shape == (1, 96, 128, 3)
    assert probe(path).frames == 1
    content = path.read_bytes()
    for cut in range(20, len(content), max(1, len(content) // 12)):
        path.write_bytes(content[:cut])
        for read in (read_image, read_clip, probe):
            with pytest.raises(MediaError, match=r"cut off|cannot be read"):
                read(path)


def test_a_turned_heic_is_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    save_heif(Image.fromarray(quarters()), tmp_path / "a.heic", exif=exif.tobytes())
    found = read_image(tmp_path / "a.heic")
    assert corners(found) == "brwg" and found.shape == (64, 48, 3)
    assert (probe(tmp_path / "a.heic").width, probe(tmp_path / "a.heic").height) == (48, 64)


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("kind", ["jpg", "png", "webp"])
def test_a_large_photograph_is_scaled_down_upright(tmp_path, monkeypatch, kind, orientation):
    monkeypatch.setattr(image_module, "MAX_PIXELS", 60 * 40)
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a.{kind}"
    Image.fromarray(quarters(600, 400)).save(path, exif=exif)
    found = read_image(path)
    assert corners(found) == ("rgbw" if orientation == 1 else "brwg")
    assert found.shape == ((40, 60, 3) if orientation == 1 else (60, 40, 3))
    assert (probe(path).width, probe(path).height) == found.shape[1::-1]
    assert read_clip(path).frames.shape[1:] == found.shape


@pytest.mark.parametrize("mode", ["RGBA", "P", "I;16", "CMYK"])
def test_a_large_image_is_scaled_by_strips_as_it_would_be_whole(tmp_path, monkeypatch, mode):
    values = np.random.default_rng(0).integers(0, 256, (301, 200, 3), np.uint8)
    colours = Image.fromarray(values)
    deep = Image.fromarray(values[..., 0].astype(np.uint16) << 8)
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    (deep if mode == "I;16" else colours.convert(mode)).save(path)
    made = []
    whole = image_module._eight_bits
    monkeypatch.setattr(image_module, "_eight_bits", lambda image: made.append(image.height) or whole(image))
    monkeypatch.setattr(image_module, "MAX_PIXELS", 100 * 150)
    monkeypatch.setattr(image_module, "_STRIP", 1000)
    expected = read_image(path).astype(int)
    monkeypatch.setattr(image_module, "_STRIP", 16)
    made.clear()
    assert abs(read_image(path) - expected).max() <= 2
    assert len(made) > 5 and max(made) < 301 / 5  # no second image of the whole size


def test_a_phones_jpeg_of_two_images_is_its_first(tmp_path):
    second = Image.fromarray(quarters(32, 24))
    Image.fromarray(quarters()).save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[second])
    assert corners(read_image(tmp_path / "a.jpg")) == "rgbw"
    assert read_clip(tmp_path / "a.jpg").frames.shape == (1, 48, 64, 3)


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGBA", "CMYK", "YCbCr", "LAB", "I;16"])
def test_grey_stays_grey_in_every_mode(tmp_path, mode):
    level = 255 if mode == "1" else 128
    image = Image.new("L", (16, 16), level)
    if mode == "I;16":
        image = Image.fromarray(np.full((16, 16), 128 * 257, np.uint16))
    elif mode == "LAB":
        image = Image.new("LAB", (16, 16), (137, 128, 128))  # L* 53.6
    else:
        image = image.convert("RGB").convert(mode) if mode in ("CMYK", "YCbCr") else image.convert(mode)
    image.save(tmp_path / "a.tiff")
    assert np.abs(read_image(tmp_path / "a.tiff").astype(int) - level).max() <= 2


def with_chunk(path, name, content):
    """Put a chunk behind a PNG's header."""
    data = path.read_bytes()
    chunk = struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
    path.write_bytes(data[:33] + chunk + data[33:])
    return path


def test_an_hdr_png_is_brought_to_sdr(tmp_path):
    level = round(255 * float(colour.pq(np.array(50.0))))
    Image.new("RGB", (16, 16), (level,) * 3).save(tmp_path / "a.png")
    found = read_image(with_chunk(tmp_path / "a.png", b"cICP", bytes([9, 16, 0, 1])))
    assert found.mean() == pytest.approx(255 * (50 / 203) ** (1 / 2.4), abs=4)


def test_the_resolutions_of_an_image_do_not_stretch_it(tmp_path):
    Image.fromarray(quarters()).save(tmp_path / "a.png", dpi=(72, 144))
    assert read_image(tmp_path / "a.png").shape == (48, 64, 3)


# Limits


def animated(path, frames=6, side=64, **options):
    images = [Image.new("RGB", (side, side), (20 * k, 0, 0)) for k in range(frames)]
    images[0].save(path, save_all=True, append_images=images[1:], duration=100, **options)
    return path


@pytest.mark.parametrize("kind", ["gif", "webp", "png", "avif"])
def test_an_animation_of_too_many_pixels_is_refused(tmp_path, monkeypatch, kind):
    path = animated(tmp_path / f"a.{kind}", lossless=True)
    assert probe(path).frames == 6 and probe(path).fps == pytest.approx(10, rel=0.01)
    assert len(read_clip(path, fps=5).frames) == 3
    monkeypatch.setattr(video_module, "MAX_PIXELS", 64 * 64 * 5)
    with pytest.raises(MediaError, match=r"6 frames of 64x64.*at most 5 frames"):
        read_clip(path)
    assert read_clip(path, cover=(32, 32)).frames.shape == (6, 32, 32, 3)
    monkeypatch.setattr(video_module, "MAX_ANIMATION", 64 * 64 * 5)
    if kind != "gif":
        with pytest.raises(MediaError, match="6 frames of 64x64"):
            probe(path)


def test_transparent_parts_of_a_gif_are_white(tmp_path):
    images = [Image.new("RGBA", (16, 16), (200, 0, 0, 255 * k)) for k in range(2)]
    images[0].save(tmp_path / "a.gif", save_all=True, append_images=images[1:], duration=100, disposal=2)
    clip = read_clip(tmp_path / "a.gif")
    assert clip.frames[0].min() == 255 and clip.frames[1][8, 8].tolist() == [200, 0, 0]


def test_a_gif_that_claims_huge_frames_is_refused_before_it_is_decoded(tmp_path):
    path = animated(tmp_path / "a.gif")
    data = bytearray(path.read_bytes())
    data[6:10] = struct.pack("<HH", 60000, 60000)
    path.write_bytes(data)
    for read in (probe, read_clip):
        with pytest.raises(MediaError, match="60000x60000"):
            read(path)


@pytest.mark.parametrize("fps", [0, -2, float("nan"), 1e9])
def test_a_rate_that_cannot_be_is_refused(tmp_path, fps):
    with pytest.raises(MediaError, match="more than 0, at most 1000"):
        read_clip(write(tmp_path / "a.mp4", shades(2)), fps=fps)


@pytest.mark.parametrize("fps", [None, 5, 30])
def test_no_more_is_read_of_a_clip_than_a_video_needs_however_its_length_is_said(tmp_path, fps):
    path = write(tmp_path / "a.mp4", shades(11) * 4, [100 * k for k in range(44)])
    of_frames = video_module.read_condition(path, fps, frames=round(2 * (fps or 10)))
    of_seconds = video_module.read_condition(path, fps, seconds=2)
    assert np.array_equal(of_frames.frames, of_seconds.frames)
    assert len(of_frames.frames) == 2 * min(fps or 10, 10) + 8
    assert len(video_module.read_condition(path).frames) == 44


def test_the_notices_of_a_clip_are_those_of_the_video_made_from_it(tmp_path):
    path = write(tmp_path / "a.mp4", [quarters()] * 5, sample_aspect_ratio=Fraction(2))
    clip = video_module.read_condition(path)
    job = resolve(Request(prompt="a ball", video=clip), VARIANTS["t2v-A14B"])
    assert clip.notices and clip.notices[0] in job.notices
