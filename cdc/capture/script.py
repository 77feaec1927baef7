"""``sql/triggers.sql``: capture for a mapping as one script, made without a database.

The same statements as `cdc triggers install` runs, in the form a DBA reads and runs with psql.
"""

from __future__ import annotations

from cdc.capture import render
from cdc.capture.backfill import tables_granted
from cdc.capture.install import script
from cdc.capture.plan import TRIGGER_LOCK, Step, grant_named, unless_old_daemons
from cdc.mapping import Mapping

HEADER = """\
-- Capture for the mapping {name}: what makes the suite's changes reach cdc.queue.
--
--   psql -X -v ON_ERROR_STOP=1 -f triggers.sql "$CDC_DATABASE_URL"
--
-- After schema cdc (`cdc migrate`, or install.sql). Rendered by `cdc triggers sql`, not by hand.
-- Needs: the owner of the suite's tables, member of cdc_owner and cdc_capture.
-- Where the account does not own schema public, PostgreSQL warns: no privileges were granted.
-- That is harmless: every role may use this schema, unless its owner has changed that.
-- Locks: SHARE ROW EXCLUSIVE on one table of the suite at a time, for a moment; its writers wait,
-- readers do not. Where it is busy for longer than lock_timeout, the script stops and is run again.
--
-- `cdc triggers install` does the same and more: it checks the mapping first, skips what is there,
-- tries again where a table is locked, and puts triggers on partitions (unknown to this script).
\\set ON_ERROR_STOP on
"""


def offline(mapping: Mapping, name: str = "interview_suite.toml") -> str:
    """The script for a database without capture; ``name`` of the mapping is for its heading."""
    return HEADER.format(name=name) + "\n" + "\n".join(script(steps(mapping), mapping)) + "\n"


def steps(mapping: Mapping) -> list[Step]:
    """What an installation runs where nothing is installed and no table has partitions."""
    made = unless_old_daemons(mapping)
    made.append(Step(render.layouts(mapping), "layouts of queue rows", role="cdc_owner"))
    for table, columns in tables_granted(mapping).items():
        sql = render.grant(table, columns)
        made.append(Step(sql, grant_named(table, columns), table=table))
    for resource in mapping.captured:
        for function in render.functions(mapping, resource):
            sql = f"{function.sql}\n{function.rights}"
            made.append(Step(sql, f"function {function.signature}", role=render.RUNS_AS))
    for function in [*(f for _, f in render.keepers(mapping).values()), *render.naming(mapping)]:
        sql = f"{function.sql}\n{function.rights}"
        made.append(Step(sql, f"function {function.signature}", role=render.RUNS_AS))
    for name, (table, _) in render.keepers(mapping).items():
        sql = render.keeping_trigger(name, table)
        made.append(Step(sql, f"{render.GONE} on {table}", TRIGGER_LOCK, table))
    for resource in mapping.captured:
        for trigger in render.triggers(resource):
            sql = render.trigger(trigger, resource.table, resource)
            why = f"{trigger} on {resource.table}"
            made.append(Step(sql, why, TRIGGER_LOCK, resource.table))
    return made
