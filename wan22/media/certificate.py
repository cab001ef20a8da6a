"""The certificate that files are signed with: the user's own, or one that is made once for each user and kept.

A file of PEM holds both the private key and the chain of certificates. A self-made one says that nobody changed a file
since wan22 signed it, and nothing of who the user is: readers call it valid, and its signer unknown.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from wan22.atomic import put, temporary_file
from wan22.errors import OptionError, OutputError
from wan22.files import PathLike, read_bytes, reading, reason_of

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

__all__ = ["SELF_MADE", "Certificate", "load", "self_made", "self_made_path"]

SELF_MADE = "wan22, self-made certificate"
"""The organisation that a self-made certificate names."""

_VALID = datetime(2020, 1, 1, tzinfo=UTC), datetime(2049, 12, 31, tzinfo=UTC)
"""Fixed, so that a wrong clock makes no expired certificate, and it does not say when it was made."""

_PEM = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----.*?-----END \1-----\r?\n?", re.DOTALL)
_KEY, _CHAIN = b"PRIVATE KEY", b"CERTIFICATE"
_CURVES = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}
_LEAST_RSA = 2048
_NEEDS = (
    "C2PA takes a chain in PEM, the signer's certificate before its issuers', with the signer's private key in the "
    "same file (cat chain.pem key.pem > both.pem); issued by an authority for digital signatures and e-mail "
    "protection, with a key of EC (P-256, P-384, P-521), Ed25519 or RSA"
)


@dataclass(frozen=True)
class Certificate:
    """A chain in PEM, the signer's first; its private key (PKCS 8, PEM); the algorithm, as C2PA names it."""

    chain: bytes
    key: bytes = field(repr=False)
    algorithm: str = "es256"


def self_made_path() -> Path:
    """Where the user's self-made certificate is kept."""
    from platformdirs import user_data_path

    return user_data_path("wan22") / "certificate.pem"


def self_made() -> tuple[Certificate, str]:
    """The certificate of this user, made the first time; and what is to be said: "", or why it could not be kept.

    Of several processes that make it at once, all get that of the first. Where it cannot be kept or read, one is made
    for this process alone.
    """
    return _self_made(self_made_path())


@cache
def _self_made(path: Path) -> tuple[Certificate, str]:
    try:
        if not os.path.lexists(path):
            _keep(path, _made())
        return _parsed(path.read_bytes()), ""
    except (OSError, OutputError, ValueError) as error:
        why = (
            f"the certificate {path} cannot be kept or read ({reason_of(error)}), so what is made now is signed with "
            "one of its own"
        )
        return _parsed(_made()), why


def _keep(path: Path, content: bytes) -> None:
    """Write the file for its owner's eyes alone, unless another process was first."""
    with temporary_file(path) as part:
        handle = os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        try:
            put(part, path, replace=False)
        except FileExistsError:
            return


def _parsed(content: bytes) -> Certificate:
    """Read a file that `_keep` wrote, without a library: it takes longer to import than a file to sign."""
    blocks = [(match[1], match[0]) for match in _PEM.finditer(content)]
    keys = [block for name, block in blocks if name == _KEY]
    chain = [block for name, block in blocks if name == _CHAIN]
    if len(keys) != 1 or len(chain) != 2:
        raise ValueError("it is damaged; remove it, and a new one is made")
    return Certificate(b"".join(chain), keys[0])


def _made() -> bytes:
    """A new key with its certificate, and that of an issuer whose key is forgotten at once."""
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    root, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    chain = (
        _certificate(key, root, "wan22", is_root=False),
        _certificate(root, root, "wan22 root", is_root=True),
    )
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return b"".join([secret, *(each.public_bytes(Encoding.PEM) for each in chain)])


def _certificate(
    key: EllipticCurvePrivateKey, issuer: EllipticCurvePrivateKey, name: str, *, is_root: bool
) -> x509.Certificate:
    """A certificate as C2PA 2.2, 14.5.1 asks for it."""
    from cryptography import x509
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    def called(name: str) -> x509.Name:
        return x509.Name(
            [
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, SELF_MADE),
                x509.NameAttribute(NameOID.COMMON_NAME, name),
            ]
        )

    usage = x509.KeyUsage(
        digital_signature=not is_root,
        key_cert_sign=is_root,
        crl_sign=is_root,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
    built = (
        x509.CertificateBuilder()
        .subject_name(called(name))
        .issuer_name(called("wan22 root"))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_VALID[0])
        .not_valid_after(_VALID[1])
        .add_extension(x509.BasicConstraints(ca=is_root, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.public_key()), critical=False
        )
    )
    if not is_root:
        built = built.add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False
        )
    return built.sign(issuer, SHA256())


def load(path: PathLike) -> Certificate:
    """Read a user's own certificate. Raises OptionError, saying what is needed, for one that cannot sign: without a key
    or a certificate for it, locked, expired, or of a kind that C2PA does not know.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    content = read_bytes(path, OptionError)
    key = _private_key(content, path)
    with reading(path, OptionError, "holds no certificate that can be read", f"{_NEEDS}."):
        chain = x509.load_pem_x509_certificates(content)
    mine = [each for each in chain if each.public_key() == key.public_key()]
    if not mine:
        raise OptionError(f"{path}: its private key does not fit its certificate. {_NEEDS}.")
    _check(mine[0], path)
    ordered = [mine[0], *(each for each in chain if each != mine[0])]
    return Certificate(
        b"".join(each.public_bytes(Encoding.PEM) for each in ordered),
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        _algorithm(key, path),
    )


def _private_key(content: bytes, path: PathLike) -> PrivateKeyTypes:
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    keys = [match[0] for match in _PEM.finditer(content) if match[1].endswith(_KEY)]
    if len(keys) != 1:
        raise OptionError(f"{path} holds {len(keys) or 'no'} private key{'s' * bool(keys)}. {_NEEDS}.")
    try:
        return load_pem_private_key(keys[0], None)
    except TypeError as error:  # how the library says that there is a passphrase
        raise OptionError(
            f"{path}: its private key is locked with a passphrase. Unlock it first: openssl pkey -in key.pem -out "
            "unlocked.pem"
        ) from error
    except ValueError as error:
        raise OptionError(f"{path}: its private key cannot be read: {reason_of(error)}. {_NEEDS}.") from error


def _check(mine: x509.Certificate, path: PathLike) -> None:
    from cryptography import x509

    now = datetime.now(UTC)
    if not mine.not_valid_before_utc <= now <= mine.not_valid_after_utc:
        begin, end = mine.not_valid_before_utc.date(), mine.not_valid_after_utc.date()
        wrong = "has expired" if now > mine.not_valid_after_utc else "is not valid yet"
        raise OptionError(
            f"{path}: its certificate {wrong}: it is valid from {begin} to {end}. Give another one."
        )
    extensions = {type(each.value): each.value for each in mine.extensions}
    constraints, usage = extensions.get(x509.BasicConstraints), extensions.get(x509.KeyUsage)
    wrong = ""
    if mine.issuer == mine.subject:
        wrong = "is its own issuer"
    elif isinstance(constraints, x509.BasicConstraints) and constraints.ca:
        wrong = "is an authority's"
    elif not isinstance(usage, x509.KeyUsage) or not usage.digital_signature:
        wrong = "is not for digital signatures"
    elif x509.ExtendedKeyUsage not in extensions:
        wrong = "does not say what it is for"
    if wrong:
        raise OptionError(f"{path}: its certificate {wrong}, so it cannot sign. {_NEEDS}.")


def _algorithm(key: PrivateKeyTypes, path: PathLike) -> str:
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    match key:
        case ec.EllipticCurvePrivateKey() if key.curve.name in _CURVES:
            return _CURVES[key.curve.name]
        case ed25519.Ed25519PrivateKey():
            return "ed25519"
        case rsa.RSAPrivateKey() if key.key_size >= _LEAST_RSA:
            return "ps256"
    raise OptionError(f"{path}: a key of its kind ({_kind(key)}) cannot sign. {_NEEDS}.")


def _kind(key: PrivateKeyTypes) -> str:
    parts: Sequence[object] = (
        type(key).__name__.removesuffix("PrivateKey").lstrip("_"),
        getattr(getattr(key, "curve", None), "name", ""),
        getattr(key, "key_size", ""),
    )
    return " ".join(str(part) for part in parts if part)
