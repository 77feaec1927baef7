"""`cdc triggers` as a careful DBA meets it: what others did to the tables meanwhile."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from threading import Thread

import psycopg
import pytest

from cdc.mapping import default_mapping
from cdc.postgres import sqlfiles
from cdc.sandbox.embedded import EmbeddedPostgres
from tests.capture.kit import psql
from tests.cli.command import Command
from tests.writers.kit import until

BODY = (
    "create or replace function cdc_capture.capture_note() returns trigger language plpgsql"
    " security definer set search_path = pg_catalog, pg_temp set enable_seqscan = off set jit = off"
    " as 'begin return null; end'"
)
PARTITIONED = (
    "drop table note; create table note (id bigint, answervideo_id bigint, customer_id bigint,"
    " candidate_id bigint) partition by list (id)"
)


def states(cdc: Command) -> dict[str, str]:
    """By table; and that the exit code goes with it."""
    done = cdc("triggers", "status", "--json")
    found = {row["table"]: row["state"] for row in done.json["tables"]}
    assert done.json["ok"] == (set(found.values()) == {"installed"})
    assert done.code == (0 if done.json["ok"] else 1)
    assert cdc("triggers", "status").code == done.code
    return found


# What was done by hand; the table that shows it, its state.
BY_HAND = [
    ("alter table note disable trigger cdc_capture_insert", "note", "disabled"),
    ("alter table note disable trigger all", "note", "disabled"),
    ("drop trigger cdc_capture_update on note", "note", "missing"),
    ("alter trigger cdc_capture_update on note rename to mine", "note", "stray"),
    ("create or replace trigger cdc_capture_update after update on note"
     " referencing new table as new_rows for each statement when (false)"
     " execute function cdc_capture.capture_note()", "note", "altered"),
    (BODY, "note", "altered"),
    ("alter function cdc_capture.capture_note() security invoker", "note", "altered"),
    ("alter table note rename to notes", "notes", "stray"),
    ("alter table note set schema elsewhere", "note", "missing"),
    ("create table copied (like note); create trigger mine after insert on copied"
     " referencing new table as new_rows for each statement"
     " execute function cdc_capture.capture_note()", "copied", "stray"),
    ("drop table note", "note", "missing"),
    ("drop table note; create table note (id bigint primary key, answervideo_id bigint,"
     " customer_id bigint, candidate_id bigint)", "note", "missing"),
]  # fmt: skip


@pytest.mark.parametrize(("harm", "table", "state"), BY_HAND, ids=lambda v: str(v)[:60])
def test_what_was_done_by_hand_is_seen(
    cdc: Command, db: psycopg.Connection, harm: str, table: str, state: str
) -> None:
    db.execute("create schema elsewhere")
    assert set(states(cdc).values()) == {"installed"}
    db.execute(harm.encode())
    found = states(cdc)
    assert found.pop(f"public.{table}") == state
    assert set(found.values()) <= {"installed", "missing", "stray"}
    assert {t for t, s in found.items() if s != "installed"} <= {
        "public.note", "public.notes", "elsewhere.note"
    }  # fmt: skip


def test_a_renamed_table_is_reported_with_its_triggers(
    cdc: Command, db: psycopg.Connection
) -> None:
    """They fire on; and another table in its place gets its own, while the old one loses them."""
    db.execute("alter table note rename to notes")
    assert "did you mean public.notes" in cdc.refused("triggers", "install")
    db.execute("create table note (like notes including all)")
    assert states(cdc)["public.note"] == "missing"
    cdc.good("triggers", "install")
    found = states(cdc)
    assert set(found.values()) == {"installed"}
    assert "public.notes" not in found


def test_a_renamed_trigger_does_not_capture_twice(cdc: Command, db: psycopg.Connection) -> None:
    db.execute("alter trigger cdc_capture_update on rating rename to mine")
    assert cdc("triggers", "status", "--json").code == 1
    cdc.good("triggers", "install")
    rows = db.execute("select tgname from pg_trigger where tgrelid = 'rating'::regclass"
                      " and not tgisinternal order by 1").fetchall()  # fmt: skip
    assert [row[0] for row in rows] == ["cdc_capture_insert", "cdc_capture_update"]


def test_partitions_that_came_later(cdc: Command, db: psycopg.Connection) -> None:
    db.execute(PARTITIONED.encode())
    cdc.good("triggers", "install")
    db.execute("create table note_2 partition of note for values in (2)")
    db.execute("create table note_3 (like note)")
    assert states(cdc)["public.note_2"] == "missing"
    db.execute("alter table note attach partition note_3 for values in (3)")
    found = states(cdc)
    assert (found["public.note"], found["public.note_3"]) == ("installed", "missing")
    cdc.good("triggers", "install")
    assert set(states(cdc).values()) == {"installed"}
    # Taken out again, it keeps triggers without a mapping: they would capture under the old name.
    db.execute("alter table note detach partition note_3")
    assert states(cdc)["public.note_3"] == "stray"
    cdc.good("triggers", "install")
    assert "public.note_3" not in states(cdc)


def test_tables_of_the_same_name_elsewhere_are_left_alone(
    cdc: Command, db: psycopg.Connection
) -> None:
    db.execute("create schema tenant; create table tenant.rating (like rating including all)")
    db.execute("alter role current_user set search_path = tenant, public".replace(
        "current_user", "postgres").encode())  # fmt: skip
    try:
        assert "tenant.rating" not in states(cdc)
        cdc.good("triggers", "remove", "--yes")
        cdc.good("triggers", "install")
        rows = db.execute("select from pg_trigger where tgrelid = 'tenant.rating'::regclass")
        assert rows.fetchall() == []
    finally:
        db.execute("alter role postgres reset search_path")


def test_removal_behind_a_session_that_idles_in_a_transaction(
    cdc: Command, db: psycopg.Connection
) -> None:
    """It gives up and says who; the rest is removed another time, and `off` works at once."""
    lock_retry = ("--lock-timeout", "100", "--tries", "3", "--pause", "0.01")
    with psycopg.connect(cdc.env["CDC_DATABASE_URL"], application_name="report") as idle:
        idle.execute("select from note")
        said = cdc.refused("triggers", "remove", "--yes", *lock_retry)
        assert "public.note is locked by another session" in said
        assert f"pid {idle.info.backend_pid} (postgres, report, idle in transaction" in said
        found = states(cdc)
        assert found["public.note"] == "installed"
        # It is still noted as installed: half of it is.
        assert cdc("triggers", "status", "--json").json["mapping_noted"] is True
        # To stop capture for good there and then takes no lock.
        cdc.good("triggers", "off")
        assert states(cdc)["public.note"] == "off"
    assert cdc.json("triggers", "remove", "--yes")["changed"] is True
    assert set(states(cdc).values()) == {"missing"}
    assert cdc.json("triggers", "remove")["changed"] is False
    # What was begun and given up has no entry: capture was as good as there.
    cdc.good("triggers", "install")
    cdc.good("triggers", "install")
    noted = [one["action"] for one in cdc.json("audit")]
    assert noted == ["capture.install", "capture.remove", "capture.off"]


class TestSwitch:
    def test_off_and_on(self, cdc: Command, db: psycopg.Connection, tmp_path: Path) -> None:
        cdc.add()
        done = cdc.good("triggers", "off", "--json")
        assert "changes of these tables are lost" in done.err
        assert done.json["tables"] == [
            f"public.{name}" for name in ("answervideo", "candidate", "note", "project", "rating")
        ]
        assert set(states(cdc).values()) == {"off"}
        assert "`cdc triggers on`" in cdc("triggers", "status").err
        db.execute("insert into project (company_id) values (1)")
        on = cdc.json("triggers", "on")
        since, until = (datetime.fromisoformat(on["lost"][end]) for end in ("since", "until"))
        assert datetime.fromisoformat(done.json["since"]) == since < until
        assert cdc.json("triggers", "on")["lost"] is None
        assert db.execute("select from cdc.queue").fetchall() == []
        db.execute("insert into project (company_id) values (1)")
        assert len(db.execute("select from cdc.queue").fetchall()) == 1
        cdc.good("triggers", "off")
        said = cdc.good("triggers", "on").err
        assert "it was off from " in said
        assert "(postgres): changes made then are not sent" in said
        noted = [one["action"] for one in cdc.json("audit") if "capture" in one["action"]]
        assert noted == ["capture.on", "capture.off"] * 2

    def test_off_needs_no_mapping_and_no_particular_schema(
        self, cdc: Command, db: psycopg.Connection, tmp_path: Path
    ) -> None:
        """Another file than the installed one, or one that is broken, or a newer schema: it has to
        work in the hands of the role that is there."""
        cdc.env["CDC_MAPPING"] = str(tmp_path / "gone.toml")
        db.execute("update cdc.schema_version set version_num = '9999'")
        cdc.good("triggers", "off")
        db.execute("update cdc.schema_version set version_num = '0002'")
        del cdc.env["CDC_MAPPING"]
        assert set(states(cdc).values()) == {"off"}
        file = tmp_path / "mapping.toml"
        file.write_text(default_mapping().source.replace("interview-suite.com/", "example.com/"))
        said = Command({**cdc.env, "CDC_MAPPING": str(file)}).refused("triggers", "on")
        assert "the configured mapping differs from the installed one" in said
        assert "cdc triggers install" in said

    def test_where_nothing_is_installed(self, cdc: Command, db: psycopg.Connection) -> None:
        cdc.good("triggers", "remove", "--yes")
        for command in ("off", "on"):
            assert "capture is not installed" in cdc.refused("triggers", command)

    def test_everything_with_psql_alone(
        self, cdc: Command, db: psycopg.Connection, postgres: EmbeddedPostgres, tmp_path: Path
    ) -> None:
        def by_psql(command: str) -> None:
            file = tmp_path / f"{command}.sql"
            file.write_text(cdc.good("triggers", command, "--sql").out)
            psql(postgres.bin_dir, cdc.env["CDC_DATABASE_URL"], "-f", file)

        by_psql("off")
        assert set(states(cdc).values()) == {"off"}
        by_psql("on")
        assert set(states(cdc).values()) == {"installed"}
        by_psql("remove")
        assert set(states(cdc).values()) == {"missing"}
        assert cdc.good("triggers", "remove", "--sql").out == ""

    def test_waits_behind_no_lock(self, cdc: Command, db: psycopg.Connection) -> None:
        """All tables of the suite are locked whole, and a session waits for one of them."""
        with (
            psycopg.connect(cdc.env["CDC_DATABASE_URL"]) as holder,
            psycopg.connect(cdc.env["CDC_DATABASE_URL"]) as waiting,
        ):
            tables = "project, candidate, answervideo, rating, note, company, customer, question"
            holder.execute(f"lock table {tables} in access exclusive mode".encode())
            writer = Thread(target=lambda: waiting.execute("update rating set stars = 1"))
            writer.start()
            waits = "select count(*) from pg_locks where not granted and pid = %s"
            pid = waiting.info.backend_pid
            until(lambda: db.execute(waits, [pid]).fetchone() == (1,), "it waits")
            cdc.good("triggers", "off")
            cdc.good("triggers", "on")
            assert db.execute(waits, [pid]).fetchone() == (1,)
            holder.rollback()
            writer.join()


def test_what_is_planned_can_be_compared_with_the_script(cdc: Command) -> None:
    """`plan --sql` on a database without capture is sql/triggers.sql, but for its heading and for
    layouts of rows, which stay."""
    cdc.good("triggers", "remove", "--yes")
    planned = cdc.good("triggers", "plan", "--sql").out
    script = sqlfiles.root().joinpath("triggers.sql").read_text("utf-8")
    assert planned.startswith("-- public.project\n")
    assert script.endswith(f"\n{planned}")
    # What it does not touch is not there again.
    cdc.good("triggers", "install")
    assert cdc.good("triggers", "plan", "--sql").out == ""


def test_the_plan_names_what_is_granted(cdc: Command) -> None:
    cdc.good("triggers", "remove", "--yes")
    out = cdc.good("triggers", "plan").out
    assert "grant select (id, company_id) on public.project to cdc_capture" in out
