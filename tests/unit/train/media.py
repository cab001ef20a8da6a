"""Small clips and images for tests of training data."""

from fractions import Fraction

import av
import numpy as np

from wan22.media.image import write_image
from wan22.media.video import VideoWriter


def image(width=48, height=32, shade=0):
    """Left half red, right half blue, and a shade of green that tells images apart."""
    frame = np.zeros((height, width, 3), np.uint8)
    frame[:, : width // 2, 0] = 200
    frame[:, width // 2 :, 2] = 200
    frame[..., 1] = shade
    return frame


def write_clip(path, frames=9, fps=8, width=48, height=32, text="a red ball rolls left"):
    """A clip whose green grows by the frame, and its text (none if `text` is None)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with VideoWriter(path, fps=fps, size=(width, height)) as writer:
        for index in range(frames):
            writer.add(image(width, height, min(255, index * 10)))
    return with_text(path, text)


def write_captioned_image(path, width=48, height=32, text="a blue cube"):
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, image(width, height))
    return with_text(path, text)


def with_text(path, text):
    if text is not None:
        path.with_suffix(".txt").write_text(text)
    return path


def write_timed(path, ticks, width=48, height=32, aspect=None):
    """A clip whose frame k comes at ticks[k] / 100 seconds and has green 10 k; `aspect` is the shape of a pixel."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=100)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv444p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, 100)
        if aspect is not None:
            stream.codec_context.sample_aspect_ratio = aspect
        for index, tick in enumerate(ticks):
            frame = av.VideoFrame.from_ndarray(image(width, height, index * 10), format="rgb24")
            frame.pts, frame.time_base = tick, Fraction(1, 100)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def turned(source, target):
    """A copy of an mp4 whose track says to be shown a quarter turn clockwise (ISO 14496-12, 8.3.2: tkhd's matrix)."""
    data = bytearray(source.read_bytes())
    at = data.index(b"tkhd") + 4 + 40
    one = (1 << 16).to_bytes(4, "big")
    minus = ((-(1 << 16)) & 0xFFFFFFFF).to_bytes(4, "big")
    zero, end = bytes(4), (1 << 30).to_bytes(4, "big")
    data[at : at + 36] = zero + one + zero + minus + zero + zero + zero + zero + end
    target.write_bytes(data)
    return target


def greens(frames):
    """The mean green of each frame, in tens."""
    return [round(float(frame[..., 1].mean()) / 10) for frame in frames]
