"""Prompts are extended by rules, by a model on this machine, and by servers that are good, slow, broken or absent."""

import base64
import io
import json
import socket
import threading
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from wan22.director.brief import Brief, answer, instructions
from wan22.director.chat import ChatExtender, data_url
from wan22.director.extend import RuleExtender, extend, open_extender
from wan22.director.local import LocalExtender
from wan22.director.rules import MOST
from wan22.director.shot import parse
from wan22.director.vocabulary import TERMS, term
from wan22.errors import CheckpointError, ExtendError, OptionError

IMAGE = np.zeros((900, 1600, 3), np.uint8)


# ---- rules ----


def by_rules(prompt, **options):
    return extend(prompt, RuleExtender(), **options)


def test_rules_add_what_the_formula_lacks_and_keep_every_word():
    made = by_rules("a fox runs through the snow", seed=1)
    assert made.after.startswith("Day time, ")
    assert "a fox runs through the snow." in made.after
    spec, before = parse(made.after), parse(made.before)
    assert len(spec.terms()) - len(spec.camera) == MOST and len(spec.camera) == 1
    assert before.subject == spec.subject
    assert made.to_json() == {
        "engine": "rules", "before": made.before, "after": made.after, "seed": 1, "language": "en",
        "saw_image": False, "lost": [],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("prompt", "there"),
    [
        ("a fox at night", "moonlight"),
        ("a man reads in a room at night", "practical cool"),
        ("an old woman's face", "close-up daylight"),
        ("mountains", "wide day"),
        ("friends around a campfire", "night firelight warm"),
        ("a street in the rain", "overcast day"),
        ("a lake at sunset", "warm soft-light"),
        ("anime style, a girl on a bridge", "center"),
        ("밤에 숲을 달리는 여우", "moonlight wide"),
        ("海辺の少女の顔", "day"),
    ],
)
def test_rules_follow_what_was_said(prompt, there):
    spec = parse(by_rules(prompt).after)
    assert {row.key for row in spec.terms()} >= set(there.split())


def test_rules_leave_the_light_of_drawn_styles_alone():
    spec = parse(by_rules("anime style, a girl on a bridge").after)
    assert not (spec.light_source or spec.light_quality or spec.time)


def test_rules_add_only_a_camera_to_a_video_that_begins_with_an_image():
    assert by_rules("she turns", image=IMAGE).after in (
        "she turns. The camera is static.", "she turns. The camera pushes in.",
    )  # fmt: skip
    assert by_rules("she turns, the camera pans left", image=IMAGE).after == "she turns, the camera pans left"


def test_rules_are_the_same_for_a_seed_and_differ_between_seeds():
    made = [by_rules("a fox runs", seed=seed).after for seed in range(8)]
    assert made == [by_rules("a fox runs", seed=seed).after for seed in range(8)]
    assert len(set(made)) == 4  # two sizes, two cameras


def test_rules_answer_in_the_language_of_the_model():
    assert by_rules("一只狐狸奔跑").after.startswith("白天，")
    assert by_rules("여우가 달린다").after.startswith("Day time, ")
    assert by_rules("여우가 달린다", language="zh").after.startswith("白天，")


WORDS = ("a fox", "runs", "snow", "campfire", "face", "city", "rain", "狐狸", "여우", ",", ".", "\n", "sun")


@given(st.lists(st.sampled_from([*WORDS, *(row.en for row in TERMS)]), min_size=1, max_size=5), st.integers())
@example(["Firelight", "Sunny lighting"], 0)  # each implies another time of day
@settings(max_examples=80, deadline=None)
def test_rules_never_change_or_contradict_what_was_said(words, seed):
    prompt = ", ".join(("a fox", *words))
    try:
        before = parse(prompt)
    except OptionError:
        return
    after = by_rules(prompt, seed=seed).after  # what contradicts itself would raise
    assert prompt.strip() in after
    assert set(before.terms()) <= set(parse(after).terms())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: by_rules(" "), "there is no prompt to extend"),
        (lambda: by_rules("", image=IMAGE), "the rules extend words"),
        (lambda: by_rules("x" * 9000), "9,000 characters; 8,000 can"),
        (lambda: by_rules("close-up, wide shot"), "exclude one another"),
        (lambda: by_rules("a", language="ko"), "unknown language of prompts 'ko'"),
        (lambda: by_rules("a", task="s2v"), "unknown task of a prompt 's2v'"),
        (lambda: by_rules("a", task="t2v", image=IMAGE), "an image begins a video of the task i2v"),
        (lambda: open_extender("rule"), "unknown engine 'rule'. Known: rules"),
        (lambda: open_extender("rules", key="k"), "a model or key is for a chat server"),
        (lambda: open_extender("http://h:1/v1?key=2"), "holds no user, password or query"),
        (lambda: open_extender("http://h:port"), "is no address of a chat server"),
        (lambda: ChatExtender("http://h", timeout=0), "cannot be given 0 s"),
        (lambda: ChatExtender("http://h", key="two words"), "that no key has"),
        (lambda: ChatExtender("http://h", model=" "), "model is empty"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_said(make, message):
    with pytest.raises(OptionError) as error:
        make()
    assert message in str(error.value)


# ---- what a language model is told, and what is made of its answer ----


def test_the_instructions_state_formula_vocabulary_language_and_task():
    told = instructions(Brief("a fox"), sees=False)
    for words in (
        "subject",
        "motion",
        "scene",
        "Extreme close-up shot",
        "The camera pans left",
        "English",
        "four",
    ):
        assert words in told
    assert "Anime style" not in told  # no style unless the person names one
    told = instructions(Brief("走", "i2v", "zh", image=IMAGE), sees=True)
    assert "You see the first frame" in told and "镜头向左摇" in told and "Chinese" in told
    assert "月光" not in told and "only a verb" not in told
    assert "imagine from the image" in instructions(Brief("", "i2v", image=IMAGE), sees=True)
    assert "cannot see" in instructions(Brief("walks", "i2v"), sees=False)


@pytest.mark.parametrize(
    ("said", "prompt"),
    [
        ("A fox.", "A fox."),
        ("<think>hm\n\n</think>\n A fox\n runs. ", "A fox runs."),
        ('"A fox."', "A fox."),
        ('"A", he says, "B"', '"A", he says, "B"'),
        ("```text\nA fox.\n```", "A fox."),
        ("<prompt>A fox.</prompt>", "A fox."),
    ],
)
def test_an_answer_is_freed_of_thoughts_and_marks(said, prompt):
    assert answer(said, "it") == prompt


@pytest.mark.parametrize(
    ("said", "why"), [("", "no prompt"), ("<think>and so", "no prompt"), ("x" * 9000, "9,000")]
)
def test_an_answer_that_is_no_prompt_is_an_error(said, why):
    with pytest.raises(ExtendError, match=f"it answered with.*{why}"):
        answer(said, "it")


# ---- a chat server ----


@contextmanager
def server(reply):
    """Serve on a free port: `reply(handler, number)` gets every request."""
    requests = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            requests.append((self.path, dict(self.headers), body))
            reply(self, len(requests))

        def do_GET(self):
            requests.append((self.path, dict(self.headers), None))
            reply(self, len(requests))

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


def send(handler, content, status=200, **headers):
    handler.send_response(status)
    handler.send_header("Content-Length", headers.pop("length", str(len(content))))
    for name, value in headers.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(content)


def says(text, **more):
    choice = {"message": {"role": "assistant", "content": text}, **more}
    return lambda handler, _: send(handler, json.dumps({"choices": [choice]}).encode())


def test_a_server_is_asked_in_the_openai_form():
    with server(says("A red fox runs at night.")) as (url, requests):
        made = extend("여우가 밤에 달린다", open_extender(f"{url}#qwen3", key="sk-1"), seed=7)
    assert (made.after, made.lost, made.saw_image) == ("A red fox runs at night.", (), False)
    assert made.engine == {"engine": "server", "url": f"{url}/v1", "model": "qwen3"}
    path, headers, body = requests[0]
    assert path == "/v1/chat/completions"
    assert headers["Authorization"] == "Bearer sk-1"
    assert (body["model"], body["seed"], body["stream"]) == ("qwen3", 7, False)
    system, user = body["messages"]
    assert system == {"role": "system", "content": instructions(Brief("여우가 밤에 달린다"), sees=False)}
    assert user == {"role": "user", "content": "<prompt>\n여우가 밤에 달린다\n</prompt>"}


def test_an_image_is_sent_small_as_a_data_url():
    with server(says("She turns.")) as (url, requests):
        made = extend("", ChatExtender(url, model="vl"), image=IMAGE)
    assert made.saw_image
    part, text = requests[0][2]["messages"][1]["content"]
    assert text["type"] == "text"
    kind, _, content = part["image_url"]["url"].partition(",")
    assert kind == "data:image/jpeg;base64"
    image = Image.open(io.BytesIO(base64.b64decode(content)))
    assert image.format == "JPEG" and image.size == (682, 384)
    assert Image.open(io.BytesIO(base64.b64decode(data_url(IMAGE[:8, :9]).partition(",")[2]))).size == (
        9,
        8,
    )


@pytest.mark.parametrize("end", ["", "/", "/v1", "/v1/", "/v1/chat/completions"])
def test_the_address_may_be_given_short_or_long(end):
    assert ChatExtender(f"http://host:8000{end}").url == "http://host:8000/v1"


@pytest.mark.parametrize(("names", "fine"), [(["qwen3"], True), ([], False), (["a", "b"], False)])
def test_a_server_with_one_model_needs_no_name(names, fine):
    def reply(handler, _):
        if handler.command == "GET":
            send(handler, json.dumps({"data": [{"id": name} for name in names]}).encode())
        else:
            says("A fox.")(handler, _)

    with server(reply) as (url, requests):
        if fine:
            assert extend("fox", ChatExtender(url)).after == "A fox."
            assert [request[0] for request in requests] == ["/v1/models", "/v1/chat/completions"]
        else:
            with pytest.raises(ExtendError, match=f"has {len(names)} models.*#MODEL"):
                extend("fox", ChatExtender(url))


def test_what_a_rewrite_no_longer_says_is_told():
    with server(says("A fox runs by day.")) as (url, _):
        made = extend("a close-up of a fox at night", ChatExtender(url, model="m"))
    assert made.lost == ("close-up", "night")


@pytest.mark.parametrize(
    ("status", "words", "tries"),
    [
        (400, "whether it reads images", 1),
        (401, "Give the key", 1),
        (404, "Check the address", 1),
        (429, "It is busy", 3),
        (500, "The server failed", 1),
        (503, "It is busy", 3),
    ],
)
def test_a_server_that_refuses_is_quoted_without_the_key(status, words, tries):
    with server(lambda handler, _: send(handler, b"no sk-secret", status)) as (url, requests):
        with pytest.raises(ExtendError) as error:
            extend("fox", ChatExtender(url, "m", "sk-secret", back_off=(0.01, 0.01)))
    assert words in str(error.value) and "no ***" in str(error.value) and "sk-secret" not in str(error.value)
    assert len(requests) == tries
    assert "sk-secret" not in repr(ChatExtender(url, "m", "sk-secret"))


def test_a_busy_server_is_tried_again():
    def reply(handler, number):
        send(handler, b"", 503) if number < 3 else says("A fox.")(handler, number)

    with server(reply) as (url, _):
        assert extend("fox", ChatExtender(url, "m", back_off=(0.01, 0.01))).after == "A fox."


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        (lambda handler, _: send(handler, b"<html>"), "no JSON: <html>"),
        (lambda handler, _: send(handler, b"[1]"), "no message"),
        (lambda handler, _: send(handler, b'{"choices": []}'), "no message"),
        (says(None), "no message"),
        (says(""), "answered with no prompt"),
        (says("A fox", finish_reason="length"), "cut the answer of m off"),
        (lambda handler, _: send(handler, b"{}", length="900"), "broke off in the middle"),
        (lambda handler, _: send(handler, b" " * (5 << 20)), "more than 4 MiB"),
        (lambda handler, _: send(handler, b"", 307, Location="http://other/"), "sends on to http://other/"),
    ],
)
def test_an_answer_that_is_none_is_an_error(reply, why):
    with server(reply) as (url, _), pytest.raises(ExtendError, match=why):
        extend("fox", ChatExtender(url, "m"))


def test_a_slow_server_is_given_up_in_time():
    ended = threading.Event()

    def reply(handler, _):
        handler.send_response(200)
        handler.send_header("Content-Length", "1000000")
        handler.end_headers()
        with suppress(OSError):  # nobody listens any more
            while not ended.wait(0.05):
                handler.wfile.write(b" ")

    with server(reply) as (url, _):
        try:  # it returns before the server has answered, or never
            with pytest.raises(ExtendError, match=r"did not answer in full within 0.2 s"):
                extend("fox", ChatExtender(url, "m", timeout=0.2))
        finally:
            ended.set()


def test_a_server_that_is_down_is_named():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(ExtendError, match=f"no chat server answers at {url}/v1"):
        extend("fox", ChatExtender(url, "m", back_off=(0.01,)))


# ---- a model on this machine ----


TEMPLATE = "{% for turn in messages %}{{ turn['content'] }} {% endfor %}answer"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A real Qwen model of random weights whose letters are three, and the end."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM, Qwen2Tokenizer

    folder = tmp_path_factory.mktemp("tiny-qwen")
    tokenizer = Qwen2Tokenizer(vocab={"<|endoftext|>": 0, "f": 1, "o": 2, "x": 3}, merges=[])
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    network = Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=4, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
            num_key_value_heads=1, eos_token_id=0, pad_token_id=0, bos_token_id=0, max_position_embeddings=2048,
        )
    )  # fmt: skip
    network.generation_config.do_sample = True
    network.save_pretrained(folder)
    return folder


def test_a_local_model_answers_the_same_for_a_seed(tiny):
    import torch

    before = torch.random.get_rng_state()
    made = []
    for seed in (0, 1, 2, 3, 0):
        try:
            made.append(extend("a fox", open_extender(str(tiny)), seed=seed).after)
        except ExtendError as error:  # it may end at once
            made.append(str(error))
    assert made[0] == made[-1] and len(set(made)) > 1
    assert set("".join(text for text in made if "answered" not in text)) <= set("fox")
    assert torch.equal(before, torch.random.get_rng_state())
    assert LocalExtender(str(tiny)).describe() == {"engine": "transformers", "model": tiny.name}


def test_a_local_model_that_does_not_end_is_an_error(tiny):
    with pytest.raises(ExtendError, match="did not end within 1 tokens"):
        for seed in range(20):
            LocalExtender(str(tiny), most_tokens=1).extend(Brief("a fox", seed=seed))


def test_a_folder_or_name_without_an_instruct_model_is_an_error(tiny, tmp_path, monkeypatch):
    with pytest.raises(CheckpointError, match=r"has no config.json"):
        open_extender(str(tmp_path))
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(CheckpointError, match="cannot be loaded as a language model"):
        extend("a fox", open_extender(str(tmp_path)))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(CheckpointError, match="hf download Nobody/Nothing-1B"):
        extend("a fox", open_extender("Nobody/Nothing-1B"))
    with pytest.raises(OptionError, match="does not see the image"):
        extend("", open_extender(str(tiny)), image=IMAGE)


def test_a_tokenizer_without_a_chat_template_is_no_instruct_model(tiny, tmp_path):
    for file in tiny.iterdir():
        if file.name != "chat_template.jinja":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    with pytest.raises(CheckpointError, match="no chat template"):
        extend("a fox", LocalExtender(str(tmp_path)))


def test_every_term_that_rules_may_add_is_in_the_vocabulary():
    added = {row.key for seed in range(50) for row in parse(by_rules("a fox", seed=seed).after).terms()}
    assert added <= {row.key for row in TERMS} and term("day").key in added
