"""The local receiver and ``cdc receive``."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from ipaddress import ip_network

import pytest
import typer
from typer.testing import CliRunner

from cdc.cli.receive import register
from cdc.deliver import Client, Guard
from cdc.errors import CdcError, UsageError
from cdc.message.signing import SignatureProblem, Signer, header_lines
from cdc.message.signing_keys import new_secret
from cdc.model import Answer, Outcome, Request
from cdc.sandbox.receiver import Received, Receiver, Reply, Script

SECRET = new_secret()
BODY = (
    b'{"endpoint": "x", "time": "2015-03-16T15:32:34.174752+00:00", "event": "rating_changed", '
    b'"data": {"action": "created", "rating": "r"}}'
)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    await receiver.start()
    yield receiver
    await receiver.stop()


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    client = Client(Guard([ip_network("127.0.0.0/8"), ip_network("::1/128")], allow_http=True))
    yield client
    await client.close()


async def post(
    client: Client, url: str, uid: str = "id-1", secret: str = SECRET, body: bytes = BODY
) -> Outcome:
    headers = Signer([secret]).headers(uid, int(time.time()), body)
    return await client.post(Request(url, header_lines(headers), body))


async def test_a_challenge_is_answered_if_it_is_genuine(receiver: Receiver, client: Client) -> None:
    body = b'{"event": "webhook_challenge", "data": {"challenge": "abc"}}'
    receiver.expect("/own", SECRET)
    for path, secret, text in (
        ("/own", SECRET, "abc"),
        ("/own", new_secret(), ""),
        ("/any", new_secret(), "abc"),
    ):
        done = await post(client, receiver.url(path), "u", secret, body)
        assert (done.status, done.excerpt) == (200, text)


async def test_records_what_came(receiver: Receiver, client: Client) -> None:
    receiver.expect("/hook", SECRET)
    before = time.perf_counter(), time.time()
    await post(client, receiver.url("/hook?a=b"))
    after = time.perf_counter(), time.time()
    (got,) = receiver.received
    assert (got.method, got.path, got.body) == ("POST", "/hook?a=b", BODY)
    assert (got.verified, got.problem, got.status, got.tries) == (True, None, 200, 1)
    assert got.uid == got.headers["webhook-id"] == "id-1"
    assert before[0] <= got.clock <= after[0]
    assert before[1] - 0.001 <= got.at.timestamp() <= after[1] + 0.001
    assert (receiver.count, receiver.answered, receiver.unverified) == (1, 1, 0)


async def test_secrets_belong_to_paths(receiver: Receiver, client: Client) -> None:
    other = new_secret()
    receiver.expect("/a", SECRET)
    receiver.expect("/rotating", other, SECRET)
    receiver.expect(None, other)
    for path in ("/a", "/rotating", "/else"):
        await post(client, receiver.url(path))
    assert [got.problem for got in receiver.received] == [None, None, SignatureProblem.MISMATCH]
    assert receiver.unverified == 1
    with pytest.raises(UsageError):
        receiver.expect("/a", "whsec_short")


async def test_without_a_secret_nothing_counts_as_verified(
    receiver: Receiver, client: Client
) -> None:
    assert (await post(client, receiver.url())).answer is Answer.SUCCESS
    assert receiver.received[0].problem is SignatureProblem.NO_SECRET


async def test_fails_the_first_of_each_delivery(receiver: Receiver, client: Client) -> None:
    receiver.script("/hook", Script(fail_first=2))
    url = receiver.url("/hook")
    statuses = [(await post(client, url, uid)).status for uid in ("a", "b", "a", "a", "b", "b")]
    assert statuses == [500, 500, 500, 200, 500, 200]
    assert [got.tries for got in receiver.received] == [1, 1, 2, 3, 2, 3]
    assert [got.status for got in receiver.received] == statuses


async def test_fails_the_first_of_all(receiver: Receiver, client: Client) -> None:
    failure = Reply(503, b"later", {"Retry-After": "7"})
    receiver.script(None, Script(fail_first=2, per_id=False, failure=failure))
    outcomes = [await post(client, receiver.url(), uid) for uid in ("a", "b", "a")]
    assert [outcome.status for outcome in outcomes] == [503, 503, 200]
    assert (outcomes[0].retry_after, outcomes[0].excerpt) == (7, "later")


async def test_fails_a_share_the_same_way_every_time(client: Client) -> None:
    runs = []
    for _ in range(2):
        receiver = Receiver(seed=7)
        receiver.script(None, Script(fail_rate=0.3))
        await receiver.start()
        runs.append([(await post(client, receiver.url(), str(i))).status for i in range(100)])
        await receiver.stop()
    assert runs[0] == runs[1]
    assert 15 <= runs[0].count(500) <= 45


async def test_answers_as_a_function_says(receiver: Receiver, client: Client) -> None:
    async def slow(got: Received) -> Reply:
        return Reply(202, got.body)

    receiver.script("/status", Script(answer=lambda got: 418 if got.uid == "tea" else 200))
    receiver.script("/reply", Script(answer=slow))
    assert (await post(client, receiver.url("/status"), "tea")).status == 418
    assert (await post(client, receiver.url("/status"), "else")).status == 200
    outcome = await post(client, receiver.url("/reply"), body=b"[1]")
    assert (outcome.status, outcome.excerpt) == (202, "[1]")


async def test_delays(receiver: Receiver, client: Client) -> None:
    receiver.script(None, Script(delay=0.05))
    outcome = await post(client, receiver.url())
    assert outcome.duration >= 0.05


async def test_waits_for_a_number_and_for_a_condition(receiver: Receiver, client: Client) -> None:
    def tried_twice(received: object) -> bool:
        return any(got.tries == 2 for got in receiver.received)

    async with asyncio.TaskGroup() as group:
        group.create_task(receiver.wait_for(3))
        group.create_task(receiver.wait_for(tried_twice))
        for uid in ("a", "b", "a"):
            await post(client, receiver.url(), uid)
    await receiver.wait_for(3, limit=0)
    with pytest.raises(TimeoutError, match=r"3 received, 3 answered within 0\.01 s"):
        await receiver.wait_for(4, limit=0.01)


async def test_callbacks_at_arrival_and_answer(client: Client) -> None:
    calls: list[tuple[str, int | None]] = []
    receiver = Receiver(
        lambda got: calls.append(("came", got.status)),
        on_answered=lambda got: calls.append(("answered", got.status)),
        keep=False,
    )
    await receiver.start()
    await post(client, receiver.url())
    await receiver.stop()
    assert calls == [("came", None), ("answered", 200)]
    assert receiver.received == []
    assert receiver.count == 1


async def test_a_port_in_use_is_reported(receiver: Receiver) -> None:
    port = int(receiver.url("").rpartition(":")[2])
    second = Receiver()
    with pytest.raises(CdcError, match=f"port {port}"):
        await second.start(port=port)
    await second.stop()


async def test_stopping_does_not_wait_for_slow_answers(client: Client) -> None:
    receiver = Receiver()
    receiver.script(None, Script(delay=30))
    await receiver.start()
    task = asyncio.create_task(post(client, receiver.url()))
    await receiver.wait_for(lambda received: len(received) == 1)
    started = time.perf_counter()
    await receiver.stop()
    assert time.perf_counter() - started < 5
    assert (await task).answer is Answer.FAILURE
    assert receiver.received[0].status is None


# cdc receive


@contextlib.contextmanager
def running(*options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The command as a process of its own, and the URL it listens on."""
    code = (
        "import typer; from cdc.cli.receive import register; "
        "app = typer.Typer(); app.callback()(lambda: None); register(app); app()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, "receive", "--port", "0", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"COLUMNS": "80", "NO_COLOR": "1"},
    )
    assert process.stderr is not None
    try:
        first = process.stderr.readline()
        assert first.startswith("Listening on http://"), first + process.stderr.read()
        yield process, first.split()[2].rstrip("/")
    finally:
        process.kill()
        process.communicate()


async def test_the_command_prints_json_and_ends_after_a_number(client: Client) -> None:
    with running("--json", "--count", "2", "--secret", SECRET) as (process, url):
        assert (await post(client, url + "/hook")).status == 200
        assert (await post(client, url + "/hook", secret=new_secret())).status == 200
        out, err = await asyncio.to_thread(process.communicate, timeout=20)
        assert process.returncode == 0
    first, second = (json.loads(line) for line in out.splitlines())
    assert first["body"].encode() == BODY
    assert (first["path"], first["id"], first["try"]) == ("/hook", "id-1", 1)
    assert (first["verified"], first["problem"], first["status"]) == (True, None, 200)
    assert (second["verified"], second["problem"]) == (False, SignatureProblem.MISMATCH)
    assert err.strip() == "2 received, 1 of them not verified."


async def test_the_command_prints_for_people(client: Client) -> None:
    options = ("--count", "3", "--secret", f"/hook={SECRET}", "--fail-first", "1")
    with running(*options, "--retry-after", "9") as (process, url):
        failed = await post(client, url + "/hook")
        assert (failed.status, failed.retry_after) == (503, 9)
        assert (await post(client, url + "/hook")).status == 200
        await post(client, url + "/[red]", "other", body=b"\x1b[2J[bold]no json")
        out, _ = await asyncio.to_thread(process.communicate, timeout=20)
        assert process.returncode == 0
    lines = out.splitlines()
    assert "rating_changed created  /hook  verified  503" in lines[0]
    assert lines[1].strip() == BODY.decode()
    assert "verified  200  try 2" in lines[2]
    assert "(no JSON)" in lines[4]
    assert "/[red]  not verified: no secret to verify with" in lines[4].replace("%5B", "[").replace(
        "%5D", "]"
    )
    assert lines[5].strip() == "[2J[bold]no json"
    assert "\x1b" not in out


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_any_request_is_answered_and_shown_as_text(options: list[str]) -> None:
    deep = b'{"event": ' + b"[" * 1000 + b"]" * 1000 + b', "data": {"action": {}}}'
    steering = '{"event": "\x9b31m\u202e\x7f"}'.encode()
    with running(*options) as (process, url):
        for head, body in (
            (b"X-A: \xff\xfe\r\nwebhook-id: \xff\r\n", b"hi"),
            (b"", deep),
            (b"", steering),
            (b"", b'{"event": "%b"}' % (b"e" * 30_000)),
        ):
            assert send(url, head, body).startswith(b"HTTP/1.1 200 ")
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=20)
    assert err.strip() == "4 received, 4 of them not verified."
    assert not set(out) & {"\x9b", "\u202e", "\x7f"}
    if options:
        shown = [json.loads(line) for line in out.splitlines()]
        assert shown[0]["headers"]["x-a"] == "\ufffd\ufffd"
        assert shown[2]["body"] == steering.decode(), "the same for who reads it as JSON"
    else:
        assert len(out) < 20_000


def send(url: str, head: bytes, body: bytes) -> bytes:
    """A request as no client makes it; returns the beginning of the answer."""
    host, _, port = url.removeprefix("http://").rstrip("/").partition(":")
    with socket.create_connection((host, int(port)), timeout=20) as sock:
        length = b"Content-Length: %d\r\n\r\n" % len(body)
        sock.sendall(b"POST / HTTP/1.1\r\nHost: x\r\n" + head + length + body)
        return sock.recv(1000)


async def test_ids_and_paths_without_end_are_forgotten(
    receiver: Receiver, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cdc.sandbox.receiver.REMEMBERED", 3)
    for uid in ("a", "b", "c", "d", "d", "a"):
        await post(client, receiver.url(f"/{uid}"), uid)
    assert [got.tries for got in receiver.received] == [1, 1, 1, 1, 2, 1]


def test_a_secret_comes_by_stdin(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no list of processes shows it."""
    expected: list[tuple[str | None, str]] = []
    monkeypatch.setattr(Receiver, "expect", lambda _, path, secret: expected.append((path, secret)))

    def serve(*_: object, **__: object) -> None:
        raise CdcError("enough")

    monkeypatch.setattr("cdc.cli.receive._serve", serve)
    app = typer.Typer()
    app.callback()(lambda: None)
    register(app)
    given = ["--secret", "-", "--secret", "-"]
    CliRunner().invoke(app, ["receive", *given], input=f"{SECRET}\n/path={SECRET}\n")
    assert expected == [(None, SECRET), ("/path", SECRET)]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_stops_cleanly(number: signal.Signals) -> None:
    with running() as (process, _):
        process.send_signal(number)
        out, err = process.communicate(timeout=20)
        assert (process.returncode, out) == (0, "")
    assert err.strip() == "0 received."


@pytest.mark.parametrize(
    "options",
    [
        ["--secret", "nonsense"],
        ["--secret", "/path"],
        ["--secret", "/path=whsec_x"],
        ["--status", "42"],
        ["--fail-rate", "2"],
        ["--port", "99999"],
        ["--count", "0"],
    ],
)
def test_wrong_options(options: list[str]) -> None:
    app = typer.Typer()
    app.callback()(lambda: None)
    register(app)
    result = CliRunner().invoke(app, ["receive", *options])
    wrong = result.exit_code == 2 or isinstance(result.exception, UsageError)
    assert wrong, result.output
