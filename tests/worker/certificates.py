"""Certificates made for a test: an authority, and what it signs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_USES = {"server": ExtendedKeyUsageOID.SERVER_AUTH, "client": ExtendedKeyUsageOID.CLIENT_AUTH}


@dataclass(frozen=True, slots=True)
class Files:
    """Where one side's key, its certificate and the other side's authority are."""

    key: Path
    certificate: Path
    authority: Path

    def worker(self) -> dict[str, Path]:
        """As settings of a worker."""
        return self._named("")

    def gateway(self) -> dict[str, Path]:
        """As settings of a gateway."""
        return self._named("worker_")

    def _named(self, prefix: str) -> dict[str, Path]:
        names = ("key", "certificate", "authority")
        return {f"{prefix}tls_{name}": getattr(self, name) for name in names}


class Authority:
    """Signs certificates and writes them as a mounted secret would have them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")])
        basic = x509.BasicConstraints(ca=True, path_length=0)
        own = self._builder(self._name, self._key.public_key()).add_extension(basic, critical=True)
        self.certificate = own.sign(self._key, hashes.SHA256())

    def sign(self, name: str, use: str, folder: str = "") -> Files:
        """A new key and certificate for ``name``, for a server or a client."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = (
            self._builder(subject, key.public_key())
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
            .add_extension(x509.ExtendedKeyUsage([_USES[use]]), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        return self._write(folder or name, key, certificate)

    def _write(self, name: str, key: ec.EllipticCurvePrivateKey, own: x509.Certificate) -> Files:
        folder = self._folder / name
        folder.mkdir(exist_ok=True)
        files = Files(folder / "tls.key", folder / "tls.crt", folder / "ca.crt")
        pem = serialization.Encoding.PEM
        kind, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        files.key.write_bytes(key.private_bytes(pem, kind, plain))
        files.certificate.write_bytes(own.public_bytes(pem))
        files.authority.write_bytes(self.certificate.public_bytes(pem))
        return files

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey
    ) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(minutes=5))
            .not_valid_after(now + timedelta(hours=1))
        )
