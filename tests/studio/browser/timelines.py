"""What the tests of the timeline share: sources, and what is on the tracks of a page."""

import wave
from contextlib import closing

import httpx2
import numpy as np
from unit.server.live import FPS, small_video

SIZE, FRAMES = (96, 64), 24
PATIENCE = 120  # seconds: on a busy machine a file is not looked at within the five of httpx
SHOTS = ("dawn", "noon", "dusk")


def sources_in(folder):
    """Three videos of 24 frames, each frame brighter than the one before, and a sound."""
    videos = [small_video(folder / f"{name}.mp4", FRAMES, SIZE) for name in SHOTS]
    sound = folder / "sea.wav"
    with closing(wave.open(str(sound), "wb")) as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        tone = 9000 * np.sin(2 * np.pi * 220 * np.arange(16000 * 6) / 16000)
        file.writeframes(tone.astype("<i2").tobytes())
    return [*videos, sound]


def sent(url, sources):
    """The ids of sources on the server, in their order."""
    answers = [
        httpx2.post(f"{url}/v1/inputs", files={"file": (path.name, path.read_bytes())}, timeout=PATIENCE)
        for path in sources
    ]
    return [answer.json()["id"] for answer in answers]


def shots(inputs, sound=None):
    """The document of up to three videos in a row, and two tracks of audio, the first with `sound` if there is one."""
    clips = [
        clip(f"c{n}", {"input": id}, f"{name}.mp4")
        for n, (name, id) in enumerate(zip(SHOTS, inputs, strict=False))
    ]
    audio = [{"id": f"a{n}", "kind": "audio", "name": f"A{n}", "items": []} for n in (1, 2)]
    if sound is not None:
        audio[0]["items"] = [clip("s1", {"input": sound}, "sea.wav", 6 * FPS, None)]
    return {
        "wan22_timeline": 1, "name": "", "rate": [FPS, 1], "size": list(SIZE),
        "tracks": [{"id": "v1", "kind": "video", "name": "V1", "items": clips}, *audio],
    }  # fmt: skip


def clip(id, media, name, frames=FRAMES, size=SIZE):
    """A clip of the whole of a video, or of audio, which has no size."""
    source = {
        "frames": frames, "rate": [FPS, 1], "size": None if size is None else list(size), "audio": size is None,
    }  # fmt: skip
    return {
        "id": id, "type": "clip", "media": media, "name": name, "in": 0, "out": frames, "duration": frames,
        "source": source,
    }  # fmt: skip


def kept(url, data):
    """The id of a new document."""
    return httpx2.post(f"{url}/v1/documents", json={"data": data}, timeout=PATIENCE).json()["id"]


def cells(page):
    """The names of what is on the tracks, as they are read out, in order."""
    return page.get_by_role("gridcell").evaluate_all(
        "all => all.map(each => each.getAttribute('aria-label'))"
    )


def starting(page, word):
    return [name for name in cells(page) if name.startswith(word)]


def settled(page):
    """Wait until the server has the document."""
    page.locator(".bar").get_by_text("Saved", exact=True).wait_for()


def cut(page, sources):
    """A new timeline with the shots one after another and the sound; returns the id of its document."""
    page.get_by_role("button", name="New timeline").first.click()
    page.locator(".bin input[type=file]").set_input_files([str(path) for path in sources])
    for path in sources:
        page.locator(".bin button.item", has_text=path.name).first.press("Enter")
        page.get_by_role("gridcell", name=path.name).wait_for()
    settled(page)
    return page.evaluate("location.hash.split('/').pop()")


def document(url, id):
    return httpx2.get(f"{url}/v1/documents/{id}", timeout=PATIENCE).json()["data"]
