"""Deliveries over the API: pages, attempts, sending again; replays as tasks."""

from __future__ import annotations

import asyncio
import json
import signal
import threading
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest

from cdc.postgres.advisory_locks import TASK_LOCKS
from tests.support.proxy import Proxy
from tests.web.kit import Answer, Client, Served, account, problem, serving, until

DEAD = """
insert into cdc.dead (webhook_id, id, uid, xid, layout, action, time, refs, event, key, attempts,
                      tries, last_status)
select %s, %s + n, gen_random_uuid(), '1', l.id, 'm', now() - n * interval '1 second',
       array[null, '1', '2', n::text], l.event, n::text, 1, 1, 500
  from cdc.layout l, generate_series(1, %s) n where l.event = 'candidate_changed'
"""


@pytest.fixture(scope="module")
def operator(served: Served) -> Client:
    return served.client("operator")


def hook(served: Served, operator: Client, company: str, dead: int) -> int:
    """A webhook with so many dead deliveries."""
    made = operator.good(
        "POST",
        f"/v1/companies/{company}/webhooks",
        {"events": ["candidate_changed"], "endpoint": f"http://127.0.0.1:9/{company}/{dead}"},
    )
    number = int(made["id"])
    served.run(DEAD, number, number * 1_000_000, dead)
    return number


@pytest.mark.parametrize(
    "query", ["state=lost", "limit=0", "limit=201", "since=yesterday", "since=2026-01-01T00:00:00",
              "event=a%00", "limit=1&limit=2", "other=1"],
)  # fmt: skip
def test_bad_queries_name_the_parameter(served: Served, operator: Client, query: str) -> None:
    answer = operator("GET", f"/v1/webhooks/1/deliveries?{query}")
    found = problem(answer)
    assert (answer.status, found["code"]) == (422, "invalid")
    assert query.partition("=")[0] in [one["field"] for one in found["errors"]]


def test_a_delivery_with_its_attempts_is_sent_again(served: Served, operator: Client) -> None:
    number = hook(served, operator, "2", 1)
    ((uid,),) = served.rows("select uid::text from cdc.dead where webhook_id = %s", number)
    served.run(
        "insert into cdc.attempt (slot, at, delivery, uid, webhook_id, layout, action, time, refs,"
        " try, outcome, status, error, excerpt) select 0, now(), id, uid, webhook_id, layout,"
        " action, time, refs, 1, 'dead', 500, 'status', 'oops' from cdc.dead where uid = %s",
        uid,
    )
    (found,) = operator.good("GET", f"/v1/deliveries/{uid}")["items"]
    for webhook in (found["webhook"], found["webhook"] + 1):  # where the list has it; and not there
        place = f"webhook={webhook}&id={found['id']}"
        assert operator.good("GET", f"/v1/deliveries/{uid}?{place}")["items"] == [found]
    assert (found["state"], found["webhook"], found["company"]) == ("dead", number, "2")
    (attempt,) = found["attempts"]
    assert (attempt["number"], attempt["status"], attempt["excerpt"]) == (1, 500, "oops")
    key = {"Idempotency-Key": "retry-1"}
    for _ in range(2):
        answer = operator("POST", f"/v1/deliveries/{uid}/retry", {}, key)
        assert (answer.status, answer.json) == (200, {"retried": 1})
    assert operator.good("POST", f"/v1/deliveries/{uid}/retry") == {"retried": 0}
    ((due,),) = served.rows("select due_at is not null from cdc.retry where uid = %s", uid)
    assert due
    noted = operator.good("GET", f"/v1/audit?webhook={number}&action=delivery.replay")["items"]
    assert [one["after"]["deliveries"] for one in noted] == [1]


def test_a_webhooks_own_key_sends_its_own_again(served: Served, operator: Client) -> None:
    number = hook(served, operator, "3", 1)
    ((uid,),) = served.rows("select uid::text from cdc.dead where webhook_id = %s", number)
    receiver = served.client(f"webhook:{number}")
    assert receiver.good("POST", f"/v1/deliveries/{uid}/retry") == {"retried": 1}


def test_a_delivery_is_cancelled(served: Served, operator: Client) -> None:
    number = hook(served, operator, "8", 2)
    [(first,), (second,)] = served.rows(
        "select uid::text from cdc.dead where webhook_id = %s order by id", number
    )
    served.run(
        "with moved as (delete from cdc.dead where uid = %s returning *) insert into cdc.queue"
        " (id, webhook_id, uid, layout, action, time, refs)"
        " select id, webhook_id, uid, layout, action, time, refs from moved",
        second,
    )
    for uid in (first, second):
        assert operator.good("POST", f"/v1/deliveries/{uid}/cancel") == {"cancelled": 1}
        assert operator.good("POST", f"/v1/deliveries/{uid}/cancel") == {"cancelled": 0}
        (found,) = operator.good("GET", f"/v1/deliveries/{uid}")["items"]
        assert (found["state"], found["attempts"][-1]["detail"]) == ("dropped", "cancelled")
    noted = operator.good("GET", f"/v1/audit?webhook={number}&action=delivery.cancel")["items"]
    assert [one["after"]["uids"] for one in noted] == [[second], [first]]
    assert noted[0]["actor"].startswith("key:")


def test_a_replay_is_counted_then_carried_out(served: Served, operator: Client) -> None:
    number = hook(served, operator, "4", 1200)
    counted = operator.good("POST", "/v1/replays", {"webhook": number, "dry_run": True})
    assert counted["total"] == 1200
    assert counted["groups"] == [
        {"webhook": number, "company": "4", "state": "active", "outcome": "dead", "count": 1200}
    ]
    answer = operator("POST", "/v1/replays", {"webhook": number})
    assert answer.status == 202
    task = until(lambda: ended(operator, answer.headers["location"]))
    assert (task["state"], task["total"], task["done"], task["changed"]) == (
        "done", 1200, 1200, 1200,
    )  # fmt: skip
    assert served.rows("select count(*) from cdc.retry where webhook_id = %s", number) == [(1200,)]
    ((actors,),) = served.rows(
        "select array_agg(distinct actor) from cdc.audit where webhook_id = %s"
        " and action = 'delivery.replay'",
        number,
    )
    assert actors == [task["actor"]]


def test_a_replay_is_narrowed_by_time(served: Served, operator: Client) -> None:
    asked = {"webhook": hook(served, operator, "9", 2), "dry_run": True}
    for times, total in (
        ({"since": "2001-01-01T00:00:00Z"}, 2), ({"until": "2001-01-01T02:00:00+02:00"}, 0),
        ({"since": "2001-01-01T00:00:00.5Z", "until": "2999-01-01T00:00:00Z"}, 2),
        ({"since": None, "until": None}, 2), ({"since": "2999-01-01T00:00:00Z"}, 0),
    ):  # fmt: skip
        assert operator.good("POST", "/v1/replays", {**asked, **times})["total"] == total
    narrowed = {**asked, "dry_run": False, "since": "2001-01-01T00:00:00Z"}
    task = operator.good("POST", "/v1/replays", narrowed)["id"]
    assert until(lambda: ended(operator, f"/v1/tasks/{task}"))["changed"] == 2


@pytest.mark.parametrize("time", [1_600_000_000, "1600000000", "2026-01-31", True, ["2026"]])
def test_a_time_has_one_form(operator: Client, time: object) -> None:
    answer = operator("POST", "/v1/replays", {"webhook": 1, "since": time, "dry_run": True})
    assert answer.status == 422
    (error,) = problem(answer)["errors"]
    assert error["field"] == "since"
    assert error["message"].startswith("expected ISO 8601 with an offset")


def test_status_and_explain_are_those_of_the_commands(served: Served, operator: Client) -> None:
    number = hook(served, operator, "7", 1)
    ((uid,),) = served.rows("select uid::text from cdc.dead where webhook_id = %s", number)
    asked = "/v1/status?company=7"  # is kept for a moment
    until(lambda: operator.good("GET", asked)["webhooks"])
    found = operator.good("GET", asked)
    assert found["ok"] is False
    assert datetime.fromisoformat(found["at"]) <= datetime.now(UTC)
    assert [one["webhook_id"] for one in found["webhooks"]] == [number]
    explained = operator.good("GET", f"/v1/explain?what={uid}")
    assert [one["uid"] for one in explained["deliveries"]] == [uid]
    assert explained["deliveries"][0]["said"]
    said = operator.good("GET", f"/v1/explain?what=webhook&key={number}")["said"]
    assert [one["code"] for one in said] == ["no daemon", "dead"]
    assert operator.refused("GET", "/v1/explain?what=webhook&key=999999")[0] == 404
    assert operator.refused("GET", "/v1/explain?what=nothing") == (422, "invalid")
    assert operator.refused("GET", "/v1/explain?what=rating") == (422, "invalid")
    assert operator.refused("GET", "/v1/explain") == (422, "invalid")


def test_nothing_is_selected(operator: Client) -> None:
    assert operator.refused("POST", "/v1/replays", {}) == (422, "invalid")


def test_a_task_is_cancelled(served: Served, operator: Client) -> None:
    number = hook(served, operator, "5", 10)
    with psycopg.connect(served.database, autocommit=True) as conn:
        # As if another process were at every task.
        path = waiting(served, operator, conn, number)
        cancelled = operator.good("POST", f"{path}/cancel")
        assert cancelled["state"] == "cancelled"
        assert operator.good("POST", f"{path}/cancel")["state"] == "cancelled"
    assert served.rows("select count(*) from cdc.dead where webhook_id = %s", number) == [(10,)]


def waiting(served: Served, operator: Client, conn: psycopg.Connection, number: int) -> str:
    """The path of a task that no process can begin while the connection lasts."""
    conn.execute("begin")
    conn.execute("lock table cdc.dead in access exclusive mode")
    path = str(operator("POST", "/v1/replays", {"webhook": number}).headers["location"])
    until(lambda: operator.good("GET", path)["state"] == "running")
    return path


def ended(client: Client, path: str) -> Any:
    task = client.good("GET", path)
    return task if task["state"] not in ("waiting", "running") else None


def test_a_task_goes_on_after_its_process_was_killed(
    served: Served, operator: Client, admin: psycopg.Connection
) -> None:
    number = hook(served, operator, "6", 700)
    with psycopg.connect(served.database, autocommit=True) as conn:
        served.run(
            "insert into cdc.task (kind, state, actor, company, webhook_id, request, done)"
            " values ('replay', 'running', 'key:killed', '6', %s, %s, 500)",
            number,
            json.dumps(
                {
                    "webhook": number,
                    "company": None,
                    "event": None,
                    "outcomes": ["dead"],
                    "since": None,
                    "until": None,
                    "uids": None,
                    "new_id": False,
                    "source": "",
                    "request": "",
                }
            ),
        )
        until(
            lambda: conn.execute(
                "select true from cdc.task where webhook_id = %s and state = 'done'", [number]
            ).fetchone()
        )
    assert served.rows("select count(*) from cdc.retry where webhook_id = %s", number) == [(700,)]
    held = served.rows("select count(*) from pg_locks where classid = %s", TASK_LOCKS)
    assert held == [(0,)]


@pytest.mark.parametrize(
    "table",
    [
        "subscription",
        *(
            pytest.param(name, marks=pytest.mark.long)
            for name in ("idempotency", "webhook", "webhook_secret", "audit")
        ),
    ],
)
def test_a_process_that_is_killed_leaves_no_half_of_a_request(
    served: Served, admin: psycopg.Connection, table: str
) -> None:
    """The registration waits for a lock when its process is killed, before the step that writes
    this table; a repeat makes one webhook."""
    key = served.key("operator")
    body = {"events": ["note_changed"], "endpoint": "http://127.0.0.1:9/killed"}
    company = f"killed-{table}"
    path, head = f"/v1/companies/{company}/webhooks", {"Idempotency-Key": table}
    count = "select count(*) from cdc.webhook where company = %s"
    with account(admin, served.database) as url:
        with (
            serving(url, served.database) as other,
            psycopg.connect(served.database) as conn,
        ):
            conn.execute(f"lock table cdc.{table} in exclusive mode".encode())
            sent = _in_thread(lambda: Client(other.url, key)("POST", path, body, head))
            until(
                lambda: served.rows(
                    "select true from pg_locks where relation = %s::regclass and not granted",
                    f"cdc.{table}",
                )
            )
            other.process.send_signal(signal.SIGKILL)
            other.process.wait(20)
            conn.rollback()
            sent.join(20)
        until(
            lambda: (
                not served.rows(
                    "select true from pg_stat_activity where usename = %s",
                    psycopg.conninfo.conninfo_to_dict(url)["user"],
                )
            )
        )
    assert served.rows(count, company) == [(0,)]
    first = Client(served.url, key)("POST", path, body, head)
    again = Client(served.url, key)("POST", path, body, head)
    assert (first.status, first.body) == (again.status, again.body)
    assert served.rows(count, company) == [(1,)]


class HeldCommit(Proxy):
    """What the server answers to the COMMIT of a session that has sent these bytes is held."""

    def __init__(self, target: str, sent: bytes) -> None:
        super().__init__(target)
        self._sent = sent
        self._marked: set[Any] = set()
        self._held: set[Any] = set()

    async def _passes(self, link: Any, piece: bytes, *, asks: bool) -> bool:
        if asks and self._sent in piece:
            self._marked.add(link)
        if asks and b"COMMIT" in piece and link in self._marked:
            self._held.add(link)
        if not asks and link in self._held:
            await asyncio.Event().wait()
        return True


async def test_killed_between_commit_and_answer_a_repeat_gets_the_answer(
    served: Served, admin: psycopg.Connection
) -> None:
    """The change is committed, and its client has heard nothing: not the secret either."""
    key, company = served.key("operator"), "killed-committed"
    body = {"events": ["note_changed"], "endpoint": "http://127.0.0.1:9/committed"}
    path, head = f"/v1/companies/{company}/webhooks", {"Idempotency-Key": "committed"}
    count = "select count(*) from cdc.webhook where company = %s"
    answers: list[Answer] = []

    def killed(url: str) -> None:
        with serving(url, served.database) as other:
            sent = _in_thread(
                lambda: answers.append(Client(other.url, key)("POST", path, body, head))
            )
            until(lambda: served.rows(count, company) == [(1,)])
            other.process.send_signal(signal.SIGKILL)
            other.process.wait(20)
            sent.join(20)

    with account(admin, served.database) as url:
        async with HeldCommit(url, company.encode()) as proxy:
            await asyncio.to_thread(killed, proxy.url)
    assert answers == []
    first = Client(served.url, key)("POST", path, body, head)
    again = Client(served.url, key)("POST", path, body, head)
    assert (first.status, first.headers["idempotency-replayed"]) == (201, "true")
    assert first.json["secret"].startswith("whsec_")
    assert (first.body, first.headers["location"]) == (again.body, again.headers["location"])
    assert served.rows(count, company) == [(1,)]


def _in_thread(work: Any) -> Any:
    def quietly() -> None:
        with suppress(OSError):  # its process was killed
            work()

    made = threading.Thread(target=quietly, daemon=True)
    made.start()
    return made
