"""A check: a function that is given the patient and returns a finding."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import psycopg
from psycopg import errors as pg

from cdc.errors import CdcError, DatabaseError
from cdc.mapping import Mapping
from cdc.settings import Settings

Verdict = Literal["ok", "warn", "fail"]

LOCK_TIMEOUT = "2s"
"""How long a check waits for a lock: it is to name the holder, not to wait behind it."""


@dataclass(frozen=True, slots=True)
class Patient:
    """What checks look at; none of them changes anything."""

    conn: psycopg.Connection[Any]
    settings: Settings
    mapping: Mapping

    def row(self, sql: str, *params: object) -> tuple[Any, ...]:
        """The one row of a question."""
        row = self.conn.execute(sql.encode(), params or None).fetchone()
        assert row is not None
        return tuple(row)

    def rows(self, sql: str, *params: object) -> list[tuple[Any, ...]]:
        return self.conn.execute(sql.encode(), params or None).fetchall()


@dataclass(frozen=True, slots=True)
class Finding:
    """check: its name, stable for scripts. todo: what to do next."""

    check: str
    verdict: Verdict
    message: str
    todo: str = ""


@dataclass(frozen=True, slots=True)
class Told:
    """What a check found, still without its name."""

    verdict: Verdict
    message: str
    todo: str = ""


Check = Callable[[Patient], Told]


def ok(message: str) -> Told:
    return Told("ok", message)


def warn(message: str, todo: str) -> Told:
    return Told("warn", message, todo)


def fail(message: str, todo: str) -> Told:
    return Told("fail", message, todo)


def run(name: str, check: Check, patient: Patient) -> Finding:
    """One check; what it may not see is no failure of the installation.

    Waits at no lock for longer than ``LOCK_TIMEOUT``. Set for a transaction, not for the session:
    behind a transaction pooler that would be somebody else's next.
    """
    try:
        with patient.conn.transaction():
            patient.conn.execute(f"set local lock_timeout = '{LOCK_TIMEOUT}'".encode())
            told = check(patient)
    except pg.InsufficientPrivilege as error:
        told = _not_seen(error.diag.message_primary or "")
    except pg.LockNotAvailable:
        told = warn("a lock keeps it from being looked at", "See the check 'locks'.")
    except psycopg.OperationalError:
        raise  # the database went away: nothing more can be found out
    except DatabaseError as error:
        told = _not_seen(error.message)
    except CdcError as error:
        told = fail(error.message, error.hint or "Correct the mapping (CDC_MAPPING) or the table.")
    return Finding(name, told.verdict, told.message, told.todo)


def _not_seen(why: str) -> Told:
    return warn(f"could not be looked at: {why}", "Run `cdc doctor` with an account that may.")
