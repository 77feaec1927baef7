"""`cdc delivery drop` and `cancel`: what is given up, and nothing else."""

from __future__ import annotations

import psycopg

from tests.cli.command import Command
from tests.cli.test_delivery import STATES, everywhere, states
from tests.cli.test_status import owe, status

__all__ = ["everywhere"]  # a fixture


def test_only_the_dead_are_dropped(everywhere: Command, db: psycopg.Connection) -> None:
    done = everywhere.json("delivery", "drop", "--company", 1, "--reason", "a new ATS", "--yes")
    assert (done["total"], done["dropped"]) == (1, 1)
    assert states(everywhere) == STATES | {5: "dropped"}
    [dropped] = everywhere.json("delivery", "show", 5)
    assert dropped["attempts"][-1]["detail"] == "given up: a new ATS"
    assert db.execute("select count(*) from cdc.dead").fetchone() == (0,)


def test_status_does_not_report_them_any_more(cdc: Command, db: psycopg.Connection) -> None:
    cdc.add()
    owe(db, 1, "dead", id="5", tries="10", attempts="10", body="'{}'")
    assert any("dead" in problem for problem in status(cdc)["problems"])
    cdc.good("webhook", "pause", 1)
    assert "wait" in cdc.good("delivery", "replay", "--webhook", 1, "--dry-run").err
    assert "wait" not in cdc.good("delivery", "drop", "--webhook", 1, "--yes").err
    assert not any("dead" in problem for problem in status(cdc)["problems"])


def test_a_dry_run_counts_and_drops_nothing(everywhere: Command) -> None:
    found = everywhere.json("delivery", "drop", "--webhook", 1, "--dry-run")
    assert (found["total"], found["dropped"]) == (1, 0)
    assert states(everywhere) == STATES


def test_what_was_dropped_can_still_be_replayed(
    everywhere: Command, db: psycopg.Connection
) -> None:
    everywhere.good("delivery", "drop", 5, "--yes")
    assert "No such deliveries" in everywhere.good("delivery", "drop", "--webhook", 1, "--yes").err
    again = everywhere.json("delivery", "replay", 5, "--yes")
    assert again["replayed"] == 1
    assert db.execute("select tries from cdc.retry where id = 5").fetchone() == (10,)


def test_what_is_not_dead_or_not_selected_is_refused(everywhere: Command) -> None:
    assert "refusing" in everywhere.refused("delivery", "drop", "--yes", code=2)
    assert "not found" in everywhere.refused("delivery", "drop", 6, "--yes")
    unasked = everywhere("delivery", "drop", 5)
    assert unasked.code == 2
    assert "--yes" in unasked.err
    assert states(everywhere) == STATES


def test_what_waits_or_is_dead_is_cancelled(everywhere: Command, db: psycopg.Connection) -> None:
    waits = (1, 2, 3, 4, 5)
    for number in waits:
        done = everywhere.json("delivery", "cancel", number, "--reason", "sent by hand", "--yes")
        assert done == {"cancelled": 1}
        [cancelled] = everywhere.json("delivery", "show", number)
        assert cancelled["attempts"][-1]["detail"] == "cancelled: sent by hand"
    assert states(everywhere) == STATES | dict.fromkeys(waits, "dropped")
    noted = db.execute("select action, actor from cdc.audit where action like 'delivery.%'")
    assert [row[0] for row in noted.fetchall()] == ["delivery.cancel"] * 5
    for number in (1, 6, 7):
        output = everywhere.good("delivery", "cancel", number, "--yes")
        assert "has ended already" in output.err
    assert everywhere.json("delivery", "replay", 1, "--outcome", "dropped", "--yes")


def test_a_cancelled_delivery_is_asked_for_and_known(everywhere: Command) -> None:
    unasked = everywhere("delivery", "cancel", 1)
    assert unasked.code == 2
    assert "--yes" in unasked.err
    assert "unknown delivery 4712" in everywhere.refused("delivery", "cancel", 4712, "--yes")
    assert states(everywhere) == STATES
