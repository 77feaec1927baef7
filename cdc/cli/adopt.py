"""`cdc adopt`: this database is the real one."""

from __future__ import annotations

import typer

from cdc.cli.common import AsJson, Yes, confirm, connect, load_settings, print_json, say
from cdc.wording import counted

_HERE = """
select c.system_identifier, d.oid::bigint
  from pg_control_system() c, pg_database d where d.datname = current_database()
"""


# Numbers of the queue count from here (sql/schema/50_queue.sql): the log of this server may be
# behind the rows that came with the database. What is higher than half of all numbers was made up,
# by code of the owner of a table of the suite: it must not use up the numbers there are.
_RAISE = """
select setval('cdc.queue_id', highest - position)
  from (select max(n.id) as highest
          from (select id from cdc.queue union all select id from cdc.retry
                union all select id from cdc.dead union all select id from cdc.unresolved
                union all select delivery from cdc.attempt) n
         where n.id < 4611686018427387904) found,
       (select (pg_current_wal_insert_lsn() - '0/0')::bigint as position) log
 where highest > position + (select last_value from cdc.queue_id)
"""


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("adopt")(adopt)


def adopt(ctx: typer.Context, yes: Yes = False, as_json: AsJson = False) -> None:
    """Declare this database the real one, not a copy.

    A copy of a production database (a restored dump, a template copy) must not POST to real
    customers, so daemons refuse to run in any other database than the one that schema cdc was
    installed in. After this command they run here.
    """
    from cdc.postgres.connections import explained
    from cdc.webhooks import audit
    from cdc.webhooks.audit import Actor

    with explained(), connect(load_settings(ctx)) as conn:
        here = conn.execute(_HERE).fetchone()
        known = conn.execute(
            "select system_identifier, database_oid::bigint from cdc.installation"
        ).fetchone()
        row = conn.execute("select count(*) from cdc.webhook where state = 'active'").fetchone()
        assert here is not None
        assert known is not None
        active = row[0] if row else 0
        changed = here != known
        if changed:
            confirm(
                f"{counted(active, 'active webhook')} will be called from here. Continue?", yes=yes
            )
            names = ("system_identifier", "database_oid")
            before, after = (
                {n: str(v) for n, v in zip(names, x, strict=True)} for x in (known, here)
            )
            with conn.transaction():
                conn.execute(_RAISE)
                conn.execute(
                    "update cdc.installation set system_identifier = %s, database_oid = %s", here
                )
                audit.write(conn, Actor.here(), "installation.adopt", before, after)
    if as_json:
        # As text: an identifier of 64 bits does not fit into the numbers of every JSON reader.
        print_json({"changed": changed, "system_identifier": str(here[0]), "database_oid": here[1]})
    elif changed:
        say(
            "This database is the real one from now on; it has "
            f"{counted(active, 'active webhook')}."
        )
    else:
        say("Nothing to do: this is the database that schema cdc was installed in.")
