"""What is sent to a server: bombs and fakes are refused with the right code, and nothing of them stays."""

import base64
import io
import ssl
from types import SimpleNamespace

import pytest
from bombs import FAKES, gif, mp4, png
from live import serving, small_video
from PIL import Image

from wan22.server import fetching
from wan22.server.problems import Refusal
from wan22.server.settings import Settings

LIMIT = 16 << 20


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("server"), Settings(max_upload=LIMIT)) as live:
        yield live


@pytest.fixture(autouse=True)
def nothing_stays(server):
    before = files(server)
    yield
    for row in server.store.inputs(limit=1000):
        assert server.folder.input(row.id).stat().st_size == row.bytes
    known = {row.id for row in server.store.inputs(limit=1000)}
    assert {path for path in files(server) if path not in before} <= known


def files(server):
    return {path.name for path in (server.folder.path / "inputs").iterdir()}


def send(server, content, name="a.png", path="/inputs", field="file", **more):
    return server.http.post(path, files={field: (name, content)}, data=more)


def test_what_is_sent_is_kept(server, tmp_path):
    content = small_video(tmp_path / "a.mp4").read_bytes()
    answer = send(server, content, "../../films/größe\x1b.mp4")
    row = answer.json()
    assert answer.status_code == 201
    assert answer.headers["location"] == f"/v1/inputs/{row['id']}"
    assert (row["type"], row["width"], row["frames"], row["name"]) == ("video/mp4", 64, 8, "größe.mp4")
    place = f"/inputs/{row['id']}"
    assert server.http.get(place).json() == row
    assert server.http.get(f"{place}/content").content == content
    head = server.http.head(f"{place}/content")
    assert (head.headers["content-type"], head.headers["etag"]) == ("video/mp4", f'"{row["sha256"]}"')
    assert row in server.http.get("/inputs").json()["data"]
    assert server.http.delete(place).status_code == 204
    assert server.http.get(place).status_code == 404
    assert server.http.delete(place).status_code == 404
    assert not server.folder.input(row["id"]).exists()


def test_an_input_that_a_job_needs_stays(server):
    place = io.BytesIO()
    Image.new("RGB", (8, 8)).save(place, "PNG")
    id = send(server, place.getvalue()).json()["id"]
    with server.worker.holding():
        body = {"prompt": "a ball", "image": id}
        job = server.http.post("/videos", json=body).json()["id"]
        answer = server.http.delete(f"/inputs/{id}")
        assert answer.status_code == 409
        assert job in answer.json()["detail"]


@pytest.mark.parametrize("name", ["hls.mp4", "list.mp4", "drawing.svg", "page.png"])
def test_fakes_are_refused(server, name):
    answer = send(server, FAKES[name][0], name)
    assert answer.status_code == 415
    assert answer.json()["code"] == "unsupported_media_type"
    assert FAKES[name][1] in answer.json()["detail"]
    assert str(server.folder.path) not in answer.text
    assert name in answer.json()["detail"]


def test_fakes_are_refused_by_the_videos_in_their_envelope(server):
    answer = send(server, FAKES["archive.webm"][0], path="/videos", field="input_reference", prompt="a ball")
    assert answer.status_code == 415
    assert answer.json()["error"]["type"] == "invalid_request_error"


BOMBS = {
    "png of 900 megapixels": lambda place: png(place, 30_000, 30_000),
    "4096 x 4096 x 130": lambda place: mp4(place, 130, 4096),
    "long gif": lambda place: gif(place, 7000, 16),
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_are_refused(server, tmp_path, name):
    answer = send(server, BOMBS[name](tmp_path / "bomb").read_bytes())
    assert (answer.status_code, answer.json()["code"]) == (413, "media_too_large")


def test_damage_is_refused(server, tmp_path):
    whole = small_video(tmp_path / "a.mp4").read_bytes()
    for content in (b"", whole[: len(whole) // 2]):
        answer = send(server, content, "a.mp4")
        assert (answer.status_code, answer.json()["code"]) == (422, "unreadable_media")


def test_too_many_bytes_are_refused(server):
    answer = send(server, bytes(LIMIT + 1))
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


def test_without_a_file_it_is_said(server):
    assert server.http.post("/inputs", data={"file": "text"}).json()["code"] == "missing_file"
    assert server.http.post("/inputs", content=b"x", headers={"Content-Type": "image/png"}).status_code == 415
    broken = {"Content-Type": "multipart/form-data; boundary=x"}
    assert server.http.post("/inputs", content=b"--y", headers=broken).status_code == 400
    assert (
        server.http.post("/inputs", content=b"", headers={"Content-Type": "multipart/form-data"}).status_code
        == 400
    )


def test_what_a_request_sent_goes_if_it_is_refused(server):
    place = io.BytesIO()
    Image.new("RGB", (8, 8)).save(place, "PNG")
    before = files(server)
    answer = send(
        server, place.getvalue(), path="/videos", field="input_reference", prompt="a ball", solver="no-such"
    )
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "solver"
    assert files(server) == before


def test_a_full_disk_is_said(server, monkeypatch):
    from wan22.errors import OutputError

    def full(bytes):
        raise OutputError("the disk is full")

    monkeypatch.setattr(server.folder, "check_space", full)
    answer = send(server, b"x")
    assert (answer.status_code, answer.json()["code"]) == (507, "insufficient_storage")


# Addresses


def test_data_urls():
    body = base64.b64encode(b"hello").decode()
    for url in (f"data:image/png;base64,{body}", "data:text/plain,hel%6Co", f"DATA:;BASE64,{body}"):
        assert fetching.open_url(url, "image", allowed=False).read() == b"hello"
    for url in ("data:", "data:image/png;base64,@@@"):
        with pytest.raises(Refusal) as error:
            fetching.open_url(url, "image", allowed=True)
        assert error.value.code == "invalid_url"
    with pytest.raises(Refusal) as error:
        fetching.open_url("data:," + "x" * fetching.MAX_DATA_URL, "image", allowed=True)
    assert error.value.status_code == 413


@pytest.mark.parametrize(
    "url", ["http://example.com/a.png", "https://example.com/a.png", "HTTPS://EXAMPLE.COM"]
)
def test_addresses_of_the_net_are_off(server, url):
    body = {"prompt": "a ball", "input_reference": {"image_url": url}}
    answer = server.http.post("/videos", json=body)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["code"], error["param"]) == ("url_inputs_off", "input_reference")


@pytest.mark.parametrize(
    "url",
    ["http://example.com", "ftp://example.com", "file:///etc/passwd", "gopher://x", "javascript:1",
     "https://user:key@example.com/", "https://", "https://a:99999/", "https://x y/"],
)  # fmt: skip
def test_addresses_of_other_kinds_are_never_fetched(url, monkeypatch):
    monkeypatch.setattr(fetching.socket, "getaddrinfo", lambda *_, **__: pytest.fail("nothing is resolved"))
    with pytest.raises(Refusal) as error:
        fetching.open_url(url, "image", allowed=True)
    assert error.value.status_code == 400


NOT_PUBLIC = [
    "127.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1",
    "255.255.255.255", "::1", "::", "fe80::1%eth0", "fc00::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:a9fe:a9fe",
    "64:ff9b::7f00:1", "64:ff9b::a00:1", "2002:7f00:1::", "2002:a9fe:a9fe::", "2001:db8::1", "192.0.2.1", "nonsense",
]  # fmt: skip


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_addresses_that_are_not_public(address):
    assert not fetching.is_public(address)


def test_public_addresses():
    assert fetching.is_public("8.8.8.8")
    assert fetching.is_public("2606:4700::1111")
    assert fetching.is_public("::ffff:8.8.8.8")


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "127.0.0.1",
        "2130706433",
        "0x7f000001",
        "127.1",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "017700000001",
    ],
)
def test_no_spelling_leads_to_this_machine(host):
    with pytest.raises(Refusal, match=r"public net|is not known"):
        fetching.open_url(f"https://{host}/a.png", "image", allowed=True)


def test_one_address_that_is_not_public_is_enough(monkeypatch):
    found = [(0, 0, 0, "", (address, 443)) for address in ("8.8.8.8", "10.0.0.1")]
    monkeypatch.setattr(fetching.socket, "getaddrinfo", lambda *_, **__: found)
    with pytest.raises(Refusal, match="public net"):
        fetching.open_url("https://rebinds.example/", "image", allowed=True)


class Answer(io.BytesIO):
    status = 200

    def read1(self, size=-1):
        return self.read(size)


@pytest.fixture
def fetched(monkeypatch):
    """Fetch over a connection that is none; returns what it was opened to."""
    seen = {"resolved": 0}

    def resolve(host, port, **_):
        seen["resolved"] += 1
        return [(0, 0, 0, "", ("8.8.8.8", port))]

    class Connection:
        def __init__(self, host, port, address, context):
            seen.update(host=host, port=port, address=address, context=context)
            self.sock = self

        def settimeout(self, seconds):
            assert 0 < seconds <= fetching.MAX_SECONDS

        def request(self, method, path, headers):
            seen.update(path=path, headers=headers)

        def getresponse(self):
            return seen["answer"]

        def close(self):
            seen["closed"] = True

    monkeypatch.setattr(fetching.socket, "getaddrinfo", resolve)
    monkeypatch.setattr(fetching, "_Pinned", Connection)
    return seen


def test_an_address_is_resolved_once_and_connected_to(fetched):
    fetched["answer"] = Answer(b"content")
    found = fetching.open_url("https://example.com:8443/a.png?b=1#c", "image", allowed=True).read()
    assert found == b"content"
    assert (fetched["address"], fetched["port"], fetched["path"]) == ("8.8.8.8", 8443, "/a.png?b=1")
    assert (fetched["resolved"], fetched["closed"], fetched["host"]) == (1, True, "example.com")
    assert fetched["context"].verify_mode == ssl.CERT_REQUIRED
    assert fetched["context"].check_hostname


@pytest.mark.parametrize("status", [301, 302, 307, 404, 500])
def test_no_redirect_is_followed(fetched, status):
    fetched["answer"] = Answer(b"")
    fetched["answer"].status = status
    with pytest.raises(Refusal, match=str(status)):
        fetching.open_url("https://example.com/", "image", allowed=True)
    assert fetched["closed"]


def test_what_is_fetched_has_a_limit(fetched, monkeypatch):
    monkeypatch.setattr(fetching, "MAX_BYTES", 1000)
    fetched["answer"] = Answer(bytes(1001))
    with pytest.raises(Refusal, match="more than"):
        fetching.open_url("https://example.com/", "image", allowed=True)


def test_what_is_fetched_has_a_time(fetched, monkeypatch):
    fetched["answer"] = Answer(b"content")
    times = iter([0.0, 5.0, 10.5])
    monkeypatch.setattr(fetching, "time", SimpleNamespace(monotonic=lambda: next(times)))
    with pytest.raises(Refusal, match="takes more than 10 s"):
        fetching.open_url("https://example.com/", "image", allowed=True)
