"""`cdc explain` where it was capture that did not see the change."""

from __future__ import annotations

import psycopg
import pytest

from cdc.wording import when
from tests.cli.command import Command
from tests.cli.test_explain import codes, explained, hook
from tests.cli.test_status import daemon, owe

__all__ = ["daemon", "hook"]  # the fixtures

pytestmark = pytest.mark.usefixtures("daemon")


class TestCapture:
    def test_switched_off(self, cdc: Command, db: psycopg.Connection, hook: int) -> None:
        cdc.good("triggers", "off")
        said = explained(cdc, "project", 1)
        assert [one["code"] for one in said] == ["capture off", "no change"]
        assert "cdc triggers on" in said[0]["todo"]
        assert "is off since 2" in said[0]["text"]
        assert ", by postgres" in said[0]["text"]

    def test_was_switched_off(self, cdc: Command, db: psycopg.Connection, hook: int) -> None:
        """Months later the helpdesk asks for a change that has not arrived."""
        cdc.good("triggers", "off")
        db.execute("update project set name = 'x' where id = 1")
        cdc.good("triggers", "on")
        said = explained(cdc, "project", 1)
        assert [one["code"] for one in said] == ["capture was off", "no change"]
        assert "(switched by postgres)" in said[0]["text"]
        assert "API" in said[0]["todo"]
        assert codes(cdc, "project", 1, "--since", "0s") == ["no change"]
        # Made good with psql, which does not note when.
        cdc.good("triggers", "off")
        script = cdc.good("triggers", "sql").out.replace("\\set ON_ERROR_STOP on", "")
        db.execute(script.encode())
        said = explained(cdc, "project", 1, "--since", "0s")
        assert [one["code"] for one in said] == ["capture was off", "no change"]
        assert "until it was installed again" in said[0]["text"]

    def test_a_change_from_before_the_triggers(
        self, cdc: Command, db: psycopg.Connection, hook: int
    ) -> None:
        (at,) = db.execute("select mapped_at from cdc.installation").fetchone() or (None,)
        (said,) = explained(cdc, "project", 1)
        assert f"after capture was installed (in its present form: {when(at)})" in said["text"]

    def test_not_installed(self, cdc: Command, db: psycopg.Connection, hook: int) -> None:
        cdc.good("triggers", "remove", "--yes")
        assert codes(cdc, "project", 1) == ["capture missing", "no change"]

    def test_disabled_on_the_table(self, cdc: Command, db: psycopg.Connection, hook: int) -> None:
        db.execute("alter table project disable trigger cdc_capture_update")
        said = explained(cdc, "project", 1)
        assert said[0]["code"] == "capture disabled"
        assert "cdc_capture_update" in said[0]["text"]

    def test_reported_for_a_delivery_too(
        self, cdc: Command, db: psycopg.Connection, hook: int
    ) -> None:
        owe(db, hook, id="5")
        cdc.good("triggers", "off")
        assert codes(cdc, 5) == ["capture off", "queued"]


@pytest.mark.parametrize(
    ("held", "revoked", "cause", "todo"),
    [
        ("lock table project", "", "another session holds a lock", "`cdc doctor` names the holder"),
        ("select", "revoke select on project from cdc_capture", "cdc_capture lacks a right on a",
         "Run `cdc triggers install` as the owner"),
        ("select", "alter table project rename company_id to customer_id",
         "the suite's tables differ from the mapping", "`cdc triggers install`"),
    ],
)  # fmt: skip
def test_why_a_change_was_not_captured(
    cdc: Command, db: psycopg.Connection, hook: int, held: str, revoked: str, cause: str, todo: str
) -> None:
    """It was always the row's fault, or the mapping's."""
    db.execute("insert into candidate (project_id) values (1)")
    db.execute(revoked.encode() or b"select")
    with psycopg.connect(cdc.env["CDC_DATABASE_URL"]) as holder:
        holder.execute(held.encode())
        db.execute("insert into rating (candidate_id) values (1)")
        locks = check(cdc, "locks")
        if revoked:
            assert locks["verdict"] == "ok"
        else:
            assert "holds the lock AccessExclusive on public.project" in locks["message"]
    (said,) = (one for one in explained(cdc, "rating", 1) if one["code"] == "unresolved")
    (problem,) = (one for one in cdc("status", "--json").json["problems"] if "captured yet" in one)
    (number,) = db.execute("select id from cdc.unresolved").fetchone() or (0,)
    found = check(cdc, "unresolved")
    shown = cdc.refused("delivery", "show", number)
    for text in (said["text"] + said["todo"], problem, found["message"] + found["todo"], shown):
        assert cause in text
        assert todo in text
        assert "no company" not in text


def check(cdc: Command, name: str) -> dict[str, str]:
    found: list[dict[str, str]] = cdc("doctor", "--json").json["checks"]
    return next(one for one in found if one["check"] == name)


def test_a_key_of_another_type(cdc: Command, db: psycopg.Connection, hook: int) -> None:
    """It was said that nothing was queued for it."""
    for key in ("abc", "1.5", 2**70):
        said = cdc.refused("explain", "candidate", key, code=2)
        assert f"invalid key '{key}'" in said
        assert "of type bigint" in said
