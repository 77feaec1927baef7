"""Schema cdc as SQLAlchemy tables, for commands; the daemon uses ``sql/queries``.

Equal to the migrations and to ``sql/install.sql``: a test compares all three.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, BYTEA, JSON, JSONB, OID, REAL, UUID

from cdc.schema.api_tables import (
    api_key,
    audit,
    backfill,
    contact,
    idempotency,
    mail,
    notice,
    session,
    task,
)
from cdc.schema.columns import NEW_ID, NOW, TIME, XID, C, Char, Xid8, column, metadata

__all__ = [
    "api_key", "attempt", "audit", "backfill", "contact", "dead", "idempotency", "installation",
    "lane", "layout", "mail", "metadata", "notice", "queue", "registration", "retry",
    "session", "shard", "subscription", "task", "unresolved", "webhook", "webhook_secret",
]  # fmt: skip

installation = sa.Table(
    "installation",
    metadata,
    sa.Column("only_one", sa.Boolean, primary_key=True, server_default=sa.true()),
    column("system_identifier", sa.BigInteger),
    column("database_oid", OID),
    column("mapping", sa.Text, null=True),
    column("mapping_source", sa.Text, null=True),
    column("mapped_at", TIME, null=True),
    column("serves", sa.Text, server_default="0001"),
    column("log_pruned", Xid8, server_default="0"),
)

layout = sa.Table(
    "layout",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    column("event", sa.Text),
    column("fields", ARRAY(sa.Text)),
    sa.UniqueConstraint("event", "fields"),
)

webhook = sa.Table(
    "webhook",
    metadata,
    sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
    column("company", C),
    column("endpoint", sa.Text),
    column("description", sa.Text, server_default=""),
    column("state", sa.Text, server_default="active"),
    column("reason", sa.Text, server_default=""),
    column("since", TIME, server_default=NOW),
    column("max_concurrency", sa.SmallInteger, server_default="10"),
    column("rate_limit", REAL, null=True),
    column("headers", JSONB, server_default="{}"),
    column("created_at", TIME, server_default=NOW),
    column("version", sa.BigInteger, server_default="1"),
    column("xid", Xid8, server_default=XID),
    column("tls_profile", sa.Text, null=True),
    column("ref", C, null=True),
    column("unverified_since", TIME, null=True),
    sa.Index("webhook_company", "company"),
    sa.Index("webhook_xid", "xid"),
    sa.Index(
        "webhook_ref",
        "company",
        "ref",
        unique=True,
        postgresql_where=sa.text("state <> 'removed'"),
    ),
)

webhook_secret = sa.Table(
    "webhook_secret",
    metadata,
    sa.Column(
        "webhook_id",
        sa.BigInteger,
        sa.ForeignKey("cdc.webhook.id", ondelete="CASCADE"),
        primary_key=True,
    ),
    column("secret", sa.Text),
    sa.Column("created_at", TIME, primary_key=True, server_default=NOW),
    column("expires_at", TIME, null=True),
    column("scheme", sa.Text, null=True),
)

subscription = sa.Table(
    "subscription",
    metadata,
    sa.Column("company", C, primary_key=True),
    sa.Column("event", C, primary_key=True),
    sa.Column(
        "webhook_id",
        sa.BigInteger,
        sa.ForeignKey("cdc.webhook.id", ondelete="CASCADE"),
        primary_key=True,
    ),
    column("actions", sa.Text, null=True),
    column("filter", JSONB(none_as_null=True), null=True),
    column("changed", ARRAY(sa.Text), null=True),
    column("include", ARRAY(sa.Text), null=True),
    sa.Index("subscription_webhook", "webhook_id"),
    sa.Index(
        *("subscription_changed", "event"),
        postgresql_where=sa.text("changed is not null or include is not null"),
    ),
)


def _change(*, key: bool) -> list[sa.Column[Any]]:
    """The columns that a delivery keeps on all its ways."""
    return [
        sa.Column("webhook_id", sa.BigInteger, primary_key=key, nullable=False),
        sa.Column("id", sa.BigInteger, primary_key=key, nullable=False),
        sa.Column("uid", UUID(as_uuid=False), primary_key=key, nullable=False),
        column("xid", Xid8),
        column("layout", sa.Integer),
        column("action", Char),
        column("time", TIME),
        column("refs", ARRAY(sa.Text)),
    ]


queue = sa.Table(
    "queue",
    metadata,
    column("id", sa.BigInteger, server_default=NEW_ID),
    column("xid", Xid8, server_default=XID),
    column("webhook_id", sa.BigInteger),
    column("uid", UUID(as_uuid=False), server_default=sa.text("gen_random_uuid()")),
    column("layout", sa.Integer),
    column("action", Char),
    column("time", TIME),
    column("refs", ARRAY(sa.Text)),
    column("included", JSON(none_as_null=True), null=True),
    sa.Index("queue_lane", "webhook_id", "id"),
    sa.Index("queue_xid", "xid", "action"),
)

retry = sa.Table(
    "retry",
    metadata,
    *_change(key=True),
    column("event", C),
    column("key", C),
    column("body", BYTEA, null=True),
    column("attempts", sa.SmallInteger, server_default="0"),
    column("tries", sa.Integer, server_default="0"),
    column("due_at", TIME, null=True),
    column("moved_at", TIME, server_default=NOW),
    column("last_status", sa.SmallInteger, null=True),
    column("last_error", sa.Text, null=True),
    column("included", JSON(none_as_null=True), null=True),
    sa.Index("retry_due", "webhook_id", "due_at", postgresql_where=sa.text("due_at is not null")),
    sa.Index("retry_resource", "webhook_id", "event", "key", "id"),
    sa.Index(
        *("retry_created", "webhook_id", "event", "key", "xid"),
        postgresql_where=sa.text("action <> 'm'"),
    ),
    sa.Index("retry_list", "webhook_id", "xid", "id"),
)

dead = sa.Table(
    "dead",
    metadata,
    *_change(key=True),
    column("event", C),
    column("key", C),
    column("body", BYTEA, null=True),
    column("attempts", sa.SmallInteger),
    column("tries", sa.Integer),
    column("died_at", TIME, server_default=NOW),
    column("last_status", sa.SmallInteger, null=True),
    column("last_error", sa.Text, null=True),
    column("included", JSON(none_as_null=True), null=True),
    sa.Index("dead_age", "died_at"),
    sa.Index("dead_list", "webhook_id", "xid", "id"),
)

attempt = sa.Table(
    "attempt",
    metadata,
    column("slot", sa.SmallInteger),
    column("at", TIME),
    column("delivery", sa.BigInteger),
    column("uid", UUID(as_uuid=False)),
    column("webhook_id", sa.BigInteger),
    column("layout", sa.Integer),
    column("action", Char),
    column("time", TIME),
    column("refs", ARRAY(sa.Text)),
    column("try", sa.Integer),
    column("outcome", sa.Text),
    column("status", sa.SmallInteger, null=True),
    column("error", sa.Text, null=True),
    column("detail", sa.Text, server_default=""),
    column("duration_ms", REAL, server_default="0"),
    column("excerpt", sa.Text, server_default=""),
    column("xid", Xid8, server_default="0"),
    sa.Index("attempt_delivery", "delivery"),
    sa.Index(
        "attempt_at",
        "at",
        postgresql_using="brin",
        postgresql_with={"pages_per_range": 32, "autosummarize": True},
    ),
    sa.Index(
        *("attempt_uid", "uid"),
        postgresql_using="brin",
        postgresql_ops={
            "uid": "uuid_bloom_ops(n_distinct_per_range = 3000, false_positive_rate = 0.001)"
        },
        postgresql_with={"pages_per_range": 64, "autosummarize": True},
    ),
    sa.Index("attempt_ended", "at", postgresql_where=sa.text("outcome in ('expired', 'dropped')")),
    sa.Index(
        *("attempt_list", "webhook_id", "xid", "delivery"),
        postgresql_where=sa.text("outcome <> 'failed'"),
    ),
    postgresql_partition_by="list (slot)",
)

shard = sa.Table(
    "shard",
    metadata,
    sa.Column("id", sa.SmallInteger, primary_key=True, autoincrement=False),
    column("epoch", sa.BigInteger, server_default="0"),
    column("owner", sa.Text, server_default=""),
    column("since", TIME, null=True),
)

lane = sa.Table(
    "lane",
    metadata,
    sa.Column(
        "webhook_id",
        sa.BigInteger,
        sa.ForeignKey("cdc.webhook.id", ondelete="CASCADE"),
        primary_key=True,
        autoincrement=False,
    ),
    column("breaker", sa.Text, server_default="closed"),
    column("since", TIME, server_default=NOW),
    column("failures", sa.Integer, server_default="0"),
    column("failing_since", TIME, null=True),
    column("last_error", sa.Text, null=True),
    column("version", sa.BigInteger, server_default="0"),
    column("slow_until", TIME, null=True),
)

unresolved = sa.Table(
    "unresolved",
    metadata,
    sa.Column(
        "id",
        sa.BigInteger,
        primary_key=True,
        autoincrement=False,
        server_default=NEW_ID,
    ),
    sa.Column("xid", Xid8, primary_key=True, server_default=XID),
    column("resource", sa.Text),
    column("source", sa.Text),
    column("key", C, null=True),
    column("action", Char),
    column("time", TIME),
    column("own", JSONB, server_default="{}"),
    column("reason", sa.Text),
    column("tries", sa.Integer, server_default="0"),
    column("retry_at", TIME, server_default=NOW),
    sa.Index(
        "unresolved_row",
        "key",
        postgresql_using="hash",
        postgresql_where=sa.text("tries < 10"),
    ),
    sa.Index("unresolved_due", "retry_at"),
)

gone = sa.Table(
    "gone",
    metadata,
    column("id", sa.BigInteger, server_default=NEW_ID),
    column("xid", Xid8, server_default=XID),
    column("source", sa.Text),
    column("key", C),
    column("own", JSONB),
    sa.Index("gone_key", "key", postgresql_using="hash"),
)

# A view: a registration as it may be shown. Not in ``metadata``, which holds tables.
registration = sa.table(
    "registration",
    *(sa.column(column.name, column.type) for column in webhook.c if column.name != "xid"),
    schema="cdc",
)
