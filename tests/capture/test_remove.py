"""Switching capture off and on, removing it, and who may install: nothing is left behind."""

from __future__ import annotations

from cdc.capture import install
from cdc.capture.install import Patience
from tests.capture.kit import Suite, connect
from tests.capture.test_install import planned


def test_the_switch_takes_no_lock_on_a_table_of_the_suite(suite: Suite) -> None:
    suite.register("1")
    with connect(suite.url) as other:
        other.execute("begin")
        for resource in suite.mapping.captured:
            other.execute(f"lock table {resource.table.sql} in access exclusive mode".encode())
        steps = install.switch(suite.mapping, on=False)
        install.carry_out(suite.conn, steps, lambda _: None, Patience(1000, 1))
        other.execute("commit")
    assert set(suite.states().values()) == {"off"}
    suite.run("update rating set stars = 1; insert into candidate values (30, 17)")
    assert suite.queued() == []
    install.carry_out(suite.conn, install.switch(suite.mapping, on=True), lambda _: None)
    assert set(suite.states().values()) == {"installed"}
    assert planned(suite) == []
    suite.run("update rating set stars = 1")
    assert suite.changes() == [("m", "9")]


def test_what_is_off_is_switched_on_by_an_installation(suite: Suite) -> None:
    install.carry_out(suite.conn, install.switch(suite.mapping, on=False), lambda _: None)
    assert [step.lock for step in suite.install()] == [""] * 10
    assert set(suite.states().values()) == {"installed"}
