"""Schema cdc by Alembic: the source for databases.

An empty database is filled in one transaction; one that is in use comes from version to version,
each a short transaction of its own, after indexes that take long were built while daemons run
(``steps``). All of it runs as cdc_owner, after the two foundation files (roles, schema), which can
be run again.
The version is kept in cdc.schema_version, as ``sql/install.sql`` writes it too.

Daemons of the previous release continue with the new schema: a migration adds (with defaults for
what they do not write), and removes only what the previous release does not use.
``cdc.installation.serves`` says which version of the program is the oldest that may use it.

Alembic and SQLAlchemy are imported only to upgrade: they are a third of the time that a daemon
needs to start, and it only asks for ``head``.
"""

from __future__ import annotations

import io
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cdc.errors import DatabaseError
from cdc.postgres import connections, event_triggers
from cdc.postgres.advisory_locks import INSTALLING, LOCK_CLASS
from cdc.postgres.lock_retry import LockRetry, Say, WantedLock, holders, with_lock_retry
from cdc.schema.migrations.steps import Apart

if TYPE_CHECKING:
    import sqlalchemy as sa
    from alembic.config import Config

    from cdc.schema.migrations.steps import Index, Version

# Run before Alembic looks for its own table, which lies in the schema that they make.
FOUNDATION = ("10_roles.sql", "20_schema.sql")
VERSION_TABLE = "schema_version"
SUPPORTED = 15
ENCODING = "UTF8"


def config(**attributes: Any) -> Config:
    from alembic.config import Config

    made = Config(output_buffer=attributes.pop("output", None))
    made.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    made.attributes.update(attributes)
    return made


def head() -> str:
    """The newest version this program knows: the number that the newest file's name begins with."""
    files = (Path(__file__).parent / "versions").glob("[0-9]*.py")
    return max(path.name.partition("_")[0] for path in files)


def versions(after: str | None = None) -> list[Version]:
    """All versions that this program knows, oldest first; those after the given one."""
    from alembic.script import ScriptDirectory

    from cdc.schema.migrations import steps

    scripts = list(ScriptDirectory.from_config(config()).walk_revisions())
    known = [steps.version(script.module) for script in reversed(scripts)]
    return [version for version in known if after is None or version.number > after]


def current(connection: sa.Connection) -> str | None:
    """The database's version, None where nothing is installed."""
    import sqlalchemy as sa
    from alembic.migration import MigrationContext

    found = connection.execute(
        sa.text("select to_regclass('cdc.schema_version') is not null")
    ).scalar_one()
    if not found:
        return None
    context = MigrationContext.configure(
        connection, opts={"version_table": VERSION_TABLE, "version_table_schema": "cdc"}
    )
    return context.get_current_revision()


def pending(url: str) -> tuple[str | None, list[Version]]:
    """The database's version, and those that an upgrade would bring; changes nothing.

    Raises DatabaseError when the server is too old, the database not in UTF-8, the schema another
    else's, or newer than this program.
    """
    made = connections.engine(url)
    try:
        with made.connect() as connection:
            _supported(connection)
            _encoded(connection)
            _ours(connection)
            before = current(connection)
            _not_newer(before)
            return before, versions(before)
    finally:
        made.dispose()


def upgrade(
    url: str,
    lock_retry: LockRetry | None = None,
    say: Say = lambda _: None,
    to: str | None = None,
    *,
    publish: bool = False,
    actor: str = "",
) -> tuple[str | None, str]:
    """Brings schema cdc to the newest version, or ``to`` this one. Returns the versions before and
    after.

    publish: make its tables also where a publication for all tables will hold them.
    actor: for the audit, where each upgrade is written in its transaction; empty: without an entry.

    Raises DatabaseError as ``pending`` does, and where a lock could not be had in time: what was
    done before stays done, and another run goes on from there.
    """
    before, missing = pending(url)
    target = to or head()
    lock_retry = lock_retry or LockRetry()
    if before is None:
        _transaction(url, target, (), lock_retry, say, publish=publish)
        return before, target
    for version in missing:
        if version.number > target:
            break
        prepare(url, version, lock_retry, say)
        locks = tuple(WantedLock(mode, (name,)) for name, mode in version.locks.items())
        _transaction(url, version.number, locks, lock_retry, say, actor=actor)
        say(f"version {version.number}: {version.title}")
    return before, target


# For psql: an interrupted CREATE INDEX CONCURRENTLY leaves one that IF NOT EXISTS takes for made.
_LEFTOVERS = """\
-- Each on its own, outside of a transaction. What an interrupted run has left is dropped first.
select pg_catalog.format('drop index concurrently %s', i.indexrelid::pg_catalog.regclass)
  from pg_catalog.pg_index i join pg_catalog.pg_class c on c.oid = i.indexrelid
 where c.relnamespace = 'cdc'::pg_catalog.regnamespace and not i.indisvalid
   and c.relname in ({})
\\gexec"""


_APART = """
-- Each takes ACCESS EXCLUSIVE on a table that writers of the suite touch, for a moment, and waits
-- for it 50 ms at most. Where it fails by that, run the script again."""


def offline_sql(after: str | None = None) -> str:
    """All that an upgrade would run, of an empty database or of one that has the version ``after``:
    to be read first, or run with psql. Raises DatabaseError for a version there never was."""
    from alembic import command

    if after is None:
        output = io.StringIO()
        command.upgrade(config(output=output), "head", sql=True)
        return output.getvalue()
    _not_newer(after)
    text = []
    for version in versions(after):
        output = io.StringIO()
        command.upgrade(config(output=output), f"{version.before}:{version.number}", sql=True)
        if version.apart:
            text.append(_APART)
        text += [step.script for step in version.apart]
        if version.online:
            text.append(_LEFTOVERS.format(", ".join(f"'{i.name}'" for i in version.online)))
        text += [index.sql for index in version.online]
        text.append(output.getvalue())
    return "\n".join(text)


_NOTED = """
insert into cdc.audit (actor, action, after)
values (:actor, 'schema.upgrade', jsonb_build_object('version', cast(:version as text)))
"""


def _transaction(
    url: str,
    target: str,
    locks: tuple[WantedLock, ...],
    lock_retry: LockRetry,
    say: Say,
    actor: str = "",
    **options: Any,
) -> None:
    import sqlalchemy as sa
    from alembic import command

    options["lock_timeout_ms"] = lock_retry.lock_timeout_ms

    def act() -> None:
        made = connections.engine(url)
        try:
            with made.begin() as connection:
                command.upgrade(config(connection=connection, **options), target)
                if actor:
                    connection.execute(sa.text(_NOTED), {"actor": actor, "version": target})
        finally:
            made.dispose()

    with connections.connect(url) as asking, event_triggers.named(asking):
        who = partial(holders, asking, locks, lock_retry.lock_timeout_ms)
        with_lock_retry(act, "schema cdc", lock_retry, say, who)


def prepare(url: str, version: Version, lock_retry: LockRetry, say: Say) -> None:
    """All that is done before a version's transaction: indexes, and what writers must not wait for
    together with other locks."""
    shortly = replace(lock_retry, lock_timeout_ms=min(lock_retry.lock_timeout_ms, Apart.WAIT_MS))
    with connections.explained(), connections.connect(url) as conn, event_triggers.named(conn):
        for step in version.apart:
            wanted = (WantedLock(step.LOCK, (step.table,)),)
            with_lock_retry(
                partial(_apart, conn, step, shortly.lock_timeout_ms),
                step.table,
                shortly,
                say,
                partial(holders, conn, wanted, shortly.lock_timeout_ms),
            )
    _online(url, version.online, say)


def _apart(conn: connections.Connection, step: Apart, lock_timeout_ms: int) -> None:
    with conn.transaction():
        conn.execute(f"set local lock_timeout = {lock_timeout_ms}")
        conn.execute("select pg_advisory_xact_lock(%s, %s)", (LOCK_CLASS, INSTALLING))
        conn.execute("set local role cdc_owner")
        conn.execute(step.sql.encode())


def _online(url: str, indexes: tuple[Index, ...], say: Say) -> None:
    """Builds indexes without blocking: no session waits for it, though it may have to wait for
    transactions that are older."""
    valid = "select indisvalid from pg_index where indexrelid = to_regclass(%s)"
    if indexes:
        say(
            f"{len(indexes)} indexes are built without blocking. Each waits for transactions "
            "that are older; pg_stat_progress_create_index shows for which."
        )
    with connections.explained(), connections.connect(url) as conn, event_triggers.named(conn):
        for number, index in enumerate(indexes, 1):
            began = time.monotonic()
            found = conn.execute(valid, [f"cdc.{index.name}"]).fetchone()
            if found == (False,):
                conn.alone(index.drop)
            if found != (True,):
                conn.alone(index.sql)
            if (took := time.monotonic() - began) > 1.0:
                say(f"index {index.name} ({number} of {len(indexes)}) took {took:.0f} s")


def _supported(connection: sa.Connection) -> None:
    version = connection.dialect.server_version_info or (0,)
    if int(version[0]) < SUPPORTED:
        raise DatabaseError(
            f"this is PostgreSQL {'.'.join(map(str, version))}; {SUPPORTED} or newer is needed"
        )


def _encoded(connection: sa.Connection) -> None:
    import sqlalchemy as sa

    encoding = connection.execute(sa.text("select getdatabaseencoding()::text")).scalar_one()
    if encoding != ENCODING:
        raise DatabaseError(*wrong_encoding(encoding))


def _ours(connection: sa.Connection) -> None:
    """What lies in another owner's schema is not trusted, the version least of all."""
    import sqlalchemy as sa

    other = connection.execute(
        sa.text(
            "select nspname::text, pg_get_userbyid(nspowner)::text from pg_namespace"
            " where nspname in ('cdc', 'cdc_capture') and pg_get_userbyid(nspowner) <> 'cdc_owner'"
        )
    ).first()
    if other is not None:
        raise DatabaseError(
            f"schema {other[0]} exists already, and belongs to {other[1]}, not to cdc_owner",
            "Look at what it holds, then drop or rename it: a schema's owner can replace that.",
        )


def wrong_encoding(encoding: str) -> tuple[str, str]:
    """Message and hint for a database in this encoding."""
    return (
        f"the database's encoding is {encoding}; only {ENCODING} is supported",
        "A database gets its encoding when it is made: dump it, and restore the dump into one made "
        "with: create database ... encoding 'UTF8' template template0",
    )


def _not_newer(version: str | None) -> None:
    from alembic.script import ScriptDirectory

    known = {script.revision for script in ScriptDirectory.from_config(config()).walk_revisions()}
    if version is not None and version not in known:
        raise DatabaseError(
            f"schema cdc has version {version}, which is newer than this program knows ({head()})",
            "Install the release that made it, or a newer one.",
        )
