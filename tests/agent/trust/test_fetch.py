"""Fetching a bundle: only over verified HTTPS, only from an allowed origin, never by redirect."""

import datetime
import http.server
import ipaddress
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from agent.config import Updates
from agent.errors import ModelError, TryAgainError
from agent.trust.audit import AuditLog
from agent.trust.store import ModelStore
from tests.agent.trust.signed_bundles import Signer, write_bundle


def certificate(folder: Path) -> Path:
    """A self-signed certificate for 127.0.0.1, with its key, in one PEM file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    file = folder / "server.pem"
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file.write_bytes(secret + made.public_bytes(serialization.Encoding.PEM))
    return file


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves a folder; /moved/ redirects into it, /huge/ never ends."""

    def do_GET(self) -> None:
        if self.path.startswith("/moved/"):
            self.send_response(302)
            self.send_header("Location", self.path.replace("/moved/", "/bundle/"))
            self.end_headers()
        elif self.path.startswith("/huge/"):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"x" * (2 << 20))
        else:
            super().do_GET()

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, Path, Path]]:
    """(origin, folder that it serves, certificate) of a real HTTPS server on this machine."""
    root = tmp_path / "www"
    root.mkdir()
    pem = certificate(tmp_path)
    httpd = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), lambda *arguments: Handler(*arguments, directory=str(root))
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    httpd.socket = context.wrap_socket(httpd.socket, server_side=True)
    thread = threading.Thread(target=httpd.serve_forever, daemon=True)
    thread.start()
    yield f"https://127.0.0.1:{httpd.server_address[1]}", root, pem
    httpd.shutdown()
    httpd.server_close()
    thread.join()


@pytest.fixture
def trusted(server: tuple[str, Path, Path], monkeypatch: pytest.MonkeyPatch) -> tuple[str, Path]:
    """The same server, whose certificate this process trusts."""
    monkeypatch.setenv("SSL_CERT_FILE", str(server[2]))
    monkeypatch.setenv("no_proxy", "*")
    return server[0], server[1]


SIGNER = Signer()


def store(tmp_path: Path, *origins: str) -> ModelStore:
    state = tmp_path / "state"
    state.mkdir(exist_ok=True)
    released = tmp_path / "released"
    if not released.is_dir():
        write_bundle(released, "released", None)
    return ModelStore(state, Updates(keys=(SIGNER.public,), origins=origins), AuditLog(state), released=str(released))


def test_a_bundle_comes_from_an_allowed_origin(tmp_path: Path, trusted: tuple[str, Path]) -> None:
    """Signed, over HTTPS, from a configured origin: installed, and the next start takes it."""
    origin, root = trusted
    write_bundle(root / "bundle", "remote", SIGNER)
    models = store(tmp_path, origin)
    assert models.install_named(f"{origin}/bundle/") == "remote"
    assert models.choose().card.id == "remote"


def test_another_origin_is_refused_and_audited(tmp_path: Path, trusted: tuple[str, Path]) -> None:
    """The same server, not configured: no connection's content is used, and the audit log has it."""
    origin, root = trusted
    write_bundle(root / "bundle", "remote", SIGNER)
    with pytest.raises(ModelError, match=r"not in updates\.origins"):
        store(tmp_path, "https://models.example.org").install_named(f"{origin}/bundle/")
    assert "model.refused" in (tmp_path / "state" / "audit.log").read_text()


@pytest.mark.parametrize(
    "change",
    [
        lambda url: url.replace("https", "http"),
        lambda url: url.replace("https://", "https://user:secret@"),
        lambda url: url.replace("https://", "https://models.example.org@"),
        lambda url: url + "?x=1",
        lambda url: url + "../bundle/",
        lambda url: url.replace("127.0.0.1", "127.0.0.1.example.org"),
        lambda url: "ftp://127.0.0.1/bundle",
        lambda url: "file:///etc",
        lambda url: "https://[::1/x",
        lambda url: url + "\u00fc",
        lambda url: url + " x",
    ],
)
def test_urls_that_only_look_allowed_are_refused(tmp_path: Path, trusted: tuple[str, Path], change) -> None:
    """Plain HTTP, user names, queries, dots, look-alike hosts, other schemes, and what is no URL: refused, audited."""
    origin, root = trusted
    write_bundle(root / "bundle", "remote", SIGNER)
    with pytest.raises(ModelError):
        store(tmp_path, origin).install_named(change(f"{origin}/bundle/"))
    assert "model.refused" in (tmp_path / "state" / "audit.log").read_text()


def test_a_redirect_is_refused(tmp_path: Path, trusted: tuple[str, Path]) -> None:
    """Even one to the same server: an allowed origin cannot send the device elsewhere."""
    origin, root = trusted
    write_bundle(root / "bundle", "remote", SIGNER)
    with pytest.raises(ModelError, match="redirect"):
        store(tmp_path, origin).install_named(f"{origin}/moved/")


def test_an_endless_file_is_cut(tmp_path: Path, trusted: tuple[str, Path]) -> None:
    """More than the limit of a file: refused, not read to the end."""
    with pytest.raises(ModelError, match="at most 1048576 bytes"):
        store(tmp_path, trusted[0]).install_named(f"{trusted[0]}/huge/")


def test_an_unsigned_bundle_is_refused_from_there_too(tmp_path: Path, trusted: tuple[str, Path]) -> None:
    """The origin alone is no signature."""
    origin, root = trusted
    write_bundle(root / "bundle", "remote", None)
    with pytest.raises(ModelError, match="404"):
        store(tmp_path, origin).install_named(f"{origin}/bundle/")


def test_a_certificate_that_is_not_trusted(tmp_path: Path, server: tuple[str, Path, Path], monkeypatch) -> None:
    """A server whose certificate no authority signed gives nothing; it may be tried again later."""
    monkeypatch.setenv("no_proxy", "*")
    origin, root, _ = server
    write_bundle(root / "bundle", "remote", SIGNER)
    with pytest.raises(TryAgainError, match="certificate verify failed"):
        store(tmp_path, origin).install_named(f"{origin}/bundle/")


def test_a_server_that_is_not_there(tmp_path: Path, monkeypatch) -> None:
    """Connection refused: try again, exit 75, no traceback."""
    monkeypatch.setenv("no_proxy", "*")
    with pytest.raises(TryAgainError, match="cannot be fetched"):
        store(tmp_path, "https://127.0.0.1:1").install_named("https://127.0.0.1:1/bundle/")
