"""A check: a function that gets the patient and returns a result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple

import psycopg
from psycopg import errors as pg

from cdc.capture.catalog import Relation
from cdc.capture.plan import TableStatus
from cdc.diagnosis import capture_state
from cdc.errors import CdcError, DatabaseError
from cdc.guides import located
from cdc.mapping import Mapping, Table
from cdc.postgres import builtins
from cdc.settings import Settings

Verdict = Literal["ok", "warn", "fail"]


class Made(NamedTuple):
    """A setting of PostgreSQL as it was made for a database or a role. role: None for all."""

    value: str
    whose: str
    role: str | None
    reset: str


@dataclass(frozen=True)
class Patient:
    """What checks look at; none of them changes anything."""

    conn: psycopg.Connection[Any]
    settings: Settings
    mapping: Mapping

    @cached_property
    def relations(self) -> dict[Table, Relation | None]:
        """The mapped tables as the catalogue has them; read once, several checks need them."""
        return capture_state.relations(self.conn, self.mapping)

    @cached_property
    def capture(self) -> list[TableStatus]:
        """How capture stands on each table and partition."""
        return capture_state.standing(self.conn, self.mapping, self.relations)

    def row(self, sql: str, *params: object) -> tuple[Any, ...]:
        """The one row of a question."""
        row = self.conn.execute(sql.encode(), params or None).fetchone()
        assert row is not None
        return tuple(row)

    def rows(self, sql: str, *params: object) -> list[tuple[Any, ...]]:
        return self.conn.execute(sql.encode(), params or None).fetchall()

    def settings_made(self, name: str) -> list[Made]:
        """What sessions of this database start with, where it is not the server's own default:
        from its files, for this database, for a role; the widest first."""
        rows = self.rows(
            """
            select split_part(option, '=', 2), d.datname::text, r.rolname::text
              from pg_db_role_setting s
              left join pg_database d on d.oid = s.setdatabase
              left join pg_roles r on r.oid = s.setrole
             cross join lateral unnest(s.setconfig) option
             where split_part(option, '=', 1) = %s
               and (s.setdatabase = 0 or d.datname = current_database())
             order by s.setrole <> 0, s.setdatabase <> 0, 3
            """,
            name,
        )
        found = []
        (server,) = self.row(
            "select case when source = 'configuration file' then setting end"
            "  from pg_settings where name = %s",
            name,
        )
        if server is not None:
            reset = f"alter system reset {name}; select pg_reload_conf()"
            found.append(Made(server, "the whole server", None, reset))
        for value, database, role in rows:
            what = f"role {role}" if role else f"database {database}"
            both = f" in database {database}" if role and database else ""
            reset = f"alter {what}{both} reset {name}"
            found.append(Made(value, what + both, role, reset))
        return found

    @property
    def sees_sessions(self) -> bool:
        """Whether this account sees what sessions of other accounts do."""
        return bool(self.row("select pg_has_role('pg_read_all_stats', 'usage')")[0])


@dataclass(frozen=True, slots=True)
class Finding:
    """check: its name, stable for scripts. todo: what to do next."""

    check: str
    verdict: Verdict
    message: str
    todo: str = ""

    @property
    def made(self) -> bool:
        """Whether this account has the rights that it needs."""
        return not self.message.startswith(_NOT_MADE) and not self.message.endswith(_UNSEEN)


_NOT_MADE = "not checked: "
_UNSEEN = " cannot be seen by this account"


@dataclass(frozen=True, slots=True)
class Result:
    """What a check found, still without its name."""

    verdict: Verdict
    message: str
    todo: str = ""


Check = Callable[[Patient], Result]


def ok(message: str) -> Result:
    return Result("ok", message)


def warn(message: str, todo: str) -> Result:
    return Result("warn", message, located(todo))


def fail(message: str, todo: str) -> Result:
    return Result("fail", message, located(todo))


def unseen(what: str) -> Result:
    """PostgreSQL shows an ordinary account less, and does not say so."""
    return warn(
        f"{what}{_UNSEEN}",
        "Grant pg_read_all_stats to this account, or run `cdc doctor` with an account that has it.",
    )


def run(name: str, check: Check, patient: Patient) -> Finding:
    """One check; a right that is missing here does not make the installation fail. It waits for no
    lock for long (``session_settings.LOCK_TIMEOUT``)."""
    try:
        with patient.conn.transaction():
            found = check(patient)
    except pg.InsufficientPrivilege as error:
        found = _not_seen(error.diag.message_primary or "")
    except pg.LockNotAvailable:
        found = warn(f"{_NOT_MADE}another session holds a lock", "See the check 'locks'.")
    except psycopg.OperationalError:
        raise  # the database went away: nothing more can be found out
    except DatabaseError as error:
        found = _not_seen(error.message)
    except CdcError as error:
        found = fail(error.message, error.hint or "Correct the mapping (CDC_MAPPING) or the table.")
    return Finding(name, found.verdict, found.message, found.todo)


def _not_seen(why: str) -> Result:
    todo = builtins.grant_for(why) or "Run `cdc doctor` with an account that has the right."
    return warn(f"{_NOT_MADE}{why}", todo)
