"""Certificates in files: of a private certification authority, and self-signed ones."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import AuthorityInformationAccessOID, NameOID

LONG = timedelta(days=90)


class Authority:
    """folder: where its files go. file: its own certificate, to be trusted.

    issuer: the authority above it; without, it is a root.
    public: its certificates say where the issuer's is, as those of public authorities do.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        *,
        valid: timedelta = LONG,
        issuer: Authority | None = None,
        public: bool = False,
    ) -> None:
        self._folder = folder
        self._public = public
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._key = ec.generate_private_key(ec.SECP256R1())
        above = issuer or self
        made = (
            above._builder(self._name, self._key, valid)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(above._key, hashes.SHA256())
        )
        self.file = folder / f"{name}.pem"
        self.file.write_bytes(made.public_bytes(serialization.Encoding.PEM))

    def issue(
        self, name: str, *names: str, valid: timedelta = LONG, password: str = ""
    ) -> tuple[Path, Path]:
        """A certificate for a host, an address or a client, and its private key: two files.

        names: other hosts that it is for instead.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        alternatives = [_alternative(each) for each in names or (name,)]
        who = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        made = (
            self._builder(who, key, valid)
            .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        cert, private = self._folder / f"{name}.cert.pem", self._folder / f"{name}.key.pem"
        cert.write_bytes(made.public_bytes(serialization.Encoding.PEM))
        private.write_bytes(_pem(key, password))
        return cert, private

    def key_file(self) -> Path:
        """Its own private key."""
        file = self.file.with_suffix(".key.pem")
        file.write_bytes(_pem(self._key))
        return file

    def server(
        self,
        name: str = "127.0.0.1",
        *names: str,
        valid: timedelta = LONG,
        chain: Path | None = None,
    ) -> ssl.SSLContext:
        """For a server with a certificate of this authority. chain: sent after it."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        cert, key = self.issue(name, *names, valid=valid)
        if chain is not None:
            cert.write_bytes(cert.read_bytes() + chain.read_bytes())
        context.load_cert_chain(cert, key)
        return context

    def demanding(self, clients: Authority) -> ssl.SSLContext:
        """For a server that lets in clients with a certificate of `clients`."""
        context = self.server()
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(clients.file)
        return context

    def _builder(
        self, who: x509.Name, key: ec.EllipticCurvePrivateKey, valid: timedelta
    ) -> x509.CertificateBuilder:
        builder = _builder(who, self._name, key, valid)
        if not self._public:
            return builder
        where = x509.UniformResourceIdentifier("http://authority.example/it.cer")
        access = x509.AccessDescription(AuthorityInformationAccessOID.CA_ISSUERS, where)
        return builder.add_extension(x509.AuthorityInformationAccess([access]), critical=False)


def certificate(
    folder: Path, *names: str, valid: timedelta = timedelta(hours=1)
) -> tuple[Path, ssl.SSLContext]:
    """A self-signed certificate for names or addresses: its file, and a server's context.

    The files are ``cert.pem`` and ``key.pem``. valid: for how long from now on; negative for one
    that has expired.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    who = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    alternatives = x509.SubjectAlternativeName([_alternative(name) for name in names])
    made = (
        _builder(who, who, key, valid)
        .add_extension(alternatives, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    public, private = folder / "cert.pem", folder / "key.pem"
    public.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(_pem(key))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(public, private)
    return public, context


def _builder(
    who: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, valid: timedelta
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(who)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=400))
        .not_valid_after(now + valid)
    )


def _pem(key: ec.EllipticCurvePrivateKey, password: str = "") -> bytes:
    encryption = (
        serialization.BestAvailableEncryption(password.encode())
        if password
        else serialization.NoEncryption()
    )
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
    )


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def profile(folder: Path, name: str, **files: Path) -> Path:
    """Puts a TLS profile into a folder of profiles: ``ca``, ``cert``, ``key``."""
    place = folder / name
    place.mkdir(parents=True, exist_ok=True)
    for kind, file in files.items():
        (place / f"{kind}.pem").write_bytes(file.read_bytes())
    return place
