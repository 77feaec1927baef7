"""A private certification authority: certificates for servers and clients, in files."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

LONG = timedelta(days=90)


class Authority:
    """folder: where its files go. file: its own certificate, to be trusted."""

    def __init__(self, folder: Path, name: str, *, valid: timedelta = LONG) -> None:
        self._folder = folder
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._key = ec.generate_private_key(ec.SECP256R1())
        made = (
            self._builder(self._name, self._key, valid)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.file = folder / f"{name}.pem"
        self.file.write_bytes(made.public_bytes(serialization.Encoding.PEM))

    def issue(self, name: str, *, valid: timedelta = LONG, password: str = "") -> tuple[Path, Path]:
        """A certificate for a host, an address or a client, and its private key: two files."""
        key = ec.generate_private_key(ec.SECP256R1())
        alternative: x509.GeneralName
        try:
            alternative = x509.IPAddress(ip_address(name))
        except ValueError:
            alternative = x509.DNSName(name)
        who = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        made = (
            self._builder(who, key, valid)
            .add_extension(x509.SubjectAlternativeName([alternative]), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        cert, private = self._folder / f"{name}.cert.pem", self._folder / f"{name}.key.pem"
        cert.write_bytes(made.public_bytes(serialization.Encoding.PEM))
        encryption = (
            serialization.BestAvailableEncryption(password.encode())
            if password
            else serialization.NoEncryption()
        )
        private.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
            )
        )
        return cert, private

    def server(self, name: str = "127.0.0.1") -> ssl.SSLContext:
        """For a server with a certificate of this authority."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self.issue(name))
        return context

    def demanding(self, clients: Authority) -> ssl.SSLContext:
        """For a server that lets in whoever has a certificate of `clients`."""
        context = self.server()
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(clients.file)
        return context

    def _builder(
        self, who: x509.Name, key: ec.EllipticCurvePrivateKey, valid: timedelta
    ) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(who)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=400))
            .not_valid_after(now + valid)
        )


def profile(folder: Path, name: str, **files: Path) -> Path:
    """Puts a TLS profile into a folder of profiles: ``ca``, ``cert``, ``key``."""
    place = folder / name
    place.mkdir(parents=True, exist_ok=True)
    for kind, file in files.items():
        (place / f"{kind}.pem").write_bytes(file.read_bytes())
    return place
