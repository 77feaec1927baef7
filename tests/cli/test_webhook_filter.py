"""`--filter`, `--when`, `--changed-only`, `--include`: what a webhook wants of its events."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import psycopg
import pytest

from cdc.sandbox.suite import declaring
from tests.capture.test_filter import COLUMNS
from tests.cli.command import Command

URL = ("--company", "1", "--url", "http://127.0.0.1:9/hook")
EVENT = ("--event", "candidate_changed")


@pytest.fixture
def cdc(cdc: Command, db: psycopg.Connection, tmp_path: Path) -> Command:
    """With a mapping that declares two fields of candidates."""
    file = tmp_path / "suite.toml"
    file.write_text(declaring("candidate_changed", 'fields = ["status", "score"]').source)
    db.execute(COLUMNS)
    cdc.env["CDC_MAPPING"] = str(file)
    cdc.good("triggers", "install")
    return cdc


def stored(db: psycopg.Connection) -> list[Any]:
    rows = db.execute("select filter from cdc.subscription order by webhook_id, event").fetchall()
    return [found for (found,) in rows]


def test_add_and_update(cdc: Command, db: psycopg.Connection) -> None:
    made = cdc.json(
        *("webhook", "add", *URL, *EVENT),
        *("--filter", "status=interviewed,expired", "--filter", "score=7"),
    )
    wanted = {"status": ["interviewed", "expired"], "score": ["7"]}
    assert made["filter"] == wanted
    assert stored(db) == [wanted]
    update = ["webhook", "update", made["id"]]
    assert cdc.json(*update, "--action", "modified")["filter"] == wanted
    done = cdc.json(*update, "--filter", "status=new")
    assert (done["filter"], done["before"]["filter"]) == ({"status": ["new"]}, wanted)
    assert done["actions"] == ["modified"]
    assert cdc.json(*update, "--no-filter")["filter"] == {}
    assert stored(db) == [None]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ([*EVENT, "--filter", "stat=new"], "event candidate_changed has no field 'stat'"),
        ([*EVENT, "--filter", "stat=new"], "Its fields: status, score."),
        (
            [*EVENT, "--event", "note_changed", "--filter", "status=new"],
            "event note_changed has no field 'status'",
        ),
        ([*EVENT, "--filter", "status"], "invalid filter 'status'"),
        ([*EVENT, "--filter", "status=a", "--filter", "status=b"], "Write --filter status=a,b."),
        ([*EVENT, "--when", "stat"], "event candidate_changed has no field 'stat'"),
        ([*EVENT, "--when", "stat"], "Its fields: status, score."),
        (
            ["--event", "note_changed", "--when", "status"],
            """The mapping declares none for it. Write `fields = ["status"]` there, and run""",
        ),
        (
            ["--event", "note_changed", "--changed-only"],
            "what an update of note_changed changes is not known: the mapping has no `fields`",
        ),
        (["--event", "note_changed", "--changed-only"], "Write `fields = []` there, or the"),
        ([*EVENT, "--include", "stat"], "event candidate_changed has no field 'stat'"),
        ([*EVENT, "--include", "stat"], "Its fields: status, score."),
        (
            ["--event", "note_changed", "--include", "status"],
            """The mapping declares none for it. Write `fields = ["status"]` there, and run""",
        ),
        ([*EVENT, "--changed-only", "--when", "status"], "--changed-only and --when contradict"),
        (
            [*EVENT, "--filter", f"status={','.join('x' * 51)}"],
            "51 values for field 'status': expected 1 to 50",
        ),
    ],
)
def test_what_cannot_be_is_refused(cdc: Command, options: list[str], says: str) -> None:
    assert says in cdc.refused("webhook", "add", *URL, *options, code=2)


def test_an_event_without_the_field_is_not_added(cdc: Command) -> None:
    number = cdc.json("webhook", "add", *URL, *EVENT, "--filter", "status=new")["id"]
    update = ["webhook", "update", number]
    assert "event note_changed has no field 'status'" in cdc.refused(
        *update, "--add-event", "note_changed", code=2
    )
    assert "contradict" in cdc.refused(*update, "--no-filter", "--filter", "status=x", code=2)
    cdc.good(*update, "--add-event", "note_changed", "--no-filter")


def asked(db: psycopg.Connection) -> list[Any]:
    rows = db.execute("select changed from cdc.subscription order by webhook_id, event").fetchall()
    return [found for (found,) in rows]


def test_updates_that_changed_something(cdc: Command, db: psycopg.Connection) -> None:
    """Registered, changed, shown, explained, exported and imported."""
    made = cdc.json("webhook", "add", *URL, *EVENT, "--when", "score", "--when", "status")
    assert made["changed"] == ["score", "status"]
    assert asked(db) == [["score", "status"]]
    update = ["webhook", "update", made["id"]]
    assert "no changes given" not in cdc.good(*update, "--filter", "status=new").out
    assert asked(db) == [["score", "status"]]
    assert "updates if score or status changed" in cdc.good("webhook", "list").out
    assert "updates if score or status changed" in cdc.good("webhook", "show", made["id"]).out
    db.execute(
        "insert into company default values; insert into project (company_id) values (1);"
        " insert into candidate (project_id, status) values (1, 'expired');"
        " update candidate set name = 'x'"
    )
    said = " ".join(cdc("explain", "candidate", "1").out.split())
    assert "rows whose status is new only, updates only if score or status changed (since" in said
    assert "Others than it is registered for are not queued." in said
    said = cdc.good(*update, "--changed-only", "--no-filter").err
    assert "changed: updates if score or status changed -> updates if the row changed" in said
    assert asked(db) == [[]]
    exported = cdc.good("webhook", "export").out
    assert json.loads(exported)["webhooks"][0]["changed"] == []
    assert "contradict" in cdc.refused(*update, "--any-update", "--changed-only", code=2)
    assert "changes is not known" in cdc.refused(*update, "--add-event", "note_changed", code=2)
    said = cdc.good(*update, "--any-update").err
    assert "changed: updates if the row changed -> all updates" in said
    assert asked(db) == [None]
    assert "changed" not in json.loads(cdc.good("webhook", "export").out)["webhooks"][0]
    cdc.good("webhook", "remove", made["id"], "--yes")
    cdc.good("webhook", "import", "-", stdin=exported)
    assert asked(db) == [[]]


def test_values_that_are_included(cdc: Command, db: psycopg.Connection) -> None:
    """Registered, changed, shown, explained, exported and imported."""

    def included() -> list[Any]:
        rows = db.execute("select include from cdc.subscription order by webhook_id").fetchall()
        return [found for (found,) in rows]

    made = cdc.json(
        "webhook", "add", *URL, *EVENT, "--include", "status", "--include", "score", "--include",
        "status",
    )  # fmt: skip
    assert made["include"] == ["status", "score"]
    assert included() == [["status", "score"]]
    update = ["webhook", "update", made["id"]]
    assert cdc.json(*update, "--filter", "status=new")["include"] == ["status", "score"]
    assert "(status=new, with status and score)" in cdc.good("webhook", "list").out
    assert "status, score" in cdc.good("webhook", "show", made["id"]).out
    db.execute(
        "insert into company default values; insert into project (company_id) values (1);"
        " insert into candidate (project_id, status) values (1, 'expired')"
    )
    said = " ".join(cdc("explain", "candidate", "1").out.split())
    assert "rows whose status is new only, with the values of status and score (since" in said
    exported = cdc.good("webhook", "export").out
    assert json.loads(exported)["webhooks"][0]["include"] == ["status", "score"]
    assert "include: status, score -> score" in cdc.good(*update, "--include", "score").err
    assert included() == [["score"]]
    assert "contradict" in cdc.refused(*update, "--include", "score", "--no-include", code=2)
    added = (*update, "--no-filter", "--add-event", "note_changed")
    assert "event note_changed has no field 'score'" in cdc.refused(*added, code=2)
    assert "include: score -> none" in cdc.good(*added, "--no-include").err
    assert included() == [None, None]
    assert "include" not in json.loads(cdc.good("webhook", "export").out)["webhooks"][0]
    cdc.good("webhook", "remove", made["id"], "--yes")
    cdc.good("webhook", "import", "-", stdin=exported)
    assert included() == [["status", "score"]]


def test_events_list_show_and_explain(cdc: Command, db: psycopg.Connection) -> None:
    assert cdc.json("events")[1]["fields"] == ["status", "score"]
    assert "fields" in cdc.good("events").out
    number = cdc.json("webhook", "add", *URL, *EVENT, "--filter", "status=new,invited")["id"]
    assert "(status=new,invited)" in cdc.good("webhook", "list").out
    assert "status=new,invited" in cdc.good("webhook", "show", number).out
    db.execute(
        "insert into company default values; insert into project (company_id) values (1);"
        " insert into candidate (project_id, status) values (1, 'expired')"
    )
    said = " ".join(cdc("explain", "candidate", "1").out.split())
    assert "for candidate_changed, rows whose status is new or invited only (since" in said


def test_export_and_import(cdc: Command, db: psycopg.Connection) -> None:
    number = cdc.json("webhook", "add", *URL, *EVENT, "--filter", "status=new")["id"]
    exported = cdc.good("webhook", "export").out
    assert json.loads(exported)["webhooks"][0]["filter"] == {"status": ["new"]}
    cdc.good("webhook", "remove", number, "--yes")
    cdc.good("webhook", "import", "-", stdin=exported)
    assert stored(db) == [{"status": ["new"]}]
