"""`cdc status`: green when all is well, red and telling when not."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from cdc.mapping import default_mapping
from cdc.model import SHARDS
from cdc.postgres.advisory_locks import LOCK_CLASS, MEMBER
from tests.cli.command import Command

UID = "00000000-0000-4000-8000-00000000000{}"
LATE = "clock_timestamp() - interval '2 minutes'"


@pytest.fixture
def daemon(cdc: Command, db: psycopg.Connection) -> Iterator[psycopg.Connection]:
    """What a daemon shows of itself: its locks, and its name at its shards."""
    with psycopg.connect(cdc.env["CDC_DATABASE_URL"], autocommit=True) as conn:
        conn.execute("select pg_advisory_lock_shared(%s, %s)", (LOCK_CLASS, MEMBER))
        conn.execute(
            "select pg_advisory_lock(%s, s) from generate_series(0, %s) s", (LOCK_CLASS, SHARDS - 1)
        )
        conn.execute("update cdc.shard set owner = 'host:17', since = clock_timestamp()")
        yield conn


def owe(db: psycopg.Connection, webhook: int, table: str = "queue", **columns: str) -> None:
    """One delivery that waits; columns as SQL."""
    values = {
        "id": "1",
        "uid": "gen_random_uuid()",
        "xid": "pg_current_xact_id()",
        "webhook_id": str(webhook),
        "layout": "(select id from cdc.layout where event = 'project_changed')",
        "action": "'c'",
        '"time"': "clock_timestamp()",
        "refs": "array[null, '1', '7']",
        **({} if table == "queue" else {"event": "'project_changed'", "key": "'7'"}),
        **columns,
    }
    db.execute(
        f"insert into cdc.{table} ({', '.join(values)}) values ({', '.join(values.values())})"
    )


def fails(db: psycopg.Connection, webhook: int, since: str) -> None:
    """What the daemon keeps of a lane whose receiver refuses connections."""
    db.execute(
        "insert into cdc.lane (webhook_id, breaker, failures, failing_since, last_error) values"
        " (%s, 'open', 5, clock_timestamp() - %s::interval, 'refused') on conflict (webhook_id) do"
        " update set breaker = 'open', failures = 5, failing_since = excluded.failing_since,"
        " last_error = 'refused'",
        (webhook, since),
    )


def log(db: psycopg.Connection, webhook: int, number: int, outcome: str, **columns: str) -> None:
    """One row of the attempt log."""
    values = {
        "slot": "0",
        "at": "clock_timestamp()",
        "delivery": str(number),
        "xid": "pg_current_xact_id()",
        "uid": f"'{UID.format(number)}'",
        "webhook_id": str(webhook),
        "layout": "(select id from cdc.layout where event = 'project_changed')",
        "action": "'m'",
        "time": "clock_timestamp()",
        "refs": "array[null, '1', '7']",
        "try": "1",
        "outcome": f"'{outcome}'",
        **{name.rstrip("_"): value for name, value in columns.items()},
    }
    db.execute(
        f"insert into cdc.attempt ({', '.join(values)}) values ({', '.join(values.values())})"
    )


def status(cdc: Command) -> Any:
    done = cdc("status", "--json")
    found = done.json
    assert done.code == (0 if found["ok"] else 1)
    assert found["ok"] == (not found["problems"])
    return found


class TestStatus:
    def test_all_is_well(self, cdc: Command, daemon: psycopg.Connection) -> None:
        cdc.add()
        found = status(cdc)
        assert found["ok"], found["problems"]
        assert found["mapping"]["same"] is True
        assert {row["state"] for row in found["capture"]} == {"installed"}
        assert found["fleet"]["daemons"] == 1
        assert found["fleet"]["shards_owned"] == SHARDS
        assert [owner["owner"] for owner in found["fleet"]["owners"]] == ["host:17"]
        out = cdc.good("status").out
        assert "All is well" in out
        assert "host:17" in out

    def test_a_failing_receiver_is_not_all_well_before_anything_is_late(
        self, cdc: Command, db: psycopg.Connection, daemon: psycopg.Connection
    ) -> None:
        number = cdc.add()["id"]
        owe(db, number)
        fails(db, number, "10 seconds")
        out = cdc.good("status").out
        assert "All is well" not in out
        assert "Nothing is late yet; 1 receiver is failing." in out

    def test_since_when_a_late_webhook_fails_and_that_it_is_tried(
        self, cdc: Command, db: psycopg.Connection, daemon: psycopg.Connection
    ) -> None:
        number = cdc.add()["id"]
        owe(db, number, **{'"time"': LATE})
        fails(db, number, "30 minutes")
        (problem,) = status(cdc)["problems"]
        assert (
            "waits for 2 min: the endpoint accepts no connection (refused), for 30 min." in problem
        )
        assert problem.endswith("It is tried again automatically, at least once a minute.")

    def test_late_without_a_failure_says_where_to_look(
        self, cdc: Command, db: psycopg.Connection, daemon: psycopg.Connection
    ) -> None:
        owe(db, cdc.add()["id"], **{'"time"': LATE})
        (problem,) = status(cdc)["problems"]
        assert "nothing has failed" in problem
        assert "`cdc doctor`" in problem

    def test_late_after_a_replay_does_not_blame_the_receiver(
        self, cdc: Command, db: psycopg.Connection, daemon: psycopg.Connection
    ) -> None:
        """A replay of many is spread by the webhook's own limits."""
        number = cdc.add()["id"]
        owe(db, number, "retry", body="'x'", tries="1", due_at=LATE, **{'"time"': LATE})
        (problem,) = status(cdc)["problems"]
        assert "nothing has failed" in problem
        assert f"`cdc webhook show {number}`: cap, rate" in problem

    def test_counts_what_waits_by_webhook(
        self, cdc: Command, db: psycopg.Connection, daemon: psycopg.Connection
    ) -> None:
        busy, quiet = cdc.add()["id"], cdc.add(company="2")["id"]
        owe(db, busy)
        owe(db, busy, id="2")
        owe(db, busy, "retry", due_at="clock_timestamp() + interval '5 s'", body="'x'", tries="1")
        owe(db, busy, "retry", id="2")
        owe(db, busy, "dead", tries="10", attempts="10")
        db.execute(
            "insert into cdc.lane (webhook_id, breaker, last_error) values (%s, 'open', 'refused')",
            [busy],
        )
        found = status(cdc)
        (row,) = found["webhooks"]
        assert (row["webhook_id"], row["queued"], row["retrying"], row["parked"], row["dead"]) == (
            (busy, 2, 1, 1, 1)
        )
        assert (row["breaker"], row["last_error"]) == ("open", "refused")
        assert found["totals"]["queued"] == 2
        assert found["states"] == {"active": 2}
        assert quiet != busy
        assert "refused" in cdc("status").out

    def test_late_deliveries_are_wrong_unless_they_are_held(
        self, cdc: Command, db: psycopg.Connection, daemon: psycopg.Connection
    ) -> None:
        number = cdc.add()["id"]
        owe(db, number, "retry", **{'"time"': LATE, "due_at": "clock_timestamp()", "body": "'x'"})
        (problem,) = status(cdc)["problems"]
        assert f"webhook {number} is late" in problem
        db.execute("update cdc.webhook set state = 'paused'")
        found = status(cdc)
        assert found["ok"], found["problems"]
        assert found["totals"]["held"] == 1

    def test_what_is_held_or_broken_is_counted_and_shown_with_its_age(
        self, cdc: Command, db: psycopg.Connection, daemon: psycopg.Connection
    ) -> None:
        paused, suspended, broken = (cdc.add(company=str(n))["id"] for n in (1, 2, 3))
        db.execute("update cdc.webhook set state = 'paused' where id = %s", [paused])
        db.execute("update cdc.webhook set state = 'suspended' where id = %s", [suspended])
        db.execute("insert into cdc.lane (webhook_id, breaker) values (%s, 'open')", [broken])
        for number in (paused, suspended, broken):
            owe(db, number, **{'"time"': "clock_timestamp() - interval '50 s'"})
            owe(db, number, id="2")
        found = status(cdc)
        assert found["totals"]["queued"] == 6
        assert found["totals"]["held"] == 4
        rows = {row["webhook_id"]: row for row in found["webhooks"]}
        assert rows.keys() == {paused, suspended, broken}
        for row in rows.values():
            assert row["queued"] == 2
            assert 50 <= row["oldest"] < 59
        assert len(re.findall(r"\b5\d s\b", cdc("status").out)) >= 3

    def test_recent_expiry_is_reported(self, cdc: Command, db: psycopg.Connection) -> None:
        log(db, cdc.add()["id"], 1, "expired")
        log(db, 1, 2, "expired", at="clock_timestamp() - interval '2 days'")
        log(db, 1, 3, "dropped")
        assert status(cdc)["totals"]["expired_last_day"] == 1
        assert "1 within the last day" in cdc("status").out

    def test_waiting_without_a_daemon_is_wrong(self, cdc: Command, db: psycopg.Connection) -> None:
        number = cdc.add()["id"]
        (problem,) = status(cdc)["problems"]
        assert problem.startswith("no daemon runs: changes are collected and not sent. Start `cdc")
        owe(db, number)
        (problem,) = status(cdc)["problems"]
        assert problem.startswith("no daemon runs: 1 delivery waits for one. Start `cdc run`")

    def test_suspended_webhooks_are_wrong(
        self, cdc: Command, db: psycopg.Connection, daemon: psycopg.Connection
    ) -> None:
        cdc.add()
        db.execute("update cdc.webhook set state = 'suspended', reason = 'answered 410'")
        assert "answered 410" in status(cdc)["problems"][0]

    def test_changes_without_a_company_are_wrong(
        self, cdc: Command, db: psycopg.Connection, daemon: psycopg.Connection
    ) -> None:
        db.execute("insert into rating default values")
        found = status(cdc)
        assert "1 change without a company" in found["problems"][0]
        assert found["unresolved"]["count"] == 1

    def test_more_of_them_than_are_counted(
        self, cdc: Command, db: psycopg.Connection, daemon: psycopg.Connection
    ) -> None:
        """25,000 used to be reported as 10,000."""
        db.execute("insert into rating select from generate_series(1, 10001)")
        found = status(cdc)
        assert "more than 10000 changes without a company" in found["problems"][0]
        assert found["unresolved"]["more"] is True
        assert "10,000+" in cdc("status").out

    def test_capture_that_is_not_as_it_should_be_is_wrong(
        self, cdc: Command, db: psycopg.Connection, tmp_path: Path
    ) -> None:
        cdc.good("triggers", "off")
        said = status(cdc)["problems"][1]
        assert "capture of public.project is off, and 4 more tables are not in order" in said
        cdc.good("triggers", "remove", "--yes")
        assert "not installed" in status(cdc)["problems"][0]
        cdc.good("triggers", "install")
        file = tmp_path / "mapping.toml"
        file.write_text(default_mapping().source.replace("interview-suite.com/", "example.com/"))
        cdc.env["CDC_MAPPING"] = str(file)
        assert "the configured mapping differs" in status(cdc)["problems"][0]

    def test_a_reader_sees_it_all(
        self,
        cdc: Command,
        db: psycopg.Connection,
        daemon: psycopg.Connection,
        as_role: Callable[[str], Command],
    ) -> None:
        owe(db, cdc.add()["id"])
        reader = as_role("cdc_reader")
        assert status(reader)["totals"]["queued"] == 1
        assert reader.json("triggers", "status")["ok"] is True
