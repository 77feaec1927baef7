"""Attacks on the API, each tried against a real process."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest
from aiohttp import web

from cdc.web import server
from cdc.web.limits import FAILURES, WINDOW_S, SentKeys
from tests.web.kit import Client, Served, problem, until

HOOK = {"events": ["project_changed"], "endpoint": "http://127.0.0.1:9/hook"}


@pytest.fixture(scope="module")
def operator(served: Served) -> Client:
    return served.client("operator")


def connect(served: Served) -> socket.socket:
    parts = urlsplit(served.url)
    return socket.create_connection((parts.hostname, parts.port), 20)


def raw(served: Served, sent: bytes) -> bytes:
    """All that comes back until the other side closes, or says no more for a second."""
    got = b""
    with connect(served) as conn, suppress(TimeoutError, ConnectionResetError):
        conn.sendall(sent)
        conn.settimeout(1.0)
        while part := conn.recv(65536):
            got += part
    return got


# -- what it calls ---------------------------------------------------------------------------------


def test_it_connects_to_the_database_and_to_nothing_else(served: Served, operator: Client) -> None:
    """Names are not looked up, endpoints are not called: registering is no way into the inside."""
    with socket.create_server(("127.0.0.1", 0)) as inside:
        port = inside.getsockname()[1]
        made = operator.good(
            "POST",
            "/v1/companies/1/webhooks",
            {**HOOK, "endpoint": f"http://127.0.0.1:{port}/"},
        )
        operator.good("POST", f"/v1/webhooks/{made['id']}/resume")
        operator.good("POST", f"/v1/webhooks/{made['id']}/rotate-secret", {})
        inside.settimeout(0.3)
        with pytest.raises(TimeoutError):
            inside.accept()
    database = int(served.database.rpartition(":")[2].partition("/")[0])
    own = urlsplit(served.url).port
    for one in psutil.Process(served.process.pid).net_connections("inet"):
        if one.status == psutil.CONN_ESTABLISHED and one.laddr.port != own:
            assert one.raddr.port == database


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://169.254.169.254/latest/meta-data", "http://10.0.0.1/", "https://[::1]/",
        "http://[::ffff:192.168.0.1]/", "https://100.64.0.1/", "https://0x0a000001/",
        "https://017700000001/", "file:///etc/passwd", "gopher://x/", "https://x@10.0.0.1/",
    ],
)  # fmt: skip
def test_addresses_inside_are_refused_when_they_are_registered(
    operator: Client, endpoint: str
) -> None:
    answer = operator("POST", "/v1/companies/1/webhooks", {**HOOK, "endpoint": endpoint})
    assert answer.status == 422, answer.body
    assert problem(answer)["errors"][0]["field"] == "endpoint"


# -- sizes and times -------------------------------------------------------------------------------


def test_a_huge_body_is_refused_before_it_is_read(served: Served, operator: Client) -> None:
    head = (
        "POST /v1/companies/1/webhooks HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {operator.key}\r\n"
    ).encode()
    declared = raw(served, head + b"Content-Length: 1000000000000\r\n\r\n{")
    assert b"413" in declared.split(b"\r\n")[0]
    chunk = b"10000\r\n" + b" " * 65536 + b"\r\n"
    chunked = raw(served, head + b"Transfer-Encoding: chunked\r\n\r\n" + chunk * 3 + b"0\r\n\r\n")
    assert b"413" in chunked.split(b"\r\n")[0]
    assert b'"code":"too_large"' in chunked


def test_a_body_that_would_unpack_is_not_unpacked(operator: Client) -> None:
    head = {"Content-Encoding": "gzip"}
    answer = operator("POST", "/v1/companies/1/webhooks", b"\x1f\x8b", head)
    assert (answer.status, problem(answer)["code"]) == (415, "unsupported_media_type")


@pytest.mark.parametrize(
    "body",
    [b"[" * 30_000, b'{"events": ' * 5000, b"\xff\xfe", b'{"events": 1e999}', b"nul", b'"\\ud800"',
     b'{"events": ["a"], "events": ["b"], "endpoint": 1}'],
)  # fmt: skip
def test_odd_json_is_a_problem_of_the_client(operator: Client, body: bytes) -> None:
    answer = operator("POST", "/v1/companies/1/webhooks", body)
    assert answer.status in (400, 422), answer.body
    assert problem(answer)["code"] in ("bad_request", "invalid")


def test_a_head_without_end_is_refused(served: Served) -> None:
    got = raw(served, b"GET /v1/events HTTP/1.1\r\nHost: x\r\nX-A: " + b"a" * 100_000)
    assert got == b"" or b" 400 " in got.split(b"\r\n")[0]


def test_slow_clients_do_not_stop_it(served: Served, operator: Client) -> None:
    """200 that have begun a head, or a body, and say no more."""
    body = (
        f"POST /v1/replays HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {operator.key}\r\n"
        "Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
    ).encode()
    slow = [connect(served) for _ in range(200)]
    try:
        for number, conn in enumerate(slow):
            conn.sendall(body if number % 2 else b"GET /v1/ev")
        times = []
        for _ in range(20):
            begun = time.monotonic()
            operator.good("GET", "/v1/events")
            times.append(time.monotonic() - begun)
        assert statistics.median(times) < 1.0
    finally:
        for conn in slow:
            conn.close()


async def test_a_connection_that_is_too_slow_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that says nothing, one without an end of its head, one that does not read on."""
    monkeypatch.setattr(server, "HEAD_S", 0.2)
    monkeypatch.setattr(server, "KEEP_S", 0.2)
    monkeypatch.setattr(server, "MAX_CONNECTIONS", 5)

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        return server.response(200, {}, b"x" * 10_000_000)

    made = server.ApiServer(answer)
    runner = web.ServerRunner(made, shutdown_timeout=1.0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    slow = asyncio.create_task(made.end_slow_ones())
    port = runner.addresses[0][1]
    try:
        async with asyncio.timeout(20):
            conns = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
            conns[1][1].write(b"GET / HTTP/1.1\r\nX-A: ")
            conns[2][1].write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            await conns[2][0].readexactly(10)
            for reader, _ in conns[:2]:
                assert await reader.read() == b""
            while made.open:  # noqa: ASYNC110 - a count of its own, no event
                await asyncio.sleep(0.05)
            # Of too many the one that has been idle longest goes.
            many = [await asyncio.open_connection("127.0.0.1", port) for _ in range(6)]
            assert await many[0][0].read() == b""
            for _, writer in [*conns, *many]:
                writer.close()
    finally:
        slow.cancel()
        await runner.cleanup()


# -- what is smuggled ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "lines",
    [
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: +5", "Content-Length: 5 5", "Content-Length: 0x5", "Content-Length: -1",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        "Transfer-Encoding: xchunked", "Transfer-Encoding:\x0bchunked",
        "X-A: b\r\n\tTransfer-Encoding: chunked", "Content-Length : 5", "X\x00Y: 1",
    ],
)  # fmt: skip
def test_a_length_that_two_could_read_differently_ends_the_connection(
    served: Served, operator: Client, lines: str
) -> None:
    """A second request that is hidden in the first is never answered."""
    sent = (
        "POST /v1/webhooks/1/resume HTTP/1.1\r\nHost: x\r\nConnection: keep-alive\r\n"
        f"{lines}\r\n\r\n0\r\n\r\n"
        f"GET /v1/keys HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {operator.key}\r\n\r\n"
    ).encode()
    got = raw(served, sent)
    assert got.count(b"HTTP/1.1 ") <= 1, got
    assert b"HTTP/1.1 2" not in got


@pytest.mark.parametrize(
    ("name", "values"),
    [("Authorization", ["{key}", "Bearer x"]), ("If-Match", ['"999"', "*"]),
     ("Idempotency-Key", ["a", "b"]), ("Content-Encoding", ["identity", "identity"])],
)  # fmt: skip
def test_a_header_that_decides_is_sent_once(
    served: Served, operator: Client, name: str, values: list[str]
) -> None:
    """Of two the last counted: a proxy that checks one may have seen the other."""
    key = f"Bearer {operator.key}"
    lines = [f"{name}: {value.format(key=key)}" for value in values]
    lines += [] if name == "Authorization" else [f"Authorization: {key}"]
    sent = "PATCH /v1/webhooks/1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
    head, _, body = raw(served, (sent + "\r\n".join(lines) + "\r\n\r\n").encode()).partition(
        b"\r\n\r\n"
    )
    assert b" 400 " in head.split(b"\r\n")[0], head
    assert json.loads(body)["detail"] == f"the header {name} was sent more than once"


@pytest.mark.parametrize(
    "path",
    ["/v1/../v1/keys", "//v1/keys", "/v1/keys/", "/v1/%6beys", "/V1/keys", "/v1/keys;x",
     "/v1/keys%00", "/v1/companies/%ff/webhooks"],
)  # fmt: skip
def test_a_path_has_one_form(served: Served, path: str) -> None:
    assert served.client("admin").refused("GET", path) == (404, "not_found")


# -- headers and log -------------------------------------------------------------------------------


def test_nothing_that_is_sent_comes_back_as_a_header_or_a_line_of_log(
    served: Served, operator: Client
) -> None:
    odd = "a%0d%0aSet-Cookie:%20x=1%0d%0a"
    for path in (f"/v1/companies/{odd}/webhooks", f"/v1/webhooks/{odd}", f"/v1/events?{odd}=1"):
        answer = operator("GET", path, None, {"X-Request-Id": "forged", "User-Agent": "FORGED"})
        assert "set-cookie" not in answer.headers
        assert re.fullmatch(r"[0-9a-f]{32}", answer.headers["x-request-id"])
    number = answer.headers["x-request-id"]
    until(lambda: any(line.get("request") == number for line in served.lines))
    text = json.dumps(served.lines)
    assert "Set-Cookie" not in text
    assert "forged" not in text.lower()
    assert (operator.key or "").split("_", 2)[2] not in text


def test_answers_are_not_kept_or_framed(operator: Client) -> None:
    for path in ("/v1/events", "/v1/none", "/healthz"):
        answer = operator("GET", path)
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert "access-control-allow-origin" not in answer.headers
        assert answer.headers["server"] == "cdc"


# -- guessing --------------------------------------------------------------------------------------


def test_guessing_is_limited_and_locks_no_other_out(served: Served, operator: Client) -> None:
    operator.good("GET", "/v1/events")
    guess = Client(served.url, f"cdc_{'b' * 12}_{'x' * 43}")
    codes = [guess("GET", "/v1/events").status for _ in range(FAILURES + 5)]
    assert codes[0] == 401
    assert codes[-1] == 429
    limited = guess("GET", "/v1/events")
    assert 0 < int(limited.headers["retry-after"]) <= WINDOW_S + 1
    # A valid key behind the same address goes on.
    operator.good("GET", "/v1/events")


def test_the_limit_counts_networks_and_ends() -> None:
    now = [0.0]
    failed = SentKeys(lambda: now[0])
    for _ in range(FAILURES):
        failed.failed("2001:db8::1")
    assert failed.wait("2001:db8::ffff", "x") > 0
    assert failed.wait("2001:db8:0:1::1", "x") == 0
    assert failed.whose("good") == ""
    assert failed.worked("good") == failed.whose("good") != failed.worked("another")
    assert failed.wait("2001:db8::1", "good") == 0
    now[0] = WINDOW_S
    assert failed.wait("2001:db8::1", "x") == 0


def test_what_is_stored_opens_nothing(served: Served) -> None:
    """Neither the digest of a key, nor another one with its id, is a key."""
    key = served.key("admin")
    number, secret = key.split("_", 2)[1:]
    ((digest,),) = served.rows("select digest from cdc.api_key where id = %s", number)
    assert secret.encode() not in bytes(digest)
    text = str(served.rows("select * from cdc.api_key"))
    assert secret not in text


# -- many at once ----------------------------------------------------------------------------------


def test_many_at_once_are_answered(served: Served, operator: Client) -> None:
    answers: list[int] = []

    def ask() -> None:
        for _ in range(5):
            answers.append(operator("GET", "/v1/companies/1/webhooks").status)

    threads = [threading.Thread(target=ask, daemon=True) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert answers == [200] * 100


@pytest.fixture(autouse=True)
def still_well(served: Served) -> Iterator[None]:
    """Whatever was tried: it runs, and made no mistake of its own."""
    before = _mistakes(served.lines)
    yield
    assert served.process.poll() is None
    mistakes = _mistakes(served.lines)
    assert mistakes == before, [one.get("exception", one)[-300:] for one in mistakes]


def _mistakes(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [line for line in lines if line.get("level") == "error" or line["event"] == "plain"]
