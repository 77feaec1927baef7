"""Certificates are always verified."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from cdc.deliver import Client
from cdc.errors import ConfigError
from cdc.road import Answer
from tests.deliver.kit import DEADLINE, LOOPBACK, assert_failed, certificate, request_to
from tests.hostile import OK, Hostile, keeps_saying


async def test_an_unknown_certificate_is_refused(client: Client, tmp_path: Path) -> None:
    _, context = certificate(tmp_path, "127.0.0.1")
    async with Hostile(keeps_saying(OK), tls=context) as peer:
        outcome = await client.post(request_to(peer.url()))
        assert not peer.requests
    assert_failed(outcome, "tls")
    assert "self-signed certificate" in outcome.detail


async def test_a_trusted_certificate_is_accepted(tmp_path: Path) -> None:
    public, context = certificate(tmp_path, "127.0.0.1")
    client = Client(LOOPBACK, ca_file=public)
    async with Hostile(keeps_saying(OK), tls=context) as peer:
        for _ in range(2):
            assert (await client.post(request_to(peer.url()))).answer is Answer.SUCCESS
        assert peer.connections == 1
    await client.close()


async def test_a_certificate_for_somebody_else_is_refused(tmp_path: Path) -> None:
    public, context = certificate(tmp_path, "other.example")
    client = Client(LOOPBACK, ca_file=public)
    async with Hostile(keeps_saying(OK), tls=context) as peer:
        outcome = await client.post(request_to(peer.url()))
    await client.close()
    assert_failed(outcome, "tls")
    assert "mismatch" in outcome.detail or "not valid" in outcome.detail


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


def test_a_ca_file_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"missing\.pem"):
        Client(LOOPBACK, ca_file=tmp_path / "missing.pem")
    (tmp_path / "empty.pem").write_text("nothing")
    with pytest.raises(ConfigError, match=r"empty\.pem"):
        Client(LOOPBACK, ca_file=tmp_path / "empty.pem")
