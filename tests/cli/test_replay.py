"""`cdc delivery replay`: what it selects, counts, asks, moves and leaves alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from cdc.webhooks import replay
from tests.cli.command import Command
from tests.cli.test_delivery import everywhere
from tests.cli.test_status import UID, log, owe

__all__ = ["everywhere"]  # a fixture

AT = "current_date"  # of the change
ALL = [part for outcome in replay.OUTCOMES for part in ("--outcome", outcome)]
TAKEN = "select id, due_at <= clock_timestamp(), attempts, tries, body from cdc.retry order by id"


def replayed(cdc: Command, *arguments: object) -> Any:
    return cdc.json("delivery", "replay", *arguments, "--yes")


def counts(found: Any) -> dict[str, int]:
    return {row["outcome"]: row["deliveries"] for row in found["selected"]}


def version(db: psycopg.Connection, webhook: int) -> int:
    row = db.execute("select version from cdc.webhook where id = %s", [webhook]).fetchone()
    assert row is not None
    return int(row[0])


class TestSelection:
    @pytest.mark.parametrize("command", ["replay", "list"])
    def test_what_is_not_known_is_refused_with_what_is(
        self, everywhere: Command, command: str
    ) -> None:
        """A typing error must not look like an empty answer."""
        dry = ["--dry-run"] if command == "replay" else []
        for event, hint in (("nope", "The mapping has: project_"), ("project_change", "Did you")):
            said = everywhere.refused("delivery", command, "--event", event, *dry, code=2)
            assert f"unknown event '{event}'" in said
            assert hint in said
        said = everywhere.refused("delivery", command, "--company", "nope", *dry)
        assert "company 'nope' has no webhook" in said
        assert "Companies with webhooks: 1, 2;" in said
        everywhere.good("delivery", command, "--event", "note_changed", *dry)

    def test_without_any_it_is_refused(self, unchanged: Command) -> None:
        for arguments in ([], ["--yes"], ["--dry-run"]):
            output = unchanged.refused("delivery", "replay", *arguments, code=2)
            assert "--dry-run only counts" in output

    def test_an_unknown_number_is_reported(
        self, everywhere: Command, db: psycopg.Connection
    ) -> None:
        assert "retrying" in everywhere.refused("delivery", "replay", "--outcome", "lost", code=2)
        assert "unknown webhook 77" in everywhere.refused("delivery", "replay", "--webhook", 77)
        output = everywhere.refused("delivery", "replay", 5, 12345, UID.format(9), "--yes")
        assert "12345" in output
        assert UID.format(9) in output
        assert db.execute("select count(*) from cdc.dead").fetchone() == (1,), "all or none"
        assert "webhook-id" in everywhere.refused("delivery", "replay", "nonsense", code=2)

    def test_a_dry_run_counts_and_does_nothing(
        self, everywhere: Command, db: psycopg.Connection
    ) -> None:
        before = db.execute("select * from cdc.retry order by id").fetchall()
        found = everywhere.json("delivery", "replay", "--webhook", 1, *ALL, "--dry-run")
        assert counts(found) == dict.fromkeys(replay.OUTCOMES, 1)
        assert (found["total"], found["replayed"], found["dry_run"]) == (5, 0, True)
        assert {row["webhook"] for row in found["selected"]} == {1}
        out = everywhere.good("delivery", "replay", "--webhook", 1, *ALL, "--dry-run").out
        assert all(outcome in out for outcome in replay.OUTCOMES)
        assert db.execute("select * from cdc.retry order by id").fetchall() == before
        assert db.execute("select count(*) from cdc.dead").fetchone() == (1,)

    def test_filters(self, everywhere: Command) -> None:
        def total(*options: object) -> int:
            found = everywhere.json("delivery", "replay", *options, "--dry-run")
            return int(found["total"])

        assert total("--webhook", 1) == 1, "the dead, by default"
        assert total("--company", 1, *ALL) == 5
        assert total("--company", 2, *ALL) == 0
        assert total("--event", "project_changed", *ALL) == 5
        assert total("--event", "note_changed", *ALL) == 0
        assert total("--since", "1h", *ALL) == 5
        assert total("--until", "1h", *ALL) == 0
        assert total("--outcome", "expired", "--outcome", "dropped") == 2
        assert total(5, UID.format(6), 2) == 3, "any outcome, where they are named"
        output = everywhere.refused("delivery", "replay", 5, 6, "--outcome", "dead", "--dry-run")
        assert "deliveries not found with these options: 6" in output

    def test_without_a_terminal_it_does_not_ask(self, everywhere: Command) -> None:
        done = everywhere("delivery", "replay", "--webhook", 1)
        assert done.code == 2
        assert "1 delivery" in done.err
        assert "--yes" in done.err


class TestReplaying:
    def test_they_are_due_with_a_new_budget_and_go_on_counting(
        self, everywhere: Command, db: psycopg.Connection
    ) -> None:
        before = version(db, 1)
        assert replayed(everywhere, "--webhook", 1, *ALL)["replayed"] == 5
        # All are changes of one row. 3 was parked, and stays so.
        assert db.execute(TAKEN).fetchall() == [
            (2, True, 0, 1, b"{}"),
            (3, None, 0, 0, None),
            (5, True, 0, 10, b"{}"),
            (6, None, 0, 1, None),
            (7, None, 0, 1, None),
            (8, None, 0, 1, None),
        ]
        assert db.execute("select count(*) from cdc.dead").fetchone() == (0,)
        assert version(db, 1) > before, "the daemon is notified"
        uids = db.execute("select uid::text from cdc.retry order by id").fetchall()
        assert [row[0] for row in uids] == [UID.format(n) for n in (2, 3, 5, 6, 7, 8)]

    def test_twice_does_not_double(self, everywhere: Command, db: psycopg.Connection) -> None:
        replayed(everywhere, "--webhook", 1, *ALL)
        again = replayed(everywhere, "--webhook", 1, *ALL)
        assert again["replayed"] == 0
        assert again["skipped"] == {"removed": 0, "waiting": 3}
        assert len(db.execute(TAKEN).fetchall()) == 6

    def test_what_waits_is_left_alone(self, everywhere: Command) -> None:
        found = replayed(everywhere, 1, 3, 4)
        assert (found["total"], found["replayed"]) == (0, 0)
        assert found["skipped"]["waiting"] == 3
        output = everywhere.good("delivery", "replay", 1, "--yes").err
        assert "waiting already" in output

    def test_a_removed_webhook_gets_nothing(
        self, everywhere: Command, db: psycopg.Connection
    ) -> None:
        everywhere.good("webhook", "remove", 1, "--yes")
        found = replayed(everywhere, "--company", 1, *ALL)
        assert found["replayed"] == 0
        assert found["skipped"]["removed"] == 5
        assert "removed" in everywhere.good("delivery", "replay", 6, "--yes").err

    def test_of_a_paused_webhook_they_wait(self, cdc: Command, db: psycopg.Connection) -> None:
        cdc.add()
        cdc.good("webhook", "pause", 1)
        log(db, 1, 6, "expired")
        done = cdc.good("delivery", "replay", "--outcome", "expired", "--yes")
        assert "until the webhook is resumed" in done.err
        assert [row["id"] for row in cdc.json("delivery", "list", "--state", "held")] == [6]

    def test_created_before_modified_within_a_transaction(
        self, cdc: Command, db: psycopg.Connection
    ) -> None:
        cdc.add()
        log(db, 1, 5, "delivered", action="'m'", xid="'9'")
        log(db, 1, 6, "delivered", action="'c'", xid="'9'")
        log(db, 1, 7, "delivered", action="'m'", refs="array[null, '1', '8']")
        replayed(cdc, "--outcome", "delivered")
        due = db.execute("select id from cdc.retry where due_at is not null order by 1").fetchall()
        assert due == [(6,), (7,)]

    def test_the_last_end_counts(self, cdc: Command, db: psycopg.Connection) -> None:
        cdc.add()
        log(db, 1, 6, "expired", at="clock_timestamp() - interval '1 h'", time_=AT)
        log(db, 1, 6, "delivered", try_="2", time_=AT)
        found = cdc.json("delivery", "replay", *ALL, "--dry-run")
        assert counts(found) == {"delivered": 1}
        assert replayed(cdc, "--outcome", "expired")["total"] == 0

    def test_what_an_interrupted_replay_sent_is_not_sent_again(
        self, cdc: Command, db: psycopg.Connection
    ) -> None:
        cdc.add()
        for number in (5, 6):
            log(db, 1, number, "delivered", time_=AT)
        first = cdc.json("delivery", "replay", "--outcome", "delivered", "--dry-run")
        log(db, 1, 5, "delivered", try_="2", time_=AT)  # replayed before the interruption
        rest = replayed(cdc, "--outcome", "delivered", "--ended-before", first["ended_before"])
        assert rest["replayed"] == 1
        assert db.execute("select id from cdc.retry").fetchall() == [(6,)]

    def test_in_batches_each_committed(
        self, cdc: Command, db: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        cdc.add()
        for number in range(1, 8):
            owe(db, 1, "dead", id=str(number), uid="gen_random_uuid()", tries="10", attempts="10")
        with replay.Replay(cdc.env["CDC_DATABASE_URL"]) as room:
            selection = room.find(replay.ReplayFilter(webhook=1))
            steps = room.run(selection, size=3)
            assert next(steps) == (3, 3)
            assert db.execute("select count(*) from cdc.retry").fetchone() == (3,)
            # Another session replays one of the next meanwhile, and the webhook expires another.
            replayed(cdc, 4)
            db.execute("delete from cdc.dead where id = 5")
            assert list(steps) == [(3, 1), (1, 1)]
        assert db.execute("select count(*) from cdc.retry").fetchone() == (6,)

    def test_the_rights_of_an_administrator_suffice(
        self, everywhere: Command, as_role: Callable[[str], Command]
    ) -> None:
        administrator = as_role("cdc_admin")
        assert replayed(administrator, "--webhook", 1, *ALL)["replayed"] == 5
        reader = as_role("cdc_reader")
        assert "denied" in reader.refused("delivery", "replay", "--webhook", 1, *ALL, "--yes")


class TestInATerminal:
    def test_it_asks_after_showing_the_counts(
        self, everywhere: Command, db: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked: list[str] = []

        def no(question: str, *, yes: bool) -> None:
            assert not yes
            asked.append(question)
            raise KeyboardInterrupt

        monkeypatch.setattr("cdc.cli.common.confirm", no)
        done = everywhere("delivery", "replay", "--webhook", 1)
        assert done.code == 1 or done.code == 130
        assert "dead" in done.out
        assert asked == ["Replay 1 delivery?"]
        assert db.execute("select count(*) from cdc.dead").fetchone() == (1,)
