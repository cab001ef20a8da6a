"""Text becomes audio: by a program on this machine, and by servers that are good, slow, broken or absent."""

import base64
import json
import shutil
import socket
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from wan22.errors import MediaError, OptionError, SpeechError
from wan22.media import say
from wan22.media.audio import write_audio
from wan22.media.say import EspeakSynthesizer, ServerSynthesizer, open_tts, split_text
from wan22.types import Audio

with_espeak = pytest.mark.skipif(not shutil.which("espeak-ng"), reason="espeak-ng is not installed")


@contextmanager
def server(answer):
    """Serve on a free port: `answer(handler, request)` gets every POST, with its JSON in `request`."""
    requests = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            requests.append((self.path, dict(self.headers), body))
            answer(self, len(requests))

        def log_message(self, *_):
            pass

    service = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    service.daemon_threads = True
    thread = threading.Thread(target=service.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{service.server_port}", requests
    finally:
        service.shutdown()
        service.server_close()
        thread.join()


def reply(handler, content, status=200, kind="audio/wav", **headers):
    handler.send_response(status)
    handler.send_header("Content-Type", kind)
    handler.send_header("Content-Length", headers.pop("length", str(len(content))))
    for name, value in headers.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(content)


@pytest.fixture
def speech(tmp_path):
    """A spoken answer: half a second at 24 kHz, as WAV."""
    samples = 0.5 * np.sin(np.arange(12000) * 0.1)
    write_audio(tmp_path / "speech.wav", Audio(samples.astype(np.float32), 24000))
    return (tmp_path / "speech.wav").read_bytes()


def test_a_server_is_asked_in_the_openai_form(speech):
    with server(lambda handler, _: reply(handler, speech)) as (url, requests):
        speaker = ServerSynthesizer(
            url, model="kokoro", voice="bella", key="sk-1", instructions="softly", speed=1.5
        )
        audio = speaker.say("Hello.")
    assert (audio.rate, len(audio.samples)) == (24000, 12000)
    assert np.abs(audio.samples).max() == pytest.approx(0.5, abs=1e-3)
    path, headers, body = requests[0]
    assert path == "/v1/audio/speech"
    assert headers["Authorization"] == "Bearer sk-1"
    assert body == {
        "model": "kokoro", "input": "Hello.", "voice": "bella", "response_format": "wav", "speed": 1.5,
        "instructions": "softly",
    }  # fmt: skip


@pytest.mark.parametrize("end", ["", "/", "/v1", "/v1/", "/v1/audio/speech"])
def test_the_address_may_be_given_short_or_long(end):
    assert ServerSynthesizer(f"http://host:8880{end}").url == "http://host:8880/v1/audio/speech"


def test_a_voice_sample_is_sent_in_the_fields_of_the_server(speech, tmp_path):
    sample = tmp_path / "speech.wav"
    fields = ("prompt_wav", "prompt_text")
    with server(lambda handler, _: reply(handler, speech)) as (url, requests):
        ServerSynthesizer(
            url, sample=sample, sample_text="as I said", sample_fields=fields, extra={"n": 3}
        ).say("Hi")
        open_tts(url, sample=sample, sample_text="so", language="de", voice="v", model="m").say("Hi")
    first, second = (body for _, _, body in requests)
    assert base64.b64decode(first["prompt_wav"]) == speech
    assert (first["prompt_text"], first["n"]) == ("as I said", 3)
    assert base64.b64decode(second["reference_audio"]) == speech
    assert (second["reference_text"], second["language"], second["voice"], second["model"]) == (
        "so",
        "de",
        "v",
        "m",
    )


def test_a_long_text_is_asked_for_in_parts_and_joined_in_order(tmp_path):
    def answer(handler, number):
        path = tmp_path / f"{number}.wav"
        write_audio(path, Audio(np.full(2400, number / 10, np.float32), 24000))
        reply(handler, path.read_bytes())

    text = " ".join(f"This is sentence number {index}." for index in range(300))
    with server(answer) as (url, requests):
        audio = ServerSynthesizer(url).say(text)
    inputs = [body["input"] for _, _, body in requests]
    assert len(inputs) == 3
    assert " ".join(inputs) == text
    assert all(len(part) <= 4096 and part.endswith(".") for part in inputs)
    assert audio.samples[[100, 2500, 4900]] == pytest.approx([0.1, 0.2, 0.3], abs=1e-3)


def test_texts_are_cut_at_sentences_else_at_spaces_else_anywhere():
    assert split_text("One. Two! Three?", 9) == ["One. Two!", "Three?"]
    assert split_text("一二三。四五六。七", 5) == ["一二三。", "四五六。七"]
    assert split_text("it costs 3.50 today", 12) == ["it costs", "3.50 today"]
    assert split_text("aaaaaaaaaa", 4) == ["aaaa", "aaaa", "aa"]


@pytest.mark.parametrize(
    ("status", "words", "tries"),
    [
        (500, "answers 500 .*out of memory.*server failed", 1),
        (400, "answers 400 .*Check model, voice and text", 1),
        (401, "answers 401 .*Give the key", 1),
        (404, "answers 404 .*Check the address and the model 'tts-1'", 1),
        (429, "answers 429 .*busy", 3),
        (503, "answers 503 .*busy", 3),
    ],
)
def test_a_server_that_refuses_is_quoted_without_the_key(status, words, tries):
    said = b'{"error": "out of memory; your key was sk-secret"}'
    with server(lambda handler, _: reply(handler, said, status, "application/json")) as (url, requests):
        with pytest.raises(SpeechError, match=words) as caught:
            ServerSynthesizer(url, key="sk-secret", back_off=(0.01, 0.01)).say("Hi")
    assert len(requests) == tries
    assert "sk-secret" not in str(caught.value)


def test_a_busy_server_is_tried_again(speech):
    def answer(handler, number):
        reply(handler, speech, 503 if number < 3 else 200)

    with server(answer) as (url, requests):
        assert ServerSynthesizer(url, back_off=(0.01, 0.01)).say("Hi").seconds == 0.5
    assert len(requests) == 3


def test_a_redirect_does_not_carry_the_key_elsewhere(speech):
    with server(lambda handler, _: reply(handler, speech)) as (other, stolen):
        answer = lambda handler, _: reply(handler, b"", 302, Location=other)  # noqa: E731
        with server(answer) as (url, _), pytest.raises(SpeechError, match=f"sends on to {other}"):
            ServerSynthesizer(url, key="sk-secret").say("Hi")
    assert not stolen


@pytest.mark.parametrize("how", ["silent", "dripping"])
def test_a_slow_server_is_given_up_in_time(speech, how):
    ended = threading.Event()

    def answer(handler, _):
        if how == "dripping":
            handler.send_response(200)
            handler.end_headers()
        while not ended.wait(0.05):
            if how == "dripping":
                handler.wfile.write(b"R")
                handler.wfile.flush()

    with server(answer) as (url, requests):
        try:  # it returns before the server has answered, or never
            with pytest.raises(SpeechError, match=r"did not answer in full within 0\.3 s"):
                ServerSynthesizer(url, timeout=0.3).say("Hi")
        finally:
            ended.set()
    assert len(requests) == 1


@pytest.mark.parametrize(
    ("content", "kind"),
    [(b"<html>Welcome</html>", "text/html"), (b'{"ok": true}', "application/json"), (b"", "audio/wav")],
)
def test_an_answer_that_is_no_audio_is_named(content, kind):
    with server(lambda handler, _: reply(handler, content, kind=kind)) as (url, _):
        with pytest.raises(SpeechError, match=f"{len(content)} bytes of {kind} that are no audio"):
            ServerSynthesizer(url).say("Hi")


def test_an_answer_that_breaks_off_is_named(speech):
    with server(lambda handler, _: reply(handler, speech[:9000], length=str(len(speech)))) as (url, _):
        with pytest.raises(SpeechError, match="broke off"):
            ServerSynthesizer(url).say("Hi")


def test_an_answer_without_end_is_refused(speech, monkeypatch):
    monkeypatch.setattr(ServerSynthesizer, "MAX_BYTES", 1 << 14)
    with server(lambda handler, _: reply(handler, speech * 10)) as (url, _):
        with pytest.raises(SpeechError, match="more than"):
            ServerSynthesizer(url).say("Hi")


def test_a_server_that_is_down_is_tried_three_times_and_named(monkeypatch):
    pauses = []
    monkeypatch.setattr("wan22.web.time.sleep", pauses.append)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(SpeechError, match=f"no speech server answers at {url}"):
        ServerSynthesizer(url, back_off=(0.1, 0.1)).say("Hi")
    assert pauses == [0.1, 0.1]
    with pytest.raises(SpeechError, match="no speech server answers"):
        ServerSynthesizer(url, timeout=0.2, back_off=(60, 60)).say("Hi")
    assert pauses == [0.1, 0.1]  # no pause reaches over the deadline


def test_the_recipe_of_a_server_holds_no_secret(speech, tmp_path):
    speaker = ServerSynthesizer(
        "http://host:1",
        key="sk-secret",
        sample=tmp_path / "speech.wav",
        language="de",
        extra={"token": "sk-2"},
    )
    entry = speaker.describe("Guten Tag")
    assert json.loads(json.dumps(entry)) == entry
    assert "sk-" not in json.dumps(entry) + repr(speaker)
    assert (entry["engine"], entry["voice"], entry["language"], entry["text"]) == (
        "server", "alloy", "de", "Guten Tag",
    )  # fmt: skip
    assert entry["sample"]["name"] == "speech.wav"
    assert entry["extra"] == ["token"]


def test_impossible_options_are_refused_before_anything_is_sent(tmp_path):
    (tmp_path / "text.wav").write_text("no audio")
    for options, words in [
        ({"speed": 9}, "speed of speech cannot be 9; 0.25 to 4"),
        ({"voice": " "}, "voice is empty"),
        ({"key": "a b\n"}, "the key for"),
        ({"sample_text": "x"}, "without a voice sample"),
    ]:
        with pytest.raises(OptionError, match=words):
            ServerSynthesizer("http://localhost:1", **options)
    with pytest.raises(MediaError, match="not an audio file"):
        ServerSynthesizer("http://localhost:1", sample=tmp_path / "text.wav")
    for url in ("http://", "ftp://host", "http://host:99999", "http://a:b@host", "http://host/?key=1"):
        with pytest.raises(OptionError, match="address of a speech server"):
            ServerSynthesizer(url)
    for text in ("", "  \n", "\x00", "a" * 200_001, "\ud800"):
        with pytest.raises(OptionError, match="text to speak"):
            ServerSynthesizer("http://localhost:1").say(text)
    with pytest.raises(OptionError, match=r"unknown speaker 'festival'\. Known: espeak"):
        open_tts("festival")
    with pytest.raises(OptionError, match="espeak knows no model"):
        open_tts("espeak", model="tts-1")


def test_without_espeak_the_error_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(say.shutil, "which", lambda name: None)
    with pytest.raises(SpeechError, match=r"no espeak-ng.*apt install espeak-ng.*brew.*winget.*http\(s\)"):
        open_tts("espeak")


def fake_espeak(folder, monkeypatch, script):
    """Put a program named espeak-ng into the path; it lists one voice and then does what `script` says."""
    program = folder / "espeak-ng"
    table = "Pty Language Age/Gender VoiceName File Other\\n 5 en --/M English gmw/en\\n"
    program.write_text(f'#!/bin/sh\ncase "$1" in --voices*) printf "{table}"; exit;; esac\n{script}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("sleep 20", "did not finish within 0.5 s"),
        ("echo no data >&2; exit 3", "failed: no data"),
        ("exit 4", "failed: exit code 4"),
        ("exit 0", "made no audio of 'Hi'"),
    ],
)
def test_a_program_that_fails_is_named(tmp_path, monkeypatch, script, words):
    fake_espeak(tmp_path, monkeypatch, f"exec {script}" if script.startswith("sleep") else script)
    with pytest.raises(SpeechError, match=words):
        EspeakSynthesizer(timeout=0.5).say("Hi")


def test_text_goes_to_the_program_by_its_input_alone(tmp_path, monkeypatch, speech):
    fake_espeak(
        tmp_path,
        monkeypatch,
        f'echo "$@" > {tmp_path}/options; cat > {tmp_path}/text; cat {tmp_path}/speech.wav',
    )
    assert EspeakSynthesizer().say("-w /x; $(reboot) é").rate == 24000
    assert (tmp_path / "text").read_text() == "-w /x; $(reboot) é"
    assert (tmp_path / "options").read_text().split() == "--stdin --stdout -b 1 -v en -s 175 -p 50".split()


@with_espeak
def test_espeak_speaks_languages_at_its_own_rate():
    english = EspeakSynthesizer().say("Hello, this is a test of the voice.")
    assert english.rate == 22050
    assert 1.5 < english.seconds < 4
    assert np.abs(english.samples).max() > 0.1
    fast = open_tts("espeak", speed=2).say("Hello, this is a test of the voice.")
    assert fast.seconds < 0.75 * english.seconds
    speaker = open_tts("espeak-ng", language="de", voice="f3")
    assert speaker.describe("Guten Tag") == {
        "engine": "espeak", "voice": "de+f3", "speed": 1.0, "pitch": 50, "text": "Guten Tag",
    }  # fmt: skip
    assert speaker.say("Guten Tag").seconds > 0.4
    assert open_tts("espeak", voice="f3").describe("Hi")["voice"] == "en+f3"


@with_espeak
def test_espeak_knows_its_voices():
    assert {"en", "de", "en-gb", "fr-fr"} <= set(EspeakSynthesizer().voices())
    with pytest.raises(OptionError, match=r"no voice 'en-usa'\. Did you mean .*en-us"):
        EspeakSynthesizer("en-usa")
    with pytest.raises(OptionError, match="no variant of a voice 'f99'"):
        EspeakSynthesizer("en+f99")
    with pytest.raises(OptionError, match="speed of speech cannot be 5"):
        EspeakSynthesizer(speed=5)
