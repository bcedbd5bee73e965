"""Certificates for tests: good ones, and others."""

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

NOW = datetime.now(UTC)
DAY = timedelta(days=1)


class Authority:
    """Signs certificates, good ones and others."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "fer test CA")])
        builder = self._builder(self._name, self._key, NOW - 400 * DAY, NOW + 400 * DAY)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        self.file = self._write("ca", builder, self._key)

    def sign(self, name: str, start: datetime, end: datetime, host: str = "127.0.0.1") -> Path:
        """Make NAME.crt and NAME.key for an address."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = self._builder(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]), key, start, end)
        address = x509.IPAddress(ip_address(host))
        return self._write(name, builder.add_extension(x509.SubjectAlternativeName([address]), critical=False), key)

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, start: datetime, end: datetime
    ) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(end)
        )

    def _write(self, name: str, builder: x509.CertificateBuilder, key: ec.EllipticCurvePrivateKey) -> Path:
        pem = serialization.Encoding.PEM
        made = builder.sign(self._key, hashes.SHA256())
        (self.folder / f"{name}.crt").write_bytes(made.public_bytes(pem))
        plain = serialization.NoEncryption()
        (self.folder / f"{name}.key").write_bytes(
            key.private_bytes(pem, serialization.PrivateFormat.TraditionalOpenSSL, plain)
        )
        return self.folder / f"{name}.crt"
