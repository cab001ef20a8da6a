"""Timelines for editors and from them, over HTTP."""

import copy
import io
import json
import zipfile

import numpy as np
import pytest
from unit.server.serving import serving
from unit.server.test_kept_documents import CUT

from wan22.jobs.folder import RESULT
from wan22.media.video import VideoWriter

FORMATS = {"otio": ".otio", "otioz": ".otioz", "fcp7": ".xml", "fcpxml": ".fcpxml", "edl": ".edl", "srt": ".srt",
           "vtt": ".vtt", "ass": ".ass"}  # fmt: skip
CAPTION = {"id": "s1", "from": 0, "to": 24, "text": "hello", "language": "en"}


@pytest.fixture
def client(tmp_path):
    with serving(tmp_path / "data") as client:
        yield client


def video(path, frames=81):
    with VideoWriter(path, fps=24, size=(64, 48)) as writer:
        for shade in range(frames):
            writer.add(np.full((48, 64, 3), shade, np.uint8))
    return path


def job(client):
    """A job that has made a video."""
    state = client.app.state
    id = client.post("/v1/jobs", json={"request": {"prompt": "a"}}).json()["id"]
    claim, place = state.store.claim("cpu0"), state.folder.job(id)
    place.mkdir(parents=True)
    video(place / "video.mp4")
    row = {"name": "video.mp4", "width": 64, "height": 48, "frames": 81, "fps": 24.0, "audio": False}
    (place / RESULT).write_text(json.dumps({"files": [row]}))
    state.store.complete(claim, {"files": [row]})
    return id


def cut(client, media, **more):
    data = copy.deepcopy(CUT) | {"captions": [CAPTION]} | more
    data["tracks"][0]["items"][0] |= {
        "media": media,
        "source": {"frames": 81, "rate": [24, 1], "size": [64, 48]},
    }
    answer = client.post("/v1/documents", json={"data": data, "name": "첫 cut/../x"})
    assert answer.status_code == 201, answer.text
    return answer.json()


def export(client, document, format):
    return client.get(f"/v1/documents/{document['id']}/export", params={"format": format})


def send(client, filename, content, status=201, **fields):
    answer = client.post("/v1/documents/import", files={"file": (filename, content)}, data=fields)
    assert answer.status_code == status, answer.text
    return answer.json()


@pytest.mark.parametrize("format", FORMATS)
def test_a_timeline_is_exported(client, format):
    document = cut(client, {"job": job(client), "file": "video.mp4"})
    answer = export(client, document, format)
    assert answer.status_code == 200 and len(answer.content) > 20
    assert answer.headers["content-disposition"] == f'attachment; filename="cut-x{FORMATS[format]}"'
    assert answer.headers["content-type"] == "application/octet-stream"
    assert isinstance(json.loads(answer.headers["x-wan22-notes"]), list)


@pytest.mark.parametrize("format", ["otio", "fcp7", "otioz"])
def test_what_is_exported_is_read_again_with_its_media(client, format):
    media = {"job": job(client), "file": "video.mp4"}
    document = cut(client, media)
    made = send(client, f"cut{FORMATS[format]}", export(client, document, format).content, name="again")
    assert made["name"] == "again" and made["revision"] == 1 and isinstance(made["notes"], list)
    (clip,) = made["data"]["tracks"][0]["items"]
    assert clip["media"] == media and (clip["in"], clip["out"], clip["duration"]) == (0, 48, 48)
    assert client.get(f"/v1/documents/{made['id']}").json()["data"] == made["data"]


def test_paths_of_the_server_are_in_files_for_this_machine_alone(tmp_path):
    token = "0123456789abcdef" * 4
    with serving(tmp_path / "far", host="0.0.0.0", token=token) as client:
        client.headers["Authorization"] = f"Bearer {token}"
        document = cut(client, {"job": job(client), "file": "video.mp4"})
        for format in ("otio", "fcp7", "fcpxml", "edl"):
            assert str(tmp_path) not in export(client, document, format).text
        bundle = zipfile.ZipFile(io.BytesIO(export(client, document, "otioz").content))
        assert any(name.endswith("video.mp4") for name in bundle.namelist())
        assert str(tmp_path) not in bundle.read("content.otio").decode()


def test_media_of_another_server_are_inputs_of_that_name_or_come_in_the_bundle(client, tmp_path):
    with serving(tmp_path / "other") as other:
        document = cut(other, {"job": job(other), "file": "video.mp4"})
        bundle, text = (export(other, document, format).content for format in ("otioz", "otio"))
    (clip,) = send(client, "cut.otioz", bundle)["data"]["tracks"][0]["items"]
    (kept,) = client.get("/v1/inputs").json()["data"]
    assert clip["media"] == {"input": kept["id"]} and (kept["type"], kept["frames"]) == ("video/mp4", 81)
    (clip,) = send(client, "cut.otio", text)["data"]["tracks"][0]["items"]
    assert clip["media"] == {"input": kept["id"]}


@pytest.mark.parametrize(
    ("name", "content", "status"),
    [("cut.otio", b"{", 422), ("cut.otio", b"[]", 422), ("cut.xml", b"<a/>", 422), ("cut.otioz", b"PK", 422),
     ("cut.exe", b"MZ", 415), ("cut", b"{}", 415), ("cut.fcpxml", b"<fcpxml/>", 415),
     ("cut.xml", b'<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><xmeml>&b;</xmeml>', 422)],
)  # fmt: skip
def test_what_is_no_timeline_is_refused_and_leaves_nothing(client, name, content, status):
    said = send(client, name, content, status=status)
    assert "/tmp" not in json.dumps(said) and "root:" not in json.dumps(said)
    assert client.get("/v1/documents").json()["data"] == [] and client.get("/v1/inputs").json()["data"] == []


def test_media_that_is_nowhere_is_kept_by_name_and_not_rendered(client, tmp_path):
    with serving(tmp_path / "other") as other:
        text = export(other, cut(other, {"job": job(other), "file": "video.mp4"}), "otio").content
    text = text.replace(b"video.mp4", b"lost.mp4")
    made = send(client, "cut.otio", text)
    (clip,) = made["data"]["tracks"][0]["items"]
    refused = client.post(f"/v1/documents/{made['id']}/render", json={})
    assert refused.status_code == 422 and refused.json()["errors"][0]["where"] == "tracks[0].items[0].media"
    assert not any("/" in value for value in clip["media"].values()) and made["notes"]


def test_a_form_without_a_file_is_refused(client):
    assert client.post("/v1/documents/import", json={"input": "in_" + "a" * 24}).status_code == 400
    assert client.post("/v1/documents/import", data={"file": "x"}, files={"other": b"x"}).status_code == 400


def test_what_cannot_be_exported_is_refused(client):
    document = cut(client, {"job": job(client), "file": "video.mp4"}, captions=[])
    assert export(client, document, "srt").status_code == 422
    assert export(client, document, "exe").status_code == 422
    assert client.get(f"/v1/documents/{document['id']}/export").status_code == 422
    assert export(client, {"id": "doc_" + "a" * 24}, "otio").status_code == 404
    client.post(f"/v1/documents/{document['id']}/trash")
    assert export(client, document, "otio").status_code == 409
