"""Why a TLS handshake failed, as far as this side can see it.

OpenSSL says which check a certificate did not pass. What the server sent, and whether there was
anything to check it with, distinguishes what looks alike: an unknown CA, a missing intermediate
certificate, no CA at all.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

from cdc.causes import detail

# Codes of OpenSSL's X509_V_ERR_..., which Python does not name.
_CERTIFICATE_EXPIRED, _NOT_YET_VALID = 10, 9
_SELF_SIGNED, _SELF_SIGNED_IN_CHAIN, _NO_ISSUER, _NO_FIRST_ISSUER = 18, 19, 20, 21
_UNTRUSTED = {2, _SELF_SIGNED, _SELF_SIGNED_IN_CHAIN, _NO_ISSUER, _NO_FIRST_ISSUER}
_REVOKED = 23
_WRONG_NAME = {62, 64}
_WEAK = {66, 67, 68}

_PLAIN_HTTP = {"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG"}
_PLAIN_HTTP |= {"RECORD_LAYER_FAILURE", "INVALID_RECORD_TYPE"}  # ... of newer releases
_OLD = {"UNSUPPORTED_PROTOCOL", "TLSV1_ALERT_PROTOCOL_VERSION", "NO_PROTOCOLS_AVAILABLE"}
_WANTED = {"TLSV13_ALERT_CERTIFICATE_REQUIRED"}
_OURS_REFUSED = {
    "SSLV3_ALERT_BAD_CERTIFICATE",
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE",
    "SSLV3_ALERT_CERTIFICATE_REVOKED",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN",
    "TLSV1_ALERT_UNKNOWN_CA",
    "TLSV1_ALERT_ACCESS_DENIED",
}
_NO_CIPHER = {"SSLV3_ALERT_HANDSHAKE_FAILURE", "TLSV1_ALERT_INSUFFICIENT_SECURITY"}
_MOST_NAMES = 3


class CertificateRefused(ssl.SSLError):
    """A server's certificate did not pass.

    code:    OpenSSL's number of the check. why: OpenSSL's words for it.
    chain:   what the server sent, its own first, as ``getpeercert`` describes certificates.
    trusted: there is at least one CA to check it with.
    """

    def __init__(
        self, code: int, why: str, chain: list[dict[str, Any]], *, trusted: bool = True
    ) -> None:
        super().__init__(why)
        self.code, self.why, self.chain, self.trusted = code, why, chain, trusted


class Handshake(ssl.SSLObject):
    """Adds to a refused certificate what the server sent."""

    def do_handshake(self) -> None:
        try:
            super().do_handshake()
        except ssl.SSLCertVerificationError as error:
            chain: list[dict[str, Any]] = []
            # Without documentation, and so guarded: what it adds is a better sentence.
            with suppress(Exception):
                made = cast("Any", self)._sslobj
                chain = [one.get_info() for one in made.get_unverified_chain() or ()]
            raise CertificateRefused(
                error.verify_code,
                error.verify_message,
                chain,
                trusted=not lacks_authorities(self.context),
            ) from error


class HandshakeEnded(ConnectionResetError):
    """The peer closed the connection before the handshake was complete."""


def lacks_authorities(context: ssl.SSLContext) -> bool:
    """It trusts no certificate at all, so none can pass."""
    return not context.cert_store_stats()["x509"] and not folder_of_authorities()


def folder_of_authorities() -> bool:
    """Whether the system has a folder of certificates. It is read only when one is needed."""
    folder = ssl.get_default_verify_paths().capath
    return bool(folder) and any(Path(folder).iterdir())


def of_certificate(error: CertificateRefused, peer: str) -> str:
    """The detail for a certificate that is refused."""
    leaf = error.chain[0] if error.chain else {}
    top = error.chain[-1] if error.chain else {}
    if error.code in _UNTRUSTED:
        if not error.trusted:
            return detail("tls no authorities", peer=peer)
        if error.code == _SELF_SIGNED:
            return detail("tls self-signed", peer=peer)
        issuer = _name(top.get("issuer", ()))
        # Certificates of public CAs say where that of their issuer is; those of small private
        # CAs rarely do.
        if error.code != _SELF_SIGNED_IN_CHAIN and len(error.chain) == 1 and leaf.get("caIssuers"):
            return detail("tls intermediate missing", peer=peer, issuer=issuer)
        if issuer:
            return detail("tls unknown CA", peer=peer, issuer=issuer)
    if error.code in _WRONG_NAME and (names := _names(leaf)):
        host = peer.rpartition(":")[0]
        covered = any(host.partition(".")[2] == name.removeprefix("*.") for name in names)
        code = "tls wildcard underscore" if "_" in host and covered else "tls wrong name"
        return detail(code, peer=peer, names=_listed(names))
    code = {
        _CERTIFICATE_EXPIRED: "tls expired",
        _NOT_YET_VALID: "tls not yet valid",
        _REVOKED: "tls revoked",
        **dict.fromkeys(_WEAK, "tls weak certificate"),
    }.get(error.code, "tls certificate")
    return detail(code, peer=peer, why=error.why)


def of_protocol(error: ssl.SSLError, peer: str) -> str:
    """The detail for any other failure of TLS."""
    reason = error.reason or ""
    if isinstance(error, ssl.SSLEOFError) or reason == "UNEXPECTED_EOF_WHILE_READING":
        return detail("tls handshake ended", peer=peer)
    codes = {
        "TLSV1_UNRECOGNIZED_NAME": "tls unknown host",
        "TLSV1_ALERT_NO_APPLICATION_PROTOCOL": "tls http2 only",
        **dict.fromkeys(_PLAIN_HTTP, "tls plain http"),
        **dict.fromkeys(_OLD, "tls old version"),
        **dict.fromkeys(_WANTED, "tls client certificate required"),
        **dict.fromkeys(_OURS_REFUSED, "tls client certificate refused"),
        **dict.fromkeys(_NO_CIPHER, "tls no common cipher"),
    }
    why = reason.lower().replace("_", " ") or str(error.strerror)
    return detail(codes.get(reason, "tls handshake"), peer=peer, why=why)


def _name(parts: Iterable[Iterable[tuple[str, str]]]) -> str:
    """Whom a certificate names: its common name, or else its organisation."""
    found = {key: value for part in parts for key, value in part}
    name = found.get("commonName") or found.get("organizationName") or ""
    return name[:80]


def _names(certificate: dict[str, Any]) -> list[str]:
    """The hosts that a certificate is for."""
    return [value for _, value in certificate.get("subjectAltName", ())]


def _listed(names: list[str]) -> str:
    shown = ", ".join(name[:80] for name in names[:_MOST_NAMES])
    return shown if len(names) <= _MOST_NAMES else f"{shown}, and {len(names) - _MOST_NAMES} more"
