"""One client cannot take what all share: threads, connections, locks."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from typing import Any

import psycopg
import pytest
from aiohttp import web

from cdc.postgres import connections
from cdc.web import server, sessions
from cdc.web.keys import Key, Scope
from cdc.web.pool import THREADS, THREADS_EACH
from tests.web.kit import Answer, Client, Served, until

HOOK = {"events": ["candidate_changed"]}
_numbers = count(1)


@pytest.fixture
def hook(served: Served) -> int:
    asked = {**HOOK, "endpoint": f"http://127.0.0.1:9/{next(_numbers)}"}
    made = served.client("operator").good("POST", "/v1/companies/7/webhooks", asked)
    return int(made["id"])


@contextmanager
def at_once(client: Client, times: int, *request: Any) -> Iterator[list[Answer]]:
    """As many equal requests, and the answers so far."""
    answers: list[Answer] = []

    def ask() -> None:
        answers.append(client(*request))

    threads = [threading.Thread(target=ask, daemon=True) for _ in range(times)]
    for one in threads:
        one.start()
    yield answers
    for one in threads:
        one.join(60)
    assert len(answers) == times


def waiting(served: Served) -> int:
    ((found,),) = served.rows(
        "select count(*) from pg_stat_activity where wait_event_type = 'Lock'"
        " and application_name like 'cdc serve%%' and datname = current_database()"
    )
    return int(found)


def test_two_companies_that_wait_hold_up_no_third(served: Served) -> None:
    """Each of their requests waits for a lock for 3 s, as one that reads much may take."""
    operator = served.client("operator")
    asked = {**HOOK, "endpoint": f"http://127.0.0.1:9/{next(_numbers)}"}
    slow = {
        company: operator.good("POST", f"/v1/companies/{company}/webhooks", asked)["id"]
        for company in ("7", "8")
    }
    with psycopg.connect(served.database) as conn, ExitStack() as stack:
        conn.execute("select from cdc.webhook where id = any(%s) for update", ([*slow.values()],))
        answers = [
            stack.enter_context(
                at_once(
                    served.client(f"company:{company}"),
                    3 * THREADS,
                    "PATCH",
                    f"/v1/webhooks/{hook}",
                    {"description": "mine"},
                )
            )
            for company, hook in slow.items()
        ]
        until(lambda: waiting(served) >= 2 * THREADS_EACH)
        operator.good("GET", "/v1/companies/1/webhooks")
        assert answers == [[], []]
        conn.rollback()
    assert {answer.status for some in answers for answer in some} <= {200, 409}


def test_a_companys_keys_and_sessions_share_its_part(served: Served, hook: int) -> None:
    """The first requests with each: two keys of a company, the key of one of its webhooks, and a
    session of its portal."""
    operator = served.client("operator")
    engine = connections.engine(served.database)
    with engine.begin() as conn:
        of_company = Key("", Scope("company", "7"), "")
        cookie = sessions.begin(conn, of_company, "", "", "a person", frozenset({"manage"}))
    keys = [served.key(scope) for scope in ("company:7", "company:7", f"webhook:{hook}")]
    asked = ("GET", f"/v1/notices?webhook={hook}")
    page = ("GET", f"/portal/webhooks/{hook}", None, {"Cookie": f"cdc_portal={cookie}"})
    with psycopg.connect(served.database) as conn, ExitStack() as stack:
        conn.execute("lock table cdc.notice in access exclusive mode")
        answers = [
            stack.enter_context(at_once(Client(served.url, key), THREADS, *request))
            for key, request in [*((key, asked) for key in keys), (None, page)]
        ]
        until(lambda: waiting(served) == THREADS_EACH)
        for _ in range(20):
            operator.good("GET", "/v1/companies/1/webhooks")
            assert waiting(served) <= THREADS_EACH
        conn.rollback()
    assert {answer.status for some in answers for answer in some} <= {200, 409}


def test_counting_a_backfill_locks_no_webhook(served: Served, hook: int) -> None:
    """It takes seconds, in which neither a daemon nor the company could change it."""
    served.run("insert into project (id, company_id) values (7001, 7)")
    company = served.client("company:7")
    asked = {
        "webhook": hook, "event": "candidate_changed", "action": "created", "dry_run": True
    }  # fmt: skip
    with psycopg.connect(served.database) as conn:
        conn.execute("lock table project")
        with at_once(company, 1, "POST", "/v1/backfills", asked) as answers:
            until(lambda: waiting(served) == 1)
            with psycopg.connect(served.database) as other:
                other.execute("select from cdc.webhook where id = %s for update nowait", (hook,))
            conn.rollback()
    assert answers[0].json == {"looked": 0, "wanted": 0, "complete": True}


def test_a_change_for_one_version_is_made_once(served: Served, hook: int) -> None:
    operator = served.client("operator")
    version = operator("GET", f"/v1/webhooks/{hook}").headers["etag"]
    patch = ("PATCH", f"/v1/webhooks/{hook}", {"description": "one"}, {"If-Match": version})
    with at_once(operator, 12, *patch) as answers:
        pass
    assert sorted(answer.status for answer in answers) == [200] + 11 * [412]


def test_a_backfill_started_and_cancelled_at_once(served: Served, hook: int) -> None:
    company = served.client("company:7")
    asked = {"webhook": hook, "event": "candidate_changed", "action": "created"}
    for _ in range(5):
        with at_once(company, 6, "POST", "/v1/backfills", asked) as answers:
            pass
        assert sorted(answer.status for answer in answers) == [201] + 5 * [409]
        [made] = [answer.json for answer in answers if answer.status == 201]
        with at_once(company, 6, "POST", f"/v1/backfills/{made['id']}/cancel") as answers:
            pass
        assert sorted(answer.status for answer in answers) == [200] + 5 * [409]
    states = served.rows("select distinct state from cdc.backfill where webhook_id = %s", hook)
    assert states == [("cancelled",)]


async def test_bodies_that_do_not_end_keep_no_other_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a form to sign in, which needs no key."""
    monkeypatch.setattr(server, "MAX_CONNECTIONS", 5)

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        return server.response(200, {}, await server.read_body(request))

    made = server.ApiServer(answer)
    runner = web.ServerRunner(made, shutdown_timeout=1.0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n"
    try:
        async with asyncio.timeout(20):
            slow = [await asyncio.open_connection("127.0.0.1", port) for _ in range(5)]
            for _, writer in slow:
                writer.write(head + b"a")
            while made.in_flight < 5:  # noqa: ASYNC110 - a count of its own, no event
                await asyncio.sleep(0.01)
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(head + b"abc")
            assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")
            assert await slow[0][0].read() == b""
            slow[1][1].write(b"bc")
            assert (await slow[1][0].readline()).startswith(b"HTTP/1.1 200 ")
            for _, one in (*slow, (reader, writer)):
                one.close()
    finally:
        await runner.cleanup()
