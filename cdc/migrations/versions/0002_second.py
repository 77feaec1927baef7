"""The second release: capture as a role of its own, replays, and what a lane waits for.

Daemons of the first release go on with this schema while they run.
"""

from cdc.migrations import steps
from cdc.migrations.steps import Apart, Index

revision = "0002"
down_revision = "0001"

ONLINE = (
    Index(
        "retry_created",
        "cdc.retry (webhook_id, event, key, xid) where action operator(pg_catalog.=) 'c'",
    ),
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
                f"cdc.{name} using brin (uid pg_catalog.uuid_bloom_ops) with (autosummarize)",
            ),
            Index(
                f"{name}_at_idx1",
                f"cdc.{name} (at) where outcome"
                " operator(pg_catalog.=) any (array['expired', 'dropped'])",
            ),
        )
    ),
)

APART = tuple(
    Apart(
        f"cdc.{table}",
        f"""\
do $apart$
begin
  if not exists (select from pg_policy
                  where polrelid = 'cdc.{table}'::regclass and polname = 'grants_decide') then
{identity}    create policy grants_decide on cdc.{table} using (true) with check (true);
  end if;
end
$apart$;""",
    )
    for table, identity in (
        ("queue", "    alter table cdc.queue replica identity full;\n"),
        ("subscription", ""),
        ("unresolved", ""),
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
    steps.run(__file__)
