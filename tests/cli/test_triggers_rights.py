"""A role without the rights is refused before anything is done; what capture may not read is seen.

PostgreSQL only warns where a GRANT gives nothing, so that all seems well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import psycopg
import pytest

from tests.cli.command import Command

TABLES = (
    "company",
    "customer",
    "project",
    "candidate",
    "question",
    "answervideo",
    "rating",
    "note",
)


@pytest.fixture
def installer(
    cdc: Command, db: psycopg.Connection, as_role: Callable[[str], Command]
) -> Iterator[tuple[Command, str]]:
    """The command line as an owner of the suite's tables who is no superuser, and its name."""
    command = as_role("cdc_owner")
    name = psycopg.conninfo.conninfo_to_dict(command.env["CDC_DATABASE_URL"])["user"]
    db.execute(f"grant cdc_capture, cdc_admin to {name}".encode())
    for table in TABLES:
        db.execute(f"alter table {table} owner to {name}".encode())
    yield command, str(name)
    db.execute(f"reassign owned by {name} to postgres; drop owned by {name}".encode())


def traces(db: psycopg.Connection) -> int:
    found = db.execute(
        "select count(*) from pg_trigger where tgname like 'cdc_capture%'"
    ).fetchone()
    assert found
    return int(found[0])


def test_a_table_of_another_owner(installer: tuple[Command, str], db: psycopg.Connection) -> None:
    """Nothing of it is done, instead of what comes before that table."""
    cdc, name = installer
    cdc.good("triggers", "remove", "--yes")
    for table in ("company", "project"):
        db.execute(f"alter table {table} owner to postgres".encode())
    assert "cannot test how capture would read it" in cdc.refused("triggers", "install")
    db.execute(f"grant select on company, project to {name} with grant option".encode())
    refused = f"{name} may not put a trigger on public.project: postgres owns it"
    assert refused in cdc.refused("triggers", "install")
    assert traces(db) == 0
    plan = cdc("triggers", "plan", "--json")
    assert plan.code == 1
    assert refused in plan.err
    assert plan.json["steps"]
    # The script is for a role that may run it.
    assert 'on "public"."project"' in cdc.good("triggers", "sql", "--database").out
    # The right to make triggers is enough.
    db.execute(f"grant trigger on project to {name}".encode())
    cdc.good("triggers", "install")
    # But not to take them off.
    before = traces(db)
    said = cdc.refused("triggers", "remove", "--yes")
    assert f"{name} may not remove a trigger from public.project: postgres owns it" in said
    assert traces(db) == before
    db.execute(f"alter table project owner to {name}".encode())
    cdc.good("triggers", "remove", "--yes")


def test_a_parent_of_another_owner(installer: tuple[Command, str], db: psycopg.Connection) -> None:
    """Nothing is put onto it, but capture has to read it; GRANT would only have warned."""
    cdc, name = installer
    cdc.good("triggers", "remove", "--yes")
    db.execute("alter table customer owner to postgres")
    db.execute(f"grant select on customer to {name}".encode())
    said = cdc.refused("triggers", "install")
    assert (
        f"{name} may not grant or revoke the right to read public.customer: postgres owns it"
        in said
    )
    assert traces(db) == 0
    db.execute(f"grant select on customer to {name} with grant option".encode())
    cdc.good("triggers", "install")
    cdc.good("triggers", "status")
    # Who has given rights takes them away again; otherwise the role could not be dropped.
    cdc.good("triggers", "remove", "--yes")


def test_a_schema_of_another_owner(installer: tuple[Command, str], db: psycopg.Connection) -> None:
    """Owners of tables are not always owners of their schema; where every role may use it, as they
    may public, that does not matter."""
    cdc, name = installer
    cdc.good("triggers", "remove", "--yes")
    db.execute("revoke usage on schema public from public, cdc_capture")
    db.execute(f"grant usage on schema public to {name}".encode())
    said = cdc.refused("triggers", "install")
    assert (
        f"may not grant or revoke the right to read public.project: {name} owns it, pg_data" in said
    )
    db.execute("grant usage on schema public to public")
    cdc.good("triggers", "install")
    cdc.good("triggers", "status")


def test_no_member_of_our_owners(installer: tuple[Command, str], db: psycopg.Connection) -> None:
    cdc, name = installer
    cdc.good("triggers", "remove", "--yes")
    db.execute(f"revoke cdc_capture from {name}".encode())
    said = cdc.refused("triggers", "install")
    assert f"{name} is not a member of cdc_capture" in said
    assert f"grant cdc_owner, cdc_capture to {name}" in said


def test_what_capture_may_not_read_any_more(cdc: Command, db: psycopg.Connection) -> None:
    db.execute("revoke select (project_id) on candidate from cdc_capture")
    done = cdc("triggers", "status", "--json")
    assert done.code == 1
    assert done.json["ok"] is False
    found = {row["resource"]: (row["state"], row["detail"]) for row in done.json["tables"]}
    blind = ("blind", "cdc_capture may not read public.candidate")
    assert found == {
        "project": ("installed", ""), "candidate": ("installed", ""),
        "answervideo": blind, "rating": blind, "note": blind,
    }  # fmt: skip
    checks = {row["check"]: row for row in cdc("doctor", "--json").json["checks"]}
    assert checks["triggers"]["verdict"] == "fail"
    cdc.good("triggers", "install")
    cdc.good("triggers", "status")


def test_a_mapping_that_does_not_fit_any_more(cdc: Command, db: psycopg.Connection) -> None:
    """The triggers are as they were made, and every change ends in cdc.unresolved."""
    db.execute("alter table candidate rename project_id to project_no")
    done = cdc("triggers", "status", "--json")
    assert done.code == 1
    assert done.json["ok"] is False
    assert 'has no column "project_id", did you mean project_no?' in done.json["misfit"]
    output = cdc("triggers", "status")
    assert output.code == 1
    assert "The mapping no longer fits the tables: resources.candidate" in output.err
    db.execute("alter table candidate rename project_no to project_id")
    assert cdc.json("triggers", "status")["misfit"] is None


def test_a_table_that_is_locked_whole(cdc: Command, db: psycopg.Connection) -> None:
    """It cannot be looked at; it is said who is in the way."""
    with psycopg.connect(cdc.env["CDC_DATABASE_URL"], application_name="loader") as holder:
        holder.execute("lock table candidate in access exclusive mode")
        said = cdc.refused("triggers", "install", "--lock-timeout", "20")
        assert "gave up after 20 ms" in said
        assert f"pid {holder.info.backend_pid} (postgres, loader, idle in transaction" in said
        # Who only reads or writes would not be.
        holder.rollback()
        holder.execute("select from candidate for update")
        cdc.good("triggers", "install", "--lock-timeout", "20")
