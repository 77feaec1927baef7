"""`cdc explain` where something is in a delivery's way."""

from __future__ import annotations

import psycopg
import pytest

from tests.cli.command import Command
from tests.cli.test_explain import OLD, codes, explained, hook
from tests.cli.test_status import UID, daemon, log, owe, status

__all__ = ["daemon", "hook"]  # the fixtures

pytestmark = pytest.mark.usefixtures("daemon")


class TestWhatIsInTheWay:
    def test_no_daemon(
        self, cdc: Command, db: psycopg.Connection, hook: int, daemon: psycopg.Connection
    ) -> None:
        owe(db, hook, id="5")
        daemon.execute("select pg_advisory_unlock_all()")
        (said,) = explained(cdc, 5)
        assert (said["verdict"], said["code"]) == ("bad", "no daemon")
        assert "0 daemons run" in said["text"]
        assert "cdc run" in said["todo"]

    def test_what_is_sent_cannot_be_recorded(
        self,
        cdc: Command,
        db: psycopg.Connection,
        hook: int,
        database: str,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """The receiver has it long since, and `explain` said that it is about to be sent."""
        monkeypatch.setattr("cdc.diagnosis.doctor.recording.LOCK_HELD_S", 0.0)
        owe(db, hook, id="5")
        assert codes(cdc, 5) == ["queued"]
        with psycopg.connect(database) as other:
            other.execute("lock table cdc.queue in share mode")
            (said,) = explained(cdc, 5)
        assert (said["verdict"], said["code"]) == ("bad", "not recorded")
        assert "lock ShareLock on cdc.queue" in said["text"]
        assert "pg_terminate_backend" in said["todo"]
        assert codes(cdc, 5) == ["queued"]

    def test_a_copy_that_was_not_adopted(
        self, cdc: Command, db: psycopg.Connection, hook: int, daemon: psycopg.Connection
    ) -> None:
        """Staging, made from production: to start a daemon would be the wrong advice."""
        owe(db, hook, id="5")
        daemon.execute("select pg_advisory_unlock_all()")
        db.execute("update cdc.installation set database_oid = 1")
        (said,) = explained(cdc, 5)
        assert (said["verdict"], said["code"]) == ("bad", "copy")
        assert "cdc adopt" in said["todo"]
        problems = cdc("status", "--json").json["problems"]
        assert "cdc adopt" in problems[0]
        assert not any("start `cdc run`" in problem for problem in problems)

    def test_an_event_that_is_gone_from_the_mapping(
        self, cdc: Command, db: psycopg.Connection, hook: int
    ) -> None:
        """No fault of the receiver's: it was never asked."""
        due = {"due_at": "clock_timestamp() + interval '10 min'", "tries": "1", '"time"': OLD}
        owe(db, hook, "retry", id="5", last_error="'mapping'", **due)
        db.execute(
            "insert into cdc.lane (webhook_id, breaker, failures, last_error)"
            " values (%s, 'open', 7, 'mapping')",
            [hook],
        )
        said = explained(cdc, 5)
        assert [one["code"] for one in said] == ["retrying", "untranslatable"]
        assert "the mapping has lost the event project_changed" in said[0]["text"]
        assert "cdc triggers install" in said[1]["todo"]
        (problem,) = (one for one in status(cdc)["problems"] if "no payload" in one)
        assert (
            "no payload can be made: `cdc explain 5` says why. If its event is missing" in problem
        )
        assert "hurries" not in problem, "that would not help"

    @pytest.mark.parametrize("place", ["retry", "dead"])
    def test_a_payload_that_cannot_be_made(
        self, cdc: Command, db: psycopg.Connection, hook: int, place: str
    ) -> None:
        """What the attempt noted is shown, and what to do about it: not to ask the receiver."""
        due = {"due_at": "clock_timestamp() + interval '10 min'"} if place == "retry" else {}
        owe(db, hook, place, id="5", tries="2", attempts="2", last_error="'mapping'", **due)
        noted = "a key is '..', which cannot be part of a URL. Give the row another key."
        db.execute(
            "insert into cdc.attempt (slot, at, delivery, uid, webhook_id, layout, action, time,"
            " refs, try, outcome, error, detail, duration_ms)"
            " select 1, clock_timestamp(), id, uid, webhook_id, layout, action, time, refs, 2,"
            f" 'failed', 'mapping', %s, 0 from cdc.{place}",
            [noted],
        )
        (said, *_) = explained(cdc, 5)
        assert noted.rstrip(".") in said["text"]
        assert "nothing to send" in said["text"]
        assert "that is fixed" in said["todo"]
        assert "receiver" not in said["todo"]

    def test_a_lane_of_which_no_payload_can_be_made(
        self, cdc: Command, db: psycopg.Connection, hook: int
    ) -> None:
        owe(db, hook, id="5")
        db.execute(
            "insert into cdc.lane (webhook_id, breaker, failures, last_error)"
            " values (%s, 'open', 7, 'mapping')",
            [hook],
        )
        (lane,) = status(cdc)["webhooks"]
        why = f"no payload can be made: `cdc delivery list --webhook {hook}`"
        assert lane["last_error"] == why
        assert why in cdc("status").out.replace("\n", " ")

    def test_no_secret(self, cdc: Command, db: psycopg.Connection, hook: int) -> None:
        owe(db, hook, id="5")
        db.execute("delete from cdc.webhook_secret")
        assert codes(cdc, 5) == ["no secret"]

    def test_a_registration_that_cannot_be_used(
        self, cdc: Command, db: psycopg.Connection, hook: int
    ) -> None:
        owe(db, hook, id="5")
        db.execute(
            "insert into cdc.lane (webhook_id, last_error)"
            " values (%s, 'cannot be used: the header Host is ours')",
            [hook],
        )
        (said,) = explained(cdc, 5)
        assert (said["verdict"], said["code"]) == ("bad", "unusable")
        assert "the header Host is ours" in said["text"]

    def test_a_key_that_is_missing_here(
        self, cdc: Command, db: psycopg.Connection, hook: int
    ) -> None:
        """Found out while its receiver was down: that is not what is in the way now."""
        owe(db, hook, id="5", **{'"time"': OLD})
        owe(db, hook, "retry", id="6", due_at="clock_timestamp()", last_error="'refused'")
        why = "a secret is encrypted, and CDC_SECRET_KEYS is not set"
        db.execute(
            "insert into cdc.lane (webhook_id, breaker, failures, last_error)"
            " values (%s, 'open', 7, %s)",
            [hook, f"cannot be used: {why}"],
        )
        (said,) = explained(cdc, 5)
        assert (said["verdict"], said["code"]) == ("bad", "unusable")
        assert why in said["text"]
        assert "docs/runbook.md" in said["todo"]
        assert why in cdc("status", "--json").json["problems"][0]

    @pytest.mark.parametrize("breaker", ["open", "probing"])
    def test_an_open_lane(
        self, cdc: Command, db: psycopg.Connection, hook: int, breaker: str
    ) -> None:
        owe(db, hook, id="5")
        db.execute(
            "insert into cdc.lane (webhook_id, breaker, failures, failing_since, last_error)"
            " values (%s, %s, 7, clock_timestamp() - interval '1 hour', 'refused')",
            [hook, breaker],
        )
        (said,) = explained(cdc, 5)
        assert (said["verdict"], said["code"]) == ("bad", "lane open")
        assert "7 failures in a row, the last: refused" in said["text"]
        assert f"its circuit breaker is {breaker}" in said["text"]

    @pytest.mark.parametrize("breaker", ["closed", "open"])
    def test_a_webhook_whose_last_attempt_failed(
        self, cdc: Command, db: psycopg.Connection, hook: int, breaker: str
    ) -> None:
        """Not "well" before its breaker opens, and with the cause: not only "ask the operator"."""
        assert codes(cdc, "webhook", hook) == ["active"]
        due = {"due_at": "clock_timestamp() + interval '10 min'", "tries": "1"}
        owe(db, hook, "retry", id="4", last_error="null", **{**due, "tries": "0"})  # replayed
        assert codes(cdc, "webhook", hook) == ["active"]
        owe(db, hook, "retry", id="5", last_error="'refused'", **due)
        later = {**due, "due_at": "clock_timestamp() + interval '11 min'"}
        owe(db, hook, "retry", id="6", uid=f"'{UID.format(6)}'", last_error="'tls'", **later)
        said = "the certificate of x.example:443 is refused: self-signed certificate"
        log(db, hook, 6, "failed", error="'tls'", detail=f"'{said}'")
        if breaker == "open":
            db.execute(
                "insert into cdc.lane (webhook_id, breaker, failures, last_error)"
                " values (%s, 'open', 7, 'tls')",
                [hook],
            )
        (sentence,) = explained(cdc, "webhook", hook)
        verdict, code = ("bad", "lane open") if breaker == "open" else ("wait", "retrying")
        assert (sentence["verdict"], sentence["code"]) == (verdict, code)
        assert f"the last: {said} (tls)" in sentence["text"]
        assert "If it is the right one, trust it: CDC_TLS_CA_FILE" in sentence["todo"]
        db.execute("update cdc.retry set time = clock_timestamp() - interval '2 minutes'")
        assert {one["verdict"] for one in explained(cdc, "webhook", hook)} == {"bad"}

    def test_a_webhook_with_a_dead_delivery(
        self, cdc: Command, db: psycopg.Connection, hook: int
    ) -> None:
        given = {"last_status": "404", "last_error": "'status'", "tries": "1", "attempts": "1"}
        owe(db, hook, "dead", id="5", **given)
        (said,) = explained(cdc, "webhook", hook)
        assert (said["verdict"], said["code"]) == ("bad", "dead")
        assert "1 attempt failed, the last: answered 404" in said["text"]
        assert f"`cdc delivery replay --webhook {hook}`" in said["todo"]
        cdc.add("2")
        asked = ("explain", "webhook", hook, "--company", "2")
        assert f"unknown webhook {hook} of company 2" in cdc.refused(*asked)
        assert "unknown webhook 999" in cdc.refused("explain", "webhook", 999)
        assert "invalid number of a webhook: 'x'" in cdc.refused("explain", "webhook", "x", code=2)

    def test_a_receiver_that_asks_for_a_pause(
        self, cdc: Command, db: psycopg.Connection, hook: int
    ) -> None:
        owe(db, hook, id="5")
        db.execute(
            "insert into cdc.lane (webhook_id, slow_until, failing_since)"
            " values (%s, clock_timestamp() + interval '10 min', '2026-01-02T03:04:05Z')",
            [hook],
        )
        (said,) = explained(cdc, 5)
        assert (said["verdict"], said["code"]) == ("wait", "slowed")
        assert "another 10 min; it has accepted nothing since 2026-01-02 03:04:05" in said["text"]
        assert "ask the receiver's operator" in said["todo"]
