"""Results and frames as inputs, small images and peaks of what was sent, and recipes in files, over HTTP."""

import io
import json

import numpy as np
import pytest
from PIL import Image, PngImagePlugin
from unit.server.live import FRAMES, SIZE, serving, small_video
from unit.test_foreign_recipes import MADE, WAN

from wan22.media.audio import write_audio
from wan22.media.recipe_text import dump_recipe
from wan22.media.writer import VideoWriter
from wan22.types import Audio

OPERATOR = {"models": {"ti2v-5B": "/m"}, "loras": {"ink": "/l/High.safetensors"}}


@pytest.fixture(scope="module")
def live(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("live"), operator=OPERATOR) as live:
        yield live


def sent(live, content, name="a"):
    answer = live.http.post("/inputs", files={"file": (name, content)})
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


@pytest.fixture(scope="module")
def job(live):
    id = live.http.post("/jobs", json={"request": {"prompt": "a ball", "steps": 3}}).json()["id"]
    while live.http.get(f"/jobs/{id}").json()["state"] not in ("completed", "failed"):
        live.worker.over.wait(0.02)
    return id


@pytest.fixture(scope="module")
def movie(live, tmp_path_factory):
    return sent(live, small_video(tmp_path_factory.mktemp("movie") / "a.mp4").read_bytes(), "shot one.mp4")


@pytest.fixture(scope="module")
def tone(live, tmp_path_factory):
    """A second of silence and one of a wave that falls below it by half as much as it rises."""
    wave = np.sin(np.arange(8000) / 3).astype(np.float32)
    wave = np.concatenate([np.zeros(8000, np.float32), np.where(wave < 0, wave / 2, wave)])
    place = tmp_path_factory.mktemp("tone") / "a.wav"
    write_audio(place, Audio(wave.astype(np.float32), 8000))
    return sent(live, place.read_bytes(), "tone.wav")


def brightness(live, id):
    content = live.http.get(f"/inputs/{id}/content").content
    return np.asarray(Image.open(io.BytesIO(content)).convert("L")).mean()


def test_a_result_is_an_input(live, job):
    made = live.http.post("/inputs/from-job", json={"job": job})
    assert made.status_code == 201 and made.headers["location"] == f"/v1/inputs/{made.json()['id']}"
    assert made.json()["type"] == "video/mp4" and made.json()["frames"] == FRAMES
    named = live.http.post("/inputs/from-job", json={"job": job, "file": "video.mp4"}).json()
    assert named["sha256"] == made.json()["sha256"] and named["id"] != made.json()["id"]


@pytest.mark.parametrize("of", ["job", "input"])
def test_a_frame_is_an_image(live, job, movie, of):
    source = {"job": job} if of == "job" else {"input": movie}
    grey = []
    for frame in ("first", 3, "last", FRAMES - 1):
        made = live.http.post("/inputs/from-job", json=source | {"frame": frame})
        assert made.status_code == 201, made.text
        row = made.json()
        assert row["type"] == "image/png" and (row["width"], row["height"]) == SIZE
        assert row["name"].endswith(f"-{frame}.png")
        grey.append(brightness(live, row["id"]))
    assert grey[0] + 15 < grey[1] < grey[2] - 15 and grey[2] == grey[3]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 422), ({"job": "job_" + "a" * 24}, 404), ({"input": "in_" + "a" * 24, "frame": 0}, 404),
        ({"job": "../../etc"}, 422), ({"input": "MOVIE"}, 422), ({"input": "MOVIE", "frame": FRAMES}, 422),
        ({"input": "MOVIE", "frame": -1}, 422), ({"input": "MOVIE", "frame": "middle"}, 422),
        ({"input": "MOVIE", "job": "JOB", "frame": 0}, 422), ({"input": "MOVIE", "frame": 0, "file": "a"}, 422),
        ({"job": "JOB", "file": "token"}, 404), ({"job": "JOB", "file": "../token"}, 422),
        ({"job": "JOB", "file": "token", "frame": 0}, 404), ({"input": "TONE", "frame": 0}, 415),
        ({"job": "JOB", "frame": 10**9}, 422), ({"job": "JOB", "frame": True}, 422), ({"job": "JOB", "more": 1}, 422),
    ],
    ids=str,
)  # fmt: skip
def test_what_cannot_be_taken_is_refused(live, job, movie, tone, body, status):
    names = {"MOVIE": movie, "JOB": job, "TONE": tone}
    said = {
        name: names.get(value, value) if isinstance(value, str) else value for name, value in body.items()
    }
    before = live.store.input_ids()
    answer = live.http.post("/inputs/from-job", json=said)
    assert answer.status_code == status and answer.json()["status"] == status, answer.text
    assert live.store.input_ids() == before


def test_a_job_that_has_made_nothing(live):
    id = live.http.post("/jobs", json={"request": {"prompt": "a"}, "paused": True}).json()["id"]
    for path, body in (("/inputs/from-job", {"job": id}), ("/inputs/from-job", {"job": id, "frame": 0})):
        assert live.http.post(path, json=body).json()["code"] == "no_result"
    assert live.http.get(f"/jobs/{id}/peaks").status_code == 409


def test_small_images_of_what_was_sent(live, movie, tone):
    sheet = live.http.get(f"/inputs/{movie}/spritesheet")
    assert sheet.status_code == 200 and sheet.headers["content-type"] == "image/webp"
    with Image.open(io.BytesIO(sheet.content)) as image:
        assert image.size == (5 * SIZE[0], 2 * SIZE[1]) and not image.getexif()
        assert "xmp" not in image.info  # a camera may have made it
    again = live.http.get(f"/inputs/{movie}/spritesheet", headers={"If-None-Match": sheet.headers["etag"]})
    assert again.status_code == 304
    thumbnail = live.http.get(f"/inputs/{movie}/thumbnail")
    assert Image.open(io.BytesIO(thumbnail.content)).size == SIZE
    assert live.http.get(f"/inputs/{tone}/thumbnail").status_code == 404
    assert live.http.get(f"/inputs/in_{'a' * 24}/thumbnail").status_code == 404


def test_peaks_are_those_of_the_samples(live, tone, movie, job):
    said = live.http.get(f"/inputs/{tone}/peaks").json()
    assert len(said["peaks"]) == 1000 and said["seconds"] == pytest.approx(2)
    pairs = np.array(said["peaks"])
    assert np.abs(pairs[:500]).max() == 0
    assert pairs[500:, 1].max() == pytest.approx(1, abs=0.01) and pairs[:, 0].min() == pytest.approx(
        -0.5, abs=0.01
    )
    for points in (1, 7, 999):
        few = np.array(live.http.get(f"/inputs/{tone}/peaks?points={points}").json()["peaks"])
        assert (
            len(few) == points
            and few[:, 1].max() == pairs[:, 1].max()
            and few[:, 0].min() == pairs[:, 0].min()
        )
    assert live.http.get(f"/inputs/{movie}/peaks").json() == {"seconds": 0.0, "peaks": []}
    assert live.http.get(f"/jobs/{job}/peaks?file=video.mp4").json()["peaks"] == []
    assert live.http.get(f"/jobs/{job}/peaks?file=token").status_code == 404
    assert live.http.get(f"/inputs/{tone}/peaks?points=1001").status_code == 422


def test_what_was_made_of_an_input_goes_with_it_and_is_made_again(live, tmp_path):
    id = sent(live, small_video(tmp_path / "b.mp4").read_bytes())
    place = live.folder.derived(id)
    live.http.get(f"/inputs/{id}/thumbnail")
    live.http.get(f"/inputs/{id}/peaks")
    assert {each.name for each in place.iterdir()} == {"thumbnail.webp", "spritesheet.webp", "peaks.json"}
    (place / "peaks.json").write_text("{")
    (place / "thumbnail.webp").unlink()
    assert live.http.get(f"/inputs/{id}/peaks").status_code == 200
    assert live.http.get(f"/inputs/{id}/thumbnail").status_code == 200
    strange = live.folder.derived("in_" + "b" * 24)
    strange.mkdir()
    live.folder.sweep(live.store)
    assert place.exists() and not strange.exists()
    assert live.http.delete(f"/inputs/{id}").status_code == 204
    assert not place.exists() and not live.folder.input(id).exists()


def png(text, name="prompt"):
    chunks = PngImagePlugin.PngInfo()
    chunks.add_text(name, text)
    place = io.BytesIO()
    Image.new("RGB", (16, 16)).save(place, "PNG", pnginfo=chunks)
    return place.getvalue()


def test_a_file_of_comfyui_fills_a_form(live):
    said = live.http.get(f"/inputs/{sent(live, png(json.dumps(WAN)))}/recipe").json()
    assert said["from"] == "comfyui" and said["kind"] == "image"
    assert said["request"] == MADE | {"lora": ["ink:0.9@high"]}
    assert said["unknown"]["lora low.safetensors"] == "1@low" and len(said["unknown"]["model"]) == 2
    assert live.http.post("/jobs", json={"request": said["request"], "paused": True}).status_code == 201


def test_our_own_file_fills_a_form(live, tmp_path):
    recipe = {
        "prompt": "a red ball", "seed": 7, "steps": 4, "size": [64, 32], "frames": 9, "fps": 8.0, "solver": "unipc",
        "model": "ti2v-5B", "loras": {"x": {"file": "high.safetensors", "weights": "sha256:0", "dit": 0.5}},
        "inputs": {"image": "sha256:1"}, "files": {"image": "first.png"}, "wan22": "0.9", "frames_sha256": "x",
    }  # fmt: skip
    dump_recipe(recipe)
    with VideoWriter(tmp_path / "a.mp4", fps=8, size=(64, 32)) as writer:
        writer.add(np.zeros((9, 32, 64, 3), np.uint8))
        writer.close(recipe)
    said = live.http.get(f"/inputs/{sent(live, (tmp_path / 'a.mp4').read_bytes())}/recipe").json()
    assert said["from"] == "wan22" and said["kind"] == "video"
    assert said["request"]["model"] == "ti2v-5B" and said["request"]["lora"] == ["ink:0.5"]
    assert {name: said["request"][name] for name in ("prompt", "seed", "steps", "size", "frames", "solver")} == {
        "prompt": "a red ball", "seed": 7, "steps": 4, "size": [64, 32], "frames": 9, "solver": "unipc",
    }  # fmt: skip
    assert said["files"] == {"image": "first.png"} and "first.png" in said["notes"][-1]


def test_a_job_says_what_it_was_asked(live, job, movie, tone):
    said = live.http.get(f"/jobs/{job}/recipe").json()
    assert said["from"] == "wan22" and said["kind"] == "video"
    assert said["request"]["prompt"] == "a ball" and said["request"]["steps"] == 3
    for id in (movie, tone):
        answer = live.http.get(f"/inputs/{id}/recipe")
        assert answer.status_code == 404 and answer.json()["code"] == "no_recipe"


def test_a_damaged_recipe_is_said(live):
    answer = live.http.get(f"/inputs/{sent(live, png('{', 'wan22'))}/recipe")
    assert answer.status_code == 422 and "damaged recipe" in answer.json()["detail"]
