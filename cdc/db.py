"""Connections to PostgreSQL, and foreign errors translated at this one edge."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import errors as pg

from cdc.errors import CdcError, DatabaseError

if TYPE_CHECKING:
    import sqlalchemy as sa

# Written into every connection, so that a DBA sees in pg_stat_activity who is who.
APPLICATION = "cdc"

# Nothing that others made is found under a name of PostgreSQL's: neither what lies in schema public
# nor temporary things (which are searched first, for types, unless they are named last).
SEARCH_PATH = "set search_path = pg_catalog, pg_temp"
# For a transaction only: a pooler would hand the session to somebody else.
SEARCH_PATH_HERE = "set local search_path = pg_catalog, pg_temp"


def connect(url: str, role: str = "command", **options: Any) -> psycopg.Connection[Any]:
    """A synchronous connection in autocommit, for commands. Raises DatabaseError."""
    try:
        conn = psycopg.connect(
            url,
            autocommit=True,
            application_name=f"{APPLICATION} {role}",
            client_encoding="utf8",
            # A transaction pooler gives each transaction to another session, which does not know
            # what was prepared; commands work through one.
            **{"prepare_threshold": None, **options},
        )
        # Not through a pooler (it makes up process ids): the setting would stay in a session that
        # goes to somebody else next.
        row = conn.execute("select pg_catalog.pg_backend_pid()").fetchone()
        if row is not None and row[0] == conn.info.backend_pid:
            conn.execute(SEARCH_PATH)
        return conn
    except (psycopg.OperationalError, psycopg.ProgrammingError) as error:
        raise unreachable(error) from None


def engine(url: str) -> sa.Engine:
    """SQLAlchemy on connections as ``connect`` makes them, without a pool: commands are short.

    url: as URL or in libpq's keyword form.

    SQLAlchemy asks questions of its own as soon as it has a connection. Asked under the search path
    that it came with, they would run operators that others made in schema public.
    """
    import sqlalchemy as sa

    def connected() -> psycopg.Connection[Any]:
        conn = connect(url)
        conn.autocommit = False
        return conn

    return sa.create_engine(
        "postgresql+psycopg://",
        creator=connected,
        poolclass=sa.NullPool,
        use_native_hstore=False,  # spares a question at each connection
    )


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


def unreachable(error: Exception) -> DatabaseError:
    text = " ".join(str(error).split())
    return DatabaseError(
        f"the database cannot be reached: {text}",
        "CDC_DATABASE_URL says where it is: postgresql://user:password@host:port/database",
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
    except psycopg.OperationalError as error:
        raise unreachable(error) from None
    except psycopg.Error as error:
        raise DatabaseError(_line(error)) from None


def _line(error: psycopg.Error) -> str:
    return error.diag.message_primary or " ".join(str(error).split())
