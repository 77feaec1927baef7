"""What a key may do and see: the one place that decides it.

A handler gets webhooks, companies, deliveries and tasks through ``Access`` only. What a key may not
see is not there for it: the answer is the same as for what does not exist.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from cdc.schema.tables import task
from cdc.web.keys import Key, ScopeKind
from cdc.web.problems import Problem
from cdc.webhooks import backfills
from cdc.webhooks.backfills import Backfill

EVERY: frozenset[ScopeKind] = frozenset({"admin", "operator", "read", "company", "webhook"})
COMPANY: frozenset[ScopeKind] = frozenset({"admin", "operator", "read", "company"})
READERS: frozenset[ScopeKind] = frozenset({"admin", "operator", "read"})
OWNERS: frozenset[ScopeKind] = frozenset({"company"})
CHANGERS: frozenset[ScopeKind] = frozenset({"admin", "operator", "company"})
SENDERS: frozenset[ScopeKind] = frozenset({"admin", "operator", "company", "webhook"})
AUDITORS: frozenset[ScopeKind] = frozenset({"admin", "operator"})
ADMINS: frozenset[ScopeKind] = frozenset({"admin"})

_COMPANY = "select company from cdc.registration where id = %(webhook)s"


@dataclass(frozen=True, slots=True)
class Access:
    """A key's view, in one transaction."""

    key: Key
    conn: sa.Connection

    @property
    def company_only(self) -> str | None:
        """The company that the key is bound to."""
        return self.key.scope.value if self.key.scope.kind == "company" else None

    @property
    def webhook_only(self) -> int | None:
        """The webhook that the key is bound to."""
        return int(self.key.scope.value) if self.key.scope.kind == "webhook" else None

    def admit(self, who: frozenset[ScopeKind]) -> None:
        """Raises Problem unless the key is of one of these kinds."""
        if self.key.scope.kind not in who:
            raise Problem(
                "forbidden",
                f"a key of scope {self.key.scope.kind} may not do this; one of these may: "
                + ", ".join(sorted(who)),
            )

    def company(self, company: str, field: str = "") -> str:
        """Raises Problem for another one than the key's.

        field: that has it, if the path has not.
        """
        foreign = self.webhook_only is not None or self.company_only not in (None, company)
        if foreign or "\0" in company:
            raise _absent(field)
        return company

    def webhook(self, number: int, field: str = "") -> int:
        """Raises Problem for a webhook that is not there for this key.

        field: that has it, if the path has not.
        """
        if number in self.key.companies:
            company = self.key.companies[number]
        elif 0 < number < 2**63:
            company = self.conn.exec_driver_sql(_COMPANY, {"webhook": number}).scalar()
        else:
            company = None
        if not self.sees(number, company):
            raise _absent(field)
        return number

    def sees(self, webhook: int | None, company: str | None) -> bool:
        """Whether what belongs to them is there for this key."""
        if company is None:
            return False
        if self.webhook_only is not None:
            return webhook == self.webhook_only
        return self.company_only in (None, company)

    def deliveries(self, found: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Those of deliveries that are there for this key. Raises Problem if it is none."""
        mine = [one for one in found if self.sees(one["webhook"], one["company"])]
        if not mine:
            raise Problem("not_found")
        return mine

    def backfill(self, number: int) -> Backfill:
        """Raises Problem for one that is not there for this key."""
        try:
            found = backfills.get(self.conn, number)
        except backfills.UnknownBackfill:
            raise Problem("not_found") from None
        if not self.sees(found.webhook_id, found.company):
            raise Problem("not_found")
        return found

    def task(self, number: UUID, *, lock: bool = False) -> dict[str, Any]:
        """Raises Problem for one that is not there for this key."""
        query = sa.select(task).where(task.c.id == number)
        row = self.conn.execute(query.with_for_update() if lock else query).mappings().first()
        if (
            row is None
            or self.company_only not in (None, row["company"])
            or self.webhook_only not in (None, row["webhook_id"])
        ):
            raise Problem("not_found")
        return dict(row)


def _absent(field: str) -> Problem:
    text = f"there is no such {field}, or not for this key"
    return Problem("not_found", errors={field: text} if field else None)
