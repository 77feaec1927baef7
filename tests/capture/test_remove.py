"""Switching capture off and on, removing it, and who may install: nothing is left behind."""

from __future__ import annotations

import psycopg
import pytest

from cdc.capture import catalog, install, plan
from cdc.postgres.lock_retry import LockRetry
from tests.capture.kit import Suite, connect
from tests.capture.test_install import RATING, planned


def test_the_switch_takes_no_lock_on_a_table_of_the_suite(suite: Suite) -> None:
    suite.register("1")
    with connect(suite.url) as other:
        other.execute("begin")
        for resource in suite.mapping.captured:
            other.execute(f"lock table {resource.table.sql} in access exclusive mode".encode())
        steps = install.switch_off(suite.conn)
        install.carry_out(suite.command, steps, lambda _: None, LockRetry(1000, 1))
        other.execute("commit")
    assert set(suite.states().values()) == {"off"}
    suite.run("update rating set stars = 1; insert into candidate values (30, 17)")
    assert suite.queued() == []
    install.carry_out(
        suite.command, install.switch_on(suite.command, suite.mapping), lambda _: None
    )
    assert set(suite.states().values()) == {"installed"}
    assert planned(suite) == []
    suite.run("update rating set stars = 1")
    assert suite.changes() == [("m", "9")]


def test_what_is_off_is_switched_on_by_an_installation(suite: Suite) -> None:
    install.carry_out(suite.command, install.switch_off(suite.conn), lambda _: None)
    assert [step.lock for step in suite.install()] == [""] * 5
    assert set(suite.states().values()) == {"installed"}


NO_TRACES: dict[str, object] = {
    kind: [] for kind in ("triggers", "columns", "tables", "schemas", "functions")
}


def traces(suite: Suite) -> dict[str, object]:
    """What capture leaves on tables and schemas of the suite."""
    return {
        "triggers": suite.all(
            "select tgname from pg_trigger t join pg_class c on c.oid = t.tgrelid"
            " where not tgisinternal and relnamespace = 'public'::regnamespace"
        ),
        "columns": suite.all(
            "select attrelid::regclass::text, attname, attacl::text from pg_attribute"
            " where attacl::text like '%%cdc_%%' and attrelid::regclass::text not like 'cdc.%%'"
        ),
        "tables": suite.all(
            "select relname from pg_class where relacl::text like '%%cdc_%%'"
            " and relnamespace <> 'cdc'::regnamespace"
        ),
        "schemas": suite.all(
            "select nspname from pg_namespace"
            " where nspacl::text like '%%cdc_%%' and nspname not in ('cdc', 'cdc_capture')"
        ),
        "functions": suite.all(
            "select proname from pg_proc where pronamespace = 'cdc_capture'::regnamespace"
        ),
    }


def test_removal_leaves_nothing_on_the_suite(own_suite: Suite) -> None:
    own_suite.run("create table candidate_2020 (primary key (id)) inherits (candidate)")
    own_suite.install()
    own_suite.register("1")
    own_suite.run("update rating set stars = 1")
    assert traces(own_suite)["triggers"]
    install.carry_out(own_suite.command, plan.removal(own_suite.conn), lambda _: None)
    install.forget(own_suite.conn)
    assert traces(own_suite) == NO_TRACES
    assert catalog.installed_mapping(own_suite.conn) is None
    own_suite.run("update rating set stars = 2")
    # What was queued before is still there to be sent.
    assert own_suite.changes() == [("m", "9")]
    assert set(own_suite.states().values()) == {"missing"}


def test_removal_also_after_tables_were_dropped(own_suite: Suite) -> None:
    own_suite.run("drop table note, rating, answervideo, candidate, question cascade")
    install.carry_out(own_suite.command, plan.removal(own_suite.conn), lambda _: None)
    assert traces(own_suite) == NO_TRACES


def test_removal_from_one_table(suite: Suite) -> None:
    install.carry_out(suite.command, plan.removal(suite.conn, RATING), lambda _: None)
    states = suite.states()
    assert states.pop("public.rating") == "missing"
    assert set(states.values()) == {"installed"}
    suite.install()


def test_an_installer_who_is_no_superuser(own_suite: Suite) -> None:
    """The owner of the suite's tables, made a member of cdc_owner and cdc_capture for it."""
    install.carry_out(own_suite.command, plan.removal(own_suite.conn), lambda _: None)
    own_suite.run("create role suite_dba; grant cdc_owner, cdc_capture, cdc_admin to suite_dba")
    for resource in own_suite.mapping.resources.values():
        own_suite.run(f"alter table {resource.table.sql} owner to suite_dba")
    own_suite.run("alter table company owner to suite_dba; grant all on schema public to suite_dba")
    other = Suite(own_suite.url)
    other.become("suite_dba")
    other.install()
    assert set(other.states().values()) == {"installed"}
    assert planned(other) == []
    own_suite.register("1")
    own_suite.run("update rating set stars = 1")
    assert own_suite.changes() == [("m", "9")]
    install.carry_out(other.command, plan.removal(other.conn), lambda _: None)
    other.close()
    assert traces(own_suite)["triggers"] == []
    own_suite.run("reassign owned by suite_dba to postgres; drop owned by suite_dba")
    own_suite.run("drop role suite_dba")


def test_an_installer_without_the_right(own_suite: Suite) -> None:
    """PostgreSQL's own words reach the caller, and nothing was changed."""
    own_suite.run("drop trigger cdc_capture_insert on rating; create role suite_guest")
    own_suite.run("grant cdc_owner, cdc_capture to suite_guest")
    own_suite.run("grant select on all tables in schema public to suite_guest")
    other = Suite(own_suite.url)
    other.become("suite_guest")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        other.install()
    other.close()
    assert own_suite.states()["public.rating"] == "missing"
    own_suite.run("drop owned by suite_guest; drop role suite_guest")
