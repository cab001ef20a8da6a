"""Speech, music and effects over HTTP, with servers that stand in for the operator's: OpenAI's form and ComfyUI's."""

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from unit.server.serving import serving

from wan22.cli.__main__ import main
from wan22.media.audio import write_audio
from wan22.types import Audio

WORKFLOW = {
    "3": {"class_type": "KSampler", "inputs": {"seed": "%seed%", "model": ["4", 0]}},
    "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "music: %prompt%"}},
    "11": {"class_type": "EmptyLatentAudio", "inputs": {"seconds": "%seconds%"}},
}


@pytest.fixture(scope="module")
def wav(tmp_path_factory):
    place = tmp_path_factory.mktemp("wav") / "a.wav"
    write_audio(place, Audio(np.sin(np.arange(8000) / 9).astype(np.float32), 8000))
    return place.read_bytes()


@contextmanager
def standing_in(answers):
    """A server that answers paths by functions of the body; yields its address and what was asked."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def answer(self):
            length = int(self.headers.get("Content-Length", 0))
            body = json.loads(self.rfile.read(length)) if length else None
            path = self.path.partition("?")[0]
            asked.append((self.path, body, self.headers.get("Authorization")))
            status, kind, content = (
                answers[path](body) if path in answers else (404, "text/plain", b"nothing here")
            )
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = answer

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join(120)


def said(value):
    return lambda _: (200, "application/json", json.dumps(value).encode())


def comfy(wav, history=None):
    done = {"outputs": {"13": {"audio": [{"filename": "a b.wav", "subfolder": "", "type": "output"}]}}}
    looks = iter(history or [{}, {"id-1": done}])
    return {
        "/prompt": said({"prompt_id": "id-1"}),
        "/history/id-1": lambda _: said(next(looks))(None),
        "/view": lambda _: (200, "audio/wav", wav),
    }


def heard(client, answer):
    assert answer.status_code == 201, answer.text
    row = answer.json()
    assert row["type"] == "audio/wav" and row["seconds"] > 0.5
    assert answer.headers["location"] == f"/v1/inputs/{row['id']}"
    assert client.get(f"/v1/inputs/{row['id']}/content").content[:4] == b"RIFF"
    return row


def test_a_server_of_the_operator_speaks(tmp_path, wav, monkeypatch):
    monkeypatch.setenv("WAN22_SPEECH_KEY", "sk-speech")
    with standing_in({"/v1/audio/speech": lambda _: (200, "audio/wav", wav)}) as (url, asked):
        with serving(tmp_path, speech_server=url) as client:
            voices = client.get("/v1/voices").json()
            assert voices["engine"] == "server" and {"alloy"} < {each["id"] for each in voices["data"]}
            assert not voices["audio"]
            row = heard(
                client, client.post("/v1/speech", json={"text": "Hello there", "voice": "nova", "speed": 1.5})
            )
            assert row["name"] == "Hello there.wav"
    (path, body, key), *_ = asked
    assert path == "/v1/audio/speech" and key == "Bearer sk-speech"
    assert (body["input"], body["voice"], body["speed"]) == ("Hello there", "nova", 1.5)


def test_espeak_speaks_or_says_that_it_is_not_here(tmp_path):
    with serving(tmp_path) as client:
        voices = client.get("/v1/voices").json()
        assert voices["engine"] == "espeak"
        answer = client.post("/v1/speech", json={"text": "Hello there"})
        if voices["data"]:
            heard(client, answer)
        else:
            assert answer.status_code == 502 and "espeak-ng" in answer.json()["detail"]


def test_a_server_of_the_openai_form_makes_music(tmp_path, wav, monkeypatch):
    monkeypatch.setenv("WAN22_AUDIO_KEY", "sk-audio")
    with standing_in({"/v1/audio/speech": lambda _: (200, "audio/wav", wav)}) as (url, asked):
        with serving(tmp_path, audio_server=f"{url}/v1/") as client:
            assert client.get("/v1/voices").json()["audio"]
            heard(client, client.post("/v1/sounds", json={"prompt": "rain", "seconds": 4, "seed": 9}))
    ((_, body, key),) = asked
    assert key == "Bearer sk-audio" and (body["input"], body["duration"], body["seed"]) == ("rain", 4.0, 9)


def test_a_comfyui_runs_the_workflow_of_the_operator(tmp_path, wav):
    (tmp_path / "music.json").write_text(json.dumps(WORKFLOW))
    with standing_in(comfy(wav)) as (url, asked):
        with serving(tmp_path / "d", audio_server=url, audio_workflow=tmp_path / "music.json") as client:
            heard(
                client,
                client.post(
                    "/v1/sounds", json={"prompt": 'a "calm" tune', "seconds": 8, "kind": "music", "seed": 7}
                ),
            )
    graph = asked[0][1]["prompt"]
    assert graph["3"]["inputs"] == {"seed": 7, "model": ["4", 0]} and graph["11"]["inputs"] == {
        "seconds": 8.0
    }
    assert graph["6"]["inputs"]["text"] == 'music: a "calm" tune'
    assert [path for path, *_ in asked[1:]] == [
        "/history/id-1",
        "/history/id-1",
        "/view?filename=a+b.wav&subfolder=&type=output",
    ]


FAILED = {"status": {"status_str": "error", "messages": ["out of memory"]}, "outputs": {}}


@pytest.mark.parametrize(
    ("answers", "says"),
    [
        ({}, "404"),
        ({"/prompt": said({"error": "no checkpoint"})}, "no checkpoint"),
        ({"/prompt": lambda _: (200, "text/html", b"<html>")}, "is no ComfyUI"),
        ({"/prompt": said({"prompt_id": "id-1"}), "/history/id-1": said({"id-1": FAILED})}, "out of memory"),
        ({"/prompt": said([1])}, "is no ComfyUI"),
    ],
    ids=range(5),
)  # fmt: skip
def test_what_a_comfyui_does_wrong_is_said(tmp_path, answers, says):
    (tmp_path / "music.json").write_text(json.dumps(WORKFLOW))
    with standing_in(answers) as (url, _):
        with serving(tmp_path / "d", audio_server=url, audio_workflow=tmp_path / "music.json") as client:
            answer = client.post("/v1/sounds", json={"prompt": "a tune"})
            assert answer.status_code == 502 and answer.json()["code"] == "audio_failed"
            assert says in answer.json()["detail"] and client.get("/v1/inputs").json()["data"] == []


def test_what_a_server_sends_is_checked_as_uploads_are(tmp_path):
    with standing_in({"/v1/audio/speech": lambda _: (200, "audio/wav", b"no audio at all")}) as (url, _):
        with serving(tmp_path, audio_server=url, speech_server=url) as client:
            assert client.post("/v1/sounds", json={"prompt": "rain"}).status_code == 415
            assert client.post("/v1/speech", json={"text": "Hello"}).status_code == 502
            assert client.get("/v1/inputs").json()["data"] == []


def test_without_a_server_there_is_no_music(tmp_path):
    with serving(tmp_path) as client:
        answer = client.post("/v1/sounds", json={"prompt": "rain"})
        assert answer.status_code == 501 and "--audio-server" in answer.json()["detail"]
        for path, body in (
            ("sounds", {"prompt": ""}), ("sounds", {"prompt": "a", "seconds": 0}), ("sounds", {"prompt": "a", "url": "http://a"}),
            ("sounds", {"prompt": "a", "kind": "poem"}), ("speech", {"text": ""}), ("speech", {"text": "a\0b"}),
            ("speech", {"text": "a", "voice": "../en"}), ("speech", {"text": "a", "speed": 9}),
            ("speech", {"text": "a", "speaker": "http://evil.example"}), ("speech", {"text": "a" * 5001}),
        ):  # fmt: skip
            assert client.post(f"/v1/{path}", json=body).status_code == 422, body


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--audio-server", "ftp://a"), "audio server"),
        (("--speech-server", "nowhere"), "speech server"),
        (("--audio-workflow", "WORKFLOW"), "give both"),
        (("--audio-server", "http://a", "--audio-workflow", "EMPTY"), "%prompt%"),
        (("--audio-server", "http://a", "--audio-workflow", "/nowhere.json"), "nowhere.json"),
    ],
    ids=str,
)
def test_what_the_operator_cannot_say(tmp_path, capsys, options, says):
    (tmp_path / "w.json").write_text(json.dumps(WORKFLOW))
    (tmp_path / "e.json").write_text(json.dumps({"nodes": []}))
    files = {"WORKFLOW": str(tmp_path / "w.json"), "EMPTY": str(tmp_path / "e.json")}
    words = [files.get(word, word) for word in options]
    assert main(["serve", "--data", str(tmp_path / "d"), "--port", "0", *words]) == 2
    assert says in capsys.readouterr().err
