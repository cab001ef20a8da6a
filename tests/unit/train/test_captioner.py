"""Texts for clips from a server that sees: what is sent, what is written, and what happens when it fails."""

import base64
import io
import json
import sys
import threading
import types
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch
from PIL import Image
from unit.train.media import write_captioned_image, write_clip

from wan22.cli.__main__ import main
from wan22.errors import CheckpointError, ExtendError, MediaError, OptionError
from wan22.train.data.captioner import (
    MAX_FAILURES,
    CaptionSettings,
    LocalCaptioner,
    caption_folder,
    describe,
    server_captioner,
)


class Server(ThreadingHTTPServer):
    """A chat server that answers as `answers` says, in turn, then "A ball."; an int is a status."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked, self.answers, self.headers = [], [], []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self):
        self.server.asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.server.headers.append(self.headers)
        said = self.server.answers.pop(0) if self.server.answers else "A ball."
        reply = {"choices": [{"message": {"content": said}, "finish_reason": "stop"}]}
        body = json.dumps(reply if isinstance(said, str) else {"error": "no"}).encode()
        self.send_response(200 if isinstance(said, str) else said)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    made = Server()
    threading.Thread(target=made.serve_forever, args=(0.01,), daemon=True).start()
    yield made
    made.shutdown()
    made.server_close()


def captioner(server, **how):
    return server_captioner(server.url, "captioner", timeout=120, **how)


def images_of(body):
    parts = body["messages"][1]["content"]
    urls = [part["image_url"]["url"] for part in parts if part["type"] == "image_url"]
    assert all(url.startswith("data:image/jpeg;base64,") for url in urls)
    return [Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))) for url in urls]


def test_frames_go_in_their_order_with_the_task_and_the_hint(server, tmp_path):
    path = write_clip(tmp_path / "a.mp4", frames=17, text=None)
    assert (
        describe(path, captioner(server), CaptionSettings(frames=4, hint="the ball is called Bo"))
        == "A ball."
    )
    (body,) = server.asked
    shown = images_of(body)
    greens = [image.convert("RGB").getpixel((12, 16))[1] for image in shown]
    assert len(shown) == 4 and greens == sorted(greens) and greens[-1] - greens[0] > 80
    assert all(image.size == (48, 32) for image in shown)
    assert "4 frames of one clip of 2.1 seconds" in body["messages"][0]["content"]
    assert "the ball is called Bo" in body["messages"][1]["content"][-1]["text"]
    assert body["model"] == "captioner"


def test_a_large_clip_is_made_smaller_and_an_image_is_one_frame(server, tmp_path):
    describe(
        write_captioned_image(tmp_path / "p.png", 900, 300, text=None), captioner(server), CaptionSettings()
    )
    describe(
        write_clip(tmp_path / "c.mp4", frames=3, text=None), captioner(server), CaptionSettings(language="zh")
    )
    image, clip = server.asked
    assert [p.size for p in images_of(image)] == [(512, 171)]
    assert "You see one frame" in image["messages"][0]["content"]
    assert len(images_of(clip)) == 3 and "简体中文" in clip["messages"][0]["content"]


def test_only_clips_without_a_text_are_asked_about_and_the_same_command_goes_on(server, tmp_path):
    write_clip(tmp_path / "had.mp4", frames=3, text="mine")
    write_clip(tmp_path / "empty.mp4", frames=3, text="  \n")
    write_clip(tmp_path / "deep/new.mp4", frames=3, text=None)
    write_clip(tmp_path / "long.mp4", frames=3, text=None).with_name("long.mp4.txt").write_text("mine, too")
    server.answers = ['"A red ball rolls\nleft."', "<think>hm</think> A blue cube."]
    said = []
    done = caption_folder(tmp_path, captioner(server), CaptionSettings(), log=said.append)
    assert sorted(path.name for path in done.written) == ["empty.mp4", "new.mp4"]
    assert sorted(path.name for path in done.skipped) == ["had.mp4", "long.mp4"]
    texts = {path.name: path.read_text() for path in tmp_path.rglob("*.txt")}
    assert texts["had.txt"] == "mine" and texts["long.mp4.txt"] == "mine, too"
    assert {texts["empty.txt"], texts["new.txt"]} == {"A red ball rolls left.\n", "A blue cube.\n"}
    assert len(said) == 2 and "long.txt" not in texts
    again = caption_folder(tmp_path, captioner(server), CaptionSettings())
    assert not again.written and len(again.skipped) == 4 and len(server.asked) == 2


def test_texts_are_written_anew_only_when_asked(server, tmp_path):
    write_clip(tmp_path / "a.mp4", frames=3, text="old")
    write_clip(tmp_path / "b.mp4", frames=3, text=None).with_name("b.mp4.txt").write_text("old")
    assert len(caption_folder(tmp_path, captioner(server), CaptionSettings(), overwrite=True).written) == 2
    assert (tmp_path / "a.txt").read_text() == (tmp_path / "b.mp4.txt").read_text() == "A ball.\n"
    assert not (tmp_path / "b.txt").exists()


def test_a_failure_is_reported_and_ends_nothing(server, tmp_path):
    for name in "abc":
        write_clip(tmp_path / f"{name}.mp4", frames=3, text=None)
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    server.answers = ["First.", 400, "Third."]
    done = caption_folder(tmp_path, captioner(server), CaptionSettings())
    assert {path.name for path in done.failed} == {"b.mp4", "broken.mp4"}
    assert "answers 400" in done.failed[tmp_path / "b.mp4"]
    assert (tmp_path / "c.txt").read_text() == "Third.\n" and not (tmp_path / "b.txt").exists()
    assert done.lines()[-1] == "2 texts written, 0 were there, 2 failed"
    assert caption_folder(tmp_path, captioner(server), CaptionSettings()).written == [tmp_path / "b.mp4"]


def test_a_server_that_always_fails_is_left_alone_after_a_while(server, tmp_path):
    for index in range(MAX_FAILURES + 3):
        write_clip(tmp_path / f"{index}.mp4", frames=2, text=None)
    server.answers = [500] * 20
    done = caption_folder(tmp_path, captioner(server), CaptionSettings())
    assert len(done.failed) == len(server.asked) == MAX_FAILURES and len(done.left) == 3
    assert "3 not tried after 5 failures in a row; the same command goes on" in done.lines()[-1]


def test_an_answer_that_says_nothing_is_a_failure(server, tmp_path):
    server.answers = ["<think>nothing else"]
    with pytest.raises(ExtendError, match="answered with no prompt"):
        describe(write_clip(tmp_path / "a.mp4", frames=2), captioner(server), CaptionSettings())


def test_what_cannot_be_is_refused_before_anything_is_asked(server, tmp_path):
    with pytest.raises(OptionError, match="from 1 to 32 images"):
        CaptionSettings(frames=0)
    with pytest.raises(OptionError, match="unknown language of texts 'xx'"):
        CaptionSettings(language="xx")
    with pytest.raises(OptionError, match="is no folder of clips"):
        caption_folder(tmp_path / "gone", captioner(server), CaptionSettings())
    with pytest.raises(MediaError, match="holds no clip"):
        caption_folder(tmp_path, captioner(server), CaptionSettings())
    with pytest.raises(OptionError, match="no address of a chat server"):
        server_captioner("localhost", None)
    assert not server.asked


class Local:
    """Stands for transformers' two classes: what it is given comes back in its answer."""

    device, dtype = "cpu", torch.float32
    turns: list

    @classmethod
    def from_pretrained(cls, name, local_files_only, dtype=None):
        assert local_files_only
        if name == "gone/model":
            raise OSError("no such model\nin the cache")
        return cls()

    def apply_chat_template(self, turns, **how):
        Local.turns = turns
        assert how["add_generation_prompt"] and how["tokenize"] and how["return_dict"]
        return Given(input_ids=torch.zeros(1, 3, dtype=torch.int64))

    def generate(self, input_ids, max_new_tokens, do_sample):
        assert not do_sample
        return torch.cat([input_ids, torch.ones(1, min(5, max_new_tokens), dtype=torch.int64)], dim=1)

    def decode(self, tokens, skip_special_tokens):
        return f'"{len(tokens)} words."'

    def eval(self):
        return self

    def to(self, device):
        return self


class Given(dict):
    def to(self, device, dtype):
        return self


@pytest.fixture
def local(monkeypatch):
    module = types.ModuleType("transformers")
    module.AutoProcessor = module.AutoModelForImageTextToText = Local
    monkeypatch.setitem(sys.modules, "transformers", module)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def test_a_local_model_is_shown_the_same_and_its_own_tokens_are_the_text(local, tmp_path):
    path = write_clip(tmp_path / "a.mp4", frames=9)
    assert describe(path, LocalCaptioner("some/model"), CaptionSettings(frames=3)) == "5 words."
    (turn,) = Local.turns
    assert [part["type"] for part in turn["content"]] == ["image"] * 3 + ["text"]
    assert turn["content"][0]["image"].size == (48, 32) and "3 frames" in turn["content"][-1]["text"]
    with pytest.raises(ExtendError, match="did not end within 4 tokens"):
        describe(path, LocalCaptioner("some/model", most_tokens=4), CaptionSettings())


def test_a_local_model_that_is_not_there_says_how_to_get_it(local, tmp_path):
    with pytest.raises(
        CheckpointError, match=r"gone/model cannot be loaded .*: no such model\. Download it first: hf"
    ):
        describe(write_clip(tmp_path / "a.mp4", frames=2), LocalCaptioner("gone/model"), CaptionSettings())


def test_the_command_sends_the_key_tells_what_failed_and_ends_with_1(server, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("WAN22_CHAT_KEY", "secret")
    for name in "ab":
        write_clip(tmp_path / f"{name}.mp4", frames=2, text=None)
    server.answers = ["One.", 400]
    asked = ["caption", str(tmp_path), "--server", server.url, "--model", "m", "--frames", "1"]
    assert main(asked) == 1
    out = capsys.readouterr().out
    assert "b.mp4: " in out and "1 texts written, 0 were there, 1 failed" in out
    assert server.headers[0]["Authorization"] == "Bearer secret" and server.asked[0]["model"] == "m"
    assert main([*asked, "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["written"] == [str(tmp_path / "b.mp4")]
    assert main(["caption", str(tmp_path)]) == 2
    assert "name who looks: --server URL" in capsys.readouterr().err
