"""Has PostgreSQL plan what the capture functions would read, with hardly any rights.

Planning runs code of a table's owner: an index's predicate calls functions of theirs, with the
rights of who asks. SET ROLE would be no protection, since that code could take it back; in a
function that runs as its owner it cannot. All of it is rolled back.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from psycopg import errors as pg

from cdc.capture import trusted_owners
from cdc.capture.catalog import Connection
from cdc.capture.parent_lookup import OPTIONS
from cdc.capture.render import RUNS_AS, SCHEMA, grant
from cdc.mapping import Table
from cdc.postgres import event_triggers

_OWNER = "cdc_owner"
_FUNCTION = f"""
set local role {_OWNER};
grant usage, create on schema {SCHEMA} to {RUNS_AS};
set local role {RUNS_AS};
create function {SCHEMA}.explained(query text) returns json language plpgsql security definer
{" ".join(f"set {option}" for option in OPTIONS)}
as $$
declare
  plan json;
begin
  execute 'explain (format json, verbose, costs off) ' || query into plan;
  return plan;
end
$$;
reset role;
"""


def explained(
    conn: Connection, query: str, reads: Mapping[Table, tuple[str, ...]]
) -> dict[str, Any]:
    """The query's plan as the capture functions would get it; empty where this account neither acts
    for the tables' owners nor may install. psycopg's errors about the query pass through.

    reads: columns of the suite's tables that it names.
    """
    with conn.transaction(force_rollback=True):
        if trusted_owners.owners_trusted(conn, list(reads)):
            for option in OPTIONS:
                conn.execute(f"set local {option}".encode())
            asked = f"explain (format json, verbose, costs off) {query}"
            row = conn.execute(asked.encode()).fetchone()
        else:
            try:
                with event_triggers.named(conn), conn.transaction():
                    conn.execute(_FUNCTION.encode())
                for table, columns in reads.items():
                    conn.execute(grant(table, columns).encode())
                conn.execute(f"set local role {_OWNER}".encode())
            except pg.InsufficientPrivilege:
                return {}
            # The last statement before the end: that code may have left anything behind.
            row = conn.execute(f"select {SCHEMA}.explained(%s)".encode(), [query]).fetchone()
    plan: dict[str, Any] = row[0][0]["Plan"] if row else {}
    return plan
