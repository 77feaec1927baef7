"""The receiver's process: what it takes for a request, and when."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.bench.load import wire
from tests.bench.load.receiver import ANSWER
from tests.bench.target import Target

WITHIN = 30.0


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    with Target(tmp_path_factory.mktemp("receiver")) as target:
        yield target


@pytest.fixture
def target(running: Target) -> Iterator[Target]:
    running.clear()
    yield running
    running.delay(0)


def dialled(target: Target, *, tls: bool = False) -> socket.socket:
    port = urlsplit(target.base(tls=tls)).port
    plain = socket.create_connection(("127.0.0.1", port), timeout=WITHIN)
    if not tls:
        return plain
    context = ssl.create_default_context(cafile=target.ca_file)
    return context.wrap_socket(plain, server_hostname="127.0.0.1")


def answers(connection: socket.socket, number: int) -> float:
    """Reads so many answers. Returns when the last one was there (nanoseconds)."""
    got = b""
    while len(got) < number * len(ANSWER):
        part = connection.recv(65536)
        assert part
        got += part
    assert got == ANSWER * number
    return time.monotonic_ns()


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_it_records_hook_key_id_and_time(target: Target, tls: bool) -> None:
    base = target.base(tls=tls)
    with dialled(target, tls=tls) as connection:
        before = time.monotonic_ns()
        connection.sendall(wire.message(base, 7, 123))
        after = answers(connection, 1)
    (found,) = target.receipts()
    assert (found.hook, found.key, found.uid) == (7, 123, wire.SIGNED[0][1].encode())
    assert before <= found.at <= after


def test_requests_in_one_packet_are_separated(target: Target) -> None:
    base = target.base()
    with dialled(target) as connection:
        connection.sendall(b"".join(wire.message(base, 1, key) for key in range(1, 51)))
        answers(connection, 50)
    assert [found.key for found in target.receipts()] == list(range(1, 51))
    assert target.count() == 50


def test_a_request_is_received_with_its_last_byte(target: Target) -> None:
    message = wire.message(target.base(), 3, 4)
    with dialled(target) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in message[:-1]:
            connection.sendall(bytes([byte]))
        assert target.count() == 0
        before = time.monotonic_ns()
        connection.sendall(message[-1:] + message)
        answers(connection, 2)
    assert [found.key for found in target.receipts()] == [4, 4]
    assert target.receipts()[0].at >= before


def test_an_answer_can_take_its_time(target: Target) -> None:
    target.delay(0.05)
    with dialled(target) as connection:
        connection.sendall(wire.message(target.base(), 1, 1))
        answered = answers(connection, 1)
    (found,) = target.receipts()
    assert answered - found.at >= 45_000_000  # timers count whole milliseconds


def test_the_record_is_cleared(target: Target, tmp_path: Path) -> None:
    with dialled(target) as connection:
        connection.sendall(wire.message(target.base(), 1, 1))
        answers(connection, 1)
    target.clear()
    assert target.count() == 0
    assert not target.receipts()
    assert not target.wait_for(1, 0.0, lambda: None)
