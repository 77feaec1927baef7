"""`cdc migrate`, `triggers`, `adopt` and `config`."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from cdc.capture.script import offline
from cdc.mapping import default_mapping
from cdc.sandbox.suite import tables_sql
from cdc.schema import migrations
from tests.cli.command import Command

CAPTURED = ["project", "candidate", "answervideo", "rating", "note"]


@pytest.fixture
def bare(empty_database: str) -> Command:
    """A database with the suite's tables and nothing of ours."""
    with psycopg.connect(empty_database) as conn:
        conn.execute(tables_sql(default_mapping()).encode())
    return Command({"CDC_DATABASE_URL": empty_database})


def connect(cdc: Command) -> psycopg.Connection:
    return psycopg.connect(cdc.env["CDC_DATABASE_URL"], autocommit=True)


def states(cdc: Command) -> set[str]:
    return {row["state"] for row in cdc("triggers", "status", "--json").json["tables"]}


def test_from_nothing_to_capture_step_by_step(bare: Command) -> None:
    done = bare("migrate")
    assert done.code == 0
    assert "cdc triggers plan" in done.err
    assert bare.json("migrate") == {
        "before": migrations.head(),
        "after": migrations.head(),
        "changed": False,
    }
    status = bare("triggers", "status", "--json")
    assert status.code == 1
    assert [row["state"] for row in status.json["tables"]] == ["missing"] * 5

    steps = len(bare.json("triggers", "plan")["steps"])
    assert f"{steps} steps, locks on 5 tables" in bare.good("triggers", "plan").err
    plan = bare.json("triggers", "plan")
    locked = {step["table"] for step in plan["steps"] if step["lock"]}
    assert locked == {f"public.{name}" for name in CAPTURED}
    assert {step["lock"] for step in plan["steps"]} == {None, "SHARE ROW EXCLUSIVE"}
    assert states(bare) == {"missing"}, "a plan changes nothing"

    done = bare.good("triggers", "install")
    assert "cdc_capture_insert on public.rating" in done.err
    assert f"[{steps}/{steps}] cdc_capture_update on public.note" in done.err
    assert bare.json("triggers", "status")["ok"] is True
    assert "Nothing to do" in bare.good("triggers", "install").err
    assert bare.json("triggers", "install") == {"done": [], "changed": False}
    assert bare.json("triggers", "plan") == {
        "steps": [],
        "mapping_noted": True,
        "not_captured": [],
    }
    with connect(bare) as conn:
        conn.execute("insert into company default values")
        conn.execute("insert into project (company_id) values (1)")


def test_migrate_prints_what_it_would_run(empty_database: str) -> None:
    printed = Command().good("migrate", "--sql").out
    assert "create table cdc.queue" in printed
    with psycopg.connect(empty_database, autocommit=True) as conn:
        conn.execute(printed.encode())
    cdc = Command({"CDC_DATABASE_URL": empty_database})
    assert cdc.json("migrate")["changed"] is False


def test_migrate_takes_an_address_in_keyword_form(empty_database: str) -> None:
    words = make_conninfo("", **conninfo_to_dict(empty_database))
    cdc = Command({"CDC_DATABASE_URL": words})
    assert cdc.json("migrate")["changed"] is True


def test_a_wrong_mapping_is_refused_before_anything_changes(bare: Command, tmp_path: Path) -> None:
    file = tmp_path / "mapping.toml"
    file.write_text(default_mapping().source.replace('"candidate_id"', '"candidat_id"'))
    bare.env["CDC_MAPPING"] = str(file)
    bare.good("migrate")
    output = bare.refused("triggers", "install")
    assert "resources.answervideo.parents.candidate" in output
    assert "candidate_id" in output
    with connect(bare) as conn:
        assert conn.execute("select from pg_trigger where tgname like 'cdc%'").fetchall() == []
        assert (
            conn.execute("select from cdc.layout where event <> 'webhook_notice'").fetchall() == []
        )


def test_another_mapping_than_the_installed_one_shows(cdc: Command, tmp_path: Path) -> None:
    file = tmp_path / "mapping.toml"
    file.write_text(default_mapping().source.replace("interview-suite.com/", "example.com/"))
    cdc.env["CDC_MAPPING"] = str(file)
    status = cdc("triggers", "status", "--json")
    assert (status.code, status.json["mapping_noted"]) == (1, False)
    assert "the mapping would be noted" in cdc.good("triggers", "plan").err
    assert cdc.json("triggers", "install") == {"done": [], "changed": True}
    assert cdc.json("triggers", "status")["ok"] is True


def test_a_disabled_trigger_is_seen_and_mended(cdc: Command) -> None:
    with connect(cdc) as conn:
        conn.execute("alter table rating disable trigger cdc_capture_update")
        conn.execute("drop trigger cdc_capture_insert on note")
    assert states(cdc) == {"installed", "disabled", "missing"}
    assert len(cdc.json("triggers", "install")["done"]) == 2
    assert states(cdc) == {"installed"}


def test_a_dropped_table_is_missing_and_no_crash(cdc: Command) -> None:
    with connect(cdc) as conn:
        conn.execute("drop table note")
    rows = cdc("triggers", "status", "--json").json["tables"]
    assert [(r["table"], r["detail"]) for r in rows if r["state"] == "missing"] == [
        ("public.note", "the table does not exist")
    ]


def test_install_gives_up_on_a_locked_table_and_says_who_to_look_for(bare: Command) -> None:
    bare.good("migrate")
    with connect(bare) as conn, conn.transaction():
        conn.execute("lock table candidate in row exclusive mode")  # as any writer does
        output = bare.refused("triggers", "install", "--lock-timeout", 20, "--tries", 1)
        assert "public.candidate is locked" in output
        assert "pg_terminate_backend" in output
        conn.execute("lock table candidate in access exclusive mode")
        output = bare.refused("triggers", "install", "--lock-timeout", 20, "--tries", 1)
        assert "has locked a table of the mapping: gave up after 20 ms; pid" in output
    assert "Capture is installed" in bare.good("triggers", "install").err


def test_the_switch_locks_no_table_of_the_suite(cdc: Command) -> None:
    with connect(cdc) as conn, conn.transaction():
        conn.execute(
            "lock table project, candidate, answervideo, rating, note in row exclusive mode"
        )
        done = cdc.good("triggers", "off")
        assert "changes of these tables are lost" in done.err
        status = cdc("triggers", "status", "--json")
        assert {row["state"] for row in status.json["tables"]} == {"off"}
        cdc.good("triggers", "on")
    assert states(cdc) == {"installed"}


def test_the_switch_wants_an_installation(bare: Command) -> None:
    bare.good("migrate")
    assert "not installed" in bare.refused("triggers", "off")


def test_remove_asks_for_yes_and_leaves_nothing(cdc: Command) -> None:
    assert "--yes" in cdc.refused("triggers", "remove", code=2)
    assert states(cdc) == {"installed"}
    assert cdc.json("triggers", "remove", "--yes")["changed"] is True
    assert states(cdc) == {"missing"}
    with connect(cdc) as conn:
        assert conn.execute("select mapping from cdc.installation").fetchone() == (None,)
        assert conn.execute("select from pg_trigger where tgname like 'cdc%'").fetchall() == []
    assert cdc.json("triggers", "remove")["changed"] is False


def test_sql_needs_no_database() -> None:
    printed = Command().good("triggers", "sql").out
    assert printed == offline(default_mapping())


def test_sql_for_a_database_holds_what_it_lacks(cdc: Command) -> None:
    done = cdc.good("triggers", "sql", "--database")
    assert done.out == ""
    assert "Nothing to do" in done.err
    with connect(cdc) as conn:
        conn.execute("drop trigger cdc_capture_insert on note")
        printed = cdc.good("triggers", "sql", "--database").out
        assert printed.count("create or replace trigger") == 1
        assert 'after insert on "public"."note"' in printed
        conn.execute(printed.encode())
    assert states(cdc) == {"installed"}


def test_adopt_makes_a_copy_the_real_one(database: str) -> None:
    cdc = Command({"CDC_DATABASE_URL": database})  # a copy of the tests' template
    assert "Add --yes" in cdc.refused("adopt", code=2, stdin="y\n")
    assert cdc.json("adopt", "--yes")["changed"] is True
    assert cdc.json("adopt")["changed"] is False
    assert "Nothing to do" in cdc.good("adopt").err
    [noted] = cdc.json("audit")
    assert noted["action"] == "installation.adopt"
    assert noted["before"] != noted["after"]


def test_config_show_hides_the_password() -> None:
    cdc = Command({"CDC_DATABASE_URL": "postgresql://me:hush@127.0.0.1/suite"})
    for done in (cdc.good("config", "show"), cdc.good("config", "show", "--json")):
        assert "hush" not in done.out + done.err
        assert "CDC_DATABASE_URL" in done.out


def test_config_check_names_what_is_wrong(tmp_path: Path) -> None:
    cdc = Command({"CDC_DATABASE_URL": "postgresql:///suite", "CDC_WINDOW": "none"})
    assert "window" in cdc.refused("config", "check")
    cdc.env["CDC_WINDOW"] = ""
    assert cdc.json("config", "check")["ok"] is True
    cdc.env["CDC_MAPPING"] = str(tmp_path / "nowhere.toml")
    assert "CDC_MAPPING" in cdc.refused("config", "check")
    cdc.env |= {"CDC_MAPPING": "", "CDC_ALLOWED_NETWORKS": "0.0.0.0/0"}
    assert "CDC_ALLOWED_NETWORKS" in cdc.refused("config", "check")
