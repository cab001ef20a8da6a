"""Videos whose frames say their number, audio of clicks and tones, and timelines of them."""

import json
from fractions import Fraction

import av
import numpy as np

from wan22.media.audio import write_audio
from wan22.media.audio_track import add_audio
from wan22.media.video import VideoWriter, read_clip
from wan22.timeline.document import read
from wan22.timeline.items import whole_frames
from wan22.timeline.render import Rendered, Settings, render
from wan22.timeline.sources import files_beside
from wan22.types import Audio

SIZE = (64, 48)
BITS = 8
RATE = 48_000


def numbered(number, size=SIZE):
    """A frame with its number as a row of bars, the lowest bit at the left, in the middle of the frame."""
    width, height = size
    frame = np.full((height, width, 3), 20, np.uint8)
    for bit in range(BITS):
        left, right = (width * (bit + 4) // 16, width * (bit + 5) // 16)
        frame[height // 4 : height * 3 // 4, left:right] = 230 if number >> bit & 1 else 20
    return frame


def number_of(frame):
    """The number of a frame, or of one that was scaled or dimmed."""
    height, width = frame.shape[:2]
    row = frame[height * 3 // 8 : height * 5 // 8].astype(float).mean((0, 2))
    middles = [row[round(width * (bit + 4.5) / 16)] for bit in range(BITS)]
    level = row.min() / 2 + row.max() / 2
    return (
        sum(int(middle > level) << bit for bit, middle in enumerate(middles))
        if row.max() > 1.3 * row.min()
        else 0
    )


def video(path, frames=40, fps=24, size=SIZE, *, colour=None, audio=None, recipe=None, first=0, codec=None):
    """A video of numbered frames, or of one colour; `audio` float (n,) at 48 kHz lies under it."""
    with VideoWriter(path, fps=fps, size=size, recipe=recipe, codec=codec) as writer:
        for number in range(first, first + frames):
            plain = np.broadcast_to(np.array(colour or 0, np.uint8), (size[1], size[0], 3))
            writer.add(numbered(number, size) if colour is None else plain)
    if audio is not None:
        sound(path.with_suffix(".wav"), audio)
        add_audio(path, path.with_suffix(".wav"), path)
    return path


def sound(path, samples):
    write_audio(path, Audio(np.asarray(samples, np.float32), RATE), exact=True)
    return path


def tone(seconds, level=0.1, pitch=997):
    return level * np.sin(2 * np.pi * pitch * np.arange(round(seconds * RATE)) / RATE)


def clicks(seconds, *at):
    samples = np.zeros(round(seconds * RATE))
    samples[list(at)] = 0.5
    return samples


def clip(id, path, first, last, *, frames=40, rate=24, of=24, speed=(1, 1), **more):
    return {
        "id": id, "type": "clip", "media": {"path": path}, "in": first, "out": last, "speed": list(speed),
        "source": {"frames": frames, "rate": [rate, 1], "size": list(SIZE), "audio": False},
        "duration": whole_frames(last - first, Fraction(rate), Fraction(of), Fraction(*speed)),
    } | more  # fmt: skip


def audio_clip(id, path, first, last, *, frames=240, rate=24, **more):
    source = {"frames": frames, "rate": [rate, 1], "size": None, "audio": True}
    return clip(id, path, first, last, rate=rate, **{"source": source, **more})


def gap(id, duration):
    return {"id": id, "type": "gap", "duration": duration}


def dissolve(id, before, after):
    return {"id": id, "type": "transition", "kind": "dissolve", "in_offset": before, "out_offset": after}


def track(id, *items, kind="video", **more):
    return {"id": id, "kind": kind, "items": list(items)} | more


def timeline(*tracks, rate=(24, 1), size=SIZE, **more):
    document = {
        "wan22_timeline": 1,
        "name": "cut",
        "rate": list(rate),
        "size": list(size),
        "tracks": list(tracks),
    }
    return read(json.loads(json.dumps(document | more)))


def rendered(cut, target, folder=None, **settings):
    """Render; the last event."""
    *steps, end = render(cut, target, files_beside(folder or target.parent), Settings(**settings))
    assert isinstance(end, Rendered)
    last = steps[-1]
    assert last.stage == "render" and last.done == last.total
    return end


def images_of(path):
    return read_clip(path).frames


def samples_of(path):
    """All samples of a file as float (n, channels), and its rate."""
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        convert = av.AudioResampler(format="flt", layout="stereo")
        heard = (part for frame in container.decode(stream) for part in convert.resample(frame))
        return np.concatenate([part.to_ndarray().reshape(-1, 2) for part in heard]), stream.rate
