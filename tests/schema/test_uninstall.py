"""sql/uninstall.sql leaves nothing behind, and takes nothing of other owners."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator

import pytest

from cdc.mapping import default_mapping
from cdc.postgres import sqlfiles
from cdc.sandbox.embedded import EmbeddedPostgres
from cdc.sandbox.suite import tables_sql
from cdc.schema import migrations
from tests.capture.kit import ROWS, Suite, connect
from tests.cli.command import Command
from tests.support.installation import prepare_template

ROLES = ["cdc_admin", "cdc_capture", "cdc_daemon", "cdc_owner", "cdc_reader", "cdc_serve"]

# Every object and every right of a database, apart from those of PostgreSQL itself. PostgreSQL
# writes down what PUBLIC has by default once any right was changed, so defaults are spelled out.
RIGHTS = """array(select x.grantee::regrole || ' ' || x.privilege_type
  from aclexplode(coalesce({acl}, acldefault('{kind}', {owner}))) x order by 1)::text"""
INVENTORY = f"""
select 'schema', nspname, {RIGHTS.format(acl="nspacl", kind="n", owner="nspowner")}
  from pg_namespace where nspname !~ '^pg_toast|^pg_temp'
union all
select 'relation', c.oid::regclass::text, {RIGHTS.format(acl="relacl", kind="r", owner="relowner")}
  from pg_class c where relnamespace not in (
    'pg_catalog'::regnamespace, 'pg_toast'::regnamespace, 'information_schema'::regnamespace)
union all
select 'column', attrelid::regclass || '.' || attname, attacl::text from pg_attribute
 where attacl <> '{{}}' and attrelid >= 16384
union all
select 'function', p.oid::regprocedure::text,
       {RIGHTS.format(acl="proacl", kind="f", owner="proowner")}
  from pg_proc p where oid >= 16384
union all
select 'type', t.oid::regtype::text, {RIGHTS.format(acl="typacl", kind="T", owner="typowner")}
  from pg_type t where oid >= 16384
union all
select 'trigger', tgname, tgrelid::regclass::text from pg_trigger where not tgisinternal
union all
select 'policy', polname, polrelid::regclass::text from pg_policy
union all
select 'database', datname, {RIGHTS.format(acl="datacl", kind="d", owner="datdba")}
  from pg_database where datname = current_database()
union all
select 'default rights', defaclrole::regrole::text, defaclacl::text from pg_default_acl
"""


@pytest.fixture(scope="module")
def own_server() -> Iterator[EmbeddedPostgres]:
    """One of its own: roles belong to the whole server."""
    with EmbeddedPostgres() as made:
        yield made


@pytest.fixture
def server(own_server: EmbeddedPostgres) -> Iterator[EmbeddedPostgres]:
    """With two empty databases, and without any role of ours."""
    with connect(own_server.url()) as admin:
        admin.execute("create database suite")
        admin.execute("create database second")
        yield own_server
        admin.execute("drop database suite with (force)")
        admin.execute("drop database second with (force)")
        for role in (*roles(own_server.url()), "watcher", "runner", "installer"):
            admin.execute(f"drop role if exists {role}".encode())


def inventory(url: str) -> list[tuple[str, ...]]:
    with connect(url) as conn:
        return sorted(
            (kind, name, about or "") for kind, name, about in conn.execute(INVENTORY).fetchall()
        )


def roles(url: str) -> list[str]:
    with connect(url) as conn:
        found = conn.execute("select rolname from pg_roles where rolname like 'cdc%' order by 1")
        return [row[0] for row in found]


def uninstall(server: EmbeddedPostgres, url: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [server.bin_dir / "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-f",
         sqlfiles.root() / "uninstall.sql", url],
        capture_output=True, text=True, check=False, timeout=60,
        env={**os.environ, "PGCONNECT_TIMEOUT": "10"},
    )  # fmt: skip


def make_suite_tables(url: str) -> None:
    """The suite as it was before it knew us."""
    with connect(url) as conn:
        conn.execute(tables_sql(default_mapping()).encode())
        conn.execute('create schema "Other one"; create table "Other one"."T" (id int)')


def test_nothing_is_left(server: EmbeddedPostgres) -> None:
    url = server.url("suite")
    make_suite_tables(url)
    before = inventory(url)
    migrations.upgrade(url)
    suite = Suite(url)
    suite.install()
    suite.run(ROWS)
    suite.register("1")
    suite.run("update rating set stars = 1")
    # What a DBA may have added: accounts, rights, a trigger of ours on a table that is not mapped.
    suite.run(
        """
        create role watcher login in role cdc_reader;
        create role runner login in role cdc_daemon, cdc_admin;
        grant usage on schema "Other one" to cdc_reader;
        grant all on "Other one"."T" to cdc_reader, cdc_owner;
        grant select (id) on "Other one"."T" to cdc_daemon;
        grant connect, temporary on database suite to cdc_daemon;
        create trigger "Odd name" after insert on "Other one"."T" referencing new table as new_rows
          for each statement execute function cdc_capture.capture_rating();
        create policy cdc_capture on candidate for select to cdc_capture using (true);
        """
    )
    suite.close()
    done = uninstall(server, url)
    assert done.returncode == 0, done.stderr
    assert roles(url) == []
    assert inventory(url) == before
    # And the suite's writers never noticed.
    with connect(url) as conn:
        conn.execute('update rating set stars = 2; insert into "Other one"."T" values (1)')
    # Again, where there is nothing.
    assert uninstall(server, url).returncode == 0


def test_roles_stay_while_another_database_needs_them(server: EmbeddedPostgres) -> None:
    for name in ("suite", "second"):
        prepare_template(server.url(name))
    done = uninstall(server, server.url("suite"))
    assert done.returncode == 0, done.stderr
    for role in ROLES:
        assert f"role {role} stays: database second still depends on it" in done.stderr
    assert roles(server.url()) == ROLES
    # The other one works on.
    second = Suite(server.url("second"))
    second.run(ROWS)
    second.register("1")
    second.run("update rating set stars = 1")
    assert second.changes() == [("m", "9")]
    assert set(second.states().values()) == {"installed"}
    second.close()
    done = uninstall(server, server.url("second"))
    assert done.returncode == 0, done.stderr
    assert "stays" not in done.stderr
    assert roles(server.url()) == []


def test_rights_on_another_database_are_not_touched(server: EmbeddedPostgres) -> None:
    prepare_template(server.url("suite"))
    with connect(server.url()) as admin:
        admin.execute("grant connect on database second to cdc_daemon")
    done = uninstall(server, server.url("suite"))
    assert done.returncode == 0, done.stderr
    assert "role cdc_daemon stays: database second still depends on it" in done.stderr
    assert roles(server.url()) == ["cdc_daemon"]


def test_it_can_be_installed_again(server: EmbeddedPostgres) -> None:
    url = server.url("suite")
    prepare_template(url)
    assert uninstall(server, url).returncode == 0
    migrations.upgrade(url)
    suite = Suite(url)
    suite.install()
    suite.run(ROWS)
    suite.register("1")
    suite.run("update rating set stars = 1")
    assert suite.changes() == [("m", "9")]
    suite.close()


def test_install_and_uninstall_without_superuser(server: EmbeddedPostgres) -> None:
    """CREATEROLE, CREATE on the database and the suite's tables are enough for all of it. What is
    lacking is named beforehand, with the lines that give it."""
    url = f"postgresql://installer:installing@127.0.0.1:{server.port}/suite"
    cdc = Command({"CDC_DATABASE_URL": url})
    with connect(server.url("suite")) as admin:
        admin.execute("create role installer login password 'installing'")
        admin.execute("grant create on schema public to installer")
        planned = cdc("migrate", "--plan")
        assert (planned.code, "Creates schema cdc and its roles" in planned.err) == (1, True)
        refused = cdc.refused("migrate")
        assert refused in planned.err
        assert "installer lacks CREATE on database suite and CREATEROLE" in refused
        lines = re.findall(r"^ +(.+;)$", refused, re.MULTILINE)
        assert len(lines) == 2
        for line in lines:
            admin.execute(line.encode())
    cdc.good("migrate", "--plan")
    with connect(url) as conn:
        conn.execute(tables_sql(default_mapping()).encode())
    before = inventory(url)
    assert migrations.upgrade(url) == (None, migrations.head())
    assert migrations.upgrade(url) == (migrations.head(), migrations.head())
    suite = Suite(url)
    suite.install()
    assert suite.install() == []
    suite.run(ROWS)
    suite.register("1")
    suite.run("update rating set stars = 1")
    assert suite.changes() == [("m", "9")]
    suite.close()
    done = uninstall(server, url)
    assert done.returncode == 0, done.stderr
    assert roles(url) == []
    assert inventory(url) == before


def test_a_locked_table_stops_it_and_it_can_go_on(
    database: str, postgres: EmbeddedPostgres
) -> None:
    """With a psql that gives up sooner than the file does."""
    with connect(database) as busy:
        busy.execute("begin; update rating set stars = 1")
        script = (sqlfiles.root() / "uninstall.sql").read_text()
        quick = script.replace("20", "2").replace("500ms", "50ms").replace("sleep(1)", "sleep(0)")
        done = subprocess.run(
            [postgres.bin_dir / "psql", "-X", "-q", database],
            input=quick, capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        assert done.returncode == 3
        said = done.stderr.replace('"', "")  # psql's own session may quote all names
        assert "rating is locked, waiting (try 1 of 2)" in said
        assert "rating is locked by another session" in said
        busy.execute("commit")
    suite = Suite(database)
    # What comes before it in the alphabet is done, the rest is as it was.
    states = suite.states()
    assert {states["public.answervideo"], states["public.project"]} == {"missing"}
    assert states["public.rating"] == "installed"
    suite.close()
