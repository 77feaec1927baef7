"""What the generated functions do where they read what others may have changed or locked. Pure."""

from __future__ import annotations

from cdc.capture.sql_text import lines

READ_LOCK_MS = 10
"""How long a statement of the suite waits for a lock on what capture reads; then, late capture."""

READ_DONE = "CDC00"
"""Raised at the end of each read, and caught: that releases its locks. Of a class that PostgreSQL
leaves to applications."""


def unfiltered(*tables: str) -> str:
    """Raises where a policy of others hides or refuses rows of these tables of ours."""
    return "\n".join(
        f"if row_security_active('cdc.{table}'::regclass) then\n"
        f"  perform cdc.unfiltered('cdc.{table}');\n"
        f"end if;"
        for table in tables
    )


def limited(*tables: str) -> str:
    """The same, and from here on READ_LOCK_MS. In one expression: each is prepared again in each
    transaction."""
    active = [f"row_security_active('cdc.{table}'::regclass)" for table in tables]
    checks = [f"cdc.unfiltered('cdc.{table}')" for table in tables]
    return f"""\
if set_config('lock_timeout', '{READ_LOCK_MS}ms', true) is null
   or {lines(active, " or", 6)} then
  perform {lines(checks, ",", 10)};
end if;"""


def reserve(of: str) -> str:
    """The last of as many numbers for the queue as ``of`` says; cdc.new_id() for many."""
    message = f"pg_logical_emit_message(false, 'cdc', repeat('.', ({of})::int))"
    return f"base + ({message} - '0/0'::pg_lsn)::bigint"
