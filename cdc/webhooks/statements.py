"""The registry's statements: small, each for a connection whose transaction is the caller's."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from cdc.message.signing_keys import Scheme
from cdc.model import ACTIONS, UNUSABLE, USUAL_ACTIONS, WebhookState
from cdc.postgres.advisory_locks import COMPANY_LOCKS
from cdc.schema.tables import lane, retry, subscription, webhook, webhook_secret
from cdc.schema.tables import registration as shown
from cdc.webhooks.model import ALL_CHANGES, NewWebhook, Registration, Secret, UnknownWebhook, Wanted

# Advisory locks of ours: shards have class 0x434443, companies this one.

NOW = sa.func.clock_timestamp()
_ALL = "".join(action[0] for action in USUAL_ACTIONS)


def _registrations(source: Any) -> Any:
    """All of the table, or as they may be shown: of the view."""
    # Any: a table and a view have columns of different types.
    events = (
        sa.select(sa.func.array_agg(subscription.c.event))
        .where(subscription.c.webhook_id == source.c.id)
        .scalar_subquery()
    )
    # Registered by hand, an event may want something else than its neighbour.
    filter_, changed, include = (
        sa.select(column)
        .where(subscription.c.webhook_id == source.c.id)
        .order_by(subscription.c.event)
        .limit(1)
        .scalar_subquery()
        for column in (subscription.c.filter, subscription.c.changed, subscription.c.include)
    )
    actions = (
        sa.select(sa.func.string_agg(sa.func.coalesce(subscription.c.actions, _ALL), ""))
        .where(subscription.c.webhook_id == source.c.id)
        .scalar_subquery()
    )
    return sa.select(
        *(source.c[column.name] for column in shown.c if column.name != "events"),
        events.label("events"),
        actions.label("actions"),
        filter_.label("filter"),
        changed.label("changed"),
        include.label("include"),
    )


_IS_VALID = sa.or_(webhook_secret.c.expires_at.is_(None), webhook_secret.c.expires_at > NOW)
_VALID = (
    sa.select(webhook_secret.c.secret, webhook_secret.c.expires_at)
    .where(_IS_VALID)
    .order_by(webhook_secret.c.created_at.desc())
)


def registration(row: Any) -> Registration:
    # Any: SQLAlchemy 2.0 and 2.1 write the type of a row differently.
    return Registration(
        id=row.id,
        company=row.company,
        events=tuple(sorted(row.events or ())),
        endpoint=row.endpoint,
        description=row.description,
        state=WebhookState(row.state),
        reason=row.reason,
        since=row.since,
        cap=row.max_concurrency,
        rate=row.rate_limit,
        headers=dict(row.headers),
        created_at=row.created_at,
        version=row.version,
        tls_profile=row.tls_profile,
        ref=row.ref,
        actions=tuple(a for a in ACTIONS if a[0] in (row.actions or _ALL)),
        filter=row.filter or {},
        changed=None if row.changed is None else tuple(row.changed),
        include=tuple(row.include or ()),
        unverified_since=row.unverified_since,
    )


def trouble(conn: sa.Connection, webhook_id: int) -> str | None:
    """What its daemon has noted against it, while it lasts."""
    noted = lane.c.last_error
    shown = sa.case(
        (noted.startswith(UNUSABLE), noted),
        (lane.c.breaker != "closed", sa.func.concat("lane ", lane.c.breaker, ": ", noted)),
    )
    query = sa.select(shown).where(lane.c.webhook_id == webhook_id)
    found: str | None = conn.scalar(query)
    return found


def lock_company(conn: sa.Connection, company: str) -> None:
    """Registrations of one company are made one after the other, until COMMIT."""
    # Cast: the driver sends the smallest int4 as a bigint, which no such function takes.
    number = sa.cast(zlib.crc32(company.encode()) - 2**31, sa.Integer)
    conn.execute(sa.select(sa.func.pg_advisory_xact_lock(COMPANY_LOCKS, number)))


def fetch(
    conn: sa.Connection, webhook_id: int, *, lock: bool = False, whole: bool = False
) -> Registration:
    """Raises UnknownWebhook when there is none; removed ones are found."""
    if lock and 0 < webhook_id < 2**63:
        # Not FOR UPDATE: the daemon's notes on the lane refer to this row and must not wait.
        one = sa.select(webhook.c.id).where(webhook.c.id == webhook_id)
        conn.execute(one.with_for_update(key_share=True))
    source = webhook if whole else shown
    query = _registrations(source).where(source.c.id == webhook_id)
    row = conn.execute(query).one_or_none() if 0 < webhook_id < 2**63 else None
    if row is None:
        raise UnknownWebhook(
            f"unknown webhook {webhook_id}", "`cdc webhook list` shows all of them."
        )
    return registration(row)


def alive(
    conn: sa.Connection, webhook_id: int, *, whole: bool = False, lock: bool = True
) -> Registration:
    """The registration, locked. Raises UnknownWebhook for a removed one too."""
    found = fetch(conn, webhook_id, lock=lock, whole=whole)
    if found.state is WebhookState.REMOVED:
        raise UnknownWebhook(
            f"webhook {webhook_id} was removed", "`cdc webhook add` registers a new one."
        )
    return found


def search(
    conn: sa.Connection,
    company: str | None = None,
    event: str | None = None,
    state: WebhookState | None = None,
    *,
    removed: bool = False,
    most: int | None = None,
    after: int = 0,
    number: int | None = None,
    ref: str | None = None,
    whole: bool = False,
) -> list[Registration]:
    """Registrations by id, the first ``most`` after one; removed ones only where asked for."""
    source = webhook if whole else shown
    # Of a company: by its index, then sorted; + 0 keeps a plan from going through all in order.
    place = source.c.id if company is None and ref is None else source.c.id + 0
    query = _registrations(source).where(place > after).order_by(place).limit(most)
    if number is not None:
        query = query.where(source.c.id == number)
    if ref is not None:
        query = query.where(source.c.ref == ref)
    if company is not None:
        query = query.where(source.c.company == company)
    if event is not None:
        wanting = sa.select(subscription.c.webhook_id).where(subscription.c.event == event)
        # As above: what is before the page is not read of either.
        query = query.where(source.c.id.in_(wanting.where(subscription.c.webhook_id > after)))
    if state is not None:
        query = query.where(source.c.state == str(state))
    elif not removed:
        # In the text: of a parameter, a plan that is kept expects hardly any rows.
        others = sa.literal(str(WebhookState.REMOVED), literal_execute=True)
        query = query.where(source.c.state != others)
    return [registration(row) for row in conn.execute(query)]


def insert(conn: sa.Connection, new: NewWebhook, cap: int) -> int:
    values = {
        "company": new.company,
        "endpoint": new.endpoint,
        "description": new.description,
        "state": str(new.state),
        "reason": new.reason,
        "max_concurrency": cap if new.cap is None else new.cap,
        "rate_limit": new.rate,
        "headers": new.headers,
        "tls_profile": new.tls_profile,
        "ref": new.ref,
        "unverified_since": NOW if new.unverified else None,
    }
    made = conn.execute(sa.insert(webhook).values(values).returning(webhook.c.id))
    webhook_id = int(made.scalar_one())
    subscribe(conn, webhook_id, new.company, new.events, new)
    return webhook_id


def subscribe(
    conn: sa.Connection,
    webhook_id: int,
    company: str,
    events: Sequence[str],
    wanted: Wanted = ALL_CHANGES,
) -> None:
    """These changes of these events from now on, and no others."""
    conn.execute(sa.delete(subscription).where(subscription.c.webhook_id == webhook_id))
    kept = "".join(action[0] for action in ACTIONS if action in (wanted.actions or USUAL_ACTIONS))
    rows = [
        {
            "company": company,
            "event": event,
            "webhook_id": webhook_id,
            "actions": None if kept == _ALL else kept,
            "filter": wanted.filter or None,
            "changed": None if wanted.changed is None else list(wanted.changed),
            "include": list(wanted.include) or None,
        }
        for event in sorted(events)
    ]
    if rows:
        conn.execute(sa.insert(subscription), rows)


def change(conn: sa.Connection, webhook_id: int, values: dict[str, Any]) -> None:
    """Changes the row; a trigger raises its version and notifies daemons, even with no values."""
    values = values or {"version": webhook.c.version + 1}
    conn.execute(sa.update(webhook).where(webhook.c.id == webhook_id).values(values))


def due_now(conn: sa.Connection, webhook_id: int) -> bool:
    """Makes all that is being retried due at once. Whether there was any that had to wait."""
    moved = conn.execute(
        sa.update(retry)
        .where(retry.c.webhook_id == webhook_id, retry.c.due_at > sa.func.clock_timestamp())
        .values(due_at=sa.func.clock_timestamp())
    )
    return moved.rowcount > 0


def keep_secrets(conn: sa.Connection, webhook_id: int, secrets: Sequence[Secret]) -> None:
    """Adds secrets, given newest first. Their order is that of created_at, which the database sets:
    so the oldest goes in first."""
    for secret in reversed(secrets):
        conn.execute(
            sa.insert(webhook_secret).values(
                webhook_id=webhook_id,
                secret=secret.secret,
                expires_at=secret.expires_at,
                scheme=secret.kept_scheme,
            )
        )


def all_secrets(conn: sa.Connection) -> dict[int, tuple[Secret, ...]]:
    """Those of all webhooks that are valid now, newest first."""
    rows = conn.execute(_VALID.add_columns(webhook_secret.c.webhook_id))
    found: dict[int, tuple[Secret, ...]] = {}
    for row in rows:
        kept = found.get(row.webhook_id, ())
        found[row.webhook_id] = (*kept, Secret(row.secret, row.expires_at))
    return found


def secrets_of(conn: sa.Connection, webhook_id: int) -> tuple[Secret, ...]:
    """Those that are valid now, newest first."""
    rows = conn.execute(_VALID.where(webhook_secret.c.webhook_id == webhook_id))
    return tuple(Secret(row.secret, row.expires_at) for row in rows)


def count_secrets(conn: sa.Connection, webhook_id: int) -> int:
    """How many are valid now."""
    query = sa.select(sa.func.count()).where(webhook_secret.c.webhook_id == webhook_id, _IS_VALID)
    return int(conn.execute(query).scalar_one())


def secrets_end(conn: sa.Connection, webhook_id: int) -> datetime | None:
    """Until when the ones before the current one are valid."""
    ends = sa.func.max(webhook_secret.c.expires_at)
    query = sa.select(ends).where(webhook_secret.c.webhook_id == webhook_id, _IS_VALID)
    found: datetime | None = conn.scalar(query)
    return found


def kept_scheme(conn: sa.Connection, webhook_id: int) -> Scheme | None:
    """How a webhook signs, as it was noted with its current secret; None: it was not."""
    query = (
        sa.select(webhook_secret.c.scheme)
        .where(webhook_secret.c.webhook_id == webhook_id, _IS_VALID)
        .order_by(webhook_secret.c.created_at.desc())
        .limit(1)
    )
    found: str | None = conn.scalar(query)
    return None if found is None else Scheme(found)


def drop_secrets(conn: sa.Connection, webhook_id: int, *, expired: bool = False) -> None:
    """All secrets, or those that are valid no more."""
    query = sa.delete(webhook_secret).where(webhook_secret.c.webhook_id == webhook_id)
    if expired:
        query = query.where(webhook_secret.c.expires_at <= NOW)
    conn.execute(query)


def sunset(conn: sa.Connection, webhook_id: int, grace: timedelta) -> None:
    """The secrets so far end after ``grace``, unless they end sooner."""
    ends = NOW + sa.cast(grace, sa.Interval)
    conn.execute(
        sa.update(webhook_secret)
        .where(webhook_secret.c.webhook_id == webhook_id)
        .values(expires_at=sa.func.least(webhook_secret.c.expires_at, ends))
    )
