"""What the account rests on: the ledger knows what was committed, the records are what was sent."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import aiohttp
import psycopg
import pytest

from cdc.message.signing import Sealer
from cdc.message.signing_keys import new_secret
from cdc.model import Delivery, Layout, Request, Webhook, WebhookState
from cdc.sandbox.records import Arrival, Change, Hook
from tests.faults import ledger, records, suite
from tests.faults.ledger import Ledger
from tests.faults.peer import Peer
from tests.faults.silences import silences
from tests.faults.writers import Owed, Writers
from tests.lanes.made import TIME
from tests.support.proxy import Proxy

SHAPE = suite.Shape(companies=1, webhooks=1, writers=1)
HOOK = Hook(0, "1", frozenset(suite.EVENTS))


@pytest.mark.parametrize("through", [True, False], ids=["COMMIT got through", "COMMIT was lost"])
async def test_a_commit_without_an_answer(database: str, tmp_path: Path, through: bool) -> None:
    """The writer finds out from the suite's own table what became of its transaction."""
    keys = suite.furnish(database, SHAPE)
    book = Ledger(tmp_path / "ledger")
    committing = asyncio.Event()

    async with Proxy(database) as proxy:
        writers = Writers(
            proxy.url, keys, book, Owed([HOOK], frozenset()), writers=1, backlog=lambda: 0, most=0
        )
        [writer] = writers.make()
        conn = await writer.connected()

        async def commit() -> None:
            if through:
                await type(conn).commit(conn)
            committing.set()
            proxy.cut()
            raise psycopg.OperationalError("the connection was lost")

        conn.commit = commit  # type: ignore[method-assign]  # the moment cannot be hit otherwise
        writer.chance.seed(1)
        while not committing.is_set():
            await writer.transaction()
        assert writers.unknown == 1
        await writer.transaction()  # goes on, on a new connection
        assert writer.conn is not None
        await writer.conn.close()
    book.close()
    changes = list(ledger.read(tmp_path / "ledger"))
    assert committed(changes) == in_tables(database)


def committed(changes: list[Change]) -> dict[tuple[str, str], int]:
    """Rows that were changed and are there, with their versions, as the ledger has it."""
    versions: dict[tuple[str, str], int] = {}
    gone = set()
    for change in changes:
        if change.committed:
            row = (suite.table_of(change.event), change.key)
            versions[row] = max(change.version, versions.get(row, 0))
            if change.action == "deleted":
                gone.add(row)
    return {row: version for row, version in versions.items() if version and row not in gone}


def in_tables(url: str) -> dict[tuple[str, str], int]:
    """The same, as the suite's tables have it."""
    with psycopg.connect(url) as conn:
        return {
            (suite.table_of(event), key): version
            for event in suite.EVENTS
            for key, version in conn.execute(
                f"select id::text, name::int from {suite.table_of(event)} where name::int > 0"
            )
        }


LAYOUT = Layout(1, "rating_changed", ("base", "company", "project", "candidate", "rating"))
BODY = (
    b'{"endpoint": "http://127.0.0.1/0", "time": "2015-03-16T15:32:34.174752+00:00",'
    b' "event": "rating_changed", "data": {"action": "modified", "project": "p", "candidate": "c",'
    b' "rating": "https://x/api/v3/companies/7/projects/1/candidates/2/ratings/9/"}}'
)


def sealed(url: str, secret: str, timestamp: int) -> Request:
    webhook = Webhook(1, "7", url, WebhookState.ACTIVE, 1, (secret,))
    delivery = Delivery(1, 1, 1, "an-id", LAYOUT, "modified", TIME, (None, "7", "1", "2", "9"))
    return Sealer(webhook).seal(delivery, BODY, timestamp)


async def test_the_receiver_records_what_was_sent_and_what_it_answered(tmp_path: Path) -> None:
    secret = new_secret()
    async with Peer(tmp_path, 1) as peer, aiohttp.ClientSession() as session:

        async def post(mode: str, secret: str = secret) -> int:
            await peer.mode([0], mode)
            request = sealed(peer.url(0), secret, 1000)
            try:
                async with asyncio.timeout(0.5):
                    async with session.post(
                        request.url, data=request.body, headers=request.headers
                    ) as answer:
                        return answer.status
            except (aiohttp.ClientError, TimeoutError):
                return 0

        assert await post("ok") == 204
        assert await post("ok", new_secret()) == 204
        assert await post("error") >= 400
        for mode in ("reset", "garbage", "hang", "drip"):
            assert await post(mode) == 0, mode
        assert await post("gigabytes") == 500
        assert await post("ok") == 204  # the others are served whatever one of them does
        await peer.flush()
        assert peer.counts.deliveries == [1]  # one id
        assert peer.counts.requests == 9
        got = list(
            records.read(peer.file, {0: secret}, wall=1000.0 - asyncio.get_running_loop().time())
        )
    first = got[0]
    assert (first.webhook, first.uid, first.company, first.event) == (
        0,
        "an-id",
        "7",
        "rating_changed",
    )
    assert (first.key, first.action, first.time) == ("9", "modified", 1426519954174752)
    assert (first.status, first.problem) == (204, "")
    assert got[1].problem == "the signature is wrong"
    assert sum(request.status == 204 for request in got) == 3
    assert all(request.received <= request.ended for request in got)
    late = records.read(peer.file, {0: secret}, wall=1e6)
    assert {request.problem for request in late} == {
        "the timestamp is wrong",
        "the signature is wrong",
    }


async def test_a_port_refuses_and_accepts_again(tmp_path: Path) -> None:
    async with Peer(tmp_path, 2, ports=2) as peer, aiohttp.ClientSession() as session:
        await peer.refuse(peer.port_of(0))
        with pytest.raises(aiohttp.ClientError):
            await session.post(peer.url(0), data=BODY)
        with socket.socket() as other, pytest.raises(OSError, match="in use"):
            other.bind(("127.0.0.1", peer.port_of(0)))  # no other program gets it meanwhile
        async with session.post(peer.url(1), data=BODY) as answer:
            assert answer.status == 204
        await peer.accept(peer.port_of(0))
        async with session.post(peer.url(0), data=BODY) as answer:
            assert answer.status == 204


def test_silence_is_measured_where_something_was_owed() -> None:
    webhook = Hook(0, "1", frozenset({"rating_changed"}))
    changes = [
        Change("1", "rating_changed", "9", "modified", n, n, n, n + 0.5, True) for n in (0, 1)
    ]
    came = [
        Arrival(
            0, f"id-{start}", "1", "rating_changed", "9", "modified", 0, start, start + 0.1, 204
        )
        for start in (1.0, 4.0)
    ]
    at_two, at_four, at_five = silences(changes, came, [webhook], [2.0, 4.05, 5.0])
    assert [(found.webhook, found.seconds) for found in at_two] == [(0, 2.0)]
    assert at_four == at_five == []


def test_what_the_receiver_has_already_is_not_waited_for() -> None:
    """A kill found a webhook with its last request at the receiver, which answered a moment later;
    the next change came after 29 s, and these counted as a silence."""
    webhook = Hook(0, "1", frozenset({"rating_changed"}))
    changes = [
        Change("1", "rating_changed", "9", "modified", n, n, n, made, True)
        for n, made in enumerate((0.5, 30.0))
    ]
    came = [
        Arrival(
            0, f"id-{start}", "1", "rating_changed", "9", "modified", 0, start, start + 0.2, 204
        )
        for start in (0.9, 30.1)
    ]
    assert silences(changes, came, [webhook], [1.0, 30.05]) == [[], [(0, 30.1 - 30.05)]]
