"""What stands behind a failed attempt is named, and what to do about it: on real sockets."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import ssl
import warnings
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from pathlib import Path

import pytest

from cdc.causes import cause_of
from cdc.causes.sentences import CLASSES, SENTENCES
from cdc.deliver import Client, Guard
from cdc.deliver.dns import Resolver
from cdc.deliver.trust import NO_FILES, Files, Trust
from cdc.model import Outcome
from tests.deliver.kit import LOOPBACK, blocking, closed_post, request_to
from tests.support.certificates import Authority
from tests.support.hostile import OK, Hostile, keeps_saying, refusing_port, says
from tests.support.nameserver import NameServer

DAY = timedelta(days=1)


@pytest.fixture
def ca(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "ours")


def tls(context: ssl.SSLContext) -> Callable[[socket.socket], None]:
    def serve(conn: socket.socket) -> None:
        shaking = context.wrap_socket(conn, server_side=True, do_handshake_on_connect=False)
        with shaking as secure:
            try:
                secure.do_handshake()
                secure.recv(1)
            except ssl.SSLError:
                while os.read(secure.fileno(), 4096):
                    """What is left unread would be a reset, and take the alert along."""

    return serve


async def post(url: str, files: Files = NO_FILES, name: str = "") -> Outcome:
    async def look(name: str, port: int) -> list[str]:
        return ["127.0.0.1"]

    client = Client(LOOPBACK, deadline=5, trust=Trust(files), look=look if name else None)
    try:
        return await client.post(request_to(url))
    finally:
        await client.close()


def named(outcome: Outcome) -> str:
    """The code of its cause, found again from what the log keeps."""
    assert outcome.error is not None
    cause = cause_of(outcome.error, outcome.status, outcome.detail)
    assert cause.text
    assert cause.todo
    assert outcome.detail.isprintable()
    return cause.code


async def refused(context: ssl.SSLContext, files: Files = NO_FILES, name: str = "") -> Outcome:
    async with Hostile(keeps_saying(OK), tls=context) as peer:
        outcome = await post(peer.url(name=name or None), files, name)
        assert not peer.requests
    return outcome


# -- the receiver's certificate -------------------------------------------------------------------


async def test_an_unknown_ca_is_named(ca: Authority, tmp_path: Path) -> None:
    outcome = await refused(ca.server())
    assert named(outcome) == "tls unknown CA"
    assert "not trusted here: ours" in outcome.detail
    middle = Authority(tmp_path, "middle", issuer=ca)
    outcome = await refused(middle.server(chain=middle.file))
    assert named(outcome) == "tls unknown CA"
    assert "not trusted here: ours" in outcome.detail


async def test_a_missing_intermediate_is_named(ca: Authority, tmp_path: Path) -> None:
    middle = Authority(tmp_path, "middle", issuer=ca, public=True)
    outcome = await refused(middle.server(), Files(ca.file))
    assert named(outcome) == "tls intermediate missing"
    assert "the certificate of its issuer, middle" in outcome.detail


async def test_a_host_without_authorities_is_named(
    ca: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none.pem"))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path / "none"))
    for context in (ca.server(), Authority(tmp_path, "public", public=True).server()):
        assert named(await refused(context)) == "tls no authorities"


def test_authorities_are_looked_for_without_reading_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To read all of a system's takes 20 ms of each `cdc status`."""
    folder = tmp_path / "authorities"
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none.pem"))
    monkeypatch.setenv("SSL_CERT_DIR", str(folder))
    none = Trust().authorities()
    assert none is not None
    assert none.bad
    folder.mkdir()
    (folder / "0a1b2c3d.0").touch()

    def refuse(*_: object) -> None:
        raise AssertionError("the authorities are read")

    monkeypatch.setattr(ssl, "create_default_context", refuse)
    assert Trust().authorities() is None
    assert Trust().doubts([None], datetime.now(UTC)) == []


async def test_certificates_that_are_out_of_date_or_for_another(
    ca: Authority, tmp_path: Path
) -> None:
    files = Files(ca.file)
    assert named(await refused(ca.server(valid=-DAY), files)) == "tls expired"
    outcome = await refused(ca.server("other.example", "a.example", "b.example"), files)
    assert named(outcome) == "tls wrong name"
    assert "(a.example, b.example)" in outcome.detail
    wild = ca.server("wild", "*.example.com")
    outcome = await refused(wild, files, "a_b.example.com")
    assert named(outcome) == "tls wildcard underscore"


async def test_a_long_name_does_not_hide_the_cause(ca: Authority) -> None:
    name = ".".join(["a" * 60] * 4)
    others = [".".join(["b" * 60] * 4)] * 5
    outcome = await refused(ca.server("other", *others), Files(ca.file), name)
    assert named(outcome) == "tls wrong name"


async def test_a_self_signed_certificate_is_named(ca: Authority, tmp_path: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    own = Authority(tmp_path, "own")
    context.load_cert_chain(own.file, own.key_file())
    assert named(await refused(context, Files(ca.file))) == "tls self-signed"


# -- ours, and the protocol -----------------------------------------------------------------------


async def test_a_client_certificate_that_is_wanted_or_refused(
    ca: Authority, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    other = Authority(tmp_path / "other", "theirs")
    files = Files(ca.file)
    # With TLS 1.3 the alert comes after the handshake; here it is there before the connection ends.
    with blocking(tls(ca.demanding(ca))) as port:
        outcome = await post(f"https://127.0.0.1:{port}/", files)
        assert named(outcome) == "tls client certificate required"
        wrong = Files(ca.file, *other.issue("us"))
        assert named(await post(f"https://127.0.0.1:{port}/", wrong)) == (
            "tls client certificate refused"
        )


async def test_a_server_with_old_versions_only(ca: Authority) -> None:
    context = ca.server()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    with blocking(tls(context)) as port:
        assert named(await post(f"https://127.0.0.1:{port}/")) == "tls old version"


async def test_http_behind_an_https_url_and_the_other_way_round() -> None:
    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
        await writer.drain()

    async with Hostile(plain) as peer:
        outcome = await post(f"https://127.0.0.1:{peer.port}/")
    assert named(outcome) == "tls plain http"
    alert = b"\x15\x03\x01\0\x02\x02\x46"
    async with Hostile(says(alert)) as peer:
        assert named(await post(peer.url())) == "protocol tls"


async def test_a_handshake_that_is_broken_off() -> None:
    async def close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)

    async with Hostile(close) as peer:
        outcome = await post(f"https://127.0.0.1:{peer.port}/")
    assert (outcome.error, named(outcome)) == ("tls", "tls handshake ended")


async def test_a_server_of_http2_only() -> None:
    settings = b"\0\0\x06\x04\0\0\0\0\0\0\x03\0\0\0\x64"
    async with Hostile(says(settings)) as peer:
        assert named(await post(peer.url())) == "protocol http2 only"


# -- names and connections ------------------------------------------------------------------------


async def test_kinds_of_names_that_do_not_resolve() -> None:
    found: dict[str, str] = {}
    async with NameServer() as server:
        for name in ("none.example", "empty.example", "broken.example", "a.hangs.example"):
            async with Resolver(0.4, servers=[server.where]) as look:
                client = Client(LOOPBACK, deadline=5, look=look)
                outcome = await client.post(request_to(f"http://{name}/"))
                await client.close()
            found[name] = named(outcome)
    assert found == {
        "none.example": "dns unknown name",
        "empty.example": "dns no address",
        "broken.example": "dns server failure",
        "a.hangs.example": "dns no answer",
    }


async def test_two_addresses_that_fail_differently() -> None:
    """One refuses, to the other there is no way from here."""
    wide = Guard([ip_network("127.0.0.0/8"), ip_network("fd00::/8")], allow_http=True)
    with refusing_port() as port:
        outcome = await closed_post(
            f"http://two.example:{port}/", "127.0.0.1", "fd00::1", guard=wide
        )
    assert named(outcome) == "refused all addresses"
    assert "127.0.0.1 Connection refused" in outcome.detail
    assert re.search(r"fd00::1 [A-Z]", outcome.detail)


async def test_one_address_that_refuses() -> None:
    with refusing_port() as port:
        assert named(await post(f"http://127.0.0.1:{port}/")) == "refused"


# -- answers --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("location", "shown"),
    [
        ("https://b.example/hook", "leads to https://b.example, the same path"),
        ("/hook/", "the same path with a slash at its end"),
        ("https://b.example:8443/tok3n?tok3n", "leads to https://b.example:8443, another path"),
        ("http://[", "leads to an address that is invalid"),
        (None, "(redirects are not followed)"),
    ],
)
async def test_where_a_redirect_leads(location: str | None, shown: str) -> None:
    head = b"HTTP/1.1 308 P\r\nContent-Length: 0\r\n"
    if location is not None:
        head += f"Location: {location}\r\n".encode()
    async with Hostile(says(head + b"\r\n")) as peer:
        outcome = await post(peer.url())
    assert named(outcome) == "status 308"
    assert shown in outcome.detail
    assert "tok3n" not in outcome.detail


@pytest.mark.parametrize("status", [304, 401, 403, 404, 410, 418, 429, 500, 503])
async def test_statuses_have_a_meaning_and_a_remedy(status: int) -> None:
    async with Hostile(says(b"HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n" % status)) as peer:
        outcome = await post(peer.url())
    assert named(outcome) == f"status {status}"
    assert "redirects" not in outcome.detail


# -- the table ------------------------------------------------------------------------------------


def test_each_sentence_is_recognised_again() -> None:
    """By what the attempt log keeps, whatever its values are."""
    for code, (text, _) in SENTENCES.items():
        values = {name: f"<{name} 1.2>" for name in re.findall(r"\{(\w+)\}", text)}
        found = cause_of(code.partition(" ")[0], None, text.format(**values))
        assert found.code == code
        assert "{" not in found.todo


def test_a_class_alone_has_a_sentence_and_a_remedy() -> None:
    for error in CLASSES:
        cause = cause_of(error)
        assert (cause.code, bool(cause.text), bool(cause.todo)) == (error, True, True)


def test_a_remedy_names_the_webhook() -> None:
    todo = cause_of("status", 401).todo_for(7)
    assert "`cdc webhook rotate-secret 7`" in todo
    assert "ID" not in todo


def test_a_remedy_that_stands_in_the_detail_is_taken_from_there() -> None:
    cause = cause_of("guard", None, "10.0.0.1 is not public. Allow it: CDC_ALLOWED_NETWORKS=x")
    assert cause.text == "10.0.0.1 is not public"
    restart = "Daemons read their settings at the start: restart them."
    assert cause.todo == f"Allow it: CDC_ALLOWED_NETWORKS=x. {restart}"
