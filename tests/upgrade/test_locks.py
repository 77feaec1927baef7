"""A migration takes the locks its plan lists, waits shortly, and names the sessions in the way."""

from __future__ import annotations

import tarfile
from pathlib import Path
from threading import Event, Thread
from typing import Any

import psycopg
import pytest
from alembic import command

from cdc.errors import DatabaseError
from cdc.postgres import connections
from cdc.postgres.lock_retry import LockRetry
from cdc.sandbox.embedded import EmbeddedPostgres
from cdc.schema import migrations
from cdc.schema.migrations.steps import Version
from tests.capture.kit import connect, psql
from tests.cli.command import Command
from tests.support.installation import included_by_install
from tests.upgrade.release import ARCHIVE

UPGRADES = [version for version in migrations.versions() if version.before]

_TAKEN = """
select distinct c.oid::regclass::text, l.mode
  from pg_locks l join pg_class c on c.oid = l.relation
 where l.pid = pg_backend_pid() and l.granted and l.mode <> 'AccessShareLock'
   and c.oid = any(%s) and c.relkind in ('r', 'p') and not c.relispartition
"""
_STRENGTH = [
    "RowShareLock",
    "RowExclusiveLock",
    "ShareUpdateExclusiveLock",
    "ShareLock",
    "ShareRowExclusiveLock",
    "ExclusiveLock",
    "AccessExclusiveLock",
]


def at(url: str, version: Version) -> None:
    """Brings an empty database to the version before, and does what is done before its
    transaction."""
    assert version.before
    migrations.upgrade(url, to=version.before)
    migrations.prepare(url, version, LockRetry(), lambda _: None)


@pytest.mark.parametrize("version", UPGRADES, ids=lambda version: version.number)
def test_the_plan_lists_all_locks(empty_database: str, version: Version) -> None:
    """And no table of the suite, nor one that its writers touch, is locked against them."""
    at(empty_database, version)
    engine = connections.engine(empty_database)
    try:
        with engine.connect() as connection, connection.begin() as transaction:
            driver: Any = connection.connection.driver_connection
            before = [row[0] for row in driver.execute("select oid::bigint from pg_class")]
            command.upgrade(migrations.config(connection=connection), version.number)
            taken: dict[str, str] = {}
            for table, mode in driver.execute(_TAKEN, (before,)).fetchall():
                taken[table] = max(taken.get(table, mode), mode, key=_STRENGTH.index)
            transaction.rollback()
    finally:
        engine.dispose()
    strong = {
        table: mode
        for table, mode in taken.items()
        if table.startswith("cdc.") and mode not in ("RowShareLock", "RowExclusiveLock")
    }
    spelled = {t: m.removesuffix("Lock").replace(" ", "") for t, m in strong.items()}
    listed = {t: m.title().replace(" ", "") for t, m in version.locks.items()}
    assert spelled == listed
    for written in ("cdc.queue", "cdc.unresolved", "cdc.subscription"):
        assert spelled.get(written) in (None, "ShareUpdateExclusive")


def test_a_daemon_waits_no_longer_than_the_timeout(empty_database: str) -> None:
    """A dump holds the log for as long as it likes; who records meanwhile is let through."""
    migrations.upgrade(empty_database, to="0001")
    said: list[str] = []
    done: list[object] = []
    tried = Event()

    def say(line: str) -> None:
        said.append(line)
        if "waiting" in line:
            tried.set()

    def migrate() -> None:
        try:
            done.append(migrations.upgrade(empty_database, LockRetry(200, 1000, 0.01), say))
        except Exception as error:
            done.append(error)

    with connect(empty_database) as dump, connect(empty_database) as daemon:
        dump.execute("set application_name = 'pg_dump'")
        dump.execute("begin; lock table cdc.attempt in access share mode")
        worker = Thread(target=migrate)
        worker.start()
        try:
            assert tried.wait(60)
            # A session that comes meanwhile waits for one try at most: never for the dump.
            daemon.execute("set lock_timeout = '30s'")
            for _ in range(20):
                daemon.execute(
                    "insert into cdc.attempt (slot, at, delivery, uid, webhook_id, layout, action,"
                    ' "time", refs, try, outcome) values'
                    " (1, now(), 1, gen_random_uuid(), 1, 1, 'm', now(), '{}', 1, 'delivered')"
                )
            assert not done, "the dump is still there"
        finally:
            dump.execute("commit")
            worker.join(60)
    assert done == [("0001", migrations.head())]
    assert any("pid " in line and "pg_dump, idle in transaction" in line for line in said), said


@pytest.mark.parametrize("table", ["queue", "subscription", "unresolved"])
def test_a_writer_waits_for_a_moment_only(empty_database: str, table: str) -> None:
    """What writers of the suite touch is changed apart; one that has a transaction open stops the
    upgrade, not other writers."""
    migrations.upgrade(empty_database, to="0001")
    done: list[object] = []
    tried = Event()

    def migrate() -> None:
        def say(line: str) -> None:
            if f"cdc.{table} is locked, waiting" in line:
                tried.set()

        try:
            done.append(migrations.upgrade(empty_database, LockRetry(5000, 1000, 0.01), say))
        except Exception as error:
            done.append(error)

    with connect(empty_database) as busy, connect(empty_database) as writer:
        busy.execute(f"begin; lock table cdc.{table} in row exclusive mode".encode())
        worker = Thread(target=migrate)
        worker.start()
        try:
            assert tried.wait(60)
            writer.execute("set lock_timeout = '2s'")
            for _ in range(20):
                writer.execute(
                    "insert into cdc.queue (webhook_id, layout, action, time, refs)"
                    " select count(*), 1, 'c', now(), '{}' from cdc.subscription"
                )
                writer.execute(
                    "insert into cdc.unresolved (resource, source, action, time, reason)"
                    " values ('x', 'x', 'c', now(), '')"
                )
            assert not done
        finally:
            busy.execute("commit")
            worker.join(60)
        assert done == [("0001", migrations.head())]
        [(identity,)] = writer.execute(
            "select relreplident::text from pg_class where oid = 'cdc.queue'::regclass"
        ).fetchall()
        assert identity == "f"


def test_it_gives_up_and_goes_on_from_there(empty_database: str) -> None:
    migrations.upgrade(empty_database, to="0001")
    with connect(empty_database) as busy:
        busy.execute("begin; lock table cdc.retry in access share mode")
        # An index whose build was interrupted.
        with pytest.raises(DatabaseError, match="gave up after 2 tries of 20 ms; pid "):
            migrations.upgrade(empty_database, LockRetry(20, 2, 0))
        busy.execute("rollback")
        busy.execute(
            "update pg_index set indisvalid = false"
            " where indexrelid = 'cdc.attempt_00_uid_idx'::regclass"
        )
    assert migrations.upgrade(empty_database) == ("0001", migrations.head())
    with connect(empty_database) as conn:
        assert not conn.execute("select from pg_index where not indisvalid").fetchall()


def test_with_psql_alone(empty_database: str, postgres: EmbeddedPostgres, tmp_path: Any) -> None:
    """What `cdc migrate --sql --from` prints leads to the same, and can be read before."""
    migrations.upgrade(empty_database, to="0001")
    cdc = Command({"CDC_DATABASE_URL": empty_database})
    plan = cdc.json("migrate", "--plan")
    assert plan["before"] == "0001"
    assert plan["steps"][0]["locks"]["cdc.retry"] == "ACCESS EXCLUSIVE"
    output = cdc.good("migrate", "--plan")
    assert "cdc.retry" in output.out
    assert "No table of the suite is locked" in output.err
    script = tmp_path / "upgrade.sql"
    script.write_text(cdc.good("migrate", "--sql", "--from", "0001").out)
    # An index whose build was interrupted: IF NOT EXISTS would take it for made.
    with connect(empty_database) as conn:
        conn.execute("create index retry_created on cdc.retry (webhook_id)")
        conn.execute(
            "update pg_index set indisvalid = false"
            " where indexrelid = 'cdc.retry_created'::regclass"
        )
    psql(postgres.bin_dir, empty_database, "-f", script)
    with connect(empty_database) as conn:
        assert not conn.execute("select from pg_index where not indisvalid").fetchall()
    assert cdc.json("migrate")["changed"] is False
    done = cdc.json("migrate", "--plan")
    assert (done["before"], done["steps"]) == (migrations.head(), [])


def test_options_that_do_not_go_together(empty_database: str) -> None:
    cdc = Command({"CDC_DATABASE_URL": empty_database})
    assert "--from needs --sql" in cdc.refused("migrate", "--from", "0001", code=2)
    assert "--plan and --sql" in cdc.refused("migrate", "--plan", "--sql", code=2)
    assert "9999" in cdc.refused("migrate", "--sql", "--from", "9999")
    assert "in one transaction" in cdc.good("migrate", "--plan").err


def test_the_schema_says_whom_it_serves(database: str) -> None:
    """Kept equal by hand: the file of the fresh installation and the last migration."""
    with psycopg.connect(database) as conn:
        [(serves,)] = conn.execute("select serves from cdc.installation").fetchall()
    assert serves in {version.number for version in migrations.versions()}
    assert serves <= migrations.head()
    assert "25_version.sql" in included_by_install()


def test_the_frozen_release_is_what_it_says() -> None:
    """The archive holds the same schema as the frozen migration."""
    with tarfile.open(ARCHIVE) as archive:
        names = sorted(n for n in archive.getnames() if "/sql/schema/" in n)
        texts = []
        for name in names:
            if Path(name).name < "30":
                continue
            file = archive.extractfile(name)
            assert file
            texts.append(file.read().decode())
    frozen = next(v for v in migrations.versions() if v.number == "0001").sql
    assert frozen.endswith("\n".join(texts))
