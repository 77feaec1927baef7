"""Certificates are always verified."""

from __future__ import annotations

import asyncio
import shutil
import ssl
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest

from cdc.deliver import Client
from cdc.deliver.trust import Files, Trust
from cdc.model import Answer
from tests.deliver.kit import DEADLINE, LOOPBACK, assert_failed, once_then, request_to
from tests.support import hostile
from tests.support.certificates import certificate, profile
from tests.support.hostile import OK, Behaviour, Hostile, keeps_saying, says


async def test_an_unknown_certificate_is_refused(client: Client, tmp_path: Path) -> None:
    _, context = certificate(tmp_path, "127.0.0.1")
    async with Hostile(keeps_saying(OK), tls=context) as peer:
        outcome = await client.post(request_to(peer.url()))
        assert not peer.requests
    assert_failed(outcome, "tls")
    assert "self-signed certificate" in outcome.detail


async def test_a_trusted_certificate_is_accepted(tmp_path: Path) -> None:
    public, context = certificate(tmp_path, "127.0.0.1")
    client = Client(LOOPBACK, trust=Trust(Files(public)))
    async with Hostile(keeps_saying(OK), tls=context) as peer:
        for _ in range(2):
            assert (await client.post(request_to(peer.url()))).answer is Answer.SUCCESS
        assert peer.connections == 1
    await client.close()


async def test_a_certificate_for_another_host_is_refused(tmp_path: Path) -> None:
    public, context = certificate(tmp_path, "other.example")
    client = Client(LOOPBACK, trust=Trust(Files(public)))
    async with Hostile(keeps_saying(OK), tls=context) as peer:
        outcome = await client.post(request_to(peer.url()))
    await client.close()
    assert_failed(outcome, "tls")
    assert "it is for another name (other.example)" in outcome.detail


async def test_an_expired_certificate_is_refused(tmp_path: Path) -> None:
    public, context = certificate(tmp_path, "127.0.0.1", valid=timedelta(minutes=-1))
    client = Client(LOOPBACK, trust=Trust(Files(public)))
    async with Hostile(keeps_saying(OK), tls=context) as peer:
        outcome = await client.post(request_to(peer.url()))
        assert not peer.requests
    await client.close()
    assert_failed(outcome, "tls")
    assert "expired" in outcome.detail


async def test_the_name_is_asked_for_and_must_be_certified(tmp_path: Path) -> None:
    """The address is dialled; SNI, certificate and Host are about the name."""
    public, context = certificate(tmp_path, "hooks.example")
    asked: list[str | None] = []
    context.sni_callback = lambda _, name, __: asked.append(name)

    async def look(name: str, port: int) -> list[str]:
        return ["127.0.0.1"]

    client = Client(LOOPBACK, trust=Trust(Files(public)), look=look)
    async with Hostile(keeps_saying(OK), tls=context) as peer:
        good = await client.post(request_to(peer.url(name="hooks.example")))
        bad = await client.post(request_to(peer.url(name="other.example")))
        assert f"\r\nHost: hooks.example:{peer.port}\r\n".encode() in peer.requests[0]
        assert len(peer.requests) == 1
    await client.close()
    assert good.answer is Answer.SUCCESS
    assert_failed(bad, "tls")
    assert asked == ["hooks.example", "other.example"]


async def test_a_server_that_wants_a_certificate(tmp_path: Path) -> None:
    public, context = certificate(tmp_path, "127.0.0.1")
    context.verify_mode = ssl.CERT_REQUIRED
    client = Client(LOOPBACK, trust=Trust(Files(public)))
    async with Hostile(keeps_saying(OK), tls=context) as peer:
        outcome = await client.post(request_to(peer.url()))
        assert not peer.requests
    await client.close()
    # Since TLS 1.3 the refusal comes after the handshake, and may be overtaken by the end.
    assert outcome.error in ("tls", "reset")
    assert_failed(outcome, outcome.error)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_versions_of_today(tmp_path: Path, version: ssl.TLSVersion) -> None:
    public, context = certificate(tmp_path, "127.0.0.1")
    context.minimum_version = context.maximum_version = version
    client = Client(LOOPBACK, trust=Trust(Files(public)))
    async with Hostile(keeps_saying(OK), tls=context) as peer:
        for _ in range(2):
            assert (await client.post(request_to(peer.url()))).answer is Answer.SUCCESS
    await client.close()


def test_the_trust_is_never_less_than_full() -> None:
    context = Trust().context()
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2


async def test_no_second_handshake_on_a_connection(tmp_path: Path) -> None:
    """By TLS 1.2 a server could ask for one after the other, as long as the attempt may last."""
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl: Python's servers do not ask for a second one")
    certificate(tmp_path, "127.0.0.1")
    server = await asyncio.create_subprocess_exec(
        *("openssl", "s_server", "-accept", "127.0.0.1:0", "-tls1_2", "-naccept", "1"),
        *("-cert", tmp_path / "cert.pem", "-key", tmp_path / "key.pem"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert server.stdin is not None
    assert server.stdout is not None
    trusting = Client(LOOPBACK, trust=Trust(Files(tmp_path / "cert.pem")), deadline=30)
    try:
        async with asyncio.timeout(30):
            while not (line := await server.stdout.readline()).startswith(b"ACCEPT 127.0.0.1:"):
                assert line, "openssl listens"
            port = int(line.rpartition(b":")[2])
            attempt = asyncio.create_task(trusting.post(request_to(f"https://127.0.0.1:{port}/")))
            while not (line := await server.stdout.readline()).startswith(b"POST "):
                assert line, "openssl shows the request"
            server.stdin.write(b"r\n")  # asks for another handshake
            outcome = await attempt
    finally:
        await trusting.close()
        with suppress(ProcessLookupError):
            server.kill()
        await server.wait()
    assert outcome.error in ("tls", "reset"), outcome
    assert_failed(outcome, outcome.error)


async def test_a_handshake_that_is_cut_off(client: Client) -> None:
    async def cuts(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)

    async with Hostile(cuts) as peer:
        outcome = await client.post(request_to(f"https://127.0.0.1:{peer.port}/"))
    assert outcome.error in ("tls", "reset")
    assert_failed(outcome, outcome.error)


async def test_a_handshake_that_drips(hasty: Client) -> None:
    hello = b"\x16\x03\x03\x40\x00"  # a record that announces much

    async def drips(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.write(hello)
        while True:
            writer.write(b"\x02")
            await writer.drain()
            await asyncio.sleep(0.01)

    async with Hostile(drips) as peer:
        outcome = await hasty.post(request_to(f"https://127.0.0.1:{peer.port}/"))
        async with asyncio.timeout(5):
            await peer.gone.wait()
    assert outcome.error in ("timeout", "tls")
    assert outcome.duration < DEADLINE + 1


@pytest.mark.parametrize(
    "answer", [b"", b"HTTP/1.1 2", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n12"]
)
@pytest.mark.parametrize("end", [says, hostile.resets_after], ids=["closes", "resets"])
async def test_an_answer_that_is_cut_off(
    tmp_path: Path, answer: bytes, end: Callable[[bytes], Behaviour]
) -> None:
    public, context = certificate(tmp_path, "127.0.0.1")
    client = Client(LOOPBACK, trust=Trust(Files(public)))
    async with Hostile(end(answer), tls=context) as peer:
        assert_failed(await client.post(request_to(peer.url())), "reset")
    await client.close()


@pytest.mark.parametrize("behaviour", [hostile.hang, hostile.drip_body, hostile.drip_headers])
async def test_the_deadline_holds_inside_tls(tmp_path: Path, behaviour: Behaviour) -> None:
    public, context = certificate(tmp_path, "127.0.0.1")
    client = Client(LOOPBACK, trust=Trust(Files(public)), deadline=DEADLINE)
    async with Hostile(behaviour, tls=context) as peer:
        outcome = await client.post(request_to(peer.url()))
        async with asyncio.timeout(5):
            await peer.gone.wait()
    await client.close()
    assert_failed(outcome, "timeout")
    assert outcome.duration < DEADLINE + 1


async def test_of_gigabytes_inside_tls_only_the_beginning_is_read(tmp_path: Path) -> None:
    public, context = certificate(tmp_path, "127.0.0.1")
    client = Client(LOOPBACK, trust=Trust(Files(public)))
    async with Hostile(hostile.gigabytes, tls=context) as peer:
        outcome = await client.post(request_to(peer.url()))
    await client.close()
    assert outcome.answer is Answer.SUCCESS


async def test_a_stale_connection_inside_tls(tmp_path: Path) -> None:
    public, context = certificate(tmp_path, "127.0.0.1")
    client = Client(LOOPBACK, trust=Trust(Files(public)))
    for end in (says(b""), hostile.resets_after(b"")):
        async with Hostile(once_then(end), tls=context) as peer:
            for _ in range(3):
                assert (await client.post(request_to(peer.url()))).answer is Answer.SUCCESS
            assert peer.connections == 2
    await client.close()


async def test_https_to_a_server_that_speaks_http(client: Client) -> None:
    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with Hostile(plain) as peer:
        outcome = await client.post(request_to(f"https://127.0.0.1:{peer.port}/"))
    assert_failed(outcome, "tls")


async def test_a_tls_handshake_that_hangs(hasty: Client) -> None:
    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(1000):
            pass

    async with Hostile(mute) as peer:
        outcome = await hasty.post(request_to(f"https://127.0.0.1:{peer.port}/"))
    assert_failed(outcome, "timeout")
    assert outcome.duration < DEADLINE + 1


def test_what_is_accepted_does_not_depend_on_pythons_release(tmp_path: Path) -> None:
    """Since 3.13 its own defaults are others."""
    public, _ = certificate(tmp_path, "127.0.0.1")
    profile(tmp_path / "profiles", "one", ca=public)
    for context in (Trust().context(), Trust(profiles=tmp_path / "profiles").context("one")):
        assert context.verify_flags == (
            ssl.VERIFY_X509_TRUSTED_FIRST | ssl.VERIFY_X509_PARTIAL_CHAIN
        )
        assert context.minimum_version is ssl.TLSVersion.TLSv1_2
