"""Our client against a server that says what a test lets it: refusals, breaks, nonsense. The real one: server/."""

import json
import socket
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from wan22.client import ENDED, AwayError, connect, event_stream
from wan22.errors import MediaError, OptionError, OutputError, ServerError
from wan22.jobs import job as jobs

ID = "job_" + "a" * 24
JOB = f"GET /v1/jobs/{ID}"
EVENTS = f"GET /v1/jobs/{ID}/events"
FILE = f"GET /v1/jobs/{ID}/files/video.mp4"
ADD = "POST /v1/jobs"


class Answer:
    """What the server says: a status, a body, headers; `cut` bytes of the body are promised and never sent."""

    def __init__(self, status=200, body=None, cut=0, **headers):
        self.status, self.cut = status, cut
        self.body = body if isinstance(body, bytes) else json.dumps(body or {}).encode()
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


def stream(*events, first=1):
    """A stream of events, whose numbers begin with `first`."""
    said = [f"id: {first + n}\nevent: x\ndata: {json.dumps(data)}\n\n" for n, data in enumerate(events)]
    return Answer(200, b": hello\n\n" + "".join(said).encode(), Content_Type="text/event-stream")


def state(name):
    return {"type": "state", "state": name}


class Scripted(ThreadingHTTPServer):
    """Answers requests for "METHOD PATH" with the answers of its script, in order; the last one stays."""

    daemon_threads = True

    def __init__(self, script):
        super().__init__(("127.0.0.1", 0), Handler)
        self.script = {name: list(answers) for name, answers in script.items()}
        self.asked = []
        self.url = f"http://127.0.0.1:{self.server_port}"

    def sent(self, name):
        """Headers and bodies of the requests for that name."""
        return [(headers, body) for asked, headers, body in self.asked if asked == name]


class Handler(BaseHTTPRequestHandler):
    def answer(self):
        name = f"{self.command} {self.path}"
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.asked.append((name, self.headers, body))
        answers = self.server.script.get(name) or [Answer(404, {"title": "Gone", "detail": "no such job"})]
        said = answers.pop(0) if len(answers) > 1 else answers[0]
        if said is None:  # hangs up
            return
        self.send_response(said.status)
        for header, value in said.headers.items():
            self.send_header(header, value)
        self.send_header("Content-Length", str(len(said.body) + said.cut))
        self.end_headers()
        self.wfile.write(said.body)

    do_GET = do_POST = do_DELETE = answer

    def log_message(self, *_):
        pass


@contextmanager
def serving(script):
    """A client of a server with that script; its pauses take no time, and are kept."""
    server = Scripted(script)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    client = connect(server.url, "sk-1")
    pauses = []
    object.__setattr__(client, "sleep", pauses.append)
    server.pauses = pauses
    try:
        yield client, server
    finally:
        server.shutdown()
        server.server_close()


def test_the_states_that_end_are_those_of_the_queue():
    assert ENDED == jobs.ENDED


def test_a_job_is_asked_for_with_token_and_key():
    with serving({ADD: [Answer(201, {"id": ID})]}) as (client, server):
        assert client.add("video", {"prompt": "a ball"}, "key-1", priority=2) == {"id": ID}
    ((headers, body),) = server.sent(ADD)
    assert headers["Authorization"] == "Bearer sk-1" and headers["Idempotency-Key"] == "key-1"
    assert json.loads(body) == {"kind": "video", "request": {"prompt": "a ball"}, "priority": 2}


def test_a_file_is_sent_as_a_form(tmp_path):
    (tmp_path / '붉은 "공".png').write_bytes(b"\x89PNG" * 100_000)
    with serving({"POST /v1/inputs": [Answer(201, {"id": "in_1"})]}) as (client, server):
        assert client.upload(tmp_path / '붉은 "공".png')["id"] == "in_1"
    ((headers, body),) = server.sent("POST /v1/inputs")
    boundary = headers["Content-Type"].partition("boundary=")[2]
    head, _, rest = body.partition(b"\r\n\r\n")
    assert 'name="file"; filename="붉은 %22공%22.png"' in head.decode()
    assert rest == b"\x89PNG" * 100_000 + f"\r\n--{boundary}--\r\n".encode()


def test_a_file_that_is_not_there_is_said_before_anything_is_sent(tmp_path):
    with serving({}) as (client, server), pytest.raises(MediaError, match="does not exist"):
        client.upload(tmp_path / "nowhere.png")
    assert not server.asked


def test_a_list_asks_for_what_was_said():
    path = "GET /v1/jobs?state=queued&state=running&limit=5"
    with serving({path: [Answer(200, {"data": [1]})]}) as (client, _):
        assert client.jobs(state=["queued", "running"], text=None, trashed=False, limit=5) == [1]


PROBLEM = {"title": "Conflict", "detail": "the job is completed; only a running job can be paused"}


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (Answer(409, PROBLEM), "^the job is completed; only a running job can be paused$"),
        (Answer(422, {"error": {"message": "steps must be 1 or more."}}), "^steps must be 1 or more$"),
        (
            Answer(401, {"detail": "x"}),
            r"does not take this token. Give it in \$WAN22_TOKEN or",
        ),
        (Answer(403, {"detail": "the server is not called by this Host"}), "not called by this Host"),
        (
            Answer(404, b"<html>nginx"),
            r"answers 404 Not Found. It is no wan22 server, or one of another version",
        ),
        (Answer(405, b""), "It is no wan22 server, or one of another version"),
        (Answer(308, b"", Location="https://b.example/x?sk=1"), r"sends on to https://b.example/x"),
        (
            Answer(500, {"detail": "the server failed; its log says where"}),
            "^the server failed; its log says where$",
        ),
        (Answer(500, b"<html>"), "500 Internal Server Error. The server failed; see its log"),
        (Answer(200, b"<html>hello sk-1"), r"something that no wan22 server says: '<html>hello \*\*\*'"),
        (Answer(200, b"[1]"), "something that no wan22 server says"),
        (Answer(413, {"detail": "the body is larger than 9 bytes"}), "larger than 9 bytes"),
    ],
)
def test_a_refusal_is_one_sentence(answer, says):
    with serving({ADD: [answer]}) as (client, _), pytest.raises(ServerError, match=says) as error:
        client.add("video", {}, "key")
    assert "sk-1" not in str(error.value) and not isinstance(error.value, AwayError)
    assert error.value.status in (answer.status, 0)


@pytest.mark.parametrize(
    ("answer", "says", "after"),
    [
        (Answer(503, {"detail": "the server is ending; ask again soon"}, Retry_After="2"), "is ending", 2),
        (Answer(429, {"detail": "too many requests"}, Retry_After="99999999"), "too many", 600),
        (Answer(502, b"<html>nginx", Retry_After="Fri, 31 Dec"), "502 Bad Gateway", 0),
        (Answer(200, {"id": "x"}, cut=9), "broke off in the middle", 0),
        (None, "hung up", 0),
    ],
)
def test_a_server_that_may_come_back_is_told_apart(answer, says, after):
    with serving({ADD: [answer]}) as (client, _), pytest.raises(AwayError, match=says) as error:
        client.add("video", {}, "key")
    assert error.value.after == after


def test_a_server_that_is_not_there():
    with serving({}) as (client, _):
        pass
    with pytest.raises(AwayError, match=r"no wan22 server answers at .* Start it with `wan22 serve`"):
        client.capabilities()


@pytest.mark.parametrize(
    ("url", "token", "says"),
    [
        ("127.0.0.1:8722", None, r"one looks like http://127.0.0.1:8722"),
        ("http://u:p@host", None, "holds no user, password or query: Give the token in"),
        ("http://host:99999", None, "is no address of a wan22 server"),
        ("http://host", "to ken", "printable ASCII"),
    ],
)
def test_an_address_that_cannot_be_one(url, token, says):
    with pytest.raises(OptionError, match=says):
        connect(url, token)


@pytest.mark.parametrize("id", ["", "../../x", "job_1", ID + "/cancel", ID.upper()])
def test_what_is_no_id_is_sent_nowhere(id):
    with serving({}) as (client, server), pytest.raises(OptionError, match="is no id of a job"):
        client.job(id)
    assert not server.asked


def test_a_path_before_the_server_is_kept():
    with serving({"GET /studio/v1/capabilities": [Answer(200, {"version": "1"})]}) as (_, server):
        assert connect(f"{server.url}/studio/").capabilities() == {"version": "1"}


def test_events_are_followed_over_breaks_and_none_comes_twice():
    progress = [{"type": "progress", "step": n} for n in (1, 2, 3)]
    away = Answer(503, {"detail": "the server is ending"}, Retry_After="3")
    streams = [
        stream(*progress[:2]),
        None,
        away,
        stream(progress[2], first=7),
        stream(state("failed"), first=8),
    ]
    script = {EVENTS: streams, JOB: [*[Answer(200, state("running"))] * 2, Answer(200, state("failed"))]}
    heard = []
    with serving(script) as (client, server):
        assert [*client.follow(ID, heard.append)] == [*progress, state("failed")]
    numbers = [headers["Last-Event-ID"] for headers, _ in server.sent(EVENTS)]
    assert numbers == ["0", "2", "2", "2", "7"] and server.pauses == [0.5, 0.5, 3.0, 0.5]
    assert [text.partition(" ")[2] for text in heard] == ["hung up; waiting for it", "answers again"]


def test_what_comes_between_the_end_of_a_stream_and_the_question_is_not_lost():
    script = {EVENTS: [stream(), stream(state("completed"))], JOB: [Answer(200, state("completed"))]}
    with serving(script) as (client, _):
        assert [*client.follow(ID, pytest.fail)] == [state("completed")]


def test_the_end_of_an_earlier_try_is_not_the_end():
    events = [state("failed"), state("queued"), state("completed")]
    script = {EVENTS: [stream(*events)], JOB: [Answer(200, state("queued")), Answer(200, state("completed"))]}
    with serving(script) as (client, _):
        assert [*client.follow(ID, pytest.fail)] == events


def test_a_job_whose_events_are_gone_has_ended():
    with serving({EVENTS: [stream()], JOB: [Answer(200, state("completed"))]}) as (client, _):
        assert [*client.follow(ID, pytest.fail)] == []


def test_a_server_that_does_not_come_back_is_given_up():
    with serving({EVENTS: [Answer(504, b"")]}) as (client, server):
        with pytest.raises(AwayError, match=r"504 Gateway Timeout. It has been away for 10 minutes"):
            [*client.follow(ID, str)]
    assert 580 < sum(server.pauses) <= 600


def test_a_job_that_is_gone_is_not_waited_for():
    with serving({}) as (client, server), pytest.raises(ServerError, match="no such job") as error:
        [*client.follow(ID, pytest.fail)]
    assert error.value.status == 404 and not server.pauses


def test_a_download_goes_on_where_it_broke_off(tmp_path):
    half = Answer(200, b"0123", cut=6, ETag='"e"')
    rest = Answer(206, b"456789", ETag='"e"')
    heard, room = [], []
    with serving({FILE: [half, None, rest]}) as (client, server):
        client.download(ID, "video.mp4", tmp_path / "part", heard.append, room.append)
    assert (tmp_path / "part").read_bytes() == b"0123456789" and room == [10, 6]
    (first, _), _, (last, _) = server.sent(FILE)
    assert first["Range"] is None and (last["Range"], last["If-Range"]) == ("bytes=4-", '"e"')
    assert len(heard) == 2


def test_a_file_that_changed_meanwhile_is_fetched_anew(tmp_path):
    half, whole = Answer(200, b"0123", cut=6, ETag='"e"'), Answer(200, b"abc", ETag='"f"')
    with serving({FILE: [half, whole]}) as (client, _):
        client.download(ID, "video.mp4", tmp_path / "part", str, int)
    assert (tmp_path / "part").read_bytes() == b"abc"


def test_no_byte_is_written_where_there_is_no_room(tmp_path):
    def room(count):
        raise OutputError(f"{count} bytes are too many")

    with serving({FILE: [Answer(200, b"0123")]}) as (client, _):
        with pytest.raises(OutputError, match="4 bytes"):
            client.download(ID, "video.mp4", tmp_path / "part", str, room)
    assert (tmp_path / "part").read_bytes() == b""


def test_an_upload_that_is_refused_early_is_told_by_its_answer(tmp_path):
    """The server answers, and reads no more of what is still sent."""
    (tmp_path / "big.mp4").write_bytes(bytes(32 << 20))
    body = json.dumps({"detail": "the body is larger than 1 MiB"}).encode()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def refuse():
            caller, _ = listener.accept()
            with caller:
                caller.recv(1000)
                caller.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
                caller.shutdown(socket.SHUT_WR)
                while caller.recv(1 << 20):
                    pass

        thread = threading.Thread(target=refuse, daemon=True)
        thread.start()
        with pytest.raises(ServerError, match="larger than 1 MiB"):
            connect(f"http://127.0.0.1:{listener.getsockname()[1]}").upload(tmp_path / "big.mp4")
        thread.join(120)


def test_a_stream_that_is_cut_gives_whole_events_only():
    text = 'id: 1|data: {"a":|data: 1}||: ping||retry: 5||id:2|data:{}||id: 3|data: x'
    assert [*event_stream(text.split("|"))] == [("1", '{"a":\n1}'), ("2", "{}")]
