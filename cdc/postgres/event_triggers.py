"""Event triggers: functions of others that run at our DDL, and may refuse it or fail.

They run as the role that owns what is made (cdc_owner), unless they are SECURITY DEFINER, and with
our search path.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import psycopg

from cdc.errors import DatabaseError

Connection = psycopg.Connection[Any]


@dataclass(frozen=True, slots=True)
class EventTrigger:
    """name, function: as they are written in SQL. plain: the function without its schema, as errors
    name it where the schema is on the search path. owner: of the trigger."""

    name: str
    event: str
    function: str
    plain: str
    owner: str

    def __str__(self) -> str:
        return (
            f"event trigger {self.name} ({self.event}, function {self.function}, "
            f"owner {self.owner})"
        )


# Of what migrate, install, remove and uninstall run.
TAGS = (
    *("CREATE SCHEMA", "CREATE TABLE", "CREATE INDEX", "CREATE SEQUENCE", "CREATE TYPE"),
    *("CREATE FUNCTION", "CREATE TRIGGER", "CREATE POLICY", "ALTER TABLE", "ALTER INDEX"),
    *("ALTER FUNCTION", "ALTER POLICY", "GRANT", "REVOKE", "COMMENT"),
    *("DROP SCHEMA", "DROP TABLE", "DROP INDEX", "DROP FUNCTION", "DROP TRIGGER"),
)


def found(conn: Connection) -> list[EventTrigger]:
    """Those that run at DDL of ours."""
    rows = conn.execute(
        """
        select quote_ident(e.evtname), e.evtevent::text,
               -- With its schema, since ours is the only one on the search path.
               f.oid::regprocedure::text, quote_ident(f.proname) || '()',
               e.evtowner::regrole::text
          from pg_event_trigger e
          join pg_proc f on f.oid = e.evtfoid
         where e.evtenabled in ('O', 'A')
           and e.evtevent in ('ddl_command_start', 'ddl_command_end', 'sql_drop', 'table_rewrite')
           and (e.evttags is null or e.evttags && %s)
         order by e.evtname
        """,
        [list(TAGS)],
    )
    return [EventTrigger(*row) for row in rows.fetchall()]


@contextmanager
def named(conn: Connection) -> Iterator[None]:
    """Of an error that came from the function of an event trigger, says from which one.

    conn: is asked after the error, outside of any transaction that it has ended.
    """
    try:
        yield
    except Exception as error:
        original = getattr(error, "orig", None) or error  # SQLAlchemy wraps the driver's errors
        if not isinstance(original, psycopg.Error) or not (context := original.diag.context):
            raise
        with suppress(psycopg.Error):
            # The words around it are translated, the function's name is not.
            there = found(conn)
            named = [one for one in there if one.function in context]
            for one in named or [one for one in there if f" {one.plain} " in f"{context} "]:
                raise DatabaseError(
                    f"{one} refuses this: {original.diag.message_primary}", advice(one)
                ) from None
        raise


def advice(one: EventTrigger) -> str:
    """What to do where it stands in the way."""
    return (
        f"It runs at DDL. Let its owner or a superuser switch it off for as long as this takes: "
        f"alter event trigger {one.name} disable; afterwards: alter event trigger {one.name} "
        "enable. If its function only logs DDL, make it SECURITY DEFINER with "
        "a search_path of its own: it runs as the role that makes our tables, which has no right "
        "on tables of others."
    )
