# ruff: noqa: F811 - a test's arguments are named as the fixtures that are imported
"""Marks of provenance: in every file that is made, once, found broken after a change, and off by one switch."""

import json
import os
import re
import socket
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import c2pa
import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from PIL import Image
from unit.fake_engine import engine, everything, run  # noqa: F401 - fixtures

from wan22.atomic import swept
from wan22.errors import OptionError, OutputError
from wan22.jobs.stills import write_stills
from wan22.media import certificate, provenance
from wan22.media.image import read_image, write_image
from wan22.media.join import join_videos
from wan22.media.long_video import LongVideo
from wan22.media.provenance import Marking
from wan22.media.recipe import read_recipe
from wan22.media.sequence import images_of
from wan22.media.sequence_files import is_ours
from wan22.media.video import read_clip
from wan22.media.writer import VideoWriter
from wan22.pipeline.output import Video

VIDEOS = [
    ("a.mp4", None),
    ("a.mp4", "hevc"),
    ("a.mp4", "av1"),
    ("a.mov", None),
    ("a.mov", "h264"),
    ("a.gif", None),
]
IMAGES = ["a.png", "a.jpg", "a.webp"]
TYPE = "trainedAlgorithmicMedia"
RECIPE = {
    "wan22": "0.1.0",
    "model": "/home/zoe/secret-models/wan-t2v",
    "prompt": "a very private prompt",
    "inputs": {"image": "sha256:" + "ab" * 32, "audio": "sha256:" + "cd" * 32},
    "files": {"image": "zoe-at-home.png"},
    "frames_sha256": "ef" * 32,
}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """One for all: the certificate is made once."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(autouse=True)
def signing(monkeypatch, home):
    """The marks are on, and the user has a home of their own."""
    monkeypatch.delenv("WAN22_PROVENANCE")
    monkeypatch.setenv("XDG_DATA_HOME", str(home))


def frames(count=5, size=(48, 32)):
    noise = np.random.default_rng(0).integers(0, 255, (count, size[1] // 8, size[0] // 8, 3), dtype=np.uint8)
    return noise.repeat(8, 1).repeat(8, 2)


def video(path, codec=None, recipe=RECIPE, marking=None, count=5):
    with VideoWriter(path, fps=8, size=(48, 32), codec=codec, marking=marking) as writer:
        writer.add(frames(count))
        writer.close(recipe)
    return path


def image(path, recipe=RECIPE, marking=None):
    write_image(path, frames(1)[0], recipe, marking=marking)
    return path


def manifests(path):
    """Every manifest of a file; C2PA itself reads them."""
    with c2pa.Reader(str(path)) as reader:
        assert reader.get_validation_state() == "Valid"
        codes = {each["code"] for each in reader.get_validation_results()["activeManifest"]["failure"]}
        assert codes <= {"signingCredential.untrusted"}
        return list(json.loads(reader.json())["manifests"].values())


def check_signed(path):
    """Once, validly, by the self-made certificate; and marked for IPTC."""
    (manifest,) = manifests(path)
    created = manifest["assertions"][-1]["data"]["actions"][0]
    assert created["action"] == "c2pa.created" and created["digitalSourceType"].endswith(f"/{TYPE}")
    assert created["softwareAgent"]["name"] == "wan22"
    found = provenance.read(path)
    assert found.source_type == TYPE and found.signer == certificate.SELF_MADE and not found.problems
    return manifest


# Every container


@pytest.mark.parametrize(("name", "codec"), VIDEOS)
def test_a_video_is_signed_and_marked_and_its_frames_and_recipe_stay(tmp_path, name, codec):
    marked = video(tmp_path / name, codec)
    check_signed(marked)
    plain = video(tmp_path / f"plain-{name}", codec, marking=Marking(on=False))
    assert provenance.read(plain) is None
    marked.write_bytes(plain.read_bytes())  # x265 need not give the same packets again
    provenance.mark(marked, marked.suffix[1:], RECIPE)
    check_signed(marked)
    assert read_recipe(marked) == RECIPE
    assert (read_clip(marked).frames == read_clip(plain).frames).all()
    assert marked.stat().st_size - plain.stat().st_size < 8000
    assert everything(tmp_path) == sorted([name, f"plain-{name}"])


@pytest.mark.parametrize("name", IMAGES)
def test_an_image_is_signed_and_marked_and_its_pixels_and_recipe_stay(tmp_path, name):
    plain, marked = image(tmp_path / f"plain-{name}", marking=Marking(on=False)), image(tmp_path / name)
    check_signed(marked)
    assert provenance.read(plain) is None
    assert read_recipe(marked) == RECIPE and (read_image(marked) == read_image(plain)).all()
    assert marked.stat().st_size - plain.stat().st_size < 8000, "a thumbnail is a copy of the image"


def test_pillow_finds_the_mark_of_an_image_where_xmp_belongs(tmp_path):
    for name, key in zip(IMAGES, ("XML:com.adobe.xmp", "xmp", "xmp"), strict=True):
        with Image.open(image(tmp_path / name)) as opened:
            packet = opened.info[key]
        text = packet if isinstance(packet, str) else packet.decode()
        assert f"digitalsourcetype/{TYPE}" in text


@pytest.mark.parametrize("name", ["a.mp4", "a.mov"])
def test_the_mark_of_a_video_is_a_box_at_its_end_that_says_how_long_it_is(tmp_path, name):
    content = video(tmp_path / name, "h264").read_bytes()
    at, kinds = 0, []
    while at < len(content):
        size = int.from_bytes(content[at : at + 4], "big")
        kinds.append(content[at + 4 : at + 8])
        last, at = content[at : at + size], at + size
    assert at == len(content) and kinds[0] == b"ftyp" and kinds[-1] == b"uuid"
    assert last[8:24].hex() == "be7acfcb97a942e89c71999491e3afac" and last[24:] == provenance.xmp()


def test_a_webm_has_no_place_for_marks_and_is_written(tmp_path):
    assert provenance.read(video(tmp_path / "a.webm")) is None
    assert read_recipe(tmp_path / "a.webm") == RECIPE


def test_the_images_of_a_sequence_are_each_marked_and_stay_ours(tmp_path):
    with VideoWriter(f"{tmp_path}/shots/", fps=8, size=(48, 32), recipe=RECIPE) as writer:
        writer.add(frames())
    images = images_of(tmp_path / "shots")
    assert len(images) == 5 and all(map(is_ours, images))
    assert [provenance.read(each).as_json() for each in images] == [
        {"digital_source_type": TYPE, "signature": "none"}
    ] * 5
    assert read_recipe(tmp_path / "shots") == RECIPE


def test_what_no_model_made_is_not_marked(tmp_path):
    """A rendered scene, a sheet of images: a file without a recipe."""
    for path in (video(tmp_path / "a.mp4", recipe=None), image(tmp_path / "a.png", recipe=None)):
        assert provenance.read(path) is None
    with VideoWriter(f"{tmp_path}/shots/", fps=8, size=(48, 32)) as writer:
        writer.add(frames())
    assert all(provenance.read(each) is None for each in images_of(tmp_path / "shots"))


def test_nothing_private_is_signed_and_inputs_are_named_by_their_hash(tmp_path):
    manifest = check_signed(image(tmp_path / "a.png"))
    text = json.dumps(manifest)
    for word in ("private", "zoe", "secret", "/home", "png", str(tmp_path)):
        assert word not in text, word
    assert "wan-t2v" in text and "thumbnail" not in text
    given = {each["title"]: (each["relationship"], each["instance_id"]) for each in manifest["ingredients"]}
    assert given == {
        "image": ("inputTo", f"urn:sha256:{'ab' * 32}"),
        "audio": ("inputTo", f"urn:sha256:{'cd' * 32}"),
    }


# A changed byte


@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.gif", *IMAGES])
def test_a_changed_byte_is_found(tmp_path, name):
    path = image(tmp_path / name) if name in IMAGES else video(tmp_path / name)
    content = bytearray(path.read_bytes())
    said = content.find(b"very private")
    if said < 0:
        said = content.find(b"very".hex().encode())
    assert said > 0
    content[said] ^= 1
    path.write_bytes(content)
    found = provenance.read(path)
    assert found.signed and found.as_json()["signature"] == "broken"
    assert any("mismatch" in problem for problem in found.problems), found.problems


def test_changed_frames_are_found(tmp_path):
    path = video(tmp_path / "a.mp4")
    content = bytearray(path.read_bytes())
    content[content.find(b"mdat") + 200] ^= 1
    path.write_bytes(content)
    assert "bmffHash" in provenance.read(path).problems[0]


def test_a_manifest_that_is_damaged_itself_is_broken_and_no_error(tmp_path):
    path = image(tmp_path / "a.png")
    content = path.read_bytes()
    at = content.find(b"c2pa.actions")
    path.write_bytes(content[:at] + b"\xff" * 40 + content[at + 40 :])
    assert provenance.read(path).as_json()["signature"] == "broken"


# Joined and long videos


def test_a_joined_video_is_signed_once_and_names_its_parts(tmp_path):
    parts = [video(tmp_path / f"{n}.mp4") for n in "ab"]
    join_videos(parts, tmp_path / "all.mp4", {"joined": [RECIPE, RECIPE, {"clips_sha256": "12" * 32}]})
    manifest = check_signed(tmp_path / "all.mp4")
    assert [each["relationship"] for each in manifest["ingredients"]] == ["componentOf"] * 3
    assert [each["action"] for each in manifest["assertions"][-1]["data"]["actions"]] == [
        "c2pa.created", "c2pa.placed", "c2pa.placed", "c2pa.placed",
    ]  # fmt: skip
    assert len(read_clip(tmp_path / "all.mp4").frames) == 10


def test_what_goes_on_with_somebody_elses_video_is_made_in_part(tmp_path):
    parts = [video(tmp_path / f"{n}.mp4") for n in "ab"]
    join_videos(parts, tmp_path / "all.mp4", {"joined": [None, RECIPE]})
    found = provenance.read(tmp_path / "all.mp4")
    assert found.source_type == found.signed_type == "compositeWithTrainedAlgorithmicMedia"
    assert not found.problems


@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "shots/"])
def test_a_long_video_is_signed_when_it_is_whole(tmp_path, name):
    with LongVideo(f"{tmp_path}/{name}", fps=8, size=(48, 32), identity={}) as long:
        for _ in range(2):
            long.add(frames())
            long.finish_clip()
        long.close(RECIPE)
    if name == "shots/":
        assert [provenance.read(each).source_type for each in images_of(tmp_path / name)] == [TYPE] * 10
    else:
        check_signed(tmp_path / name)
        assert len(read_clip(tmp_path / name).frames) == 10
    assert read_recipe(tmp_path / name) == RECIPE


def test_audio_comes_before_the_signature(tmp_path):
    def sounding(silent, whole):
        whole.write_bytes(silent.read_bytes())

    for writer in (
        VideoWriter(tmp_path / "a.mp4", fps=8, size=(48, 32)),
        LongVideo(tmp_path / "b.mp4", fps=8, size=(48, 32), identity={}),
    ):
        with writer:
            writer.add(frames())
            if isinstance(writer, LongVideo):
                writer.finish_clip()
            writer.close(RECIPE, sounding)
        check_signed(writer.path)
    assert everything(tmp_path) == ["a.mp4", "b.mp4"]


def test_a_video_of_the_pipeline_is_signed(tmp_path):
    check_signed(Video(frames(), 8, RECIPE).save(tmp_path / "a.mp4"))


def test_small_images_of_a_video_are_marked(tmp_path, monkeypatch):
    source = video(tmp_path / "a.mp4")
    names = write_stills(source, tmp_path)
    assert [provenance.read(tmp_path / name).source_type for name in names] == [TYPE] * 2
    monkeypatch.setenv("WAN22_PROVENANCE", "off")
    assert not any(provenance.read(tmp_path / name) for name in write_stills(source, tmp_path))


# Commands


@pytest.mark.parametrize(
    ("words", "made"),
    [
        (("generate", "p"), ["x.mp4"]),
        (("generate", "p", "--frames", 21), ["x.mp4"]),
        (("generate", "p", "--count", 2), ["x-1.mp4", "x-2.mp4"]),
        (
            ("generate", "a close-up at night", "--best-of", 2, "--keep-takes"),
            ["x-take-0.mp4", "x-take-1.mp4", "x.mp4"],
        ),
        (("image", "p"), ["x.png"]),
    ],
)  # fmt: skip
def test_what_a_command_makes_is_signed_once(engine, run, tmp_path, words, made):
    output = "x.png" if words[0] == "image" else "x.mp4"
    code, _, err = run(*words, "-o", output)
    assert code == 0, err
    assert everything(tmp_path) == made
    for name in made:
        check_signed(tmp_path / name)


def test_what_is_decoded_later_is_signed(engine, run, tmp_path):
    engine.fail["decode"] = RuntimeError("no")
    assert run("generate", "p", "-o", "x.mp4")[0] == 1
    engine.fail.clear()
    assert run("decode", "x.mp4.latents.safetensors")[0] == 0
    check_signed(tmp_path / "x.mp4")


def test_a_signed_video_is_made_again_with_the_same_frames(engine, run, tmp_path):
    assert run("generate", "p", "-o", "x.mp4")[0] == 0
    code, _, err = run("generate", "--from", "x.mp4", "-o", "y.mp4")
    assert code == 0 and "identical" in err
    check_signed(tmp_path / "y.mp4")


@pytest.mark.parametrize("how", ["option", "environment"])
def test_one_switch_turns_all_marks_off(engine, run, tmp_path, monkeypatch, how):
    if how == "environment":
        monkeypatch.setenv("WAN22_PROVENANCE", "off")
    words = ["--no-provenance"] if how == "option" else []
    for name in ("x.mp4", "long.mp4", "shots/", "x.png"):
        command = "image" if name == "x.png" else "generate"
        more = ["--frames", 21] if name == "long.mp4" else []
        assert run(command, "p", "-o", name, *words, *more)[0] == 0
    for path in (tmp_path / name for name in everything(tmp_path)):
        assert provenance.read(path) is None, path


def test_a_switch_that_cannot_be_understood_is_refused_before_any_work(engine, run, tmp_path, monkeypatch):
    monkeypatch.setenv("WAN22_PROVENANCE", "maybe")
    code, _, err = run("generate", "p", "-o", "x.mp4")
    assert code == 2 and "WAN22_PROVENANCE must be on or off, not 'maybe'" in err
    assert not engine.requests and not everything(tmp_path)


def test_show_says_who_signed_and_whether_it_is_whole(engine, run, tmp_path):
    assert run("generate", "p", "-o", "x.mp4")[0] == 0
    out = run("show", "x.mp4")[1]
    assert f"digital_source_type {TYPE}" in out and "signature        valid" in out
    assert f"signed_by        {certificate.SELF_MADE}" in out
    told = json.loads(run("show", "x.mp4", "--json")[1])
    assert told["prompt"] == "p" and told["provenance"]["issuer"] == "self-made"
    assert told["provenance"]["software"].startswith("wan22 ") and told["provenance"]["model"] == "nano"
    content = bytearray(Path("x.mp4").read_bytes())
    content[content.find(b"mdat") + 200] ^= 1
    Path("x.mp4").write_bytes(content)
    code, out, _ = run("show", "x.mp4")
    assert code == 0 and "signature        broken" in out and "assertion.bmffHash.mismatch" in out


def test_show_says_the_provenance_of_a_file_without_a_recipe(run, tmp_path):
    path = image(tmp_path / "a.png", None)
    provenance.mark(path, "png", {})
    code, out, _ = run("show", path)
    assert code == 0 and "signature        valid" in out and "prompt" not in out
    code, _, err = run("show", image(tmp_path / "b.png", None))
    assert code == 2 and "carries no recipe" in err


# What goes wrong is said, and the file is written


def test_without_the_library_a_file_is_marked_and_that_is_said(engine, run, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "c2pa", None)
    code, out, err = run("generate", "p", "-o", "x.mp4")
    assert code == 0 and out == "x.mp4\n"
    assert "not signed (C2PA): c2pa cannot be imported" in err
    found = provenance.read(tmp_path / "x.mp4")
    assert found.source_type == TYPE and not found.signed
    assert read_recipe("x.mp4")["prompt"] == "p" and everything(tmp_path) == ["x.mp4"]


def test_a_signature_that_fails_leaves_a_whole_file_and_says_why(tmp_path, monkeypatch):
    def fails(*args):
        raise c2pa.C2paError("no room")

    monkeypatch.setattr(c2pa.Builder, "sign", fails)
    told = []
    path = video(tmp_path / "a.mp4", marking=Marking(note=told.append))
    assert told == ["the file is marked as made by a model (IPTC), and not signed (C2PA): no room"]
    assert read_recipe(path) == RECIPE and len(read_clip(path).frames) == 5
    assert everything(tmp_path) == ["a.mp4"]


def test_a_full_disk_while_signing_leaves_a_whole_file(tmp_path, monkeypatch):
    def full(self, mode="r", *args, **more):
        if mode == "w+b":
            raise OSError(28, "No space left on device")
        return opened(self, mode, *args, **more)

    opened = Path.open
    monkeypatch.setattr(Path, "open", full)
    told = []
    path = video(tmp_path / "a.mp4", marking=Marking(note=told.append))
    assert len(told) == 1 and "No space left" in told[0]
    assert read_recipe(path) == RECIPE and everything(tmp_path) == ["a.mp4"]


# The self-made certificate


def test_the_certificate_is_made_once_for_its_owner_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    first = check_signed(image(tmp_path / "a.png"))
    path = certificate.self_made_path()
    assert path.is_relative_to(tmp_path) and path.stat().st_mode & 0o777 == 0o600
    assert everything(path.parent) == ["certificate.pem"]
    content = path.read_bytes()
    certificate._self_made.cache_clear()  # as another process
    second = check_signed(image(tmp_path / "b.png"))
    assert content == path.read_bytes()
    serial = [each["signature_info"]["cert_serial_number"] for each in (first, second)]
    assert serial[0] == serial[1]


MAKE = (
    "from wan22.media.certificate import self_made; made, said = self_made(); print(made.key.decode(), said)"
)


def test_of_several_processes_that_make_it_at_once_all_have_the_same(tmp_path):
    environment = {**os.environ, "XDG_DATA_HOME": str(tmp_path)}
    makers = [
        subprocess.Popen([sys.executable, "-c", MAKE], env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    said = {maker.communicate()[0] for maker in makers}
    assert len(said) == 1 and "PRIVATE KEY" in said.pop()
    assert everything(tmp_path / "wan22") == ["certificate.pem"]


def test_a_home_that_cannot_be_written_gives_one_for_this_process_and_says_so(tmp_path, monkeypatch):
    (tmp_path / "home").write_text("a file")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    told = []
    for name in ("a.png", "b.png"):
        check_signed(image(tmp_path / name, marking=Marking(note=told.append)))
    assert len(told) == 2 and all("cannot be kept" in text and "one of its own" in text for text in told)


def test_a_damaged_certificate_is_left_and_said(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    path = certificate.self_made_path()
    path.parent.mkdir()
    path.write_bytes(b"-----BEGIN PRIVATE KEY-----\nhalf")
    told = []
    check_signed(image(tmp_path / "a.png", marking=Marking(note=told.append)))
    assert len(told) == 1 and "remove it" in told[0]
    assert path.read_bytes().endswith(b"half")


# The user's own certificate

VALID, EXPIRED, FUTURE = (2020, 2049), (2020, 2021), (2090, 2091)


def pem(key, lock=None):
    how = BestAvailableEncryption(lock) if lock else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, how)


USAGES = (
    "content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only", "decipher_only",
)  # fmt: skip


def issued(
    key, *, years=VALID, ca=False, signs=True, purpose=ExtendedKeyUsageOID.EMAIL_PROTECTION, own=False
):
    """A certificate of an authority for `key`, before that of the authority: PEM."""
    root = ec.generate_private_key(ec.SECP256R1())

    def name(text):
        return x509.Name([
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, text), x509.NameAttribute(NameOID.COMMON_NAME, text)
        ])  # fmt: skip

    def one(subject, of, is_ca, by, issuer):
        usage = dict.fromkeys(USAGES, False)
        usage |= {"digital_signature": signs and not is_ca, "key_cert_sign": is_ca, "crl_sign": not signs}
        built = (
            x509.CertificateBuilder().subject_name(name(subject)).issuer_name(name(issuer)).public_key(of.public_key())
            .serial_number(x509.random_serial_number()).not_valid_before(datetime(years[0], 1, 1, tzinfo=UTC))
            .not_valid_after(datetime(years[1], 1, 1, tzinfo=UTC))
            .add_extension(x509.BasicConstraints(is_ca, None), True)
            .add_extension(x509.KeyUsage(**usage), True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(of.public_key()), False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(by.public_key()), False)
        )  # fmt: skip
        if purpose and not is_ca:
            built = built.add_extension(x509.ExtendedKeyUsage([purpose]), False)
        algorithm = None if isinstance(by, ed25519.Ed25519PrivateKey) else SHA256()
        return built.sign(by, algorithm).public_bytes(Encoding.PEM)

    if own:
        return one("ada", key, ca, key, "ada")
    return one("ada", key, ca, root, "an authority") + one("an authority", root, True, root, "an authority")


def curve(kind=ec.SECP256R1):
    return ec.generate_private_key(kind())


def file(tmp_path, *parts):
    path = tmp_path / "mine.pem"
    path.write_bytes(b"".join(parts))
    return str(path)


@pytest.mark.parametrize(
    "key",
    [curve, lambda: curve(ec.SECP384R1), lambda: curve(ec.SECP521R1), ed25519.Ed25519PrivateKey.generate,
     lambda: rsa.generate_private_key(65537, 2048)],
    ids=["p256", "p384", "p521", "ed25519", "rsa"],
)  # fmt: skip
def test_a_certificate_of_ones_own_signs(tmp_path, key):
    mine = key()
    leaf, root = issued(mine).split(b"-----END CERTIFICATE-----\n")[:2]
    end = b"-----END CERTIFICATE-----\n"
    marking = Marking(certificate=file(tmp_path, root + end, pem(mine), leaf + end))  # in any order
    marking.check()
    found = provenance.read(image(tmp_path / "a.png", marking=marking))
    assert found.signer == "ada" and not found.problems and found.as_json()["issuer"] == "unknown"


def test_a_certificate_is_taken_by_option_and_environment(engine, run, tmp_path, monkeypatch):
    mine = curve()
    path = file(tmp_path, issued(mine), pem(mine))
    assert run("generate", "p", "-o", "x.mp4", "--certificate", path)[0] == 0
    monkeypatch.setenv("WAN22_CERTIFICATE", path)
    assert run("image", "p", "-o", "x.png")[0] == 0
    assert [provenance.read(name).signer for name in ("x.mp4", "x.png")] == ["ada"] * 2


def refused():
    mine = curve()
    ours = issued(mine)
    return {
        "expired": ((issued(mine, years=EXPIRED), pem(mine)), "has expired: it is valid from"),
        "future": ((issued(mine, years=FUTURE), pem(mine)), "is not valid yet"),
        "mismatched": ((issued(curve()), pem(mine)), "its private key does not fit its certificate"),
        "no key": ((ours,), "holds no private key"),
        "two keys": ((ours, pem(mine), pem(curve())), "holds 2 private keys"),
        "no certificate": ((pem(mine),), "holds no certificate"),
        "locked": ((ours, pem(mine, b"word")), "locked with a passphrase"),
        "authority": ((issued(mine, ca=True), pem(mine)), "is an authority's"),
        "own issuer": ((issued(mine, own=True), pem(mine)), "is its own issuer"),
        "no signatures": ((issued(mine, signs=False), pem(mine)), "is not for digital signatures"),
        "no purpose": ((issued(mine, purpose=None), pem(mine)), "does not say what it is for"),
        "web server": ((issued(mine, purpose=ExtendedKeyUsageOID.SERVER_AUTH), pem(mine)), "C2PA does not take"),
        "short key": (sign_with(rsa.generate_private_key(65537, 1024)), "a key of its kind .RSA 1024. cannot sign"),
        "other curve": (sign_with(curve(ec.SECP256K1)), "secp256k1"),
        "other kind": (sign_with(dsa.generate_private_key(1024)), "DSA 1024"),
        "damaged key": ((ours, b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"), "cannot be read"),
        "no pem": ((b"\x30\x82",), "holds no private key"),
        "empty": ((), "holds no private key"),
    }  # fmt: skip


def sign_with(key):
    return issued(key), pem(key)


REFUSED = refused()


@pytest.mark.parametrize("which", REFUSED)
def test_a_certificate_that_cannot_sign_is_refused(tmp_path, which):
    parts, said = REFUSED[which]
    with pytest.raises(OptionError, match=said) as error:
        Marking(certificate=file(tmp_path, *parts)).check()
    assert "mine.pem" in str(error.value)


@pytest.mark.parametrize("words", [("generate", "p"), ("image", "p"), ("storyboard", "s.txt")])
def test_a_wrong_certificate_is_one_error_before_any_work(engine, run, tmp_path, words):
    Path("s.txt").write_text("A ball.\n")
    parts, said = REFUSED["expired"]
    code, out, err = run(*words, "--certificate", file(tmp_path, *parts))
    assert (code, out) == (2, "") and said in err and err.count("\n") == 1
    assert not engine.requests and not engine.loaded
    assert run(*words, "--certificate", "nowhere.pem")[0] == 2


def test_a_certificate_is_not_looked_at_where_nothing_is_signed(engine, run, tmp_path):
    path = file(tmp_path, *REFUSED["expired"][0])
    assert run("generate", "p", "-o", "x.mp4", "--no-provenance", "--certificate", path)[0] == 0


def test_a_certificate_that_expires_while_a_video_is_made_loses_no_video(tmp_path):
    told = []
    marking = Marking(certificate=file(tmp_path, *REFUSED["expired"][0]), note=told.append)
    path = video(tmp_path / "a.mp4", marking=marking)
    assert len(told) == 1 and "has expired" in told[0]
    assert provenance.read(path).as_json() == {"digital_source_type": TYPE, "signature": "none"}


def test_a_place_that_is_taken_meanwhile_is_left(tmp_path):
    (tmp_path / "a.mp4").write_text("mine")
    with (
        pytest.raises(OutputError),
        VideoWriter(tmp_path / "a.mp4", fps=8, size=(48, 32), existing="refuse") as writer,
    ):
        writer.add(frames())
        writer.close(RECIPE)
    assert (tmp_path / "a.mp4").read_text() == "mine" and everything(tmp_path) == ["a.mp4"]


def test_no_address_in_a_strangers_file_is_asked(tmp_path):
    """A manifest may lie elsewhere: the file names an address."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0)
        plain = image(tmp_path / "a.png", marking=Marking(on=False))
        own, _ = certificate.self_made()
        info = c2pa.C2paSignerInfo(own.algorithm.encode(), own.chain, own.key, None)
        with c2pa.Builder(json.dumps(provenance._manifest(RECIPE))) as builder:
            builder.set_no_embed()
            builder.set_remote_url(f"http://127.0.0.1:{server.getsockname()[1]}/manifest")
            with plain.open("rb") as source, (tmp_path / "b.png").open("w+b") as target:
                builder.sign(c2pa.Signer.from_info(info), "image/png", source, target)
        assert b"127.0.0.1" in (tmp_path / "b.png").read_bytes()
        found = provenance.read(tmp_path / "b.png")
        with pytest.raises(BlockingIOError):
            server.accept()
    assert found is None or not found.signer


def test_a_file_that_is_half_signed_when_the_process_ends_is_swept_by_the_next(tmp_path, monkeypatch):
    names = []

    def killed(c2pa, source, target, *rest):
        names.append(Path(target.name).name)
        raise KeyboardInterrupt

    monkeypatch.setattr(provenance, "_sign", killed)
    with pytest.raises(KeyboardInterrupt):
        image(tmp_path / "a.png")
    (name,) = names
    assert everything(tmp_path) == []
    # The same name, of a process that is gone.
    left = tmp_path / re.sub(r"-\d+-[0-9a-f]{6}-", "-1-000000-", name)
    left.write_bytes(b"half")
    assert swept(tmp_path) == [left]


def test_what_finishes_a_failed_decode_marks_as_was_asked(engine, run, tmp_path):
    engine.fail["decode"] = RuntimeError("no")
    mine = curve()
    path = file(tmp_path, issued(mine), pem(mine))
    assert "--no-provenance" in run("generate", "p", "-o", "x.mp4", "--no-provenance")[2]
    assert f"--certificate {path}" in run("generate", "p", "-o", "y.mp4", "--certificate", path)[2]


def test_a_server_does_not_begin_with_a_certificate_that_cannot_sign(run, tmp_path, monkeypatch):
    parts, said = REFUSED["expired"]
    monkeypatch.setenv("WAN22_CERTIFICATE", file(tmp_path, *parts))
    code, out, err = run("serve", "--data", tmp_path / "data", "--port", 0)
    assert (code, out) == (2, "") and said in err and not (tmp_path / "data").exists()
