"""`cdc webhook update`: what changes, what stays, and that both can be seen."""

from __future__ import annotations

import psycopg

from tests.cli.command import Command


def test_replaces_what_is_given_and_nothing_else(cdc: Command, db: psycopg.Connection) -> None:
    before = cdc.add(rate=2, header="X-Key: 1", description="old")
    number = before["id"]
    changed = cdc.json(
        *("webhook", "update", number, "--url", "http://127.0.0.1:9/new", "--cap", 7),
        *("--event", "note_changed", "--event", "rating_changed"),
    )
    assert changed["events"] == ["rating_changed", "note_changed"]
    assert (changed["endpoint"], changed["cap"]) == ("http://127.0.0.1:9/new", 7)
    assert (changed["rate"], changed["description"]) == (2, "old")
    assert changed["version"] > before["version"]
    rows = db.execute("select event from cdc.subscription order by 1").fetchall()
    assert rows == [("note_changed",), ("rating_changed",)]
    changed = cdc.json("webhook", "update", number, "--rate", 0, "--no-headers")
    assert (changed["rate"], changed["headers"]) == (None, {})
    cdc.good("webhook", "update", number, "--header", "Y: 2", "--description", "")
    assert db.execute("select headers, description from cdc.webhook").fetchone() == (
        {"Y": "2"},
        "",
    )


def test_refuses_as_add_does(cdc: Command) -> None:
    one, two = cdc.add()["id"], cdc.add(url="http://127.0.0.1:9/two")["id"]
    update = ["webhook", "update", two]
    assert f"webhook {one} of" in cdc.refused(*update, "--url", "http://127.0.0.1:9/hook")
    assert "10.0.0.1" in cdc.refused(*update, "--url", "https://10.0.0.1/")
    assert "did you mean" in cdc.refused(*update, "--event", "note_change", code=2).lower()
    assert "no changes given" in cdc.refused(*update, code=2)
    cdc.refused(*update, "--header", "A: 1", "--no-headers", code=2)
    cdc.good(*update, "--event", "note_changed", "--url", "http://127.0.0.1:9/hook")


def test_what_was_is_printed_beside_what_is(cdc: Command) -> None:
    """`--event` takes the other events away: that must be seen."""
    number = cdc.add(event="note_changed")["id"]
    update = ["webhook", "update", number]
    done = cdc.good(*update, "--event", "project_changed", "--cap", 3)
    assert "  events: note_changed -> project_changed\n  cap: 10 -> 3\n" in done.err
    assert "as before" in cdc.good(*update, "--cap", 3).err
    before = cdc.json(*update, "--rate", 2, "--header", "X: 1")["before"]
    assert before == {"rate": None, "headers": {}}


def test_events_come_and_go_one_by_one(cdc: Command, db: psycopg.Connection) -> None:
    number = cdc.add(event="project_changed")["id"]
    update = ["webhook", "update", number]
    more = ("--add-event", "note_changed", "--add-event", "rating_changed")
    assert cdc.json(*update, *more)["events"] == [
        *("project_changed", "rating_changed", "note_changed"),
    ]
    changed = cdc.json(*update, "--remove-event", "rating_changed", "--cap", 2)
    assert changed["events"] == ["project_changed", "note_changed"]
    rows = db.execute("select event from cdc.subscription order by 1").fetchall()
    assert rows == [("note_changed",), ("project_changed",)]
    done = cdc.refused(*update, "--remove-event", "rating_changed", code=2)
    assert "It has: project_changed, note_changed." in done
    both = ("--remove-event", "project_changed", "--remove-event", "note_changed")
    assert "no event left" in cdc.refused(*update, *both, code=2)
    cdc.refused(*update, "--event", "note_changed", "--add-event", "rating_changed", code=2)
    assert "Did you mean" in cdc.refused(*update, "--add-event", "note_change", code=2)


def test_a_login_beside_an_authorization_header_is_refused(cdc: Command) -> None:
    number = cdc.add(header="Authorization: Bearer x")["id"]
    output = cdc.refused("webhook", "update", number, "--url", "http://a:b@127.0.0.1:9/", code=2)
    assert "Authorization" in output
