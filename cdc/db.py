"""Connections to PostgreSQL, and foreign errors translated at this one edge."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import errors as pg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import TransactionStatus

from cdc import moments
from cdc.errors import CdcError, DatabaseError, words

if TYPE_CHECKING:
    import sqlalchemy as sa
    from psycopg.abc import Params, Query

# Written into every connection, so that a DBA sees in pg_stat_activity who is who.
APPLICATION = "cdc"

# Nothing that others made is found under a name of PostgreSQL's: neither what lies in schema public
# nor temporary things (which are searched first, for types, unless they are named last).
SEARCH_PATH = "set search_path = pg_catalog, pg_temp"
SEARCH_PATH_HERE = "set local search_path = pg_catalog, pg_temp"
_ONE_STATEMENT = "select pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true)"

CONNECT_WITHIN = 10
"""Seconds that a command waits for a server, unless its address says otherwise: one that takes the
connection and then hangs would keep it for ever."""


class Connection(psycopg.Connection[Any]):
    """A connection of a command. Each transaction begins with the search path, for itself alone.

    So it holds whatever is in between: a transaction pooler gives each transaction to another
    session, and that one to somebody else next. Cursors of one's own belong into ``transaction``.
    """

    def execute(
        self,
        query: Query,
        params: Params | None = None,
        *,
        prepare: bool | None = None,
        binary: bool = False,
    ) -> psycopg.Cursor[Any]:
        """Runs a statement, which outside of ``transaction`` is a transaction of its own."""
        with self._searching():
            return super().execute(
                query,  # type: ignore[arg-type]  # its overloads differ with psycopg's version
                params,
                prepare=prepare,
                binary=binary,
            )

    @contextmanager
    def transaction(
        self, savepoint_name: str | None = None, force_rollback: bool = False
    ) -> Iterator[psycopg.Transaction]:
        outermost = self.info.transaction_status is TransactionStatus.IDLE
        with super().transaction(savepoint_name, force_rollback) as made:
            if outermost:
                super().execute(SEARCH_PATH_HERE)
            yield made

    @contextmanager
    def _searching(self) -> Iterator[None]:
        if self.info.transaction_status is not TransactionStatus.IDLE:
            yield
            return
        # Sent together with what follows, which makes it one transaction. Not by BEGIN and COMMIT:
        # a client that stands still between them would hold its locks.
        with self.pipeline():
            super().execute(_ONE_STATEMENT)
            yield

    def alone(self, statement: str | sql.Composed) -> None:
        """Runs what can be in no transaction. All that it names it has to name with its schema,
        operators too: here anybody's search path may hold."""
        super().execute(statement.encode() if isinstance(statement, str) else statement)


def connect(url: str, role: str = "command", **options: Any) -> Connection:
    """A synchronous connection in autocommit, for commands. Raises DatabaseError."""
    try:
        conn = Connection.connect(
            url,
            autocommit=True,
            application_name=f"{APPLICATION} {role}",
            client_encoding="utf8",
            # The next session would not know what was prepared in this one.
            **{"prepare_threshold": None, **_patience(url), **options},
        )
        moments.register(conn.adapters)
        return conn
    except (psycopg.OperationalError, psycopg.ProgrammingError) as error:
        raise unreachable(error) from None


def _patience(url: str) -> dict[str, int]:
    if "PGCONNECT_TIMEOUT" in os.environ or "connect_timeout" in conninfo_to_dict(url):
        return {}
    return {"connect_timeout": CONNECT_WITHIN}


def engine(url: str) -> sa.Engine:
    """SQLAlchemy on connections as ``connect`` makes them, without a pool: commands are short.

    url: as URL or in libpq's keyword form.
    """
    import sqlalchemy as sa

    def connected() -> Connection:
        conn = connect(url)
        conn.autocommit = False
        # SQLAlchemy asks questions of its own as soon as it has a connection: in this transaction.
        conn.execute(SEARCH_PATH_HERE)
        return conn

    made = sa.create_engine(
        "postgresql+psycopg://",
        creator=connected,
        poolclass=sa.NullPool,
        use_native_hstore=False,  # spares a question at each connection
    )
    sa.event.listen(made, "begin", lambda conn: conn.exec_driver_sql(SEARCH_PATH_HERE))
    return made


async def connect_async(
    url: str, role: str, **options: Any
) -> psycopg.AsyncConnection[tuple[Any, ...]]:
    """An asynchronous connection in autocommit, for the daemon; psycopg's errors pass through."""
    options = {"connect_timeout": 5, **options}
    return await psycopg.AsyncConnection.connect(
        url,
        autocommit=True,
        application_name=f"{APPLICATION} {role}",
        client_encoding="utf8",
        **options,
    )


# What the text of libpq or of the server has in it, and what to do then.
_HINTS = {
    "is read-only": "None of these takes writes: standbys, until one of them is promoted. Daemons "
    "wait for it, and go on by themselves.",
    "timeout expired": "Something takes the connection and does not answer: a server that hangs, "
    "or a firewall in between.",
    "connection slots": "All connections are taken. A superuser, for whom some are kept, sees by "
    "whom: select usename, count(*) from pg_stat_activity group by 1",
    "too many": "All connections that this account, or the server, may have are taken: "
    "select usename, count(*) from pg_stat_activity group by 1",
    "": "CDC_DATABASE_URL says where it is: postgresql://user:password@host:port/database",
}


def unreachable(error: Exception) -> DatabaseError:
    text = words(error)
    hint = next(hint for sign, hint in _HINTS.items() if sign in text)
    return DatabaseError(f"the database cannot be reached: {text}", hint)


def _no_writes() -> DatabaseError:
    return DatabaseError(
        "the server takes no writes: it is a standby, or was made read-only",
        "Give CDC_DATABASE_URL an address that leads to the primary (of several hosts, "
        "target_session_attrs=read-write finds it). On the primary: show "
        "default_transaction_read_only",
    )


@contextmanager
def explained() -> Iterator[None]:
    """Turns errors of PostgreSQL into ours, with a hint for the one who sees them."""
    try:
        yield
    except CdcError:
        raise
    except pg.UndefinedTable as error:
        if "cdc." in str(error):
            raise DatabaseError(
                "schema cdc is not installed in this database", "Run `cdc migrate` first."
            ) from None
        raise DatabaseError(_line(error)) from None
    except pg.InvalidSchemaName:
        raise DatabaseError(
            "schema cdc is not installed in this database", "Run `cdc migrate` first."
        ) from None
    except pg.InsufficientPrivilege as error:
        raise DatabaseError(
            _line(error), "docs/dba.md lists which right is needed for which command."
        ) from None
    except (pg.LockNotAvailable, pg.QueryCanceled) as error:
        raise DatabaseError(
            _line(error),
            "Somebody holds a lock. Where it is on a table of ours, `cdc doctor` names them.",
        ) from None
    except pg.ReadOnlySqlTransaction:
        raise _no_writes() from None
    except psycopg.OperationalError as error:
        raise unreachable(error) from None
    except psycopg.Error as error:
        # Of unlogged objects, which a standby does not have.
        if isinstance(error, pg.FeatureNotSupported) and "during recovery" in str(error):
            raise _no_writes() from None
        raise DatabaseError(_line(error)) from None


def _line(error: psycopg.Error) -> str:
    return error.diag.message_primary or " ".join(str(error).split())
