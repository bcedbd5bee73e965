"""Signatures: minisign's own are accepted, every change to them is refused."""

import shutil
import subprocess
from pathlib import Path

import pytest

from agent.errors import ModelError
from agent.trust.minisign import check_signature
from tests.agent.trust.signed_bundles import Signer

CONTENT = b"0123  model.tflite\n"


@pytest.fixture(scope="module")
def signer() -> Signer:
    return Signer()


def check(signer: Signer, signature: str, content: bytes = CONTENT, keys: tuple[str, ...] | None = None) -> int:
    return check_signature(content, signature, (signer.public,) if keys is None else keys, "x.minisig").timestamp


def test_a_signature_tells_when_it_was_made(signer: Signer) -> None:
    """A valid signature gives the signed timestamp, with or without a last line break."""
    text = signer.sign(CONTENT, 1234)
    assert check(signer, text) == check(signer, text.rstrip("\n")) == 1234


def test_the_minisign_tool_signs_what_is_accepted(tmp_path: Path) -> None:
    """A key and a signature made by the minisign program itself are read."""
    if shutil.which("minisign") is None:
        pytest.skip("minisign is not installed (Debian package minisign)")
    (tmp_path / "SHA256SUMS").write_bytes(CONTENT)
    subprocess.run(
        ["minisign", "-G", "-W", "-p", "k.pub", "-s", "k.sec"], cwd=tmp_path, check=True, capture_output=True
    )
    subprocess.run(["minisign", "-S", "-s", "k.sec", "-m", "SHA256SUMS"], cwd=tmp_path, check=True, capture_output=True)
    key = (tmp_path / "k.pub").read_text().splitlines()[1]
    signed = check_signature(CONTENT, (tmp_path / "SHA256SUMS.minisig").read_text(), (key,), "x")
    assert signed.timestamp > 1_700_000_000
    assert f" {int(signed.key_id, 16):X}\n" in (tmp_path / "k.pub").read_text()  # minisign leaves leading zeros out


def test_every_flipped_byte_is_refused(signer: Signer) -> None:
    """No single byte of the signature's signed lines can be changed."""
    text = signer.sign(CONTENT)
    start = text.index("\n") + 1  # the untrusted comment is not signed, and not used
    for at in range(start, len(text) - 1):
        changed = text[:at] + chr(ord(text[at]) ^ 1) + text[at + 1 :]
        with pytest.raises(ModelError):
            check(signer, changed)


def test_changed_content_is_refused(signer: Signer) -> None:
    """A signature of other content does not fit."""
    with pytest.raises(ModelError, match="changed after it was signed"):
        check(signer, signer.sign(CONTENT), content=CONTENT + b"\n")


def test_another_key_is_refused(signer: Signer) -> None:
    """A bundle signed by somebody else names the key that is not trusted."""
    with pytest.raises(ModelError, match=r"signed by key [0-9A-F]{16}, which is not in updates.keys"):
        check(signer, Signer().sign(CONTENT))


def test_without_a_key_nothing_is_trusted(signer: Signer) -> None:
    """No key configured: refused, with what to do."""
    with pytest.raises(ModelError, match=r"updates\.keys"):
        check(signer, signer.sign(CONTENT), keys=())


def test_a_signature_without_a_time_is_refused(signer: Signer) -> None:
    """Without a timestamp a downgrade could not be told."""
    with pytest.raises(ModelError, match="timestamp"):
        check(signer, signer.sign(CONTENT, None))


@pytest.mark.parametrize("text", ["", "a\nb\nc\nd\n", "x\n" * 3, "untrusted comment: x\n!!\ntrusted comment: \n!!\n"])
def test_what_is_no_signature_is_refused(signer: Signer, text: str) -> None:
    """Damaged files are an error of ours, not a traceback."""
    with pytest.raises(ModelError):
        check(signer, text)
