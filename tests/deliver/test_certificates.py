"""A private CA and client certificates, for all webhooks and by profile."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cdc.causes import cause_of
from cdc.deliver import Client, trust
from cdc.deliver.trust import NO_FILES, Files, Trust, UnusableTls
from cdc.errors import ConfigError, UsageError
from cdc.model import Answer, Outcome
from tests.deliver.kit import LOOPBACK, assert_failed, blocking, request_to
from tests.support.certificates import Authority, profile
from tests.support.hostile import OK, Hostile, keeps_saying, read_request

DAY = timedelta(days=1)


@pytest.fixture
def ca(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "ours")


@pytest.fixture
def other(tmp_path: Path) -> Authority:
    (tmp_path / "other").mkdir()
    return Authority(tmp_path / "other", "theirs")


@pytest.fixture
def profiles(tmp_path: Path) -> Path:
    return tmp_path / "profiles"


@asynccontextmanager
async def trusting(common: Files = NO_FILES, profiles: Path | None = None) -> AsyncIterator[Client]:
    client = Client(LOOPBACK, deadline=5, trust=Trust(common, profiles))
    yield client
    await client.close()


async def post(client: Client, peer: Hostile, name: str | None = None) -> Outcome:
    return await client.post(replace(request_to(peer.url()), tls_profile=name))


# -- whom we trust --------------------------------------------------------------------------------


async def test_a_private_ca_is_trusted_only_where_it_is_configured(
    ca: Authority, other: Authority, profiles: Path
) -> None:
    profile(profiles, "ours", ca=ca.file)
    profile(profiles, "theirs", ca=other.file)
    async with Hostile(keeps_saying(OK), tls=ca.server()) as peer:
        async with trusting(profiles=profiles) as client:
            assert_failed(await post(client, peer), "tls")
            assert_failed(await post(client, peer, "theirs"), "tls")
            assert not peer.requests
            assert (await post(client, peer, "ours")).answer is Answer.SUCCESS
        async with trusting(Files(other.file)) as client:
            assert_failed(await post(client, peer), "tls")
        async with trusting(Files(ca.file)) as client:
            assert (await post(client, peer)).answer is Answer.SUCCESS
        assert len(peer.requests) == 2


async def test_a_profile_trusts_its_own_ca_only(
    ca: Authority, other: Authority, profiles: Path
) -> None:
    """Neither the system's nor the one for all: who names a CA for one webhook means that one."""
    profile(profiles, "theirs", ca=other.file)
    made = Trust(Files(ca.file), profiles)
    assert len(made.context("theirs").get_ca_certs()) == 1
    async with (
        Hostile(keeps_saying(OK), tls=ca.server()) as peer,
        trusting(Files(ca.file), profiles) as client,
    ):
        assert_failed(await post(client, peer, "theirs"), "tls")
        assert (await post(client, peer)).answer is Answer.SUCCESS


async def test_a_private_ca_does_not_stand_for_every_name(ca: Authority) -> None:
    async with (
        Hostile(keeps_saying(OK), tls=ca.server("other.example")) as peer,
        trusting(Files(ca.file)) as client,
    ):
        outcome = await post(client, peer)
        assert not peer.requests
    assert_failed(outcome, "tls")


def test_whatever_is_configured_verification_is_on(ca: Authority, profiles: Path) -> None:
    cert, key = ca.issue("us")
    profile(profiles, "one", ca=ca.file, cert=cert, key=key)
    made = Trust(Files(ca.file, cert, key), profiles)
    for context in (made.context(), made.context("one")):
        assert context.verify_mode is ssl.CERT_REQUIRED
        assert context.check_hostname
        assert context.minimum_version >= ssl.TLSVersion.TLSv1_2


# -- who we are -----------------------------------------------------------------------------------


async def test_a_client_certificate_is_shown_to_who_demands_one(
    ca: Authority, other: Authority, profiles: Path
) -> None:
    seen: list[str] = []

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        shown = writer.get_extra_info("ssl_object").getpeercert()
        seen.append(shown["subject"][0][0][1])
        while True:
            await read_request(reader)
            writer.write(OK)

    cert, key = other.issue("us")
    own = other.issue("own")
    profile(profiles, "own", cert=own[0], key=own[1])
    stranger = ca.issue("stranger")
    profile(profiles, "wrong", cert=stranger[0], key=stranger[1])
    async with Hostile(behave, tls=ca.demanding(other)) as peer:
        async with trusting(Files(ca.file), profiles) as client:
            nothing_shown = await post(client, peer)
            # Since TLS 1.3 the refusal comes after the handshake, and may be overtaken by the end.
            assert nothing_shown.error in ("tls", "reset")
            assert (await post(client, peer, "wrong")).error in ("tls", "reset")
            assert not peer.requests
            assert (await post(client, peer, "own")).answer is Answer.SUCCESS
        async with trusting(Files(ca.file, cert, key), profiles) as client:
            assert (await post(client, peer)).answer is Answer.SUCCESS
            assert (await post(client, peer, "own")).answer is Answer.SUCCESS
    assert seen == ["own", "us", "own"]


async def test_the_key_may_stand_in_the_certificates_file(ca: Authority, profiles: Path) -> None:
    cert, key = ca.issue("us")
    cert.write_bytes(key.read_bytes() + cert.read_bytes())
    profile(profiles, "one", ca=ca.file, cert=cert)
    async with (
        Hostile(keeps_saying(OK), tls=ca.demanding(ca)) as peer,
        trusting(profiles=profiles) as client,
    ):
        assert (await post(client, peer, "one")).answer is Answer.SUCCESS


async def test_webhooks_of_different_profiles_never_share_a_connection(
    ca: Authority, profiles: Path
) -> None:
    """Or one would speak with the certificate of the other."""
    names = [None, "one", "two"]
    for name in names[1:]:
        assert name is not None
        cert, key = ca.issue(name)
        profile(profiles, name, ca=ca.file, cert=cert, key=key)
    async with (
        Hostile(keeps_saying(OK), tls=ca.server()) as peer,
        trusting(Files(ca.file), profiles) as client,
    ):
        for name in (*names, *reversed(names)):
            assert (await post(client, peer, name)).answer is Answer.SUCCESS
        # Each its own, and its own used again.
        assert (peer.connections, client.open) == (3, 3)


# -- files that change, files that cannot be used -------------------------------------------------


async def test_a_renewed_certificate_is_taken_up_without_a_restart(
    ca: Authority, other: Authority, profiles: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trust, "FILES_READ_EVERY_S", 0.0)
    place = profile(profiles, "one", ca=other.file)
    async with (
        Hostile(keeps_saying(OK), tls=ca.server()) as peer,
        trusting(profiles=profiles) as client,
    ):
        assert_failed(await post(client, peer, "one"), "tls")
        profile(profiles, "one", ca=ca.file)
        assert (await post(client, peer, "one")).answer is Answer.SUCCESS
        # Half written: what was fine goes on. Taken away: it does not.
        (place / "ca.pem").write_text("nothing")
        assert (await post(client, peer, "one")).answer is Answer.SUCCESS
        (place / "ca.pem").unlink()
        outcome = await post(client, peer, "one")
    assert_failed(outcome, "tls")
    assert "'one' is empty" in outcome.detail
    cause = cause_of("tls", None, outcome.detail)
    assert (cause.code, "ca.pem" in cause.todo) == ("tls unusable files", True)


def test_files_are_not_read_for_every_request(ca: Authority, profiles: Path) -> None:
    place = profile(profiles, "one", ca=ca.file)
    made = Trust(profiles=profiles)
    context = made.context("one")
    (place / "ca.pem").unlink()
    assert made.context("one") is context


def fitting(ca: Authority, folder: Path, case: str) -> Files:
    cert, key = ca.issue("us")
    another = ca.issue("another")
    nothing = folder / "nothing.pem"
    nothing.write_text("nothing")
    return {
        "no ca": Files(folder / "missing.pem"),
        "a ca that is none": Files(nothing),
        "no certificate": Files(None, folder / "missing.pem", key),
        "no key": Files(None, cert, folder / "missing.pem"),
        "the key of another": Files(None, cert, another[1]),
        "a certificate that is none": Files(None, nothing, key),
        "a key that is none": Files(None, cert, nothing),
        "a certificate without its key": Files(None, cert),
        "a folder": Files(folder),
    }[case]


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("no ca", r"missing\.pem cannot be read: No such file"),
        ("a ca that is none", r"CA file .*nothing\.pem cannot be used"),
        ("no certificate", r"missing\.pem cannot be read: No such file"),
        ("no key", r"missing\.pem cannot be read: No such file"),
        ("the key of another", r"another\.key\.pem does not fit the certificate .*us\.cert\.pem"),
        ("a certificate that is none", r"nothing\.pem with the private key .* cannot be used"),
        ("a key that is none", r"nothing\.pem cannot be used"),
        ("a certificate without its key", r"us\.cert\.pem cannot be used"),
        ("a folder", r"cannot be read: Is a directory"),
    ],
)
def test_files_that_cannot_be_used(ca: Authority, tmp_path: Path, case: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as raised:
        Client(LOOPBACK, trust=Trust(fitting(ca, tmp_path, case)))
    assert raised.value.hint


def test_the_password_of_a_key_is_not_asked_for(ca: Authority) -> None:
    cert, key = ca.issue("us", password="hush-hush")
    with pytest.raises(UnusableTls, match="is encrypted"):
        Trust(Files(None, cert, key)).context()


async def test_a_profile_that_cannot_be_used_is_an_outcome(ca: Authority, profiles: Path) -> None:
    (profiles / "empty").mkdir(parents=True)
    async with (
        Hostile(keeps_saying(OK), tls=ca.server()) as peer,
        trusting(Files(ca.file), profiles) as client,
    ):
        for name in ("unknown", "empty", "../profiles/empty", "UPPER"):
            outcome = await post(client, peer, name)
            assert outcome.error in ("tls", "guard")
            assert_failed(outcome, outcome.error)
        assert peer.connections == 0
        assert (await post(client, peer)).answer is Answer.SUCCESS


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "A", "-a", "a" * 64, "a\0", "ä"])
def test_a_name_leads_nowhere_else(profiles: Path, name: str) -> None:
    with pytest.raises(UsageError):
        Trust(profiles=profiles).context(name)


def test_expiry_is_reported_beforehand(ca: Authority, profiles: Path, tmp_path: Path) -> None:
    for name, valid in (("gone", -DAY), ("soon", 3 * DAY), ("fine", 90 * DAY)):
        cert, key = ca.issue(name, valid=valid)
        profile(profiles, name, cert=cert, key=key)
    (tmp_path / "old").mkdir()
    profile(profiles, "old", ca=Authority(tmp_path / "old", "old", valid=-DAY).file)
    made = Trust(profiles=profiles)
    assert made.names() == ["fine", "gone", "old", "soon"]
    now = datetime.now(UTC)

    def findings(name: str | None) -> list[tuple[bool, str]]:
        return [(doubt.bad, doubt.message) for doubt in made.doubts([name], now)]

    assert findings(None) == findings("fine") == []
    [(bad, message)] = findings("gone")
    assert bad
    assert "cert.pem ended on" in message
    [(bad, message)] = findings("old")
    assert bad
    assert "ca.pem ended on" in message
    [(bad, message)] = findings("soon")
    assert not bad
    assert "ends on" in message
    assert [bad for bad, _ in findings("unknown")] == [True]


async def test_an_intermediate_that_was_named_is_trusted(ca: Authority, tmp_path: Path) -> None:
    middle = Authority(tmp_path, "middle", issuer=ca)
    async with Hostile(keeps_saying(OK), tls=middle.server()) as peer:
        async with trusting(Files(middle.file)) as client:
            assert (await post(client, peer)).answer is Answer.SUCCESS
        async with trusting(Files(ca.file)) as client:
            assert_failed(await post(client, peer), "tls")


async def test_a_server_that_asks_for_a_certificate_after_the_handshake(
    ca: Authority, profiles: Path
) -> None:
    """As Apache does for a protected path. Only by a profile: each question costs a signature."""
    cert, key = ca.issue("us")
    profile(profiles, "one", cert=cert, key=key)
    context = ca.demanding(ca)
    context.post_handshake_auth = True
    seen: list[object] = []

    def serve(conn: socket.socket) -> None:
        with context.wrap_socket(conn, server_side=True) as secure:
            while b"\r\n\r\n" not in secure.recv(65_536):
                """The head, and the body with it or not."""
            assert not secure.getpeercert()
            with suppress(ssl.SSLError):
                secure.verify_client_post_handshake()
                secure.do_handshake()
                secure.settimeout(0.02)
                for _ in range(100):
                    if secure.getpeercert():
                        break
                    with suppress(TimeoutError):
                        secure.recv(65_536)
                secure.settimeout(5)
            seen.append(secure.getpeercert())
            secure.sendall(OK if secure.getpeercert() else b"HTTP/1.1 403 X\r\n\r\n")

    with blocking(serve) as port:
        request = request_to(f"https://127.0.0.1:{port}/")
        async with trusting(Files(ca.file, cert, key), profiles) as client:
            shown = await client.post(replace(request, tls_profile="one"))
            hidden = await client.post(request)
    assert shown.answer is Answer.SUCCESS
    assert hidden.status == 403
    assert [bool(one) for one in seen] == [True, False]
