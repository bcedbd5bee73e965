"""certificates.sh run again: what is there is kept if it is what was asked for, and named with its mend if not."""

import shutil
import ssl
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "deploy/mosquitto/certificates.sh"

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not here; run: apt install openssl")


def made(folder: Path, *arguments: str, code: int = 0) -> str:
    """Run the script; return what it said."""
    done = subprocess.run([SCRIPT, folder, *arguments], capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    return done.stderr


def names(certificate: Path) -> set[tuple[str, str]]:
    """The subject's alternative names."""
    return set(ssl._ssl._test_decode_cert(str(certificate))["subjectAltName"])


@pytest.mark.parametrize(
    ("host", "there"),
    [
        ("broker.school.example", ("DNS", "broker.school.example")),
        ("192.0.2.7", ("IP Address", "192.0.2.7")),
        ("fd00::7", ("IP Address", "FD00:0:0:0:0:0:0:7")),
    ],
)
def test_a_second_run_keeps_and_says_so(host: str, there: tuple[str, str], tmp_path: Path) -> None:
    """A name is a DNS name and an address, of either kind, an address; again with more agents, what is there stays."""
    made(tmp_path, host, "room-1")
    before = (tmp_path / "broker.crt").read_bytes()
    assert names(tmp_path / "broker.crt") == {there}
    said = made(tmp_path, host, "room-1", "room-2")
    assert (tmp_path / "broker.crt").read_bytes() == before
    assert said.count(": kept, for ") == 2
    assert f"to renew it: rm {tmp_path}/broker.crt" in said
    assert (tmp_path / "room-2.crt").is_file()


@pytest.mark.parametrize("other", ["other.example", "192.0.2.7", "fd00::7"])
def test_another_name_is_an_error(other: str, tmp_path: Path) -> None:
    """A certificate for another broker is no success; done what is said, it is one for the new name."""
    made(tmp_path, "broker.example")
    said = made(tmp_path, other, code=1)
    assert "expected a certificate for" in said
    assert f"{other}, got one for DNS:broker.example; to renew it: rm {tmp_path}/broker.crt" in said
    (tmp_path / "broker.crt").unlink()
    made(tmp_path, other)
    assert "broker.example" not in str(names(tmp_path / "broker.crt"))


@pytest.mark.parametrize(
    "host", ["broker.example:8883", "192.0.2.7:8883", "mqtts://broker.example", "a:b:z", "a b", ""]
)
def test_what_is_no_host_is_refused_first(host: str, tmp_path: Path) -> None:
    """A certificate for a name with a port fits no broker; nothing is left in the next one's way."""
    said = made(tmp_path / "certs", host, code=2)
    assert said == f"error: BROKER_HOST: expected a name or an address alone, no port and no mqtts://, got '{host}'\n"
    assert not (tmp_path / "certs").exists()


def test_one_that_has_ended_is_an_error(tmp_path: Path) -> None:
    """An expired certificate is named; with certificate and key removed, the next run makes both."""
    made(tmp_path, "broker.example")
    command = "openssl x509 -x509toreq -in broker.crt -signkey broker.key -out r && openssl x509 -req -in r -CA ca.crt "
    command += "-CAkey ca.key -days -1 -extfile e -out broker.crt"
    (tmp_path / "e").write_text("subjectAltName=DNS:broker.example\n")
    subprocess.run(["sh", "-c", command], cwd=tmp_path, check=True, capture_output=True)
    assert "got one that ended on" in made(tmp_path, "broker.example", code=1)
    for name in ("broker.crt", "broker.key"):
        (tmp_path / name).unlink()
    made(tmp_path, "broker.example")
    made(tmp_path, "broker.example")


def test_an_authority_that_has_ended_signs_nothing(tmp_path: Path) -> None:
    """What it signs no device takes, though the certificate itself says 825 days."""
    made(tmp_path, "broker.example")
    command = "openssl x509 -in ca.crt -signkey ca.key -days -1 -out old && mv old ca.crt && rm broker.crt"
    subprocess.run(["sh", "-c", command], cwd=tmp_path, check=True, capture_output=True)
    said = made(tmp_path, "broker.example", code=1)
    assert "ca.crt: expected an authority that is valid, got one that ended on" in said
    assert not (tmp_path / "broker.crt").exists()


def test_one_of_another_authority_is_an_error(tmp_path: Path) -> None:
    """A new authority signs nothing that is there: agents that trust it would refuse the old broker's certificate."""
    made(tmp_path, "broker.example")
    (tmp_path / "ca.key").unlink()
    assert "got one of another authority" in made(tmp_path, "broker.example", code=1)
