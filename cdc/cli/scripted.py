"""What the commands have in common that change capture: a connection, or a script for psql."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cdc.cli import common
from cdc.cli.common import print_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cdc.capture.plan import Step
    from cdc.postgres.connections import Connection
    from cdc.settings import Settings

AsSql = Annotated[
    bool, typer.Option("--sql", help="Print the SQL as a script for psql, and run nothing.")
]


def print_script(steps: Sequence[Step], *, as_json: bool) -> None:
    from cdc.capture.install import script as as_script

    print_sql("\n".join(as_script(steps, None)), as_json=as_json)


def print_sql(text: str, *, as_json: bool) -> None:
    if as_json:
        print_json({"sql": text})
    elif text:
        typer.echo(text)


def changing(settings: Settings) -> Connection:
    """A connection to change things with. Raises DatabaseError unless schema cdc is up to date, and
    the account has the rights of its owners."""
    from cdc.capture.rights import refuse_unless_owner
    from cdc.diagnosis.capture_state import refuse_unless_migrated

    conn = common.connect(settings)
    try:
        refuse_unless_owner(conn)
        refuse_unless_migrated(conn)
    except BaseException:
        conn.close()
        raise
    return conn
