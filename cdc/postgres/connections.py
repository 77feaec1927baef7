"""Connections to PostgreSQL, and foreign errors translated at this one edge."""

from __future__ import annotations

import logging
import os
import select
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import errors as pg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import TransactionStatus

from cdc.errors import CdcError, DatabaseError, words
from cdc.postgres import builtins, loaders, refusal
from cdc.postgres.session_settings import COMMAND, HERE, RESULTS, setting

if TYPE_CHECKING:
    import sqlalchemy as sa
    from psycopg.abc import Params, Query

PREPARED_AFTER = 5
"""Times that a statement is run in a session that is kept before it is prepared."""

# Written into every connection, so that a DBA sees in pg_stat_activity who is who.
APPLICATION = "cdc"

# Where it ends a pipeline or a transaction after an error, it warns of the next one: on stderr,
# in addition to the first, which is raised.
logging.getLogger("psycopg").addHandler(logging.NullHandler())

# Its name stands in each BEGIN: the database's default may be another.
ISOLATION = psycopg.IsolationLevel.READ_COMMITTED

ALONE = {"default_transaction_isolation": "read committed"}
"""For a session that is kept: a statement outside of a transaction has no BEGIN that says it."""

CONNECT_WITHIN = 10
"""Seconds that a command waits for a server, unless its address says otherwise: one that takes the
connection and then hangs would keep it for ever."""


class Connection(psycopg.Connection[Any]):
    """A connection of a command. Each transaction begins with our settings, for itself alone.

    So they hold through a transaction pooler, too, which gives each transaction to another session,
    and that session to another client next. Cursors belong into ``transaction``.

    keeps: the session is this connection's alone, and keeps settings and prepared statements.
    """

    keeps = False

    def execute(
        self,
        query: Query,
        params: Params | None = None,
        *,
        prepare: bool | None = False,
        binary: bool = False,
    ) -> psycopg.Cursor[Any]:
        """Runs a statement, which outside of ``transaction`` is a transaction of its own.

        prepare: once, for all that follow in a session that is kept. Not where a good plan depends
                 on the values: as for what searches.
        """
        with self._in_transaction():
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
        with (
            self._writing(),
            super().transaction(savepoint_name, force_rollback) as made,
        ):
            if outermost:
                super().execute(HERE)
            yield made

    @contextmanager
    def _in_transaction(self) -> Iterator[None]:
        """Begins and commits, unless a transaction has begun already.

        All of it is sent together: no more round trips than the statement alone, and no pause
        between BEGIN and COMMIT in which a client that stands still would hold locks.
        """
        if self.info.transaction_status is not TransactionStatus.IDLE or not self.autocommit:
            yield
            return
        isolation = self.isolation_level or ISOLATION
        try:
            with self._writing(), self.pipeline():
                super().execute(f"begin isolation level {isolation.name.replace('_', ' ')}")
                super().execute(HERE)
                yield
                super().execute("commit")
        except psycopg.Error:
            if not self.closed:
                self.rollback()
            raise

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Raises ReadOnlySqlTransaction for all that a standby refuses. Unlogged objects, which it
        does not have, it refuses as a feature that is not supported."""
        try:
            yield
        except pg.FeatureNotSupported as error:
            if self.info.parameter_status("in_hot_standby") != "on":
                raise
            raise pg.ReadOnlySqlTransaction(_line(error)) from error

    def alone(self, statement: str | sql.Composed) -> None:
        """Runs a statement that cannot be in a transaction.

        It has to name all with its schema, operators too: behind a pooler the session is not ours,
        and its own settings hold.
        """
        if self._is_direct():
            super().execute(setting(RESULTS, local=False))
        super().execute(statement.encode() if isinstance(statement, str) else statement)

    def keep(self, settings: Mapping[str, str]) -> None:
        """Sets them for the whole session, and prepares what is run often: without a pooler, whose
        sessions others get next. For a new connection."""
        if self._is_direct():
            super().execute(setting(settings, local=False))
            self.prepare_threshold = PREPARED_AFTER
            self.keeps = True

    def _is_direct(self) -> bool:
        # A pooler makes up the process id that it reports to its clients.
        pid = super().execute("select pg_catalog.pg_backend_pid()").fetchone()
        return pid == (self.info.backend_pid,)

    @property
    def quiet(self) -> bool:
        """Nothing has come from the server since the last answer: not its farewell either."""
        poll = select.poll()
        poll.register(self.fileno(), select.POLLIN)
        return not poll.poll(0)


def connect(url: str, role: str = "command", **options: Any) -> Connection:
    """A synchronous connection in autocommit, for commands. Raises DatabaseError."""
    try:
        conn = Connection.connect(
            url,
            autocommit=True,
            application_name=f"{APPLICATION} {role}",
            client_encoding="utf8",
            # The next session would not know what was prepared in this one.
            **{"prepare_threshold": None, **_lock_retry(url, CONNECT_WITHIN), **options},
        )
        conn.isolation_level = ISOLATION
        loaders.register(conn.adapters)
        return conn
    except psycopg.errors.ConnectionTimeout as error:
        raise unreachable(error) from None
    except (psycopg.OperationalError, psycopg.ProgrammingError) as error:
        raise unreachable(error, refusal.sqlstates(url)) from None


def _lock_retry(url: str, within: int) -> dict[str, int]:
    if "PGCONNECT_TIMEOUT" in os.environ or "connect_timeout" in conninfo_to_dict(url):
        return {}
    return {"connect_timeout": within}


def engine(
    url: str, role: str = "command", keep: int = 0, limits: Mapping[str, str] | None = None
) -> sa.Engine:
    """SQLAlchemy on connections as ``connect`` makes them.

    url:  as URL or in libpq's keyword form.
    keep: how many connections are kept, and there are at most; 0: none, commands are short.
    limits: of each transaction, beside what a command sets.
    """
    import sqlalchemy as sa

    wanted = {**COMMAND, **(limits or {})}
    here = setting(wanted, local=True)

    def connected() -> Connection:
        conn = connect(url, role)
        if keep:
            conn.keep({**wanted, **ALONE})
        conn.autocommit = False
        # SQLAlchemy asks questions of its own as soon as it has a connection: in this transaction.
        conn.execute(here)
        return conn

    def begun(conn: sa.Connection) -> None:
        driver = conn.connection.driver_connection
        if not (isinstance(driver, Connection) and driver.keeps):
            conn.exec_driver_sql(here)

    def checked_out(driver: Connection, *_: object) -> None:
        # SQLAlchemy's pre-ping asks the server each time, for the same.
        if driver.quiet:
            return
        try:
            driver.execute("select")
            driver.rollback()
        except psycopg.Error as error:
            raise sa.exc.DisconnectionError from error

    made = sa.create_engine(
        "postgresql+psycopg://",
        creator=connected,
        use_native_hstore=False,  # spares a question at each connection
        **(
            # The one used last: a new session takes 70 ms to plan its first page of the log.
            {"pool_size": keep, "max_overflow": 0, "pool_use_lifo": True}
            if keep
            else {"poolclass": sa.NullPool}
        ),
    )
    sa.event.listen(made, "begin", begun)
    if keep:
        sa.event.listen(made, "checkout", checked_out)
    return made


def driver_of(conn: sa.Connection) -> Connection:
    """The same session, for what speaks SQL of its own: in the transaction of ``conn``."""
    driver = conn.connection.driver_connection
    assert isinstance(driver, Connection)
    return driver


async def connect_async(
    url: str, role: str, **options: Any
) -> psycopg.AsyncConnection[tuple[Any, ...]]:
    """An asynchronous connection in autocommit, for the daemon.

    Raises NotConnected where there is none; psycopg's other errors pass through.
    """
    try:
        return await psycopg.AsyncConnection.connect(
            url,
            autocommit=True,
            application_name=f"{APPLICATION} {role}",
            client_encoding="utf8",
            **{**_lock_retry(url, 5), **options},
        )
    except psycopg.OperationalError as error:
        raise NotConnected(error) from error


class NotConnected(psycopg.OperationalError):
    """No connection came about. timed_out: no server answered in time."""

    def __init__(self, error: psycopg.OperationalError) -> None:
        super().__init__(str(error))
        self.timed_out = isinstance(error, pg.ConnectionTimeout)


# By the beginning of the code with which a server refuses a connection.
_HINTS = {
    "28": "The server refuses the account or the password in CDC_DATABASE_URL, or its pg_hba.conf "
    "has no line that lets this account in from here.",
    "3D000": "CDC_DATABASE_URL names a database that this server does not have.",
    "42501": "The account needs: grant connect on database <database> to <account>",
    refusal.TOO_MANY_CONNECTIONS: "All connections that this account, or the server, may have are "
    "taken. A superuser, for whom some are kept, sees by whom: "
    "select usename, count(*) from pg_stat_activity group by 1",
}
_WHERE = "CDC_DATABASE_URL says where it is: postgresql://user:password@host:port/database"
_HANGS = (
    "The server accepts the connection and does not answer: it hangs, or a firewall is in between."
)
_STANDBYS = (
    "None of these accepts writes: standbys, until one of them is promoted. Daemons wait for it, "
    "and continue automatically."
)


def unreachable(error: Exception, codes: Sequence[str] = ()) -> DatabaseError:
    """codes: those with which servers refused a connection (``refusal.sqlstates``)."""
    text = words(error)
    hints = [hint for begin, hint in _HINTS.items() for c in codes if c.startswith(begin)]
    if getattr(error, "timed_out", False) or isinstance(error, pg.ConnectionTimeout):
        hints.append(_HANGS)
    # libpq's own words, which are English: no server says this.
    if "session is read-only" in text or "server is in hot standby mode" in text:
        hints.append(_STANDBYS)
    hint = hints[0] if hints else _WHERE
    return DatabaseError(f"the database cannot be reached: {text}", hint)


def _no_writes() -> DatabaseError:
    return DatabaseError(
        "the server accepts no writes: it is a standby, or was made read-only",
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
            line := _line(error),
            builtins.grant_for(line) or "docs/dba.md lists the rights that each command needs.",
        ) from None
    except (pg.LockNotAvailable, pg.QueryCanceled) as error:
        raise DatabaseError(
            _line(error),
            "Another session holds a lock. Where it is on a table of ours, `cdc doctor` names it.",
        ) from None
    except pg.ReadOnlySqlTransaction:
        raise _no_writes() from None
    except psycopg.OperationalError as error:
        raise unreachable(error) from None
    except psycopg.Error as error:
        raise DatabaseError(_line(error), error.diag.message_hint or "") from None


def _line(error: psycopg.Error) -> str:
    return error.diag.message_primary or " ".join(str(error).split())
