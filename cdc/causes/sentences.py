"""The sentences themselves. Pure data."""

from __future__ import annotations

TALK = "Ask the receiver's operator."
_TRUST = (
    "Trust it: CDC_TLS_CA_FILE names the file for all webhooks, ca.pem in a TLS profile for some."
)
_URL = "Correct the endpoint: `cdc webhook update ID --url URL`."
_RENEW = "The receiver must renew its certificate."
_SHOW = (
    "Get a certificate that the receiver accepts, and name it in CDC_TLS_CERT_FILE or as cert.pem "
    "in a TLS profile."
)
_NAMESERVER = "Check the name server that this host uses (/etc/resolv.conf), then the domain's own."

# By code: text and remedy. Braces are values; the remedy may use those of its text.
SENTENCES: dict[str, tuple[str, str]] = {
    # -- TLS: the receiver's certificate
    "tls no authorities": (
        "the certificate of {peer} cannot be verified: this host has no CA certificates",
        "Install them (package ca-certificates), or name a file in CDC_TLS_CA_FILE.",
    ),
    "tls self-signed": (
        "the certificate of {peer} is refused: self-signed certificate",
        f"If it is the right one, {_TRUST[0].lower()}{_TRUST[1:]} Otherwise the receiver needs a "
        "certificate of a public CA.",
    ),
    "tls intermediate missing": (
        "the certificate of {peer} is refused: the server does not send the certificate of its "
        "issuer, {issuer}",
        "The receiver's server must send its intermediate certificates too (fullchain.pem "
        "instead of cert.pem). Until then, add the issuer's certificate to CDC_TLS_CA_FILE or to "
        "a TLS profile.",
    ),
    "tls unknown CA": (
        "the certificate of {peer} is refused: its CA is not trusted here: {issuer}",
        _TRUST,
    ),
    "tls expired": (
        "the certificate of {peer} is refused: certificate has expired",
        f"{_RENEW} If it did, check the clock of this host and its CA certificates.",
    ),
    "tls not yet valid": (
        "the certificate of {peer} is refused: certificate is not yet valid",
        "Check the clock of this host, then ask the receiver's operator.",
    ),
    "tls wrong name": (
        "the certificate of {peer} is refused: it is for another name ({names})",
        "Use a name that the certificate is for: `cdc webhook update ID --url URL`. Or the "
        "receiver needs a certificate for this one.",
    ),
    "tls wildcard underscore": (
        "the certificate of {peer} is refused: a wildcard is not valid for a name with an "
        "underscore ({names})",
        "The receiver needs a host name without an underscore, or a certificate for exactly this "
        "name.",
    ),
    "tls weak certificate": (
        "the certificate of {peer} is refused: its key or its digest is too weak ({why})",
        _RENEW,
    ),
    "tls revoked": ("the certificate of {peer} is refused: certificate revoked", _RENEW),
    "tls certificate": (
        "the certificate of {peer} is refused: {why}",
        f"Inspect it: `openssl s_client -connect {{peer}} -showcerts`. {TALK}",
    ),
    # -- TLS: our certificate
    "tls client certificate required": (
        "{peer} requires a client certificate, and none was sent",
        _SHOW,
    ),
    "tls client certificate refused": (
        "{peer} refuses our client certificate ({why})",
        _SHOW,
    ),
    "tls unusable files": (
        "our TLS files cannot be used: {why}",
        "Correct the file or the setting; `cdc config check` tries all of them.",
    ),
    # -- TLS: the protocol
    "tls plain http": (
        "{peer} does not speak TLS, although the URL begins with https://",
        "Correct the endpoint's port, or register it with http:// where CDC_ALLOW_HTTP permits it.",
    ),
    "tls old version": (
        "{peer} offers no safe TLS version: 1.2 or newer is required",
        "The receiver must offer TLS 1.2 or 1.3.",
    ),
    "tls no common cipher": (
        "{peer} ended the TLS handshake: no cipher in common, or it requires a client certificate",
        f"{TALK} With TLS 1.2, some servers ask for a client certificate like this.",
    ),
    "tls unknown host": (
        "{peer} does not know the host name of the endpoint (TLS unrecognized_name)",
        _URL,
    ),
    "tls http2 only": (
        "{peer} speaks HTTP/2 only; webhooks are sent by HTTP/1.1 (TLS no_application_protocol)",
        "The receiver must offer HTTP/1.1 too.",
    ),
    "tls handshake ended": (
        "{peer} closed the connection during the TLS handshake",
        f"Does {{peer}} speak TLS? If it requires a client certificate: {_SHOW} {TALK}",
    ),
    "tls handshake": ("TLS with {peer} failed: {why}", TALK),
    # -- names
    "dns unknown name": (
        "the name of {peer} cannot be resolved: no such name",
        f"{_URL} If the name is right, the name server of this host does not know it.",
    ),
    "dns no address": (
        "the name of {peer} cannot be resolved: the name has no address",
        f"{_URL} If the name is right, its domain lacks an A or AAAA record.",
    ),
    "dns no answer": (
        "the name of {peer} cannot be resolved: no answer within {seconds} s",
        _NAMESERVER,
    ),
    "dns server failure": (
        "the name of {peer} cannot be resolved: the name server failed ({why})",
        _NAMESERVER,
    ),
    "dns no server": (
        "the name of {peer} cannot be resolved: no name server can be reached",
        "Check /etc/resolv.conf of this host, and its firewall.",
    ),
    "dns invalid name": ("the name of {peer} cannot be resolved: invalid host name", _URL),
    "dns": ("the name of {peer} cannot be resolved: {why}", _NAMESERVER),
    # -- connections
    "refused": (
        "{peer} refused the connection",
        f"Nothing listens there, or a firewall rejects us. {TALK} {_URL[:-1]}, if its port is "
        "wrong.",
    ),
    "refused unreachable": (
        "no connection to {peer} ({why})",
        "Check this host's network and routes: others may be unreachable too.",
    ),
    "refused all addresses": (
        "no address of {peer} accepts a connection: {why}",
        "Each address has its own cause: a firewall, a host that is down, or a network that this "
        "host has no route to.",
    ),
    "reset": (
        "{peer} reset the connection",
        f"A proxy or the receiver's server ends it. {TALK}",
    ),
    "reset before answer": (
        "{peer} closed the connection without a complete answer",
        f"The receiver may have failed, or require TLS or a client certificate. {TALK}",
    ),
    "reset in answer": ("{peer} closed the connection in the middle of its answer", TALK),
    "timeout connection": (
        "no connection to {peer} in time",
        f"A firewall drops our packets, or the host is down or overloaded. {TALK} "
        "CDC_CONNECT_TIMEOUT is the limit.",
    ),
    "timeout answer": (
        "no complete answer from {peer} in time",
        "The receiver must answer first and work afterwards. CDC_ATTEMPT_TIMEOUT is the limit.",
    ),
    # -- what was answered is not HTTP/1.1
    "protocol http2 only": (
        "{peer} speaks HTTP/2 only; webhooks are sent by HTTP/1.1",
        "The receiver must offer HTTP/1.1 too.",
    ),
    "protocol tls": (
        "{peer} speaks TLS, although the URL begins with http://",
        "Register the endpoint with https://: `cdc webhook update ID --url URL`.",
    ),
    "protocol too much": (
        "the answer of {peer} exceeds a limit: {why}",
        TALK,
    ),
    "protocol not http": (
        "{peer} answered something that is not HTTP/1: {why}",
        f"Another service may listen on this port. {_URL}",
    ),
    # -- the proxy
    "proxy unreachable": (
        "the proxy {proxy} cannot be reached ({why})",
        "Correct CDC_PROXY, or start the proxy. CDC_NO_PROXY names hosts that need none.",
    ),
    "proxy slow": (
        "the proxy {proxy} could not {what} in time",
        "The endpoint may be down, or the proxy overloaded: look at the proxy's log.",
    ),
    "proxy no login": (
        "the proxy {proxy} refused to connect: it answered {status} (no user and password in "
        "CDC_PROXY)",
        "Name them: CDC_PROXY=http://user:password@host:port.",
    ),
    "proxy login": (
        "the proxy {proxy} refused to connect: it answered {status} (see user and password in "
        "CDC_PROXY)",
        "Correct user and password in CDC_PROXY; %40 stands for @, %2F for /.",
    ),
    "proxy scheme": (
        "the proxy {proxy} refused to connect: it accepts logins by {schemes} only, and we have "
        "Basic",
        "Allow this host without a login or by Basic at the proxy, or put a local proxy in "
        "between that speaks {schemes}.",
    ),
    "proxy no way": (
        "the proxy {proxy} refused to connect: it answered {status}, and could not reach the "
        "endpoint",
        "The endpoint may be down, or the proxy cannot resolve or reach it: look at the proxy's "
        "log.",
    ),
    "proxy denied": (
        "the proxy {proxy} refused to connect: it answered {status}",
        "Allow the endpoint's host and port (CONNECT) in the proxy's rules, or exempt it with "
        "CDC_NO_PROXY.",
    ),
    "proxy broke off": (
        "the proxy {proxy} closed the connection without an answer ({why})",
        "Is it an HTTP proxy that permits CONNECT? Look at the proxy's log.",
    ),
    "proxy not http": (
        "the proxy {proxy} does not speak HTTP ({why})",
        "CDC_PROXY must name the port of an HTTP proxy (not of a SOCKS or TLS one).",
    ),
}

# Why a change is in cdc.unresolved, by the SQLSTATE of its reason.
_LOCKED = (
    "another session holds a lock that capture needs",
    "It is captured automatically once the lock is released; `cdc doctor` names the holder.",
)
_CHANGED = (
    "the suite's tables differ from the mapping",
    "Put the new names into the mapping, then run `cdc triggers install`; the daemon then "
    "captures it.",
)
UNRESOLVED = {
    "55P03": _LOCKED,
    "40P01": _LOCKED,
    "42501": (
        "cdc_capture lacks a right on a table that capture reads",
        "Run `cdc triggers install` as the owner of these tables (`cdc triggers plan` lists each "
        "GRANT); the daemon then captures it.",
    ),
    "row-level security": (
        "a policy that is not ours hides or refuses rows of schema cdc",
        "Drop the policy that `cdc doctor` names (row security); the daemon then captures it.",
    ),
    "42P01": _CHANGED,
    "42703": _CHANGED,
}

# Of a whole class, where the detail is not known, or is of another release.
CLASSES = {
    "tls": ("TLS with the endpoint fails", TALK),
    "dns": ("the endpoint's name cannot be resolved", _NAMESERVER),
    "refused": ("the endpoint accepts no connection", SENTENCES["refused"][1]),
    "reset": ("the endpoint ends the connection", SENTENCES["reset"][1]),
    "timeout": ("the endpoint does not answer in time", SENTENCES["timeout answer"][1]),
    "protocol": ("the endpoint does not answer in HTTP/1", SENTENCES["protocol not http"][1]),
    "status": ("the receiver answers with an error", TALK),
    "proxy": ("the proxy does not connect to the endpoint", "Check CDC_PROXY and the proxy's log."),
    "guard": (
        "the endpoint may not be called",
        "Correct the endpoint, or permit it: CDC_ALLOWED_NETWORKS, CDC_DENIED_NETWORKS, "
        "CDC_ALLOW_HTTP.",
    ),
    "mapping": (
        "no payload could be made with the mapping",
        "If its event is missing from the mapping, add it and run `cdc triggers install`. A key "
        "that does not fit into a URL makes the delivery dead.",
    ),
    "record": (
        "its outcome cannot be recorded",
        "The daemon's log names the row and the error of the database.",
    ),
}

_FOLLOW = "Register the address it leads to: `cdc webhook update ID --url URL`."
_BUSY = (
    "It is tried again after the time that the receiver asks for. If that lasts, lower the rate: "
    "`cdc webhook update ID --rate N`."
)
_BROKEN = "Something is wrong at the receiver, or in front of it: ask its operator."

# What statuses mean, and what to do. Others: by their hundreds.
STATUSES: dict[int, tuple[str, str]] = {
    2: ("success", ""),
    3: ("a redirect, which is not followed", _FOLLOW),
    4: ("the receiver refuses the request", TALK),
    5: ("the receiver fails", _BROKEN),
    304: (
        "an answer to a cache, not to a POST",
        "Something in front of the receiver treats the POST as a GET: ask its operator.",
    ),
    400: (
        "the receiver cannot read the request",
        "docs/protocol.md describes it. Plain http on a port for https gets this answer too.",
    ),
    401: (
        "the receiver does not accept our credentials or our signature",
        "Compare the signing secret (`cdc webhook rotate-secret ID` makes a new one), the login "
        "and headers (`cdc webhook update ID`) with the receiver's, and the clocks of both.",
    ),
    403: (
        "the receiver forbids the request",
        "A firewall in front of it may not know our address, or a credential, a signature or a "
        "client certificate is missing. " + TALK,
    ),
    404: ("there is nothing at the endpoint's path", _URL),
    405: ("the endpoint's path does not accept POST", _URL),
    407: ("a proxy requires a login", "The endpoint itself answers as a proxy. " + _URL),
    408: ("the receiver waited too long for the request", _BROKEN),
    410: (
        "the receiver accepts no more webhooks at this address; the webhook is suspended",
        "Ask the receiver for the new address, then `cdc webhook update ID --url URL` and "
        "`cdc webhook resume ID`; or remove it: `cdc webhook remove ID`.",
    ),
    413: ("the receiver finds the request too large", "Bodies have a few hundred bytes. " + TALK),
    415: ("the receiver does not accept JSON", TALK),
    421: ("the server does not serve this host name", _URL),
    426: ("the receiver requires another protocol; webhooks are sent by HTTP/1.1", TALK),
    429: ("the receiver asks for fewer requests", _BUSY),
    502: ("a proxy in front of the receiver does not reach it", _BROKEN),
    503: ("the receiver is overloaded or being maintained", _BUSY),
    504: ("a proxy in front of the receiver gets no answer from it", _BROKEN),
}
