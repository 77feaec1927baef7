"""One request on its way: what a handler gets, and what it gives back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from time import monotonic
from typing import Any

import psycopg
import sqlalchemy as sa
from pydantic import BaseModel

from cdc.diagnosis import doctor, explain, status
from cdc.diagnosis.doctor.check import Finding, Patient
from cdc.diagnosis.explain import CommonFacts
from cdc.diagnosis.health import HealthProblem
from cdc.diagnosis.status import StatusReport
from cdc.errors import CdcError
from cdc.mapping import Mapping as SuiteMapping
from cdc.postgres import connections
from cdc.settings import Settings
from cdc.web.access import Access
from cdc.web.keys import ScopeKind
from cdc.web.pool import RequestPool
from cdc.web.recent import Recent
from cdc.web.tally import Tally
from cdc.webhooks.audit import Actor
from cdc.webhooks.registry import Registry

NAMES = 50
"""Companies that are named at once, at most."""
NAMES_WITHIN_MS = 2_000
NAME_KEPT_S = 60.0
NAMES_KEPT = 1000


@dataclass(frozen=True, slots=True)
class Service:
    """What all requests share."""

    settings: Settings
    mapping: SuiteMapping
    pool: RequestPool
    registry: Registry
    tally: Tally
    _names: dict[str, tuple[str, float]] = field(default_factory=dict)
    _status: Recent[StatusReport] = field(default_factory=Recent)
    _failed: Recent[list[HealthProblem]] = field(default_factory=Recent)
    _common: Recent[CommonFacts] = field(default_factory=Recent)
    _examined: Recent[list[Finding]] = field(default_factory=Recent)

    def status(self, company: str | None) -> StatusReport:
        """One look at everything, a moment ago. Raises DatabaseError."""

        def read() -> StatusReport:
            with self.pool.autocommit() as conn:
                return status.read(conn, self.settings, self.mapping, None, failed)

        def failed(patient: Patient) -> list[HealthProblem]:
            return self._failed(lambda: doctor.failed(patient))

        report = self._status(read)
        return report if company is None else replace(report, company=company)

    def common(self) -> CommonFacts:
        """What sentences about any delivery or webhook have in common, read a moment ago. Raises
        DatabaseError."""

        def read() -> CommonFacts:
            with self.pool.autocommit() as conn:
                return explain.common(conn, self.mapping, self.settings.held_days)

        return self._common(read)

    def company_names(self, keys: list[str] | None, prefix: str = "") -> dict[str, str]:
        """Names by key: of these companies, or of those whose key or name begins with the prefix.

        Without those that have none. None at all where the mapping has no column of them, or they
        cannot be read now: a page is not held up for a name.
        """
        return self._read_names(keys, prefix) or {}

    def _read_names(self, keys: list[str] | None, prefix: str = "") -> dict[str, str] | None:
        """None where they cannot be read."""
        if self.mapping.company.name is None:
            return None
        if keys == []:
            return {}
        url = self.settings.database_url
        asked = [keys, prefix, NAMES]
        try:
            # A session for this alone: what the table's owner has hidden there may leave traps.
            with connections.connect(url, "serve names") as conn:
                conn.execute(f"set statement_timeout = {NAMES_WITHIN_MS}")
                rows = conn.execute("select * from cdc.company_names(%s, %s, %s)", asked).fetchall()
        except (psycopg.Error, CdcError):
            return None
        return {key: name for key, name in rows if name is not None}

    def named(self, company: str) -> tuple[str, bool]:
        """A company's name, and whether its key may be wrong: names can be read, it has none."""
        names = self._read_names([company])
        return ("", False) if names is None else (names.get(company, ""), company not in names)

    def company_name(self, company: str) -> str:
        """Of a company whose pages are shown, as it was up to NAME_KEPT_S ago; empty without."""
        name, until = self._names.get(company, ("", 0.0))
        if monotonic() >= until:
            name = self.company_names([company]).get(company, "")
            if len(self._names) >= NAMES_KEPT:
                self._names.clear()
            self._names[company] = (name, monotonic() + NAME_KEPT_S)
        return name

    def examined(self) -> list[Finding]:
        """What the doctor finds, without looking up names. Raises DatabaseError."""

        def read() -> list[Finding]:
            with self.pool.autocommit() as conn:
                return doctor.examine(Patient(conn, self.settings, self.mapping), doctor.SLOW)

        return self._examined(read)


@dataclass(frozen=True, slots=True)
class ApiAnswer:
    """body: a model, or the JSON of one; None for none."""

    body: BaseModel | bytes | None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Call:
    """params:   of the path.
    query, body: as the route's models have them, checked.
    registry:    bound to ``conn``, the request's transaction, and to its actor.
    if_match:    the version that the change is meant for.
    """

    service: Service
    params: Mapping[str, str]
    query: Any
    body: Any
    conn: sa.Connection
    access: Access
    actor: Actor
    registry: Registry
    if_match: int | None = None


@dataclass(frozen=True, slots=True)
class Route:
    """path:  with ``{name}`` for parts that vary.
    who:      kinds of scopes that may.
    answer:   model of the answer's body; None: none.
    status:   of success.
    patch:    the body is a JSON merge patch.
    one_read: its handler reads with one statement, so it needs no transaction.
    """

    method: str
    path: str
    summary: str
    handler: Callable[[Call], ApiAnswer]
    who: frozenset[ScopeKind]
    answer: type[BaseModel] | None
    query: type[BaseModel] | None = None
    body: type[BaseModel] | None = None
    status: int = 200
    patch: bool = False
    if_match: bool = False
    one_read: bool = False

    @property
    def name(self) -> str:
        return f"{self.method} {self.path}"
