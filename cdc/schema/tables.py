"""Schema cdc as SQLAlchemy tables, for commands; the daemon's hot road uses ``sql/queries``.

Equal to the migrations and to ``sql/install.sql``: a test compares all three.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, BYTEA, JSONB, OID, REAL, UUID
from sqlalchemy.types import UserDefinedType

metadata = sa.MetaData(schema="cdc")


class Char(UserDefinedType[str]):
    """PostgreSQL's ``"char"``: one byte."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        return '"char"'


class Xid8(UserDefinedType[int]):
    """A transaction id that does not wrap around."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        return "xid8"


# Without them reflection would warn that it does not know the types.
_dialect = sa.dialects.postgresql.base.ischema_names
_dialect.setdefault("xid8", Xid8)
_dialect['"char"'] = Char

C = sa.Text(collation="C")
TIME = sa.DateTime(timezone=True)
NOW = sa.text("clock_timestamp()")
XID = sa.text("pg_current_xact_id()")
NEW_ID = sa.text("cdc.new_id()")


def _column(name: str, kind: Any, *, null: bool = False, **options: Any) -> sa.Column[Any]:
    return sa.Column(name, kind, nullable=null, **options)


installation = sa.Table(
    "installation",
    metadata,
    sa.Column("only_one", sa.Boolean, primary_key=True, server_default=sa.true()),
    _column("system_identifier", sa.BigInteger),
    _column("database_oid", OID),
    _column("mapping", sa.Text, null=True),
    _column("mapping_source", sa.Text, null=True),
    _column("mapped_at", TIME, null=True),
    _column("serves", sa.Text, server_default="0001"),
)

layout = sa.Table(
    "layout",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    _column("event", sa.Text),
    _column("fields", ARRAY(sa.Text)),
    sa.UniqueConstraint("event", "fields"),
)

webhook = sa.Table(
    "webhook",
    metadata,
    sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
    _column("company", C),
    _column("endpoint", sa.Text),
    _column("description", sa.Text, server_default=""),
    _column("state", sa.Text, server_default="active"),
    _column("reason", sa.Text, server_default=""),
    _column("since", TIME, server_default=NOW),
    _column("max_concurrency", sa.SmallInteger, server_default="10"),
    _column("rate_limit", REAL, null=True),
    _column("headers", JSONB, server_default="{}"),
    _column("created_at", TIME, server_default=NOW),
    _column("version", sa.BigInteger, server_default="1"),
    _column("xid", Xid8, server_default=XID),
    _column("tls_profile", sa.Text, null=True),
    sa.Index("webhook_company", "company"),
    sa.Index("webhook_xid", "xid"),
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
    _column("secret", sa.Text),
    sa.Column("created_at", TIME, primary_key=True, server_default=NOW),
    _column("expires_at", TIME, null=True),
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
    sa.Index("subscription_webhook", "webhook_id"),
)


def _change(*, key: bool) -> list[sa.Column[Any]]:
    """The columns that a delivery keeps on all its ways."""
    return [
        sa.Column("webhook_id", sa.BigInteger, primary_key=key, nullable=False),
        sa.Column("id", sa.BigInteger, primary_key=key, nullable=False),
        sa.Column("uid", UUID(as_uuid=False), primary_key=key, nullable=False),
        _column("xid", Xid8),
        _column("layout", sa.Integer),
        _column("action", Char),
        _column("time", TIME),
        _column("refs", ARRAY(sa.Text)),
    ]


queue = sa.Table(
    "queue",
    metadata,
    _column("id", sa.BigInteger, server_default=NEW_ID),
    _column("xid", Xid8, server_default=XID),
    _column("webhook_id", sa.BigInteger),
    _column("uid", UUID(as_uuid=False), server_default=sa.text("gen_random_uuid()")),
    _column("layout", sa.Integer),
    _column("action", Char),
    _column("time", TIME),
    _column("refs", ARRAY(sa.Text)),
    sa.Index("queue_lane", "webhook_id", "id"),
    sa.Index("queue_xid", "xid", "action"),
)

retry = sa.Table(
    "retry",
    metadata,
    *_change(key=True),
    _column("event", C),
    _column("key", C),
    _column("body", BYTEA, null=True),
    _column("attempts", sa.SmallInteger, server_default="0"),
    _column("tries", sa.Integer, server_default="0"),
    _column("due_at", TIME, null=True),
    _column("moved_at", TIME, server_default=NOW),
    _column("last_status", sa.SmallInteger, null=True),
    _column("last_error", sa.Text, null=True),
    sa.Index("retry_due", "webhook_id", "due_at", postgresql_where=sa.text("due_at is not null")),
    sa.Index("retry_resource", "webhook_id", "event", "key", "id"),
    sa.Index(
        *("retry_created", "webhook_id", "event", "key", "xid"),
        postgresql_where=sa.text("action = 'c'"),
    ),
)

dead = sa.Table(
    "dead",
    metadata,
    *_change(key=True),
    _column("event", C),
    _column("key", C),
    _column("body", BYTEA, null=True),
    _column("attempts", sa.SmallInteger),
    _column("tries", sa.Integer),
    _column("died_at", TIME, server_default=NOW),
    _column("last_status", sa.SmallInteger, null=True),
    _column("last_error", sa.Text, null=True),
    sa.Index("dead_age", "died_at"),
)

attempt = sa.Table(
    "attempt",
    metadata,
    _column("slot", sa.SmallInteger),
    _column("at", TIME),
    _column("delivery", sa.BigInteger),
    _column("uid", UUID(as_uuid=False)),
    _column("webhook_id", sa.BigInteger),
    _column("layout", sa.Integer),
    _column("action", Char),
    _column("time", TIME),
    _column("refs", ARRAY(sa.Text)),
    _column("try", sa.Integer),
    _column("outcome", sa.Text),
    _column("status", sa.SmallInteger, null=True),
    _column("error", sa.Text, null=True),
    _column("detail", sa.Text, server_default=""),
    _column("duration_ms", REAL, server_default="0"),
    _column("excerpt", sa.Text, server_default=""),
    _column("xid", Xid8, server_default="0"),
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
        postgresql_ops={"uid": "uuid_bloom_ops"},
        postgresql_with={"autosummarize": True},
    ),
    sa.Index("attempt_ended", "at", postgresql_where=sa.text("outcome in ('expired', 'dropped')")),
    postgresql_partition_by="list (slot)",
)

shard = sa.Table(
    "shard",
    metadata,
    sa.Column("id", sa.SmallInteger, primary_key=True, autoincrement=False),
    _column("epoch", sa.BigInteger, server_default="0"),
    _column("owner", sa.Text, server_default=""),
    _column("since", TIME, null=True),
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
    _column("breaker", sa.Text, server_default="closed"),
    _column("since", TIME, server_default=NOW),
    _column("failures", sa.Integer, server_default="0"),
    _column("failing_since", TIME, null=True),
    _column("last_error", sa.Text, null=True),
    _column("version", sa.BigInteger, server_default="0"),
    _column("slow_until", TIME, null=True),
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
    _column("resource", sa.Text),
    _column("source", sa.Text),
    _column("key", C, null=True),
    _column("action", Char),
    _column("time", TIME),
    _column("own", JSONB, server_default="{}"),
    _column("reason", sa.Text),
    _column("tries", sa.Integer, server_default="0"),
    _column("retry_at", TIME, server_default=NOW),
    sa.Index(
        "unresolved_row",
        "key",
        postgresql_using="hash",
        postgresql_where=sa.text("tries < 10"),
    ),
    sa.Index("unresolved_due", "retry_at"),
)
