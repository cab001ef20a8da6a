"""Files that strangers send: small ones that become large, and ones that are not what they say."""

import struct
import zlib
from pathlib import Path

import av
import numpy as np
from PIL import Image


def png(path: Path, width: int, height: int) -> Path:
    """A PNG of one bit a pixel: its rows are all alike, so it is small whatever its size."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    packer, row = zlib.compressobj(9), b"\0" * (-(-width // 8) + 1)
    rows = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    )
    return path


def mp4(path: Path, frames: int, side: int, fps: int = 24, container: str = "mp4") -> Path:
    """A video of equal frames, a few bytes each: two are encoded, and their packets written again and again."""
    with av.open(str(path), "w", format=container) as file:
        stream = file.add_stream("libx264", rate=fps, options={"preset": "ultrafast", "g": "2", "bf": "0"})
        stream.width = stream.height = side
        stream.pix_fmt = "yuv420p"
        grey = np.full((side * 3 // 2, side), 128, np.uint8)
        image = av.VideoFrame.from_ndarray(grey, format="yuv420p")
        packets = []
        for number in range(2):
            image.pts = number
            packets += stream.encode(image)
        packets += stream.encode(None)
        made = [(bytes(packet), packet.is_keyframe) for packet in packets]
        for number in range(frames):
            packet = av.Packet(made[number % 2][0])
            packet.stream, packet.time_base = stream, packets[0].time_base
            packet.pts = packet.dts = number * packets[0].duration if packets[0].duration else number
            packet.duration = packets[0].duration or 1
            packet.is_keyframe = made[number % 2][1]
            file.mux(packet)
    return path


def gif(path: Path, frames: int, side: int) -> Path:
    """A GIF of so many frames, all of one colour and of the whole size."""
    images = [Image.new("L", (side, side), 255 * number) for number in range(2)]
    images[0].save(path, "GIF", save_all=True, append_images=images[1:], duration=[100, 100], disposal=1)
    content = path.read_bytes()
    first = content.index(b"\x21\xf9")
    second = content.index(b"\x21\xf9", first + 2)
    block, head = content[second:-1], content[:second]
    path.write_bytes(head + block * (frames - 1) + b"\x3b")
    return path


FAKES: dict[str, tuple[bytes, str]] = {
    "hls.mp4": (b"#EXTM3U\n#EXTINF:10,\nfile:///etc/passwd\n", "a streaming playlist"),
    "list.mp4": (b"ffconcat version 1.0\nfile /etc/passwd\n", "a list of other files"),
    "drawing.svg": (
        b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>',
        "an SVG drawing",
    ),
    "drawing.png": (b'<?xml version="1.0"?><svg onload="alert(1)"/>', "an XML or SVG document"),
    "page.png": (b"<!DOCTYPE html><script>alert(1)</script>", "a web page"),
    "page.mp4": (b"\xef\xbb\xbf  <html><body>", "a web page"),
    "archive.webm": (b"PK\x03\x04" + bytes(60), "a ZIP archive"),
    "text.jpg": (b"hello", "text"),
    "program.png": (b"\x7fELF\x02\x01\xb7" + bytes(200), "unknown kind"),
    "paper.png": (b"%PDF-1.7\n", "a PDF document"),
}
"""By name: what is in them, and what is said of it."""
