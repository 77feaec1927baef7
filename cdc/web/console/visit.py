"""One visit of a screen: what its handler gets, and what it gives back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self

import sqlalchemy as sa

from cdc.errors import CdcError
from cdc.web.access import Access
from cdc.web.call import Call, Service
from cdc.web.console.forms import Form
from cdc.web.keys import ScopeKind
from cdc.web.problems import Problem, problem_of
from cdc.web.sessions import Ability
from cdc.webhooks.audit import Actor
from cdc.webhooks.registry import Registry

_OF_THE_FORM = frozenset(
    {
        "invalid",
        "address_refused",
        "duplicate",
        "limit_reached",
        "version_changed",
        "conflict",
        "unverified",
        "too_many_requests",
    }
)
"""Codes of problems that are shown with the form, to be corrected there."""


@dataclass(frozen=True, slots=True)
class Page:
    """A template and its values."""

    template: str
    values: Mapping[str, Any] = field(default_factory=dict)
    status: int = 200


@dataclass(frozen=True, slots=True)
class Redirect:
    """to: a path of the console. zone: that the reader has chosen."""

    to: str
    zone: str = ""


@dataclass(slots=True)
class FormAttempt:
    """A form that is carried out: all of what is done within, or nothing. problem: what is shown
    with the form, to be corrected there."""

    conn: sa.Connection
    problem: Problem | None = None
    _savepoint: sa.NestedTransaction | None = None

    @property
    def status(self) -> int:
        return 200 if self.problem is None else self.problem.status

    @property
    def errors(self) -> dict[str, str]:
        return {} if self.problem is None else self.problem.errors

    def __enter__(self) -> Self:
        self._savepoint = self.conn.begin_nested()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: Any
    ) -> bool:
        assert self._savepoint is not None
        if error is None:
            self._savepoint.commit()
            return False
        problem = problem_of(error) if isinstance(error, CdcError) else error
        if not isinstance(problem, Problem) or problem.code not in _OF_THE_FORM:
            return False
        self._savepoint.rollback()
        self.problem = problem
        return True


@dataclass(frozen=True, slots=True)
class Visit:
    """params: of the path. query: of the address. form: what was sent, of a POST.
    session: its id."""

    service: Service
    conn: sa.Connection
    access: Access
    actor: Actor
    registry: Registry
    params: Mapping[str, str]
    query: Mapping[str, str]
    form: Form
    session: str

    def call(
        self, *, query: Any = None, body: Any = None, version: int | None = None, **params: str
    ) -> Call:
        """The same as a request to the API: what it does is done by its own functions."""
        return Call(
            self.service,
            {**self.params, **params},
            query,
            body,
            self.conn,
            self.access,
            self.actor,
            self.registry,
            version,
        )

    def attempt(self) -> FormAttempt:
        return FormAttempt(self.conn)


@dataclass(frozen=True, slots=True)
class Screen:
    """who: kinds of scopes that see it. needs: what a link of the portal must allow for it."""

    method: Literal["GET", "POST"]
    path: str
    handler: Callable[[Visit], Page | Redirect]
    who: frozenset[ScopeKind]
    needs: Ability | None = None
