"""Requests that nobody means well: each is refused with the right status, and no file outside the folder changes."""

import hashlib
import json
import socket

import pytest
from unit.server.serving import listening

TOKEN = "0123456789abcdef" * 4
SECRET = "the content of a file that no answer may have"
ID = "job_" + "a" * 24
GONE, WRONG = {404}, {400, 404, 422}
BAD, JSON = {400}, "Content-Type: application/json"


def get(path, *headers, host="localhost"):
    return raw("GET", path, *headers, host=host)


def raw(method, path, *headers, host="localhost", body=b"", version="HTTP/1.1"):
    lines = [f"{method} {path} {version}", *([f"Host: {host}"] if host is not None else []), *headers]
    return "\r\n".join([*lines, "Connection: close", "", ""]).encode("latin-1") + body


def post(path, body, *headers, host="localhost", kind=JSON):
    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    kinds = [] if kind is None else [kind]
    return raw("POST", path, f"Content-Length: {len(body)}", *kinds, *headers, host=host, body=body)


def sent(method, path, body, *headers):
    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    return raw(method, path, f"Content-Length: {len(body)}", JSON, *headers, body=body)


LAUGHS = (
    b'<!DOCTYPE a [<!ENTITY b "'
    + b"c" * 1000
    + b'">'
    + b"".join(b'<!ENTITY b%d "%b">' % (n, b"&b%d;" % (n - 1) * 10 if n else b"&b;" * 10) for n in range(9))
    + b"]><xmeml>&b8;</xmeml>"
)
ENTITY = b'<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><xmeml version="4">&b;</xmeml>'


def form(name, content):
    """A file that is sent for import."""
    body = f'--b\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'.encode()
    body += content + b"\r\n--b--\r\n"
    return post("/v1/documents/import", body, kind="Content-Type: multipart/form-data; boundary=b")


def cut(media):
    """A timeline of one clip."""
    source = {"frames": 9, "rate": [24, 1], "size": [64, 48]}
    clip = {"id": "c", "type": "clip", "media": media, "in": 0, "out": 9, "duration": 9, "source": source}
    track = {"id": "v", "kind": "video", "items": [clip]}
    return {"wan22_timeline": 1, "rate": [24, 1], "size": [64, 48], "tracks": [track]}


def job(*headers, **request):
    return post("/v1/jobs", {"request": {"prompt": "a"} | request}, *headers)


def pieces(*parts):
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


def bearer(token):
    return f"Authorization: Bearer {token}"


OPEN = {  # of a server without a token, on this machine alone
    "dot dot": (get("/../token"), GONE),
    "dot dot behind a path": (get("/v1/jobs/../../token"), GONE),
    "escaped dots": (get("/%2e%2e/token"), GONE),
    "escaped slash": (get("/v1/jobs/..%2f..%2ftoken"), GONE),
    "escaped backslash": (get("/v1/jobs/..%5c..%5ctoken"), GONE),
    "backslash": (get("/v1/jobs/..\\..\\token"), GONE),
    "escaped twice": (get("/v1/jobs/%252e%252e%252ftoken"), GONE),
    "overlong dots": (get("/v1/jobs/%c0%ae%c0%ae/token"), GONE),
    "wide dots": (get("/v1/jobs/%ef%bc%8e%ef%bc%8e/token"), GONE),
    "a parameter in the path": (get("/v1/jobs/..;/token"), GONE),
    "two slashes": (get("//etc/passwd"), GONE),
    "a root in the path": (get("/v1/jobs//etc/passwd"), GONE),
    "a drive": (get("/v1/jobs/C:%5cWindows"), GONE),
    "a file address": (get("file:///etc/passwd"), BAD | GONE),
    "another server's address": (get("http://evil.example/v1/jobs"), BAD | GONE),
    "the database": (get("/jobs.sqlite"), GONE),
    "the token": (get("/token"), GONE),
    "the environment": (get("/proc/self/environ"), GONE),
    "hidden file": (get("/.env"), GONE),
    "git": (get("/.git/config"), GONE),
    "documents with scripts": (get("/docs"), GONE),
    "file above": (get(f"/v1/jobs/{ID}/files/../../token"), GONE),
    "file above, escaped": (get(f"/v1/jobs/{ID}/files/..%2f..%2ftoken"), GONE),
    "file with an end": (get(f"/v1/jobs/{ID}/files/video.mp4%00.html"), GONE),
    "file with dots": (get(f"/v1/jobs/{ID}/files/....//token"), GONE),
    "file that is hidden": (get(f"/v1/jobs/{ID}/files/.secret"), GONE),
    "preview above": (get("/v1/jobs/..%2f..%2fx/preview"), GONE),
    "id in capitals": (get("/v1/jobs/JOB_" + "A" * 24), WRONG),
    "id that is long": (get("/v1/jobs/" + "a" * 65), WRONG),
    "id with SQL": (get("/v1/jobs/'%20OR%201=1--"), GONE),
    "id with a line": (get("/v1/jobs/job_a%0aSet-Cookie:%20a=b"), GONE),
    "id of an input": (get("/v1/jobs/in_" + "a" * 24), WRONG),
    "id of nobody": (get(f"/v1/jobs/{ID}"), GONE),
    "SQL in a cursor": (get("/v1/jobs?after='--"), {422}),
    "path in a cursor": (get("/v1/jobs?after=../../token"), {422}),
    "endless page": (get("/v1/jobs?limit=99999999999999999999"), {422}),
    "the studio's files above": (get("/assets/../../token"), GONE),
    "the studio's files above, escaped": (get("/assets/%2e%2e/%2e%2e/token"), GONE),
    "a packed file of the studio": (get("/index.html.gz"), GONE),
    "the studio on a rebound name": (get("/", host="evil.example"), {403}),
    "the studio for a stranger's page": (get("/", "Origin: https://evil.example"), {403}),
    "a session for a stranger's page": (post("/v1/session", {}, "Origin: https://evil.example"), {403}),
    "a recipe above": (get("/v1/inputs/../../token/recipe"), GONE),
    "a recipe of nobody": (get("/v1/inputs/in_" + "a" * 24 + "/recipe"), GONE),
    "peaks of another file": (get(f"/v1/jobs/{ID}/peaks?file=../../token"), {422}),
    "peaks without end": (get(f"/v1/jobs/{ID}/peaks?points=99999999999"), {422}),
    "a sheet above": (get("/v1/inputs/..%2ftoken/spritesheet"), GONE),
    "an input of a path": (post("/v1/inputs/from-job", {"job": "/etc/passwd"}), {422}),
    "an input of a file above": (post("/v1/inputs/from-job", {"job": ID, "file": "../token"}), {422}),
    "a frame that is an option": (post("/v1/inputs/from-job", {"job": ID, "frame": "--which"}), {422}),
    "a frame beyond numbers": (post("/v1/inputs/from-job", {"job": ID, "frame": 10**30}), {422}),
    "a plan of a path": (post("/v1/plan", {"request": {"prompt": "a", "image": "/etc/passwd"}}), {422}),
    "a plan of a folder": (post("/v1/plan", {"request": {"prompt": "a", "model": "/etc"}}), {422}),
    "a plan of depth": (post("/v1/plan", {"request": {"prompt": [[[[[[[[[["a"]]]]]]]]]]}}), {422}),
    "a plan of a device": (post("/v1/plan", {"request": {"device": "cuda"}}), {422}),
    "a prompt of an engine": (post("/v1/prompts/extend", {"prompt": "a", "engine": "http://evil.example"}), {422}),
    "a prompt without end": (post("/v1/prompts/extend", {"prompt": "a" * 9000}), {422}),
    "speech of a server": (post("/v1/speech", {"text": "a", "speaker": "http://evil.example"}), {422}),
    "speech of an option": (post("/v1/speech", {"text": "a", "voice": "-f/etc/passwd;"}), {422}),
    "music of a server": (post("/v1/sounds", {"prompt": "a", "url": "http://evil.example"}), {422}),
    "music of nobody": (post("/v1/sounds", {"prompt": "a"}), {501}),
    "a rebound name": (get("/v1/jobs", host="evil.example"), {403}),
    "a rebound name with our port": (get("/v1/jobs", host="evil.example:8722"), {403}),
    "a name that begins as ours": (get("/v1/jobs", host="localhost.evil.example"), {403}),
    "a name that ends as ours": (get("/v1/jobs", host="evil-localhost"), {403}),
    "another address": (get("/v1/jobs", host="169.254.169.254"), {403}),
    "address as a number": (get("/v1/jobs", host="2130706433"), {403}),
    "address in IPv6": (get("/v1/jobs", host="[::ffff:7f00:1]"), {403}),
    "no host": (get("/v1/jobs", host=None), BAD),
    "no host, old version": (raw("GET", "/v1/jobs", host=None, version="HTTP/1.0"), BAD),
    "two hosts": (get("/v1/jobs", "Host: evil.example"), BAD),
    "host with a user": (get("/v1/jobs", host="localhost@evil.example"), BAD),
    "host with a path": (get("/v1/jobs", host="localhost/evil"), BAD),
    "host with a wrong port": (get("/v1/jobs", host="localhost:80x"), BAD),
    "forwarded host": (get("/v1/jobs", "X-Forwarded-Host: localhost", host="evil.example"), {403}),
    "origin null": (job("Origin: null"), {403}),
    "origin of a stranger": (job("Origin: https://evil.example"), {403}),
    "origin with another port": (job("Origin: http://localhost:9"), {403}),
    "origin with a wrong port": (job("Origin: http://localhost:80x"), {403}),
    "origin with a large port": (job("Origin: http://localhost:99999"), {403}),
    "origin with a user": (job("Origin: http://localhost@evil.example"), {403}),
    "origin with a path": (job("Origin: http://localhost/"), {403}),
    "origin that is empty": (job("Origin:"), {403}),
    "two origins": (job("Origin: http://localhost", "Origin: http://evil.example"), {403}),
    "origins in one": (job("Origin: http://localhost http://evil.example"), {403}),
    "origin of a file": (job("Origin: file://"), {403}),
    "a page without an origin": (job("Sec-Fetch-Site: cross-site"), {403}),
    "a page of a sister": (job("Sec-Fetch-Site: same-site"), {403}),
    "events for a stranger": (get("/v1/events", "Origin: https://evil.example"), {403}),
    "leave to ask": (raw("OPTIONS", "/v1/jobs", "Origin: https://evil.example"), {403}),
    "a form of a page": (post("/v1/jobs", b'{"request":{"prompt":"a"}}', kind="Content-Type: text/plain"), {415}),
    "a form": (post("/v1/jobs", b"prompt=a", kind="Content-Type: application/x-www-form-urlencoded"), {415}),
    "a form with files": (post("/v1/jobs", b"--b--", kind="Content-Type: multipart/form-data; boundary=b"), {415}),
    "no type": (post("/v1/jobs", b'{"request":{"prompt":"a"}}', kind=None), {415}),
    "XML": (post("/v1/jobs", b"<!DOCTYPE a>", kind="Content-Type: application/xml"), {415}),
    "two types": (job("Content-Type: text/plain"), {415}),
    "a packed body": (job("Content-Encoding: gzip"), {415}),
    "no JSON": (post("/v1/jobs", b"{"), BAD),
    "no text": (post("/v1/jobs", b"\xff\xfe"), BAD | {422}),
    "deep JSON": (post("/v1/jobs", b"[" * 200_000), BAD | {422}),
    "wide number": (post("/v1/jobs", b'{"priority":' + b"9" * 100_000 + b"}"), BAD | {422}),
    "a large body": (post("/v1/jobs", b" " * (2 << 20)), {413}),
    "a length that lies": (raw("POST", "/v1/jobs", "Content-Length: 99999999999", JSON), {413}),
    "a large body in pieces": (
        raw("POST", "/v1/jobs", "Transfer-Encoding: chunked", JSON, body=pieces(*[b" " * 65536] * 17)), {413}
    ),
    "length and pieces": (
        raw("POST", "/v1/jobs", "Content-Length: 5", "Transfer-Encoding: chunked", JSON, body=pieces(b"{}")), BAD
    ),
    "two lengths": (raw("POST", "/v1/jobs", "Content-Length: 2", "Content-Length: 3", JSON, body=b"{}"), BAD),
    "length with a sign": (raw("POST", "/v1/jobs", "Content-Length: +2", JSON, body=b"{}"), BAD),
    "length below nothing": (raw("POST", "/v1/jobs", "Content-Length: -2", JSON, body=b"{}"), BAD),
    "unknown coding": (raw("POST", "/v1/jobs", "Transfer-Encoding: xchunked", JSON, body=b"{}"), BAD | {501}),
    "piece of no length": (raw("POST", "/v1/jobs", "Transfer-Encoding: chunked", JSON, body=b"zz\r\n{}\r\n"), BAD),
    "a space in a name": (get("/v1/jobs", "X Evil: 1"), BAD),
    "a name before its colon": (get("/v1/jobs", "Transfer-Encoding : chunked"), BAD),
    "an end in a value": (get("/v1/jobs", "X-Evil: a\0b"), BAD),
    "a line in a value": (get("/v1/jobs", "X-Evil: a\rSet-Cookie: b"), BAD),
    "a large header": (get("/v1/jobs", "X-Evil: " + "a" * 100_000), BAD | {431}),
    "many headers": (get("/v1/jobs", *[f"X-{n}: a" for n in range(10_000)]), BAD | {431}),
    "a long path": (get("/" + "a" * 100_000), BAD | {431}),
    "an unknown version": (raw("GET", "/v1/jobs", version="HTTP/9.9"), BAD),
    "no HTTP": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", BAD),
    "TRACE": (raw("TRACE", "/v1/jobs"), {405}),
    "CONNECT": (raw("CONNECT", "evil.example:443"), BAD | {404, 405}),
    "PUT": (raw("PUT", "/v1/jobs"), {405}),
    "a list deleted": (raw("DELETE", "/v1/jobs"), {405}),
    "cancel by GET": (get(f"/v1/jobs/{ID}/cancel"), {405}),
    "method in a header": (get("/v1/jobs/nobody", "X-HTTP-Method-Override: DELETE"), GONE),
    "key with letters of no kind": (job("Idempotency-Key: \xff"), {422}),
    "key that is long": (job("Idempotency-Key: " + "k" * 1000), {422}),
    "image of a path": (job(image="/etc/passwd"), {422}),
    "image of a path above": (job(image="../../token"), {422}),
    "image of a file address": (job(image="file:///etc/passwd"), {422}),
    "image of this machine": (job(image="http://127.0.0.1:8722/"), {422}),
    "image of a cloud": (job(image="http://169.254.169.254/latest/meta-data/"), {422}),
    "image by a number": (job(image="http://2130706433/"), {422}),
    "image in IPv6": (job(image="http://[::ffff:127.0.0.1]/"), {422}),
    "image inside": (job(image="data:text/html,<script>"), {422}),
    "model of a path": (job(model="/etc"), {422}),
    "model of a hub": (job(model="someone/else"), {422}),
    "LoRA of a path": (job(lora=["/etc/passwd"]), {422}),
    "extender elsewhere": (job(extend="http://127.0.0.1:1/#m"), {422}),
    "speaker elsewhere": (job(say="a", speaker="http://127.0.0.1:1"), {422}),
    "output of a path": (job(output="/tmp/evil.mp4"), {422}),
    "a part of a model": (job(dit="/etc/passwd"), {422}),
    "the operator's matter": (job(device="cuda:7"), {422}),
    "name of a prototype": (job(__proto__={"a": 1}), {422}),
    "a rating of nobody's job": (sent("PATCH", f"/v1/jobs/{ID}", {"rating": 5}), GONE),
    "the state of a job said": (sent("PATCH", f"/v1/jobs/{ID}", {"state": "completed"}), {422}),
    "a result of a job said": (sent("PATCH", f"/v1/jobs/{ID}", {"measured": {}}), {422}),
    "a note that is half a letter": (sent("PATCH", f"/v1/jobs/{ID}", b'{"note":"\\ud800"}'), BAD | {422}),
    "a board with SQL": (get("/v1/jobs?board=%27%3B--%00"), {200, 422}),
    "nobody's video measured": (post(f"/v1/jobs/{ID}/measure", {}), GONE),
    "a file above measured": (post(f"/v1/jobs/{ID}/measure", {"file": "../../token"}), WRONG),
    "a measured path": (post(f"/v1/jobs/{ID}/measure", {"path": "/etc/passwd"}), {422}),
    "a job of the inside": (post("/v1/jobs", {"kind": "measure", "request": {"job": ID}}), {422}),
    "a document of nobody": (get("/v1/documents/doc_" + "a" * 24), GONE),
    "a document that is a job": (get(f"/v1/documents/{ID}"), WRONG),
    "a document above": (get("/v1/documents/..%2f..%2ftoken"), GONE),
    "a timeline of a path": (post("/v1/documents", {"data": cut({"path": "/etc/passwd"})}), {422}),
    "a timeline of an address": (post("/v1/documents", {"data": cut({"url": "http://169.254.169.254/"})}), {422}),
    "a timeline that is none": (post("/v1/documents", {"data": {"wan22_timeline": 1}}), {422}),
    "a deep timeline": (post("/v1/documents", b'{"data":' + b'{"a":' * 5000 + b"1" + b"}" * 5001), BAD | {422}),
    "a large document": (post("/v1/documents", b" " * (5 << 20)), {413}),
    "a document as text": (post("/v1/documents", b"data=1", kind="Content-Type: text/plain"), {415}),
    "a document over nobody's": (sent("PUT", "/v1/documents/doc_" + "a" * 24, {"data": {}}, 'If-Match: "1"'), GONE),
    "a revision of SQL": (sent("PUT", "/v1/documents/doc_" + "a" * 24, {"data": {}}, "If-Match: '--"), GONE),
    "nobody's timeline rendered": (post("/v1/documents/doc_" + "a" * 24 + "/render", {}), GONE),
    "a timeline rendered to a path": (post("/v1/documents/doc_" + "a" * 24 + "/render", {"output": "/tmp/x"}), {422}),
    "a render of the inside": (post("/v1/jobs", {"kind": "render", "request": {"document": {}}}), {422}),
    "an export of nobody's": (get("/v1/documents/doc_" + "a" * 24 + "/export?format=otio"), GONE),
    "an export to a path": (get("/v1/documents/doc_" + "a" * 24 + "/export?format=../../x"), {422}),
    "an import of an address": (post("/v1/documents/import", {"file": "file:///etc/passwd"}), BAD),
    "an import that is no form": (post("/v1/documents/import", b"<xmeml/>", kind="Content-Type: text/xml"), {415}),
    "a billion laughs": (form("cut.xml", LAUGHS), {422}),
    "an entity that is a file": (form("cut.xml", ENTITY), {422}),
    "a bundle that leads elsewhere": (form("cut.otioz", b"PK\x05\x06" + b"\0" * 18), {422}),
    "an import above": (form("../../token.otio", b"{}"), {422}),
    "an import of a program": (form("cut.py", b"import os"), {415}),
    "documents deleted": (raw("DELETE", "/v1/documents"), {405}),
    "a script with a path": (post("/v1/storyboards", {"script": "Shot 1: a ball\nImage: /etc/passwd"}), {422}),
    "a script with a model of a path": (post("/v1/storyboards", {"script": "Model: /etc\n\nShot 1: a"}), {422}),
    "a script with YAML's objects": (
        post("/v1/storyboards", {"script": "!!python/object/apply:os.system [a]", "options": {"format": "yaml"}}),
        {422},
    ),
    "a script of many shots": (post("/v1/storyboards", {"script": "Shot 1: a\n\n" * 2000}), {422}),
    "a script with the operator's matter": (
        post("/v1/storyboards", {"script": "Shot 1: a", "options": {"dit": "/etc"}}), {422}
    ),
    "nobody's storyboard": (get(f"/v1/storyboards/{ID}"), GONE),
    "nobody's storyboard again": (post(f"/v1/storyboards/{ID}/again", {"failing": True}), GONE),
    "the cut of nobody's storyboard": (post(f"/v1/storyboards/{ID}/timeline", {}), GONE),
    "boards changed": (sent("PATCH", "/v1/boards", {}), {405}),
}  # fmt: skip
CLOSED = {  # of a server with a token
    "no token": (get("/v1/jobs"), {401}),
    "wrong token": (get("/v1/jobs", bearer(TOKEN[:-1] + "0")), {401}),
    "a piece of the token": (get("/v1/jobs", bearer(TOKEN[:32])), {401}),
    "the token and more": (get("/v1/jobs", bearer(TOKEN + "0")), {401}),
    "an empty token": (get("/v1/jobs", "Authorization: Bearer"), {401}),
    "another scheme": (get("/v1/jobs", "Authorization: Basic " + TOKEN), {401}),
    "no scheme": (get("/v1/jobs", "Authorization: " + TOKEN), {401}),
    "two tokens": (get("/v1/jobs", bearer(TOKEN), bearer(TOKEN)), {401}),
    "token in the query": (get(f"/v1/jobs?token={TOKEN}"), {401}),
    "token in a cookie": (get("/v1/jobs", f"Cookie: token={TOKEN}"), {401}),
    "token of no letters": (get("/v1/jobs", bearer("\xe9" * 64)), {401}),
    "events without": (get("/v1/events"), {401}),
    "figures without": (get("/metrics"), {401}),
    "the document without": (get("/openapi.json"), {401}),
    "adding without": (job(), {401}),
    "deleting without": (raw("DELETE", f"/v1/jobs/{ID}"), {401}),
    "a path without": (get("/nowhere"), {401}),
    "websocket without": (get("/v1/events", "Upgrade: websocket", "Sec-WebSocket-Version: 13"), {401}),
    "as if from here": (get("/v1/jobs", "X-Forwarded-For: 127.0.0.1"), {401}),
    "right token, foreign page": (job(bearer(TOKEN), "Origin: https://evil.example"), {403}),
    "right token, rebound name": (get("/v1/jobs", bearer(TOKEN), host="evil.example"), {403}),
}  # fmt: skip


def seen(folder):
    """Every file with its content and time."""
    return {
        path: (path.stat().st_mtime_ns, hashlib.sha256(path.read_bytes()).hexdigest())
        for path in sorted(folder.rglob("*")) if path.is_file()
    }  # fmt: skip


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    """The ports of both servers, and a look at what lies beside their folders; it is compared in the end."""
    place = tmp_path_factory.mktemp("world")
    outside = place / "outside"
    outside.mkdir()
    (outside / "secret").write_text(SECRET)
    (place / "open").mkdir()
    (place / "open" / "token").write_text(SECRET)
    before = seen(outside), seen(place / "open")
    with (
        listening(place / "open", max_body=1 << 20) as (port, app),
        listening(place / "closed", host="0.0.0.0", token=TOKEN) as (other, _),
    ):
        yield {"open": port, "closed": other}
        assert app.state.store.jobs(limit=10) == []
    assert (
        seen(outside),
        {path: it for path, it in seen(place / "open").items() if path.name == "token"},
    ) == before
    assert {path.name for path in place.iterdir()} == {"outside", "open", "closed"}
    assert {path.name for path in (place / "open").iterdir()} <= {
        "token", "inputs", "jobs", "lock", "jobs.sqlite", "jobs.sqlite-wal", "jobs.sqlite-shm"
    }  # fmt: skip
    assert not [*(place / "open" / "jobs").iterdir(), *(place / "open" / "inputs").iterdir()]


def answer(port, sent):
    """Status, headers and body of the answer to bytes."""
    with socket.create_connection(("127.0.0.1", port), timeout=120) as connection:
        try:
            connection.sendall(sent)
        except OSError:  # it was refused before all was sent
            pass
        got = b""
        try:
            while piece := connection.recv(65536):
                got += piece
        except ConnectionError:
            pass
    head, _, body = got.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    return int(lines[0].split()[1]), [line.lower() for line in lines[1:]], body


@pytest.mark.parametrize(
    ("where", "name"), [*(("open", name) for name in OPEN), *(("closed", name) for name in CLOSED)]
)
def test_a_hostile_request_is_refused(servers, where, name):
    sent, statuses = (OPEN if where == "open" else CLOSED)[name]
    status, headers, body = answer(servers[where], sent)
    assert status in statuses, (status, body)
    assert SECRET.encode() not in body and b"Traceback" not in body and TOKEN.encode() not in body
    assert not [line for line in headers if line.startswith(("set-cookie", "access-control", "server:"))]


def test_the_table_is_long():
    assert len(OPEN) + len(CLOSED) >= 120


def test_the_same_servers_answer_those_who_mean_well(servers):
    assert answer(servers["open"], get("/v1/jobs"))[0] == 200
    assert answer(servers["open"], get("/v1/jobs", "Origin: http://localhost"))[0] == 200
    assert answer(servers["closed"], get("/v1/jobs", bearer(TOKEN)))[0] == 200
    assert answer(servers["closed"], get("/healthz"))[0] == 200
