"""Contacts: addresses to which a company's notices are mailed, once they are confirmed."""

from __future__ import annotations

from collections.abc import Sequence
from secrets import token_hex
from typing import Any

import sqlalchemy as sa

from cdc.errors import CdcError, UsageError
from cdc.schema.tables import audit as entry
from cdc.schema.tables import contact
from cdc.settings.kinds import mail_address
from cdc.webhooks import audit, checks, statements
from cdc.webhooks.audit import Actor
from cdc.webhooks.model import CODE_DAYS, LimitReached

CONTACTS_PER_COMPANY = 10
ADDED_PER_HOUR = 20
"""To a company: each is sent a mail, whatever becomes of it."""

NOW = sa.func.clock_timestamp()
_SHOWN = [
    contact.c[name]
    for name in ("id", "company", "email", "created_at", "invited_at", "confirmed_at", "last_error")
]


class UnknownContact(CdcError):
    """There is none of this number or code."""


def listed(conn: sa.Connection, company: str | None = None) -> Sequence[dict[str, Any]]:
    """All, or those of a company; without their codes."""
    query = sa.select(*_SHOWN).order_by(contact.c.company, contact.c.id)
    if company is not None:
        query = query.where(contact.c.company == company)
    return [dict(row) for row in conn.execute(query).mappings()]


def add(conn: sa.Connection, actor: Actor, company: str, email: str) -> tuple[dict[str, Any], str]:
    """A daemon asks it to confirm its address. Returns it, and the code that does so.

    Raises UsageError for an address that cannot be, CdcError for one that is there already,
    LimitReached for one too many.
    """
    checks.company(company)
    try:
        mail_address(email)
    except ValueError as error:
        raise UsageError(f"invalid address {email!r}: {error}") from None
    statements.lock_company(conn, company)
    others = listed(conn, company)
    for other in others:
        if other["email"].lower() == email.lower():
            raise CdcError(
                f"{email} is contact {other['id']} of company {company} already",
                f"`cdc contact remove {other['id']}` removes it.",
            )
    if len(others) >= CONTACTS_PER_COMPANY:
        raise LimitReached(
            f"company {company} has {len(others)} contacts already: expected at most "
            f"{CONTACTS_PER_COMPANY}",
            "Remove one with `cdc contact remove`.",
        )
    _check_rate(conn, company)
    code = token_hex(12)  # none begins with -, as an option of `cdc contact confirm` does
    made = sa.insert(contact).values(company=company, email=email, code=code).returning(*_SHOWN)
    row = dict(conn.execute(made).mappings().one())
    _note(conn, actor, "contact.add", row)
    return row, code


def confirm(conn: sa.Connection, actor: Actor, code: str) -> dict[str, Any]:
    """Notices are mailed from now on. Raises UnknownContact for a code that is not valid."""
    changed = (
        sa.update(contact)
        .where(
            contact.c.code == code,
            contact.c.confirmed_at.is_(None),
            contact.c.created_at > NOW - sa.text(f"interval '{CODE_DAYS} days'"),
        )
        .values(confirmed_at=NOW)
        .returning(*_SHOWN)
    )
    row = conn.execute(changed).mappings().first()
    if row is None:
        raise UnknownContact(
            "this code confirms no address",
            f"It is valid once, for {CODE_DAYS} days. Remove the contact and add it again.",
        )
    _note(conn, actor, "contact.confirm", dict(row))
    return dict(row)


def remove(
    conn: sa.Connection, actor: Actor, number: int, company: str | None = None
) -> dict[str, Any]:
    """No more mail is sent to it. Raises UnknownContact, also for another company's."""
    which = contact.c.id == number
    if company is not None:
        which &= contact.c.company == company
    row = _removed(conn, actor, which) if 0 < number < 2**63 else None
    if row is None:
        raise UnknownContact(f"unknown contact {number}", "`cdc contact list` shows all of them.")
    return row


def unsubscribe(conn: sa.Connection, actor: Actor, code: str) -> dict[str, Any]:
    """The same by the code in its mails. Raises UnknownContact where it was removed before."""
    row = _removed(conn, actor, contact.c.code == code)
    if row is None:
        raise UnknownContact("there is no contact with this code", "It gets no mail.")
    return row


def _removed(
    conn: sa.Connection, actor: Actor, which: sa.ColumnElement[bool]
) -> dict[str, Any] | None:
    gone = sa.delete(contact).where(which).returning(*_SHOWN)
    if (row := conn.execute(gone).mappings().first()) is None:
        return None
    _note(conn, actor, "contact.remove", dict(row))
    return dict(row)


def _check_rate(conn: sa.Connection, company: str) -> None:
    """Adding and removing addresses in turns would have mail sent to anyone."""
    query = sa.select(sa.func.count()).where(
        entry.c.company == company,
        entry.c.action == "contact.add",
        entry.c.at > NOW - sa.text("interval '1 hour'"),
    )
    if (count := conn.scalar(query) or 0) >= ADDED_PER_HOUR:
        raise LimitReached(
            f"{count} contacts were added to company {company} within an hour: expected at most "
            f"{ADDED_PER_HOUR}",
            "Add it in an hour.",
        )


def _note(conn: sa.Connection, actor: Actor, action: str, row: dict[str, Any]) -> None:
    after = {"contact": row["id"], "email": row["email"]}
    audit.note(conn, actor, action, company=row["company"], after=after)
