"""Checks minisign signatures (https://jedisct1.github.io/minisign/), prehashed ed25519, with `cryptography`.

Bundles are signed with the well-known tool, so no signing code and no secret key is ever on a device:
`minisign -S -s release.key -m SHA256SUMS`. The trusted comment is signed too; its `timestamp:` orders releases.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from agent.errors import ModelError

_COMMENT: Final = "trusted comment: "
_TIMESTAMP: Final = re.compile(r"(?:^|[\t ])timestamp:(\d{1,15})(?=[\t ]|$)")


@dataclass(frozen=True, slots=True)
class Signed:
    """What a valid signature says."""

    timestamp: int
    """When it was signed, seconds since 1970: the order of releases."""
    key_id: str
    """Which key signed, as minisign prints it."""


def check_signature(content: bytes, signature: str, keys: Sequence[str], where: str) -> Signed:
    """Return who signed `content` and when.

    signature: text of a .minisig file
    keys: trusted public keys, the second lines of minisign.pub files
    where: named in errors

    Raises ModelError unless one of `keys` signed both `content` and a trusted comment with a timestamp.
    """
    if not keys:
        raise ModelError(f"{where}: no key is trusted; put the publisher's minisign key into updates.keys")
    lines = signature.split("\n")
    if len(lines) < 4 or not lines[2].startswith(_COMMENT):
        raise ModelError(f"{where}: expected a minisign signature of four lines, got {len(lines)}")
    blob, over_comment = _decode(lines[1], 74, where), _decode(lines[3], 64, where)
    if blob[:2] != b"ED":
        raise ModelError(f"{where}: expected a prehashed minisign signature (ED), got {blob[:2]!r}")
    key, comment = _key(keys, blob[2:10], where), lines[2].removeprefix(_COMMENT)
    try:
        key.verify(blob[10:], hashlib.blake2b(content, digest_size=64).digest())
        key.verify(over_comment, blob[10:] + comment.encode())
    except InvalidSignature as cause:
        raise ModelError(f"{where}: the signature does not fit: changed after it was signed") from cause
    stamp = _TIMESTAMP.search(comment)
    if stamp is None:
        raise ModelError(f"{where}: expected timestamp: in the trusted comment, got {comment[:80]!r}")
    return Signed(int(stamp[1]), _name(blob[2:10]))


def _key(keys: Sequence[str], key_id: bytes, where: str) -> Ed25519PublicKey:
    """The trusted key with this id."""
    for text in keys:
        blob = _decode(text, 42, "updates.keys")
        if blob[:2] == b"Ed" and blob[2:10] == key_id:
            return Ed25519PublicKey.from_public_bytes(blob[10:])
    raise ModelError(f"{where}: signed by key {_name(key_id)}, which is not in updates.keys")


def _name(key_id: bytes) -> str:
    return key_id[::-1].hex().upper()


def _decode(text: str, length: int, where: str) -> bytes:
    try:
        blob = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as cause:
        raise ModelError(f"{where}: expected base64, got {text[:40]!r}") from cause
    if base64.b64encode(blob).decode() != text:  # spare bits that a decoder ignores
        raise ModelError(f"{where}: expected canonical base64, got {text[:40]!r}")
    if len(blob) != length:
        raise ModelError(f"{where}: expected {length} bytes in base64, got {len(blob)}")
    return blob
