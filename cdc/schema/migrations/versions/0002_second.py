"""The second release: capture as a role of its own, replays, and what a lane waits for.

Daemons of the first release go on with this schema while they run.
"""

from cdc.schema.migrations import steps
from cdc.schema.migrations.steps import Apart, Index

revision = "0002"
down_revision = "0001"

ONLINE = (
    Index(
        "retry_created",
        "cdc.retry (webhook_id, event, key, xid) where action operator(pg_catalog.<>) 'm'",
    ),
    Index("retry_list", "cdc.retry (webhook_id, xid, id)"),
    Index("dead_list", "cdc.dead (webhook_id, xid, id)"),
    *(
        index
        for name in steps.partitions()
        for index in (
            Index(
                f"{name}_at_new",
                f"cdc.{name} using brin (at) with (pages_per_range = 32, autosummarize)",
            ),
            Index(
                f"{name}_uid_idx",
                f"cdc.{name} using brin (uid pg_catalog.uuid_bloom_ops("
                "n_distinct_per_range = 3000, false_positive_rate = 0.001))"
                " with (pages_per_range = 64, autosummarize)",
            ),
            Index(
                f"{name}_at_idx1",
                f"cdc.{name} (at) where outcome"
                " operator(pg_catalog.=) any (array['expired', 'dropped'])",
            ),
            Index(
                f"{name}_webhook_id_xid_delivery_idx",
                f"cdc.{name} (webhook_id, xid, delivery)"
                " where outcome operator(pg_catalog.<>) 'failed'",
            ),
        )
    ),
)

_POLICY = """\
  if not exists (select from pg_policy
                  where polrelid = 'cdc.{0}'::regclass and polname = 'grants_decide') then
    create policy grants_decide on cdc.{0} using (true) with check (true);
  end if;
"""
# Numbers come from the write-ahead log, no longer from nextval(), which changes what lastval() says
# in the session of the suite's writer. Capture functions of 0001 take them, too: they leave the
# number to the default. All numbers given until now are below.
_NUMBERS = """\
  if to_regprocedure('cdc.new_id()') is null then
    create function cdc.new_id() returns bigint
    language sql volatile
    return (select last_value from cdc.queue_id)
         + (pg_logical_emit_message(false, 'cdc', '.') - '0/0'::pg_lsn)::bigint;
    revoke all on function cdc.new_id() from public;
    alter table cdc.queue alter id set default cdc.new_id(), replica identity full;
  end if;
"""
# What could not be resolved is resolved by the daemon, no longer by the writer at COMMIT.
_UNRESOLVED = """\
  if to_regprocedure('cdc.resolve_at_commit()') is not null then
    drop trigger resolve_at_commit on cdc.unresolved;
    drop function cdc.resolve_at_commit();
    drop index cdc.unresolved_new;
    alter table cdc.unresolved
      drop constraint unresolved_pkey, add primary key (id, xid),
      alter key type text collate "C",
      alter id set default cdc.new_id();
    create index unresolved_row on cdc.unresolved using hash (key) where tries < 10;
  end if;
"""

# What a payload has of a row's values. Those of 0001 neither write nor read it.
_INCLUDED = """\
  if not exists (select from pg_attribute
                  where attrelid = 'cdc.queue'::regclass and attname = 'included') then
    alter table cdc.queue add included json;
  end if;
"""
# Which actions, values and changed fields a registration wants. Capture of 0001 queues all.
_ACTIONS = """\
  if not exists (select from pg_attribute
                  where attrelid = 'cdc.subscription'::regclass and attname = 'actions') then
    alter table cdc.subscription
      add actions text check (actions ~ '^(?=.)c?m?d?$'),
      add filter jsonb check (jsonb_typeof(filter) = 'object'),
      add changed text[],
      add include text[] check (cardinality(include) > 0);
    create index subscription_changed on cdc.subscription (event)
      where changed is not null or include is not null;
  end if;
"""
# Before its index is built. The default is for daemons of 0001; it costs no rewriting of the table.
_TRANSACTION = """\
  if not exists (select from pg_attribute
                  where attrelid = 'cdc.attempt'::regclass and attname = 'xid') then
    alter table cdc.attempt add xid xid8 not null default '0';
  end if;
"""

APART = tuple(
    Apart(f"cdc.{table}", f"do $apart$\nbegin\n{more}{_POLICY.format(table)}end\n$apart$;")
    for table, more in (
        ("queue", _NUMBERS + _INCLUDED),
        ("unresolved", _UNRESOLVED),
        ("subscription", _ACTIONS),
        ("attempt", _TRANSACTION),
    )
)

LOCKS = {
    "cdc.attempt": "ACCESS EXCLUSIVE",
    "cdc.dead": "ACCESS EXCLUSIVE",
    "cdc.installation": "ACCESS EXCLUSIVE",
    "cdc.lane": "ACCESS EXCLUSIVE",
    "cdc.layout": "ACCESS EXCLUSIVE",
    "cdc.retry": "ACCESS EXCLUSIVE",
    "cdc.schema_version": "ACCESS EXCLUSIVE",
    "cdc.shard": "ACCESS EXCLUSIVE",
    "cdc.webhook": "ACCESS EXCLUSIVE",
    "cdc.webhook_secret": "ACCESS EXCLUSIVE",
    "cdc.subscription": "SHARE UPDATE EXCLUSIVE",
    "cdc.unresolved": "SHARE UPDATE EXCLUSIVE",
}


def upgrade() -> None:
    steps.run(__file__, before=[step.sql for step in APART])
