"""One schema, four ways to it: migrations, the same offline, psql alone, and the models' words."""

from __future__ import annotations

import difflib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from psycopg import sql

from cdc.errors import DatabaseError
from cdc.postgres import connections, sqlfiles
from cdc.sandbox.embedded import EmbeddedPostgres
from cdc.schema import migrations, tables
from tests.capture.kit import connect, psql
from tests.support.installation import included_by_install


@pytest.fixture
def databases(postgres: EmbeddedPostgres, admin: psycopg.Connection) -> Iterator[dict[str, str]]:
    """Three empty databases, by the way they are going to be filled."""
    names = {"migrated": "equal_m", "offline": "equal_o", "installed": "equal_i"}
    for name in names.values():
        admin.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
    yield {way: postgres.url(name) for way, name in names.items()}
    for name in names.values():
        admin.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


def dump(bin_dir: Path, url: str) -> list[str]:
    """Schema cdc in pg_dump's words: objects, owners, rights, comments."""
    done = subprocess.run(
        [bin_dir / "pg_dump", "-s", "-n", "cdc", "-n", "cdc_capture", url],
        capture_output=True,
        text=True,
        check=True,
    )
    # Lines that differ from run to run: the key that guards against injected commands.
    return [line for line in done.stdout.splitlines() if not line.startswith(("\\", "--"))]


def rows(url: str) -> list[object]:
    """What is written at installation, apart from the database's own identity."""
    with connect(url) as conn:
        return [
            conn.execute(query).fetchall()
            for query in (
                "select version_num from cdc.schema_version",
                "select only_one, mapping, mapping_source, mapped_at from cdc.installation",
                "select i.system_identifier = c.system_identifier, i.database_oid = d.oid"
                "  from cdc.installation i, pg_control_system() c, pg_database d"
                " where d.datname = current_database()",
                "select count(*), min(id), max(id), max(epoch) from cdc.shard",
                "select last_value, is_called from cdc.bell",
            )
        ]


def test_migrations_psql_and_offline_sql_make_the_same(
    postgres: EmbeddedPostgres, databases: dict[str, str], tmp_path: Path
) -> None:
    assert migrations.upgrade(databases["migrated"]) == (None, migrations.head())
    psql(postgres.bin_dir, databases["installed"], "-f", sqlfiles.root() / "install.sql")
    offline = tmp_path / "offline.sql"
    offline.write_text(migrations.offline_sql(), encoding="utf-8")
    psql(postgres.bin_dir, databases["offline"], "-f", offline)
    dumps = {way: dump(postgres.bin_dir, url) for way, url in databases.items()}
    assert len(dumps["migrated"]) > 1000
    for way in ("offline", "installed"):
        assert not list(difflib.unified_diff(dumps["migrated"], dumps[way], lineterm=""))
    written = {way: rows(url) for way, url in databases.items()}
    assert written["migrated"] == written["offline"] == written["installed"]
    assert written["migrated"][2] == [(True, True)]
    # From each of them `cdc migrate` goes on, and finds nothing to do.
    for url in databases.values():
        assert migrations.upgrade(url) == (migrations.head(), migrations.head())
    assert dump(postgres.bin_dir, databases["installed"]) == dumps["migrated"]


def test_the_models_say_the_same(empty_database: str) -> None:
    migrations.upgrade(empty_database)
    engine = connections.engine(empty_database)

    def ours(name: str | None, kind: str, _: object) -> bool:
        if kind == "schema":
            return name in ("cdc", "cdc_capture")
        return not (kind == "table" and str(name).startswith("attempt_"))

    try:
        with engine.connect() as connection:
            context = MigrationContext.configure(
                connection,
                opts={
                    "version_table": migrations.VERSION_TABLE,
                    "version_table_schema": "cdc",
                    "include_schemas": True,
                    "include_name": ours,
                    "compare_type": True,
                },
            )
            assert compare_metadata(context, tables.metadata) == []
            assert defaults(connection) == {
                f"{table.name}.{column.name}"
                for table in tables.metadata.tables.values()
                for column in table.columns
                if column.server_default is not None or column.identity is not None
            }
    finally:
        engine.dispose()


def defaults(connection: object) -> set[str]:
    """Columns with a default: Alembic compares their texts badly, so just which they are."""
    import sqlalchemy as sa

    assert isinstance(connection, sa.Connection)
    found = connection.execute(
        sa.text(
            "select c.relname || '.' || a.attname from pg_attribute a"
            "  join pg_class c on c.oid = a.attrelid"
            " where c.relnamespace = 'cdc'::regnamespace and c.relkind in ('r', 'p')"
            "   and not c.relispartition and (a.atthasdef or a.attidentity <> '')"
        )
    )
    return {row[0] for row in found}


def test_every_file_of_the_schema_is_installed() -> None:
    assert included_by_install() == [path.name for path in sqlfiles.schema_files()]


def test_a_schema_newer_than_the_program_is_refused(empty_database: str) -> None:
    migrations.upgrade(empty_database)
    with connect(empty_database) as conn:
        conn.execute("update cdc.schema_version set version_num = '9999'")
    with pytest.raises(DatabaseError) as caught:
        migrations.upgrade(empty_database)
    assert "schema cdc has version 9999, which is newer than this program knows" in str(
        caught.value
    )


def test_a_failing_installation_leaves_nothing(
    postgres: EmbeddedPostgres, empty_database: str
) -> None:
    """Another owner has a table of one of our names: one transaction, so nothing was done."""
    with connect(empty_database) as conn:
        conn.execute(sqlfiles.schema_file("10_roles.sql"))
        conn.execute("create schema cdc authorization cdc_owner; create table cdc.lane (id int)")
    with pytest.raises(AssertionError, match=r'relation "lane" already exists|permission denied'):
        psql(postgres.bin_dir, empty_database, "-f", sqlfiles.root() / "install.sql")
    with connect(empty_database) as conn:
        found = conn.execute(
            "select relname from pg_class where relnamespace = 'cdc'::regnamespace"
        ).fetchall()
    assert found == [("lane",)]


def test_the_newest_file_is_the_newest_revision() -> None:
    """What the daemon compares with is read off the files' names, without Alembic."""
    script = ScriptDirectory.from_config(migrations.config())
    assert script.get_current_head() == migrations.head()


def test_the_indexes_that_doctor_looks_for_are_those_of_the_tables() -> None:
    """Read off the files, without SQLAlchemy: that would be a quarter of `cdc status`."""
    declared = {index.name for table in tables.metadata.tables.values() for index in table.indexes}
    assert set(sqlfiles.indexes()) == declared


def test_a_daemon_does_without_alembic() -> None:
    """It would be a third of its start."""
    late = "('alembic', 'sqlalchemy')"
    code = f"import sys, cdc.daemon.app; print([m for m in {late} if m in sys.modules])"
    output = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    )
    assert output.stdout.strip() == "[]"
