"""Tables of `cdc serve`: keys of the API, audit, repeated answers, tasks, sessions;
notices, which it shows, and backfills."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, BYTEA, JSONB, UUID

from cdc.schema.columns import NOW, TIME, C, Char, column, metadata

api_key = sa.Table(
    "api_key",
    metadata,
    sa.Column("id", C, primary_key=True),
    column("digest", BYTEA),
    column("scope", sa.Text),
    column("description", sa.Text, server_default=""),
    column("created_at", TIME, server_default=NOW),
    column("created_by", sa.Text),
    column("expires_at", TIME, null=True),
    column("revoked_at", TIME, null=True),
    column("last_used_at", TIME, null=True),
)

audit = sa.Table(
    "audit",
    metadata,
    sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    column("at", TIME, server_default=NOW),
    column("account", sa.Text, server_default=sa.text("session_user")),
    column("actor", sa.Text),
    column("source", sa.Text, server_default=""),
    column("request", sa.Text, server_default=""),
    column("action", sa.Text),
    column("company", C, null=True),
    column("webhook_id", sa.BigInteger, null=True),
    column("before", JSONB, null=True),
    column("after", JSONB, null=True),
    sa.Index("audit_company", "company", "id"),
    sa.Index("audit_webhook", "webhook_id", "id"),
)

idempotency = sa.Table(
    "idempotency",
    metadata,
    sa.Column("key_id", C, primary_key=True),
    sa.Column("name", C, primary_key=True),
    sa.Column("route", C, primary_key=True),
    column("digest", BYTEA),
    column("status", sa.SmallInteger, null=True),
    column("answer", BYTEA, null=True),
    column("created_at", TIME, server_default=NOW),
    sa.Index("idempotency_age", "created_at"),
)

task = sa.Table(
    "task",
    metadata,
    sa.Column(
        "id", UUID(as_uuid=True), primary_key=True, server_default=sa.text("gen_random_uuid()")
    ),
    column("kind", sa.Text),
    column("state", sa.Text, server_default="waiting"),
    column("actor", sa.Text),
    column("company", C, null=True),
    column("webhook_id", sa.BigInteger, null=True),
    column("request", JSONB),
    column("total", sa.BigInteger, null=True),
    column("done", sa.BigInteger, server_default="0"),
    column("changed", sa.BigInteger, server_default="0"),
    column("error", sa.Text, null=True),
    column("created_at", TIME, server_default=NOW),
    column("ended_at", TIME, null=True),
    column("result", JSONB, null=True),
    sa.Index("task_test", "webhook_id", "created_at", postgresql_where=sa.text("kind = 'test'")),
    sa.Index(
        "task_open",
        "created_at",
        postgresql_where=sa.text("state in ('waiting', 'running')"),
    ),
)

session = sa.Table(
    "session",
    metadata,
    sa.Column("id", C, primary_key=True),
    column("digest", BYTEA),
    sa.Column("key_id", C, sa.ForeignKey("cdc.api_key.id", ondelete="CASCADE")),
    column("created_at", TIME, server_default=NOW),
    column("expires_at", TIME),
    column("person", sa.Text, null=True),
    column("scope", sa.Text, null=True),
    column("may", ARRAY(sa.Text), null=True),
    column("is_link", sa.Boolean, server_default=sa.false()),
    sa.Index("session_key", "key_id"),
)

notice = sa.Table(
    "notice",
    metadata,
    sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    column("at", TIME, server_default=NOW),
    column("kind", sa.Text),
    column("webhook_id", sa.BigInteger),
    column("company", C),
    column("event", C, null=True),
    column("since", TIME),
    column("cause", sa.Text),
    column("sentence", sa.Text),
    sa.UniqueConstraint("webhook_id", "kind", "since"),
    sa.Index("notice_company", "company", "id"),
)

backfill = sa.Table(
    "backfill",
    metadata,
    sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    sa.Column(
        "webhook_id",
        sa.BigInteger,
        sa.ForeignKey("cdc.webhook.id", ondelete="CASCADE"),
        nullable=False,
    ),
    column("event", C),
    column("action", Char),
    column("since", TIME, null=True),
    column("state", sa.Text, server_default="running"),
    column("reason", sa.Text, server_default=""),
    column("place", ARRAY(sa.Text), null=True),
    column("looked", sa.BigInteger, server_default="0"),
    column("queued", sa.BigInteger, server_default="0"),
    column("actor", sa.Text),
    column("created_at", TIME, server_default=NOW),
    column("ended_at", TIME, null=True),
    sa.Index(
        "backfill_open",
        "webhook_id",
        "event",
        unique=True,
        postgresql_where=sa.text("state in ('running', 'paused')"),
    ),
)

contact = sa.Table(
    "contact",
    metadata,
    sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    column("company", C),
    column("email", C),
    column("code", C, unique=True),
    column("created_at", TIME, server_default=NOW),
    column("confirmed_at", TIME, null=True),
    column("invited_at", TIME, null=True),
    column("due_at", TIME, server_default=NOW),
    column("claimed_until", TIME, null=True),
    column("tries", sa.Integer, server_default="0"),
    column("last_error", sa.Text, null=True),
    sa.UniqueConstraint("company", "email"),
)

mail = sa.Table(
    "mail",
    metadata,
    sa.Column(
        "contact_id",
        sa.BigInteger,
        sa.ForeignKey("cdc.contact.id", ondelete="CASCADE"),
        primary_key=True,
        autoincrement=False,
    ),
    sa.Column(
        "notice_id",
        sa.BigInteger,
        sa.ForeignKey("cdc.notice.id", ondelete="CASCADE"),
        primary_key=True,
        autoincrement=False,
    ),
    sa.Index("mail_notice", "notice_id"),
)
