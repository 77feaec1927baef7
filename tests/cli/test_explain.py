"""`cdc explain`: one test for each explanation that it can give."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

from cdc.diagnosis.explain.story import of_row
from cdc.diagnosis.explain.suite import FoundRow
from cdc.mapping import default_mapping
from cdc.sandbox.suite import declaring
from tests.cli.command import Command
from tests.cli.test_status import daemon, log, owe

__all__ = ["daemon"]  # the fixture

pytestmark = pytest.mark.usefixtures("daemon")

UID = "00000000-0000-4000-8000-000000000017"
OLD = "clock_timestamp() - interval '2 minutes'"


@pytest.fixture
def hook(cdc: Command, db: psycopg.Connection) -> int:
    """A webhook of company 1, registered for project_changed; the company has project 1."""
    number: int = cdc.add()["id"]
    db.execute("insert into project (company_id) values (1)")
    db.execute("delete from cdc.queue")
    return number


def explained(cdc: Command, *question: object) -> list[dict[str, Any]]:
    """All sentences, each of which is printed for people as well."""
    found = cdc.json("explain", *question)
    said = [*found["said"], *(one for d in found["deliveries"] for one in d["said"])]
    assert found["ok"] == all(one["verdict"] == "ok" for one in said)
    out = cdc.good("explain", *question).out
    for one in said:
        assert one["text"] in out or "age" in one["text"] or " s" in one["text"]
        assert one["todo"] in out
    return said


def codes(cdc: Command, *question: object) -> list[str]:
    return [one["code"] for one in explained(cdc, *question)]


class TestWhereADeliveryIs:
    def test_next_in_the_queue(self, cdc: Command, db: psycopg.Connection, hook: int) -> None:
        owe(db, hook, id="5")
        assert codes(cdc, 5) == ["queued"]
        assert cdc.json("explain", 5)["ok"] is True

    def test_behind_others(self, cdc: Command, db: psycopg.Connection, hook: int) -> None:
        for number in (3, 4, 5):
            owe(db, hook, id=str(number))
        (said,) = explained(cdc, 5)
        assert (said["verdict"], said["code"]) == ("wait", "queued")
        assert "2 deliveries of its webhook before it" in said["text"]

    def test_first_for_long_without_a_reason(
        self, cdc: Command, db: psycopg.Connection, hook: int
    ) -> None:
        owe(db, hook, id="5", **{'"time"': OLD})
        (said,) = explained(cdc, 5)
        assert (said["verdict"], said["code"]) == ("bad", "stuck")
        assert "host:17" in said["todo"]

    def test_retrying(self, cdc: Command, db: psycopg.Connection, hook: int) -> None:
        owe(
            db, hook, "retry", id="5", due_at="clock_timestamp() + interval '10 min'", tries="2",
            attempts="2", body="'x'", last_status="500", last_error="'status'",
        )  # fmt: skip
        (said,) = explained(cdc, 5)
        assert said["code"] == "retrying"
        assert "2 attempts failed, the last: answered 500. The next comes in 10 min" in said["text"]
        assert f"cdc webhook resume {hook}" in said["todo"]

    def test_parked(self, cdc: Command, db: psycopg.Connection, hook: int) -> None:
        due = {"due_at": "clock_timestamp() + interval '10 min'", "tries": "1", "body": "'x'"}
        owe(db, hook, "retry", id="5", **due)
        owe(db, hook, "retry", id="6")
        (said,) = explained(cdc, 6)
        assert said["code"] == "parked"
        assert "behind delivery 5 of the same row" in said["text"]
        assert said["todo"] == "`cdc explain 5`"

    @pytest.mark.parametrize(("state", "verdict"), [("paused", "wait"), ("suspended", "bad")])
    def test_held(
        self, cdc: Command, db: psycopg.Connection, hook: int, state: str, verdict: str
    ) -> None:
        db.execute("update cdc.webhook set state = %s, reason = 'they migrate'", [state])
        owe(db, hook, id="5")
        cdc = Command({**cdc.env, "CDC_HELD_DAYS": "2.5"})
        (said,) = explained(cdc, 5)
        assert (said["verdict"], said["code"]) == (verdict, f"held {state}")
        assert "they migrate" in said["text"]
        assert "when it has been held for 2.5 days (CDC_HELD_DAYS)" in said["text"]
        assert f"cdc webhook resume {hook}" in said["todo"]
        (said,) = explained(cdc, "webhook", hook)
        assert "when they have been held for 2.5 days (CDC_HELD_DAYS)" in said["text"]

    def test_delivered(self, cdc: Command, db: psycopg.Connection, hook: int) -> None:
        log(db, hook, 5, "failed", status="500", error="'status'", excerpt="'out of order'")
        log(db, hook, 5, "delivered", status="204", **{"try": "2"})
        (said,) = explained(cdc, 5)
        assert (said["verdict"], said["code"]) == ("ok", "delivered")
        assert "answered 204" in said["text"]
        assert "after 1 attempt that failed" in said["text"]
        (one,) = cdc.json("explain", 5)["deliveries"]
        assert [a["excerpt"] for a in one["log"]] == ["out of order", ""]
        assert "out of order" in cdc.good("explain", 5).out

    def test_delivered_twice(self, cdc: Command, db: psycopg.Connection, hook: int) -> None:
        """A replay is no failure of what was delivered before it, whatever becomes of it."""
        for number in (1, 2):
            log(db, hook, 5, "failed", status="500", error="'status'", **{"try": str(number)})
        log(db, hook, 5, "delivered", status="204", at="'2026-01-02 03:04Z'", **{"try": "3"})
        again = "had been delivered at 2026-01-02 03:04:00Z, and was sent again"
        log(db, hook, 5, "delivered", status="204", **{"try": "4"})
        (said,) = explained(cdc, 5)
        assert "after 2 attempts that failed" in said["text"]
        assert again in said["text"]
        db.execute("delete from cdc.attempt where try = 4")
        uid = f"'{db.execute('select uid from cdc.attempt').fetchall()[0][0]}'"
        waits = {"id": "5", "uid": uid, "tries": "3", "body": "'x'"}
        owe(db, hook, "retry", **waits, due_at="clock_timestamp() + interval '1 min'")
        (said,) = explained(cdc, 5)
        assert said["text"].startswith("It was replayed, and comes in ")
        assert said["todo"].startswith("It is sent within the webhook's limits (cap, rate)")
        assert again in said["text"]
        db.execute("delete from cdc.retry")
        owe(db, hook, "dead", id="5", uid=uid, tries="4", attempts="1", last_error="'timeout'")
        (said,) = explained(cdc, 5)
        assert "3 attempts failed" in said["text"]
        assert again in said["text"]
        assert "never got it" not in said["text"]

    def test_dead(self, cdc: Command, db: psycopg.Connection, hook: int) -> None:
        owe(db, hook, "dead", id="5", tries="10", attempts="10", last_error="'timeout'")
        (said,) = explained(cdc, 5)
        assert (said["verdict"], said["code"]) == ("bad", "dead")
        assert (
            "10 attempts failed, the last: the endpoint does not answer in time (timeout)"
            in said["text"]
        )

    @pytest.mark.parametrize(
        ("outcome", "code", "why"),
        [
            ("expired", "expired", "dead for longer than CDC_DEAD_DAYS"),
            ("dropped", "dropped", "removed"),
            ("failed", "lost track", ""),
        ],
    )
    def test_ended_otherwise(
        self, cdc: Command, db: psycopg.Connection, hook: int, outcome: str, code: str, why: str
    ) -> None:
        log(db, hook, 5, outcome)
        (said,) = explained(cdc, 5)
        assert said["code"] == code
        assert why in said["text"]

    def test_of_a_removed_webhook(self, cdc: Command, db: psycopg.Connection, hook: int) -> None:
        owe(db, hook, id="5")
        db.execute("update cdc.webhook set state = 'removed'")
        assert codes(cdc, 5) == ["removed"]


class TestRows:
    def test_each_delivery_of_a_row_wherever_it_is(
        self, cdc: Command, db: psycopg.Connection, hook: int
    ) -> None:
        log(db, hook, 3, "delivered", status="200")
        owe(db, hook, "dead", id="4", tries="10", attempts="10")
        owe(db, hook, "retry", id="5", due_at="clock_timestamp()", tries="1", body="'x'")
        owe(db, hook, id="6", refs="array[null, '1', '7']")
        owe(db, hook, id="7", refs="array[null, '1', '8']")
        for word in ("project", "project_changed", "public.project"):
            found = cdc.json("explain", word, 7)
            assert [one["id"] for one in found["deliveries"]] == [6, 5, 4, 3]

    def test_whose_row_it_is_decides_who_should_have_got_it(
        self, cdc: Command, db: psycopg.Connection, hook: int
    ) -> None:
        other = cdc.add(event="note_changed")["id"]
        strange = cdc.add(company="2")["id"]
        said = {one["code"]: one["text"] for one in explained(cdc, "project", 1)}
        assert set(said) == {"no change", "not registered"}
        assert f"Webhook {hook} of company 1 is registered for project_changed" in said["no change"]
        assert f"Webhook {other}" in said["not registered"]
        assert "only for note_changed" in said["not registered"]
        assert not any(f"Webhook {strange}" in text for text in said.values())

    def test_the_road_to_the_company_goes_over_parents(
        self, cdc: Command, db: psycopg.Connection, hook: int
    ) -> None:
        db.execute("insert into candidate (project_id) values (1)")
        db.execute("insert into rating (candidate_id) values (1)")
        db.execute("delete from cdc.queue")
        assert codes(cdc, "rating", 1) == ["not registered"]

    def test_a_change_as_it_is_captured(
        self, cdc: Command, db: psycopg.Connection, hook: int
    ) -> None:
        db.execute("update project set company_id = 1 where id = 1")
        (one,) = cdc.json("explain", "project", 1)["deliveries"]
        assert (one["webhook"], one["action"], one["key"]) == (hook, "m", "1")
        assert [said["code"] for said in one["said"]] == ["queued"]
        assert codes(cdc, one["uid"]) == ["queued"]

    def test_a_removed_webhook_got_nothing(
        self, cdc: Command, db: psycopg.Connection, hook: int
    ) -> None:
        db.execute("update cdc.webhook set state = 'removed'")
        db.execute("delete from cdc.subscription")
        assert codes(cdc, "project", 1) == ["removed", "nobody"]
        # What it got before is no sign that it gets what is changed now.
        log(db, hook, 5, "delivered", status="204", refs="array[null, '1', '1']")
        assert codes(cdc, "project", 1) == ["removed", "delivered"]

    def test_no_webhook_is_registered(self, cdc: Command, db: psycopg.Connection) -> None:
        db.execute("insert into project (company_id) values (1)")
        (said,) = explained(cdc, "project", 1)
        assert (said["verdict"], said["code"]) == ("bad", "nobody")
        assert "cdc webhook add" in said["todo"]

    def test_a_row_that_is_not_there(self, cdc: Command, db: psycopg.Connection, hook: int) -> None:
        assert codes(cdc, "project", 99) == ["no row", "nobody"]
        assert codes(cdc, "project", 99, "--company", 1) == ["no row", "no change"]

    def test_a_deleted_row_is_sent_where_the_mapping_says_so(self) -> None:
        resource = default_mapping().events["project_changed"]
        for deleted, says in ((False, "send nothing"), (True, "ask for deleted rows")):
            (said,) = of_row(FoundRow(False, None), replace(resource, deleted=deleted), "99")
            assert says in said.text

    def test_a_row_without_a_company(self, cdc: Command, db: psycopg.Connection, hook: int) -> None:
        db.execute("insert into rating default values")
        assert codes(cdc, "rating", 1) == ["unresolved"]
        (number,) = db.execute("select id from cdc.unresolved").fetchone() or (0,)
        assert codes(cdc, number) == ["unresolved"]
        db.execute("delete from cdc.unresolved")
        assert codes(cdc, "rating", 1) == ["no company"]

    def test_no_company_where_the_mapping_allows_that(
        self, cdc: Command, db: psycopg.Connection, tmp_path: Path
    ) -> None:
        file = tmp_path / "mapping.toml"
        file.write_text(declaring("rating_changed", "optional = true").source)
        cdc.env["CDC_MAPPING"] = str(file)
        cdc.good("triggers", "install")
        db.execute("insert into rating (id) overriding system value values (1)")
        db.execute("delete from cdc.unresolved")
        (said,) = explained(cdc, "rating", 1)
        assert (said["verdict"], said["code"]) == ("ok", "company not needed")
        assert "(resources.rating.optional): its changes are not sent" in said["text"]

    def test_how_far_back_the_log_is_searched(
        self, cdc: Command, db: psycopg.Connection, hook: int
    ) -> None:
        past = "clock_timestamp() - interval '3 days'"
        log(db, hook, 3, "delivered", status="200", at=past, refs="array[null, '1', '1']",
            time=past)  # fmt: skip
        assert codes(cdc, "project", 1) == ["no change"]
        assert codes(cdc, "project", 1, "--since", "4d") == ["delivered"]
        assert codes(cdc, 3) == ["delivered"]

    def test_another_company_than_the_rows(
        self, cdc: Command, db: psycopg.Connection, hook: int
    ) -> None:
        cdc.add(company="2")
        said = explained(cdc, "project", 1, "--company", 2)
        assert [one["code"] for one in said] == ["another company", "no change"]
        assert "Row 1 of public.project belongs to company 1" in said[0]["text"]

    def test_only_one_company(self, cdc: Command, db: psycopg.Connection, hook: int) -> None:
        other = cdc.add(company="2")["id"]
        owe(db, hook, id="5")
        owe(db, other, id="5")
        assert len(cdc.json("explain", 5)["deliveries"]) == 2
        (one,) = cdc.json("explain", 5, "--company", 2)["deliveries"]
        assert (one["webhook"], one["company"]) == (other, "2")
        assert "company 'nope' has no webhook" in cdc.refused("explain", 5, "--company", "nope")


class TestWhoAsks:
    def test_a_reader_sees_all_but_what_it_may_not(
        self,
        cdc: Command,
        db: psycopg.Connection,
        hook: int,
        as_role: Callable[[str], Command],
    ) -> None:
        log(db, hook, 3, "delivered", status="200", excerpt="'thanks'")
        owe(db, hook, id="5")
        reader = as_role("cdc_reader")
        assert codes(reader, 5) == ["queued"]
        found = reader.json("explain", "project", 7)
        assert [one["id"] for one in found["deliveries"]] == [5, 3]
        assert found["deliveries"][1]["log"][0]["excerpt"] is None
        assert found["webhooks"][0]["signable"] is None
        # Whose row it is cannot be seen; what was found says so, or --company does.
        assert codes(reader, "project", 1) == ["nobody"]
        assert codes(reader, "project", 1, "--company", 1) == ["no change"]

    def test_what_makes_no_sense_is_refused(self, cdc: Command, hook: int) -> None:
        assert "rating, note" in cdc.refused("explain", "invented", 17, code=2)
        assert "the key of the row is missing" in cdc.refused("explain", "rating", code=2)
        assert "number of the webhook is missing" in cdc.refused("explain", "webhook", code=2)
        assert "unknown delivery" in cdc.refused("explain", 4711)
        assert "unknown delivery" in cdc.refused("explain", uuid.UUID(UID))
        assert "neither" in cdc.refused("explain", "something", code=2)
