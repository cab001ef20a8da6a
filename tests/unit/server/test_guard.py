"""The guard in front of a toy application: what it lets through, and what it refuses, with which status."""

import asyncio
import json
from types import SimpleNamespace

import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse

from wan22.server.guard import Buckets, Guard, strong
from wan22.server.problems import Refusal, refused
from wan22.server.settings import Settings

TOKEN = "k3vX0pQ9" * 6


async def toy(scope, receive, send):
    try:
        body = await Request(scope, receive).body()
    except Refusal as refusal:
        await refused(scope["path"], refusal)(scope, receive, send)
    else:
        await JSONResponse({"bytes": len(body)})(scope, receive, send)


def ask(settings, path="/v1/jobs", method="GET", headers=(), body=(), state=None, guard=None):
    """Status, headers and JSON of a request to the guarded toy."""
    guard = guard or Guard(toy, settings, state or SimpleNamespace())
    given = [(name.lower().encode(), value.encode()) for name, value in headers]
    if not any(name == b"host" for name, _ in given):
        given.insert(0, (b"host", b"localhost:8022"))
    given = [pair for pair in given if pair[1] != b"-"]
    scope = {
        "type": "http", "method": method, "path": path, "raw_path": path.encode(), "query_string": b"",
        "headers": given, "client": ("127.0.0.1", 5), "http_version": "1.1", "scheme": "http",
    }  # fmt: skip
    parts, sent = list(body) or [b""], []

    async def receive():
        return {"type": "http.request", "body": parts.pop(0), "more_body": bool(parts)}

    async def send(message):
        sent.append(message)

    asyncio.run(guard(scope, receive, send))
    answered = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], answered, json.loads(sent[1]["body"])


JSON, LENGTH = ("Content-Type", "application/json"), ("Content-Length", "2")
FORM = ("Content-Type", "multipart/form-data; boundary=x")
POST, TYPE = {"method": "POST"}, "unsupported_media_type"
STUDIO = ("Host", "studio.example")
LOCAL = Settings(max_body=100, max_upload=1000)
OPEN = Settings(host="0.0.0.0", token=TOKEN, allow_hosts=("studio.example",))
BEARER = ("Authorization", f"Bearer {TOKEN}")


@pytest.mark.parametrize(
    ("settings", "request_", "status", "code"),
    [
        (LOCAL, {}, 200, None),
        (LOCAL, {"headers": [("Host", "LOCALHOST")]}, 200, None),
        (LOCAL, {"headers": [("Host", "[::1]:8022")]}, 200, None),
        (LOCAL, {"headers": [("Host", "evil.example")]}, 403, "unknown_host"),
        (LOCAL, {"headers": [("Host", "localhost.evil.example")]}, 403, "unknown_host"),
        (LOCAL, {"headers": [("Host", "192.168.0.7")]}, 403, "unknown_host"),
        (LOCAL, {"headers": [("Host", "-")]}, 400, "bad_host"),
        (LOCAL, {"headers": [("Host", "localhost"), ("Host", "evil")]}, 400, "bad_host"),
        (LOCAL, {"headers": [("Host", "localhost:99999")]}, 400, "bad_host"),
        (LOCAL, {"headers": [("Host", "localhost@evil.example")]}, 400, "bad_host"),
        (LOCAL, {"headers": [("Origin", "http://localhost:8022")]}, 200, None),
        (LOCAL, {"headers": [("Origin", "null")]}, 403, "foreign_origin"),
        (LOCAL, {"headers": [("Origin", "http://localhost:9000")]}, 403, "foreign_origin"),
        (LOCAL, {"headers": [("Origin", "http://localhost:8022x")]}, 403, "foreign_origin"),
        (LOCAL, {"headers": [("Origin", "http://localhost:8022/")]}, 403, "foreign_origin"),
        (LOCAL, {"headers": [("Origin", "http://user@localhost:8022")]}, 403, "foreign_origin"),
        (LOCAL, {"headers": [("Origin", "file://")]}, 403, "foreign_origin"),
        (LOCAL, {"headers": [("Origin", "")]}, 403, "foreign_origin"),
        (LOCAL, {**POST, "headers": [("Sec-Fetch-Site", "cross-site")]}, 403, "foreign_origin"),
        (LOCAL, {"path": "/v1/jobs/../token"}, 404, "not_found"),
        (LOCAL, {"path": "/v1/jobs/%2e%2e/token"}, 404, "not_found"),
        (LOCAL, {"path": "//etc/passwd"}, 404, "not_found"),
        (LOCAL, {"path": "/v1/jobs/" + "a" * 65}, 404, "not_found"),
        (LOCAL, {"path": "/v1/jobs\\..\\token"}, 404, "not_found"),
        (LOCAL, {**POST, "headers": [("Content-Length", "101"), JSON]}, 413, "too_large"),
        (LOCAL, {"path": "/v1/videos", "method": "POST", "headers": [("Content-Length", "101"), JSON]}, 200, None),
        (LOCAL, {**POST, "headers": [("Content-Length", "1, 2")]}, 400, "bad_length"),
        (LOCAL, {**POST, "headers": [LENGTH, ("Transfer-Encoding", "chunked")]}, 400, "bad_length"),
        (LOCAL, {**POST, "headers": [LENGTH, ("Content-Type", "text/plain")]}, 415, TYPE),
        (LOCAL, {**POST, "headers": [LENGTH]}, 415, TYPE),
        (LOCAL, {**POST, "headers": [LENGTH, JSON, ("Content-Encoding", "gzip")]}, 415, TYPE),
        (LOCAL, {**POST, "headers": [LENGTH, FORM]}, 415, TYPE),
        (OPEN, {"headers": [("Host", "192.168.0.7:8022"), BEARER]}, 200, None),
        (OPEN, {"headers": [STUDIO, BEARER]}, 200, None),
        (OPEN, {"headers": [STUDIO, BEARER, ("Origin", "https://studio.example")]}, 200, None),
        (OPEN, {"headers": [STUDIO, BEARER, ("Origin", "https://studio.example:8443")]}, 403, "foreign_origin"),
        (OPEN, {"headers": [("Host", "rebound.example"), BEARER]}, 403, "unknown_host"),
        (OPEN, {}, 401, "unauthorized"),
        (OPEN, {"headers": [("Authorization", f"Bearer {TOKEN}x")]}, 401, "unauthorized"),
        (OPEN, {"headers": [("Authorization", f"Basic {TOKEN}")]}, 401, "unauthorized"),
        (OPEN, {"headers": [BEARER, BEARER]}, 401, "unauthorized"),
        (OPEN, {"path": "/healthz"}, 200, None),
    ],
)  # fmt: skip
def test_the_guard(settings, request_, status, code):
    answered, headers, body = ask(settings, **request_)
    assert (answered, body.get("code")) == (status, code)
    assert (
        headers["x-content-type-options"] == "nosniff"
        and "frame-ancestors 'none'" in headers["content-security-policy"]
    )
    assert headers["referrer-policy"] == "no-referrer" and "access-control-allow-origin" not in headers
    if status == 401:
        assert headers["www-authenticate"] == "Bearer"


def test_under_the_videos_an_error_is_openais_envelope():
    status, headers, body = ask(OPEN, path="/v1/videos")
    assert status == 401 and headers["content-type"] == "application/json"
    assert body["error"]["type"] == "authentication_error" and set(body["error"]) == {
        "message",
        "type",
        "param",
        "code",
    }
    assert ask(OPEN)[1]["content-type"] == "application/problem+json"


def test_a_body_without_a_length_is_counted_as_it_comes():
    headers = [("Transfer-Encoding", "chunked"), JSON]
    assert ask(LOCAL, method="POST", headers=headers, body=[b"x" * 60, b"x" * 40])[2] == {"bytes": 100}
    assert ask(LOCAL, method="POST", headers=headers, body=[b"x" * 60, b"x" * 41])[0] == 413


def test_a_server_that_ends_says_when_to_ask_again():
    status, headers, _ = ask(LOCAL, state=SimpleNamespace(draining=True))
    assert status == 503 and int(headers["retry-after"]) > 0


def test_who_asks_too_often_waits():
    now = [0.0]
    buckets = Buckets(rate=2, burst=3, clients=2, clock=lambda: now[0])
    assert [buckets.take("a") for _ in range(4)] == [True, True, True, False]
    assert buckets.take("b")
    now[0] = 0.5
    assert buckets.take("a") and not buckets.take("a")
    buckets.take("c")
    assert len(buckets.left) == 2


def test_wrong_tokens_are_slowed_and_then_the_right_one_too():
    guard = Guard(toy, OPEN, SimpleNamespace())
    statuses = [ask(OPEN, headers=[("Authorization", "Bearer no")], guard=guard)[0] for _ in range(102)]
    assert statuses[:100] == [401] * 100 and statuses[-1] == 429
    assert ask(OPEN, headers=[BEARER], guard=guard)[0] == 429


@pytest.mark.parametrize(
    ("token", "is_strong"), [(TOKEN, True), (TOKEN[:42], False), ("a" * 64, False), (TOKEN + "\n", False)]
)
def test_a_token_has_256_bits(token, is_strong):
    assert strong(token) is is_strong
