"""`--filter`: a webhook that wants rows with some values only."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import psycopg
import pytest

from cdc.mapping import default_mapping
from tests.capture.test_filter import COLUMNS
from tests.cli.command import Command

URL = ("--company", "1", "--url", "http://127.0.0.1:9/hook")
EVENT = ("--event", "candidate_changed")


@pytest.fixture
def cdc(cdc: Command, db: psycopg.Connection, tmp_path: Path) -> Command:
    """With a mapping that declares two fields of candidates."""
    event = 'event = "candidate_changed"'
    file = tmp_path / "suite.toml"
    file.write_text(
        default_mapping().source.replace(event, f'{event}\nfields = ["status", "score"]')
    )
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


def test_events_list_show_and_explain(cdc: Command, db: psycopg.Connection) -> None:
    assert cdc.json("events")[1]["fields"] == ["status", "score"]
    assert "fields to filter by" in cdc.good("events").out
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
