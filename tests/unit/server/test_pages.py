"""The studio's files over HTTP: what is sent, how long it is kept, and that it needs no token while the API does."""

import gzip
import os

import pytest
from unit.server.serving import serving

from wan22.server.session import SECONDS, cookie_name, may_read, reading

TOKEN = "k3vX0pQ9" * 6
SCRIPT = b"console.log('a page of the studio');\n" * 50


@pytest.fixture
def built(tmp_path):
    """Built files as Vite makes them, and one beside the folder that nobody may have."""
    root = tmp_path / "dist"
    (root / "assets").mkdir(parents=True)
    (root / "terms" / "lens").mkdir(parents=True)
    (root / "index.html").write_text("<!doctype html><title>wan22</title>" * 20)
    (root / "assets" / "index-Dk3x_Z1a.js").write_bytes(SCRIPT)
    (root / "terms" / "lens" / "fisheye.webp").write_bytes(b"RIFF")
    (root / "build.json").write_text("{}")
    (tmp_path / "secret.txt").write_text("nobody may have this")
    return root


@pytest.fixture
def client(tmp_path, built):
    with serving(tmp_path / "data", built=built) as client:
        yield client


@pytest.mark.parametrize(
    ("path", "kind", "cache"),
    [
        ("/", "text/html; charset=utf-8", "no-cache"),
        ("/index.html", "text/html; charset=utf-8", "no-cache"),
        (
            "/assets/index-Dk3x_Z1a.js",
            "text/javascript; charset=utf-8",
            "public, max-age=31536000, immutable",
        ),
        ("/terms/lens/fisheye.webp", "image/webp", "no-cache"),
        ("/build.json", "application/json", "no-cache"),
    ],
)
def test_a_file_has_its_type_and_is_kept_as_long_as_it_is_true(client, path, kind, cache):
    answer = client.get(path)
    assert answer.status_code == 200 and answer.headers["content-type"] == kind
    assert answer.headers["cache-control"] == cache
    assert "script-src" not in answer.headers["content-security-policy"]
    assert answer.headers["content-security-policy"].startswith("default-src 'self'; ")
    assert answer.headers["x-content-type-options"] == "nosniff"
    again = client.get(path, headers={"If-None-Match": answer.headers["etag"]})
    assert (
        again.status_code == 304 and again.content == b"" and again.headers["etag"] == answer.headers["etag"]
    )
    head = client.head(path)
    assert head.status_code == 200 and head.content == b""
    assert head.headers["content-length"] == answer.headers["content-length"]


def test_text_is_packed_for_those_who_read_it(client, built):
    path, file = "/assets/index-Dk3x_Z1a.js", built / "assets" / "index-Dk3x_Z1a.js"
    packed = client.get(path, headers={"Accept-Encoding": "br, gzip"})
    assert packed.headers["content-encoding"] == "gzip" and packed.content == SCRIPT
    assert (
        int(packed.headers["content-length"]) < len(SCRIPT) / 4
        and packed.headers["vary"] == "Accept-Encoding"
    )
    for said in ("identity", "gzip;q=0", "br"):
        plain = client.get(path, headers={"Accept-Encoding": said})
        assert "content-encoding" not in plain.headers and plain.content == SCRIPT
    assert "content-encoding" not in client.get("/terms/lens/fisheye.webp").headers
    beside = file.with_name(file.name + ".gz")
    beside.write_bytes(gzip.compress(b"packed before"))
    os.utime(file, ns=(1, 1))
    assert client.get(path, headers={"Accept-Encoding": "gzip"}).content == b"packed before"
    assert client.get(path + ".gz").status_code == 404


def test_a_new_build_is_seen_without_a_new_start(client, built):
    first = client.get("/")
    (built / "index.html").write_text("another page")
    assert client.get("/").text == "another page"
    assert client.get("/", headers={"If-None-Match": first.headers["etag"]}).status_code == 200


def test_nothing_outside_the_folder_is_sent(client, built):
    (built / "link.txt").symlink_to(built.parent / "secret.txt")
    (built / "folder").symlink_to(built.parent)
    for path in ("/../secret.txt", "/%2e%2e/secret.txt", "/assets/../../secret.txt", "/link.txt", "/folder/secret.txt",
                 "/assets", "/terms/lens", "/nothing.js", "/assets/index-Dk3x_Z1a.js/x"):  # fmt: skip
        answer = client.get(path)
        assert answer.status_code == 404 and "nobody" not in answer.text, path


def test_other_paths_and_methods_stay_what_they_were(client):
    assert client.get("/healthz").json()["status"] == "ok"
    assert client.get("/v1/nothing").status_code == client.post("/v1/nothing", json={}).status_code == 404
    answer = client.post("/", json={})
    assert answer.status_code == 405 and set(answer.headers["allow"].split(", ")) == {"GET", "HEAD"}
    assert client.get("/", headers={"Host": "evil.example"}).status_code == 403
    assert client.get("/", headers={"Origin": "https://evil.example"}).status_code == 403


def test_without_built_files_a_page_says_what_to_do(tmp_path):
    with serving(tmp_path / "data", built=tmp_path / "nowhere") as client:
        answer = client.get("/")
        assert answer.status_code == 404 and "npm run build" in answer.text
        assert answer.headers["content-type"].startswith("text/plain")
        assert client.get("/v1/capabilities").status_code == 200


def test_pages_need_no_token_and_the_api_does(tmp_path, built):
    with serving(tmp_path / "data", built=built, token=TOKEN) as client:
        assert client.get("/").status_code == client.get("/assets/index-Dk3x_Z1a.js").status_code == 200
        for path in ("/v1/jobs", "/v1/capabilities", "/metrics", "/nothing", "/v1/events"):
            assert client.get(path).status_code == 401, path


def test_a_session_lets_a_browser_read_and_no_more(tmp_path, built):
    with serving(tmp_path / "data", built=built, token=TOKEN) as client:
        assert client.post("/v1/session").status_code == 401
        begun = client.post("/v1/session", headers={"Authorization": f"Bearer {TOKEN}"})
        assert begun.status_code == 204 and TOKEN not in str(begun.headers)
        (said,) = begun.headers.get_list("set-cookie")
        assert all(word in said for word in ("HttpOnly", f"Max-Age={SECONDS}", "SameSite=strict", "Path=/v1"))
        assert client.get("/v1/jobs").status_code == 200  # the client sends the cookie
        assert client.post("/v1/jobs", json={"request": {"prompt": "a ball"}}).status_code == 401
        assert client.delete("/v1/jobs/job_" + "a" * 24).status_code == 401
        assert client.post("/v1/session").status_code == 401
        client.cookies.clear()
        for wrong in ("", TOKEN, "0" * 64, f"{10**10}.{'0' * 64}", f"²{said}"):
            cookie = f"{cookie_name(TOKEN)}={wrong}".encode()
            assert client.get("/v1/jobs", headers={b"Cookie": cookie}).status_code == 401


def test_a_session_ends_after_12_hours_and_is_of_one_server():
    begun = 1_800_000_000
    kept = f"{cookie_name(TOKEN)}={reading(TOKEN, begun + SECONDS)}"
    assert SECONDS == 12 * 3600 and may_read([kept], TOKEN, begun + SECONDS - 1)
    assert not may_read([kept], TOKEN, begun + SECONDS)
    assert not may_read([kept.replace(str(begun + SECONDS), str(begun + 2 * SECONDS))], TOKEN, begun)
    other = TOKEN[::-1]
    assert cookie_name(other) != cookie_name(TOKEN)  # a browser keeps both, whatever their ports
    both = f"{kept}; {cookie_name(other)}={reading(other, begun + SECONDS)}"
    assert may_read([both], TOKEN, begun) and may_read([both], other, begun)
    assert not may_read([f"{cookie_name(other)}={reading(TOKEN, begun + SECONDS)}"], other, begun)


def test_where_there_is_no_token_a_session_is_nothing(client):
    begun = client.post("/v1/session")
    assert begun.status_code == 204 and "set-cookie" not in begun.headers
