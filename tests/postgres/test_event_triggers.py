"""Event triggers of others at our DDL: noisy ones do no harm, those that refuse are named."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from cdc.mapping import default_mapping
from cdc.postgres import sqlfiles
from cdc.sandbox.embedded import EmbeddedPostgres
from cdc.sandbox.suite import tables_sql
from cdc.schema import migrations
from tests.capture.kit import Connection, connect, psql
from tests.cli.command import Command

REFUSES = """
create function public."No DDL"() returns event_trigger language plpgsql as
  $$begin raise exception 'DDL is forbidden: %', tg_tag; end$$;
create event trigger "No changes" on ddl_command_start execute function public."No DDL"();
"""
# Writes down what is done, as who does it, who has no right on the log.
AUDITS = """
create table public.ddl_log (tag text);
create function public.audit() returns event_trigger language plpgsql set search_path = public as
  $$begin insert into ddl_log values (tg_tag); end$$;
create event trigger audit on ddl_command_end execute function public.audit();
"""
# Looks for its table by a search path, which is ours.
LOOKS = AUDITS.replace(" set search_path = public", " security definer")
NOISY = """
create function public.talk() returns event_trigger language plpgsql as
  $$begin raise warning 'DDL: %', tg_tag; raise notice '%', tg_event; end$$;
create event trigger talk on ddl_command_end execute function public.talk();
create event trigger talk_of_drops on sql_drop execute function public.talk();
create event trigger talk_before on ddl_command_start execute function public.talk();
"""
REFUSED = {
    "refuses": (
        REFUSES,
        'event trigger "No changes" (ddl_command_start, function public."No DDL"()',
    ),
    "audits": (AUDITS, "event trigger audit (ddl_command_end, function public.audit()"),
    "looks": (LOOKS, "event trigger audit (ddl_command_end, function public.audit()"),
}


@pytest.fixture
def conn(empty_database: str) -> Iterator[Connection]:
    with connect(empty_database) as made:
        made.execute(tables_sql(default_mapping()).encode())
        yield made


@pytest.fixture
def cdc(empty_database: str) -> Command:
    return Command({"CDC_DATABASE_URL": empty_database})


def run(conn: Connection, sql: str) -> None:
    conn.execute(b"set client_min_messages = error")
    conn.execute(sql.encode())


@pytest.mark.parametrize("kind", REFUSED)
def test_who_refuses_is_named(conn: Connection, cdc: Command, kind: str) -> None:
    sql, named = REFUSED[kind]
    name = named.removeprefix("event trigger ").partition(" (")[0]
    run(conn, sql)
    output = cdc.refused("migrate").splitlines()
    refused = "\n".join(line for line in output if not line.startswith("The event trigger"))
    assert named in refused
    assert "owner postgres" in refused
    assert f"alter event trigger {name} disable" in refused
    assert named in cdc("migrate", "--plan").err

    run(conn, f"alter event trigger {name} disable")
    cdc.good("migrate")
    run(conn, f"alter event trigger {name} enable")
    assert named in cdc.refused("triggers", "install")
    run(conn, f"alter event trigger {name} disable")
    cdc.good("triggers", "install")
    run(conn, f"alter event trigger {name} enable")
    assert named in cdc.refused("triggers", "off")
    assert named in cdc.refused("triggers", "remove", "--yes")
    checks = {one["check"]: one for one in cdc("doctor", "--json").json["checks"]}
    assert named in checks["event triggers"]["message"]


@pytest.mark.parametrize("kind", REFUSED)
def test_it_is_named_at_an_upgrade(conn: Connection, cdc: Command, kind: str) -> None:
    """Whatever of it is refused: what is done before the transaction, too."""
    migrations.upgrade(conn.info.dsn + f" password={conn.info.password}", to="0001")
    sql, named = REFUSED[kind]
    run(conn, sql)
    output = cdc.refused("migrate").splitlines()
    assert named in "\n".join(line for line in output if not line.startswith("The event trigger"))


def test_psql_names_it(conn: Connection, empty_database: str, postgres: EmbeddedPostgres) -> None:
    def refused(script: str) -> None:
        with pytest.raises(AssertionError, match="DDL is forbidden") as failed:
            psql(postgres.bin_dir, empty_database, "-f", sqlfiles.root() / script)
        assert '(function public."No DDL"(), owner postgres) runs at this' in str(failed.value)

    run(conn, REFUSES)
    refused("install.sql")
    run(conn, 'alter event trigger "No changes" disable')
    psql(postgres.bin_dir, empty_database, "-f", sqlfiles.root() / "install.sql")
    run(conn, 'alter event trigger "No changes" enable')
    refused("uninstall.sql")


def test_noise_does_no_harm(
    conn: Connection, cdc: Command, empty_database: str, postgres: EmbeddedPostgres
) -> None:
    run(conn, NOISY)
    cdc.good("migrate", "--plan")
    cdc.good("migrate")
    cdc.good("triggers", "plan")
    for command in ("install", "off", "on"):
        cdc.good("triggers", command)
    conn.execute(b"insert into company default values")
    assert cdc.json("triggers", "status")["ok"]
    cdc.good("triggers", "remove", "--yes")
    psql(postgres.bin_dir, empty_database, "-f", sqlfiles.root() / "uninstall.sql")
    with pytest.raises(psycopg.errors.InvalidSchemaName):
        conn.execute(b"create table cdc.gone ()")
