"""Refuses selections that match nothing that ever existed: a typing error must not look like an
empty answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cdc.cli import common
from cdc.errors import CdcError

if TYPE_CHECKING:
    from cdc.settings import Settings

COMPANIES_NAMED = 10
"""Companies that an error lists."""


def refuse_unknown_webhook(settings: Settings, webhook_id: int) -> None:
    """Raises CdcError for a number that no webhook has, or ever had."""
    from cdc.postgres.connections import explained

    with explained(), common.connect(settings) as conn:
        found = conn.execute(
            "select from cdc.webhook where id = %s::numeric", [webhook_id]
        ).fetchone()
    if found is None:
        raise CdcError(f"unknown webhook {webhook_id}", "`cdc webhook list` shows all of them.")


def refuse_unknown(
    settings: Settings, webhook: int | None, company: str | None, event: str | None
) -> None:
    """Raises CdcError for what deliveries are selected by, and none can have."""
    refuse_unknown_event(settings, event)
    if webhook is not None:
        refuse_unknown_webhook(settings, webhook)
    refuse_unknown_company(settings, company)


def refuse_unknown_event(settings: Settings, event: str | None) -> None:
    """Raises UsageError for an event that neither the mapping has, nor any that was installed."""
    from cdc.postgres.connections import explained
    from cdc.webhooks.checks import known_event

    known = list(common.load_mapping(settings).events)
    if event is not None and event not in known:
        with explained(), common.connect(settings) as conn:
            former = conn.execute("select distinct event from cdc.layout").fetchall()
        known_event(event, [*known, *({row[0] for row in former} - set(known))])


def refuse_unknown_company(settings: Settings, company: str | None) -> None:
    """Raises CdcError for a company that has no webhook, and never had one."""
    from cdc.postgres.connections import explained

    if company is None:
        return
    with explained(), common.connect(settings) as conn:
        found = conn.execute(
            "select coalesce(bool_or(company = %s), false), coalesce(array_agg(company), '{}')"
            "  from (select distinct company from cdc.webhook order by 1) w",
            [company],
        ).fetchone()
    assert found is not None
    if not found[0]:
        named = ", ".join(found[1][:COMPANIES_NAMED])
        more = ", ..." if len(found[1]) > COMPANIES_NAMED else ""
        raise CdcError(
            f"company {company!r} has no webhook",
            f"Companies with webhooks: {named}{more}; `cdc webhook list` shows all of them."
            if named
            else "No company has one yet: `cdc webhook add` registers one.",
        )
