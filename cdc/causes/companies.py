"""Causes in words for a company: people who know their own server, and not this software.

Pure data, and one look-up. No sentence names a command, a setting or a host of ours.
"""

from __future__ import annotations

OURS = "This is not your server's fault; please contact us."
_CHECK = "Check that your server runs, and that its firewall lets our requests in."
_AUTHORITY = "Get a certificate of a public authority for it."
_SERVER = "Look at your server's settings for HTTPS."
_NAME = "Check the name in the address."
_NOT_OURS = ("Nothing can be sent just now", OURS)

MET = {
    "tls": (
        "A secure connection to your server could not be made",
        "Check its certificate: the date, the name, and that a public authority issued it, with "
        "all certificates in between.",
    ),
    "tls certificate": (
        "Your server's certificate cannot be accepted",
        "Check its date and its name, and that a public authority issued it.",
    ),
    "tls handshake": ("Your server and ours did not agree on a secure connection", _SERVER),
    "tls handshake ended": (
        "Your server ended the connection before it was secure",
        "Check that it speaks HTTPS at this port, and that its firewall lets our requests in.",
    ),
    "tls self-signed": (
        "Your server's certificate was not issued by an authority: it is self-signed",
        _AUTHORITY,
    ),
    "tls intermediate missing": (
        "Your server does not send all certificates that belong to its own",
        "Install the whole chain on your server (fullchain.pem instead of cert.pem).",
    ),
    "tls unknown CA": (
        "Your server's certificate is of an authority that is not public",
        _AUTHORITY,
    ),
    "tls expired": ("Your server's certificate has expired", "Renew it."),
    "tls not yet valid": (
        "Your server's certificate is not valid yet",
        "Wait for its first day, or install another one.",
    ),
    "tls wrong name": (
        "Your server's certificate is for another name",
        "Enter an address with a name that the certificate has, or get one for this name.",
    ),
    "tls wildcard underscore": (
        "Your server's certificate is not valid for a name with an underscore",
        "Use a name without one.",
    ),
    "tls weak certificate": ("Your server's certificate is too weak", "Renew it."),
    "tls revoked": ("Your server's certificate was revoked", "Install another one."),
    "tls client certificate required": ("Your server asks us for a certificate", OURS),
    "tls client certificate refused": ("Your server does not accept our certificate", OURS),
    "tls plain http": (
        "Your server does not speak HTTPS at this port",
        "Check the port in the address.",
    ),
    "tls old version": (
        "Your server offers no safe version of TLS",
        "It needs TLS 1.2 or 1.3.",
    ),
    "tls no common cipher": ("Your server and ours have no encryption in common", _SERVER),
    "tls unknown host": ("Your server does not know the name in the address", _NAME),
    "tls http2 only": ("Your server accepts HTTP/2 alone", "It must offer HTTP/1.1, too."),
    "tls no authorities": _NOT_OURS,
    "tls unusable files": _NOT_OURS,
    "dns": ("The name of your server could not be found", _NAME),
    "dns unknown name": ("There is no server of the name in the address", _NAME),
    "dns invalid name": ("The name in the address cannot be the name of a server", _NAME),
    "dns server failure": (
        "The name servers of your domain answered with an error",
        "If this lasts, check the name servers of your domain.",
    ),
    "dns no address": (
        "The name of your server has no address",
        "Check its entries in your domain (A or AAAA).",
    ),
    "dns no answer": (
        "The name servers of your domain did not answer",
        "If this lasts, check the name servers of your domain.",
    ),
    "dns no server": _NOT_OURS,
    "refused": ("Your server accepted no connection", _CHECK),
    "refused all addresses": ("No address of your server accepted a connection", _CHECK),
    "refused unreachable": ("Your server could not be reached", _CHECK),
    "reset": ("Your server ended the connection without an answer", _CHECK),
    "reset before answer": (
        "Your server ended the connection before its answer was complete",
        "Its log says why.",
    ),
    "reset in answer": (
        "Your server ended the connection in the middle of its answer",
        "Its log says why.",
    ),
    "timeout": ("Your server did not answer in time", _CHECK),
    "timeout connection": ("Your server accepted no connection in time", _CHECK),
    "timeout answer": (
        "Your server did not answer in time",
        "It must answer at once, and do its work afterwards.",
    ),
    "protocol": ("What answered there is not a web server", "Check the port in the address."),
    "protocol not http": (
        "What answered there does not speak HTTP",
        "Check the port in the address.",
    ),
    "protocol http2 only": ("Your server accepts HTTP/2 alone", "It must offer HTTP/1.1, too."),
    "protocol tls": (
        "Your server speaks HTTPS at this port",
        "Enter the address with https:// at its beginning.",
    ),
    "protocol too much": ("Your server's answer is too large", "A short one, or none, is enough."),
    "challenge": (
        "Your server's answer did not hold the text of the challenge",
        "Answer it with the text in data.challenge, and nothing else.",
    ),
    "guard": _NOT_OURS,
    "proxy": _NOT_OURS,
    "mapping": _NOT_OURS,
    "record": _NOT_OURS,
}
"""By code of the cause, or else its class: what was met, without a full stop, and what to do."""

_LOG = "Its log says why."
_SIGNED = "Compare the signing secret, and the headers that your server asks for."
_PATH = "Check the path of the address."
_BEHIND = "What is in front of it does not reach it: check that your server itself runs."
ANSWERED = {
    3: "Enter the address that it leads to: we do not follow it.",
    4: _LOG,
    5: _LOG,
    304: "It must answer the request itself: no copy of an earlier answer.",
    400: "It could not read the request: its log says why.",
    401: _SIGNED,
    403: _SIGNED,
    404: _PATH,
    405: _PATH,
    407: "What answers there is a proxy: enter the address of your server itself.",
    408: "It waited too long for our request: look at what is in front of it.",
    410: "This means that it wants no more notifications at this address.",
    413: "It must accept requests of some kilobytes.",
    415: "It must accept JSON: the type of our requests is application/json.",
    421: "It does not serve the name in the address: check the name.",
    426: "It must accept requests by HTTP/1.1.",
    429: "We wait for as long as it asks. A limit of requests per second prevents this.",
    502: _BEHIND,
    503: "It is overloaded or being maintained: we try again when it may be back.",
    504: _BEHIND,
}
"""What the company can do, by status, or by its first digit."""


def met(code: str, status: int | None) -> tuple[str, str]:
    """What was met, without a full stop, and what the company can do. code: of a cause."""
    if status is not None and code.partition(" ")[0] == "status":
        return f"Your server answered {status}", (
            ANSWERED.get(status) or ANSWERED.get(status // 100) or _LOG
        )
    return MET.get(code) or MET.get(code.partition(" ")[0], _NOT_OURS)
