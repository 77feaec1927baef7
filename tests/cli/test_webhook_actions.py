"""`--action`: a webhook that wants some kinds of changes only."""

from __future__ import annotations

import json
from pathlib import Path

import psycopg

from cdc.sandbox.suite import declaring
from tests.cli.command import Command


def stored(db: psycopg.Connection) -> list[tuple[int, str | None]]:
    rows = db.execute("select webhook_id, actions from cdc.subscription order by 1").fetchall()
    return [(number, actions) for number, actions in rows]


def test_add_and_update(cdc: Command, db: psycopg.Connection) -> None:
    made = cdc.add(action="created")
    number = made["id"]
    assert made["actions"] == ["created"]
    assert cdc.add(company="2")["actions"] == ["created", "modified"]
    assert stored(db) == [(number, "c"), (number + 1, None)]
    update = ["webhook", "update", number]
    # What else is changed leaves them as they are.
    assert cdc.json(*update, "--add-event", "note_changed")["actions"] == ["created"]
    assert [actions for _, actions in stored(db)] == ["c", "c", None]
    done = cdc.good(*update, "--action", "modified")
    assert "  actions: created -> modified\n" in done.err
    assert cdc.json(*update, "--action", "modified", "--action", "created")["before"] == {
        "actions": ["modified"]
    }
    assert [actions for _, actions in stored(db)] == [None, None, None]
    assert "as before" in cdc.good(*update, "--action", "created", "--action", "modified").err


def test_an_unknown_action_is_refused(cdc: Command) -> None:
    wrong = ("--action", "removed")
    url = ("--url", "http://127.0.0.1:9/hook", "--event", "note_changed", "--company", "1")
    said = cdc.refused("webhook", "add", *url, *wrong, code=2)
    assert "unknown action 'removed': expected one of created, modified, deleted" in said
    number = cdc.add()["id"]
    assert "unknown action" in cdc.refused("webhook", "update", number, *wrong, code=2)


def test_list_and_show(cdc: Command) -> None:
    one, two = cdc.add(action="created")["id"], cdc.add(company="2")["id"]
    listed = cdc.good("webhook", "list").out.splitlines()
    assert ["(created)" in line for line in listed if "project_changed" in line] == [True, False]
    assert cdc.json("webhook", "show", one)["actions"] == ["created"]
    assert "created, modified" in cdc.good("webhook", "show", two).out


def test_export_and_import(cdc: Command, db: psycopg.Connection) -> None:
    """A file without them is as it was."""
    one = cdc.add(action="modified")["id"]
    two = cdc.add(company="2")["id"]
    exported = cdc.good("webhook", "export").out
    first, second = json.loads(exported)["webhooks"]
    assert first["actions"] == ["modified"]
    assert "actions" not in second
    for number in (one, two):
        cdc.good("webhook", "remove", number, "--yes")
    cdc.good("webhook", "import", "-", stdin=exported)
    assert [actions for _, actions in stored(db)] == ["m", None]


def test_the_audit_has_it(cdc: Command, db: psycopg.Connection) -> None:
    number = cdc.add()["id"]
    cdc.good("webhook", "update", number, "--action", "created")
    rows = db.execute("select before, after from cdc.audit order by id desc limit 1").fetchall()
    [(before, after)] = rows
    assert (before["actions"], after["actions"]) == (["created", "modified"], ["created"])


def test_explain_says_what_the_webhook_wants(cdc: Command, db: psycopg.Connection) -> None:
    cdc.add(event="candidate_changed", action="created")
    db.execute(
        "insert into company default values; insert into project (company_id) values (1);"
        " insert into candidate (project_id) values (1)"
    )
    db.execute("truncate cdc.queue")
    db.execute("update candidate set name = 'x'")
    said = " ".join(cdc("explain", "candidate", "1").out.split())
    assert "is registered for candidate_changed, rows created only (since" in said
    cdc.good("webhook", "update", 1, "--action", "created", "--action", "modified")
    assert "rows created only" not in " ".join(cdc("explain", "candidate", "1").out.split())


def test_deleted_needs_a_mapping_that_declares_it(
    cdc: Command, db: psycopg.Connection, tmp_path: Path
) -> None:
    """For each event of the webhook."""
    asked = ["webhook", "add", "--url", "http://127.0.0.1:9/x", "--company", "1"]
    asked += ["--event", "project_changed", "--action", "deleted"]
    said = cdc.refused(*asked, code=2)
    assert "event project_changed has no action 'deleted'" in said
    assert "for no event (`deleted = true`)" in said
    path = tmp_path / "mapping.toml"
    path.write_text(declaring("project_changed", "deleted = true").source)
    own = Command({**cdc.env, "CDC_MAPPING": str(path)})
    number = own.json(*asked, "--action", "created")["id"]
    assert own.json("webhook", "show", number)["actions"] == ["created", "deleted"]
    assert stored(db) == [(number, "cd")]
    said = own.refused("webhook", "update", number, "--add-event", "note_changed", code=2)
    assert "event note_changed has no action 'deleted'" in said
    assert "declares it for project_changed" in said
    exported = own.good("webhook", "export").out
    assert json.loads(exported)["webhooks"][0]["actions"] == ["created", "deleted"]
    own.good("webhook", "update", number, "--action", "deleted")
    assert stored(db) == [(number, "d")]
    assert "(deleted)" in own.good("webhook", "list").out
