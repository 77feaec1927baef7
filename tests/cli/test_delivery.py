"""`cdc delivery list` and `show`, for deliveries in every place they can be."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from tests.cli.command import Command
from tests.cli.test_status import UID, log, owe


@pytest.fixture
def everywhere(cdc: Command, db: psycopg.Connection) -> Command:
    """Deliveries 1 to 8, one in each state; webhook 2 is paused."""
    cdc.add()
    cdc.add(company="2", event="rating_changed")
    cdc.good("webhook", "pause", 2)
    owe(db, 1, id="1", uid=f"'{UID.format(1)}'")
    due = {"due_at": "clock_timestamp() + interval '5 min'", "body": "'{}'", "last_status": "500"}
    owe(db, 1, "retry", id="2", uid=f"'{UID.format(2)}'", tries="1", attempts="1", **due)
    owe(db, 1, "retry", id="3", uid=f"'{UID.format(3)}'")
    owe(db, 2, id="4", uid=f"'{UID.format(4)}'", refs="array[null, '2', '9']")
    owe(db, 1, "dead", id="5", uid=f"'{UID.format(5)}'", tries="10", attempts="10", body="'{}'")
    log(db, 1, 6, "delivered", status="204")
    log(db, 1, 7, "expired")
    log(db, 1, 8, "dropped")
    log(db, 1, 2, "failed", status="500", error="'status'", excerpt="'out of order'")
    return cdc


STATES = {
    1: "queued",
    2: "retrying",
    3: "parked",
    4: "held",
    5: "dead",
    6: "delivered",
    7: "expired",
    8: "dropped",
}


def states(cdc: Command, *options: object) -> dict[int, str]:
    return {row["id"]: row["state"] for row in cdc.json("delivery", "list", *options)}


class TestList:
    def test_finds_deliveries_wherever_they_are(self, everywhere: Command) -> None:
        assert states(everywhere) == STATES
        out = everywhere.good("delivery", "list").out
        assert all(state in out for state in STATES.values())

    def test_filters(self, everywhere: Command) -> None:
        for number, state in STATES.items():
            assert states(everywhere, "--state", state) == {number: state}
        assert set(states(everywhere, "--state", "waiting")) == {1, 2, 3, 4}
        assert set(states(everywhere, "--webhook", 2)) == {4}
        assert set(states(everywhere, "--company", 2)) == {4}
        assert set(states(everywhere, "--event", "project_changed")) == set(STATES)
        assert states(everywhere, "--event", "note_changed") == {}
        assert set(states(everywhere, "--row", "9")) == {4}
        assert states(everywhere, "--row", "9", "--webhook", 1) == {}
        assert len(states(everywhere, "--limit", 3)) == 3

    def test_since_is_a_time_or_a_length_of_time(
        self, cdc: Command, db: psycopg.Connection
    ) -> None:
        cdc.add()
        owe(db, 1, id="1", **{'"time"': "clock_timestamp() - interval '3 days'"})
        owe(db, 1, id="2")
        assert set(states(cdc)) == {1, 2}
        assert set(states(cdc, "--since", "1h")) == {2}
        assert set(states(cdc, "--since", "4d")) == {1, 2}
        moment = datetime.now(UTC) - timedelta(days=1)
        assert set(states(cdc, "--since", moment.isoformat())) == {2}
        assert "30m" in cdc.refused("delivery", "list", "--since", "yesterday", code=2)

    def test_the_log_is_searched_a_day_back_by_default(
        self, cdc: Command, db: psycopg.Connection
    ) -> None:
        cdc.add()
        old = {"time": "now() - interval '3 days'", "at": "now() - interval '2 days'"}
        log(db, 1, 1, "delivered", **old)
        assert states(cdc) == {}
        assert states(cdc, "--since", "5d") == {1: "delivered"}

    def test_newest_changes_first(self, cdc: Command, db: psycopg.Connection) -> None:
        cdc.add()
        db.execute("insert into project (company_id) select 1 from generate_series(1, 3)")
        db.execute("update project set name = 'new' where id = 2")
        rows = cdc.json("delivery", "list")
        assert (rows[0]["key"], rows[0]["action"]) == ("2", "modified")
        assert rows == sorted(rows, key=lambda row: (row["time"], row["id"]), reverse=True)

    def test_unknown_values_are_reported(self, cdc: Command) -> None:
        assert "retrying" in cdc.refused("delivery", "list", "--state", "lost", code=2)
        assert "unknown webhook 77" in cdc.refused("delivery", "list", "--webhook", 77)
        assert "unknown webhook" in cdc.refused("delivery", "list", "--webhook", 2**70)


def only(cdc: Command, delivery: object) -> Any:
    (found,) = cdc.json("delivery", "show", delivery)
    return found


class TestShow:
    def test_by_number_and_by_webhook_id(self, everywhere: Command) -> None:
        for number, state in STATES.items():
            by_number = only(everywhere, number)
            assert by_number == only(everywhere, UID.format(number))
            assert (by_number["id"], by_number["state"]) == (number, state)
            assert by_number["webhook_id"] == UID.format(number)

    def test_shows_all_fields(self, everywhere: Command) -> None:
        found = only(everywhere, 2)
        assert found["refs"] == {"base": None, "company": "1", "project": "7"}
        assert (found["event"], found["action"], found["key"]) == (
            "project_changed",
            "created",
            "7",
        )
        assert found["body"] == "{}"
        assert found["due_at"]
        (attempt,) = found["attempts"]
        assert (attempt["try"], attempt["outcome"], attempt["status"]) == (1, "failed", 500)
        assert attempt["excerpt"] == "out of order"
        out = everywhere.good("delivery", "show", 2).out
        assert "retrying" in out
        assert "cause  the receiver answered 500" in out
        assert "do     Something is wrong at the receiver" in out
        assert "cause" not in everywhere.good("delivery", "show", 1).out
        assert "out of order" in out

    def test_one_change_under_one_number_owed_to_two(
        self, cdc: Command, db: psycopg.Connection
    ) -> None:
        cdc.add()
        cdc.add(url="http://127.0.0.1:9/other")
        owe(db, 1, id="77")
        owe(db, 2, id="77")
        found = cdc.json("delivery", "show", 77)
        assert sorted(one["webhook"] for one in found) == [1, 2]

    def test_a_change_without_a_company_is_shown(
        self, cdc: Command, db: psycopg.Connection
    ) -> None:
        db.execute("insert into rating default values")
        row = db.execute("select id from cdc.unresolved").fetchone()
        assert row is not None
        assert "has found no company" in cdc.refused("delivery", "show", row[0])

    def test_unknown_values_are_reported(self, unchanged: Command) -> None:
        assert "CDC_LOG_DAYS" in unchanged.refused("delivery", "show", 12345)
        assert "CDC_LOG_DAYS" in unchanged.refused("delivery", "show", UID.format(9))
        assert "webhook-id" in unchanged.refused("delivery", "show", "nonsense", code=2)
        assert "webhook-id" in unchanged.refused("delivery", "show", 2**70, code=2)
