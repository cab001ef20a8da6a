"""What a finished file says of where it comes from: that a model made it, by what, and that nobody changed it since.

Two marks, both by default, in every file that carries a recipe of ours. IPTC's DigitalSourceType "trained algorithmic
media" is a line of XMP that photo programs show. A C2PA manifest says the same with program, version and model, and is
signed over the whole file, so that a changed byte is found. Neither holds a prompt, a name of a file or a person. WebM
has no place for either; a sequence of images has the first in each image, and no signature.

`mark` is called by every writer on the whole file, before it gets its name.
"""

from __future__ import annotations

import json
import os
import re
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from wan22.atomic import temporary_name
from wan22.errors import OptionError
from wan22.files import PathLike, check_file, reason_of
from wan22.media import gif
from wan22.media.certificate import SELF_MADE, Certificate, load, self_made
from wan22.media.file_types import file_type
from wan22.version import __version__

if TYPE_CHECKING:
    from types import ModuleType

__all__ = ["XMP_KEY", "Marking", "Provenance", "mark", "read", "xmp"]

SWITCH, CERTIFICATE = "WAN22_PROVENANCE", "WAN22_CERTIFICATE"
"""Variables of the environment: "off" or "on"; the file of a certificate of one's own."""

_CODES = "http://cv.iptc.org/newscodes/digitalsourcetype/"
_MADE, _IN_PART = "trainedAlgorithmicMedia", "compositeWithTrainedAlgorithmicMedia"  # IPTC NewsCodes
_TYPES = {
    "mp4": "video/mp4",
    "mov": "video/quicktime",
    "gif": "image/gif",
    "png": "image/png",
    "jpeg": "image/jpeg",
    "webp": "image/webp",
}
"""Media types of what is signed."""

XMP_KEY = "XML:com.adobe.xmp"
"""The name of XMP among the texts of a PNG."""

_XMP_BOX = UUID("be7acfcb-97a9-42e8-9c71-999491e3afac").bytes  # XMP specification, part 3, 1.3.9 (MPEG-4)
_XMP_GIF = b"\x21\xff\x0bXMP DataXMP"  # the same, 1.1.2: an application extension, with bytes that end it
_GIF_TRAILER = bytes([1, *range(255, -1, -1), 0])
_SAID = re.compile(rb"DigitalSourceType(?:\s*=\s*[\"']|>)\s*(?:http://cv\.iptc\.org/[a-z/]+/)?(\w+)")

# No thumbnail: it is a smaller copy of the image, takes ten times as long as the signature, and 17 KB.
_SIGNING = {"builder": {"thumbnail": {"enabled": False}}, "verify": {"verify_after_sign": False}}
# A stranger's file may name an address: it is not asked.
_READING = {"verify": {"remote_manifest_fetch": False, "ocsp_fetch": False}}
_UNTRUSTED = "signingCredential.untrusted"


@dataclass(frozen=True)
class Marking:
    """How files are marked: `on`, by whose certificate (None: a self-made one), and who hears what went wrong."""

    on: bool = True
    certificate: str | None = None
    note: Callable[[str], None] = warnings.warn

    @classmethod
    def asked(cls, on: bool = True, certificate: str | None = None) -> Marking:
        """What was asked, and what the environment says. Raises OptionError if it cannot be understood."""
        said = os.environ.get(SWITCH, "").lower() or "on"
        if said not in ("on", "off"):
            raise OptionError(f"{SWITCH} must be on or off, not {said!r}")
        return cls(on and said == "on", certificate or os.environ.get(CERTIFICATE) or None)

    @property
    def options(self) -> tuple[str, ...]:
        """What asks a command for the same, where the environment does not."""
        usual = Marking.asked()
        if not self.on:
            return ("--no-provenance",) if usual.on else ()
        return (
            ("--certificate", self.certificate) if self.certificate not in (None, usual.certificate) else ()
        )

    def check(self) -> None:
        """Raise OptionError, before any work, if the user's own certificate cannot sign."""
        if self.on and self.certificate is not None:
            _trial(self.certificate)

    def loaded(self) -> Certificate:
        """The certificate; what is to be said of a self-made one is noted."""
        if self.certificate is not None:
            return load(self.certificate)
        own, said = self_made()
        if said:
            self.note(said)
        return own


def xmp(recipe: dict[str, Any] | None = None) -> bytes:
    """The packet of XMP that says IPTC's DigitalSourceType and the program."""
    return (
        '<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?>'
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/"'
        ' xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"'
        f' xmp:CreatorTool="wan22 {__version__}" Iptc4xmpExt:DigitalSourceType="{_CODES}{_type_of(recipe or {})}"/>'
        '</rdf:RDF></x:xmpmeta><?xpacket end="r"?>'
    ).encode("ascii")


def marks_of_stills() -> dict[str, bytes]:
    """What Pillow's `save` of a JPEG or WebP takes to mark a small image of what a model made, if files are marked."""
    return {"xmp": xmp()} if Marking.asked().on else {}


def _type_of(recipe: dict[str, Any]) -> str:
    """Made by a model; or in part, where a video of somebody else's goes on with one of ours."""
    return _IN_PART if any(part is None for part in recipe.get("joined") or ()) else _MADE


def mark(path: Path, kind: str, recipe: dict[str, Any] | None, marking: Marking | None = None) -> None:
    """Mark and sign the whole file `path` in place; `kind` is its kind as `output_paths.target_kind` says.

    A file without a recipe was not made by a model and is left as it is, and so is one of a kind without a place for
    marks. Images have their XMP from whoever encodes them. What keeps a file from being signed is noted.
    """
    marking = Marking.asked() if marking is None else marking
    if recipe is None or not marking.on or kind not in _TYPES:
        return
    packet = xmp(recipe)
    if kind in ("mp4", "mov"):
        with path.open("ab") as file:
            file.write((24 + len(packet)).to_bytes(4, "big") + b"uuid" + _XMP_BOX + packet)
    elif kind == "gif":
        gif.insert(path, _XMP_GIF + packet + _GIF_TRAILER)
    if why := _signed(path, _TYPES[kind], recipe, marking):
        marking.note(f"the file is marked as made by a model (IPTC), and not signed (C2PA): {why}")


def _signed(path: Path, media_type: str, recipe: dict[str, Any], marking: Marking) -> str:
    """Sign a file in place; return "", or why it could not be."""
    try:
        c2pa = _library()
    except (ImportError, OSError, RuntimeError, ValueError) as error:  # no library for this system
        return f"c2pa cannot be imported: {reason_of(error)}"
    # `path` is a temporary name itself; one made from it would not say whose it is.
    part = temporary_name(path.with_name("signed"))
    try:
        with path.open("rb") as source, part.open("w+b") as target:
            _sign(c2pa, source, target, media_type, recipe, marking.loaded())
        part.replace(path)
    except (c2pa.C2paError, OSError, OptionError) as error:
        return reason_of(error)
    finally:
        part.unlink(missing_ok=True)
    return ""


def _library() -> ModuleType:
    """The library, which only what signs or reads a signature needs to import."""
    import c2pa

    return c2pa


def _sign(
    c2pa: ModuleType, source: Any, target: Any, media_type: str, recipe: dict[str, Any], by: Certificate
) -> None:
    # Without an address of a time stamper: nothing is sent anywhere.
    info = c2pa.C2paSignerInfo(by.algorithm.encode(), by.chain, by.key, None)
    with (
        c2pa.Context.from_dict(_SIGNING) as context,
        c2pa.Signer.from_info(info) as signer,
        c2pa.Builder(json.dumps(_manifest(recipe)), context) as builder,
    ):
        builder.sign(signer, media_type, source, target)


def _manifest(recipe: dict[str, Any]) -> dict[str, Any]:
    """What is signed: that a model made it, which, and from what by its hash. No prompt, no name, no path."""
    agent = {"name": "wan22", "version": __version__}
    created: dict[str, Any] = {
        "action": "c2pa.created",
        "digitalSourceType": f"{_CODES}{_type_of(recipe)}",
        "softwareAgent": agent,
    }
    ingredients = list(_ingredients(recipe))
    parameters: dict[str, Any] = {}
    if isinstance(model := recipe.get("model"), str):
        parameters["wan22.model"] = Path(model).name
    if inputs := [each["label"] for each in ingredients if each["relationship"] == "inputTo"]:
        parameters["ingredientIds"] = inputs
    if parameters:
        created["parameters"] = parameters
    placed = [
        {"action": "c2pa.placed", "softwareAgent": agent, "parameters": {"ingredientIds": [each["label"]]}}
        for each in ingredients
        if each["relationship"] == "componentOf"
    ]
    actions = {"label": "c2pa.actions.v2", "data": {"actions": [created, *placed]}}
    return {"claim_generator_info": [agent], "assertions": [actions], "ingredients": ingredients}


def _ingredients(recipe: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """What it was made from: inputs of the model, or the videos that were joined."""
    for name, digest in (recipe.get("inputs") or {}).items():
        yield _ingredient(name, "inputTo", digest)
    for number, part in enumerate(recipe.get("joined") or (), 1):
        each = part or {}
        digest = each.get("frames_sha256") or each.get("clips_sha256") or ""
        yield _ingredient(f"part {number}", "componentOf", digest)


def _ingredient(title: str, relationship: str, digest: str) -> dict[str, Any]:
    entry = {"title": title, "relationship": relationship, "label": title.replace(" ", "_")}
    return entry | ({"instance_id": f"urn:sha256:{digest.removeprefix('sha256:')}"} if digest else {})


@lru_cache
def _trial(path: str) -> None:
    """Sign the smallest image, and read it back. Raises OptionError for a certificate that cannot."""
    from io import BytesIO

    from PIL import Image

    by = load(path)
    try:
        c2pa = _library()
    except (ImportError, OSError, RuntimeError, ValueError):
        return  # said when there is a file
    image, signed = BytesIO(), BytesIO()
    Image.new("RGB", (8, 8)).save(image, "PNG")
    image.seek(0)
    try:
        _sign(c2pa, image, signed, "image/png", {}, by)
        signed.seek(0)
        wrong = _problems(c2pa.Reader("image/png", signed))
    except c2pa.C2paError as error:
        wrong = [reason_of(error)]
    if wrong:
        raise OptionError(f"{path}: C2PA does not take this certificate: {'; '.join(wrong)}")


# Reading


@dataclass(frozen=True)
class Provenance:
    """What a file says of where it comes from.

    `source_type` is IPTC's, from XMP, and `signed_type` the same as signed, both without the address before it;
    `software` is the program that signed, `signer` the name in its certificate. `problems` are codes of C2PA with their
    meaning: the signature is broken if there is one.
    """

    source_type: str = ""
    signer: str = ""
    software: str = ""
    signed_type: str = ""
    model: str = ""
    trusted: bool = False
    problems: tuple[str, ...] = ()

    @property
    def signed(self) -> bool:
        """Whether there is a signature, valid or not."""
        return bool(self.signer or self.problems)

    def as_json(self) -> dict[str, Any]:
        """What is known, as JSON values."""
        said: dict[str, Any] = {"digital_source_type": self.source_type or self.signed_type}
        if not self.signed:
            return said | {"signature": "none"}
        issuer = "self-made" if self.signer == SELF_MADE else "known" if self.trusted else "unknown"
        said |= {"signature": "broken" if self.problems else "valid"}
        said |= {"problems": list(self.problems)} if self.problems else {}
        said |= {"signed_by": self.signer, "issuer": issuer, "software": self.software, "model": self.model}
        return {name: value for name, value in said.items() if value != ""}


def read(path: PathLike) -> Provenance | None:
    """What a file says of where it comes from; None if it says nothing.

    Raises MediaError if it is no image or video. Without the library for C2PA only the IPTC mark is read.
    """
    kind = file_type(path)
    path = check_file(path)
    source_type = _source_type(path)
    found = Provenance(source_type) if source_type else None
    try:
        c2pa = _library()
    except (ImportError, OSError, RuntimeError, ValueError):
        return found
    media_type = _TYPES.get("mp4" if kind == "mov" else kind)
    if media_type is None:
        return found
    try:
        with (
            path.open("rb") as file,
            c2pa.Context.from_dict(_READING) as context,
            c2pa.Reader(media_type, file, context=context) as reader,
        ):
            return _of_reader(reader, source_type)
    except c2pa.C2paError.ManifestNotFound:
        return found
    except c2pa.C2paError as error:
        return Provenance(source_type, problems=(reason_of(error),))


def _source_type(path: Path) -> str:
    """IPTC's type as the XMP in a file says it; "" if it says none."""
    with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as content:
        match = _SAID.search(content)
        return match[1].decode("ascii") if match else ""


def _of_reader(reader: Any, source_type: str) -> Provenance:
    manifest = reader.get_active_manifest() or {}
    signature = manifest.get("signature_info") or {}
    actions = [
        action
        for assertion in manifest.get("assertions") or ()
        if assertion["label"].startswith("c2pa.actions")
        for action in assertion["data"].get("actions") or ()
    ]
    first: dict[str, Any] = actions[0] if actions else {}
    program = (manifest.get("claim_generator_info") or [{}])[0]
    return Provenance(
        source_type=source_type,
        signer=signature.get("issuer") or signature.get("common_name") or "unknown",
        software=f"{program.get('name', '')} {program.get('version', '')}".strip(),
        signed_type=str(first.get("digitalSourceType", "")).rpartition("/")[2],
        model=str((first.get("parameters") or {}).get("wan22.model", "")),
        trusted=reader.get_validation_state() == "Trusted",
        problems=tuple(_problems(reader)),
    )


def _problems(reader: Any) -> list[str]:
    """What does not hold, but for an issuer that is not known."""
    results = (reader.get_validation_results() or {}).get("activeManifest") or {}
    failures = [each for each in results.get("failure") or () if each["code"] != _UNTRUSTED]
    told = [f"{each['code']}: {each.get('explanation', '')}".rstrip(": ") for each in failures]
    return told or (["the signature is not valid"] if reader.get_validation_state() == "Invalid" else [])
