"""`cdc key`: keys of the API."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from cdc.cli.common import (
    AsJson,
    duration,
    load_settings,
    print_facts,
    print_json,
    print_table,
    say,
)
from cdc.errors import UsageError

if TYPE_CHECKING:
    import sqlalchemy as sa


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    keys = typer.Typer(no_args_is_help=True, help="Keys of the API.")
    keys.command("create")(create)
    keys.command("list")(list_)
    keys.command("revoke")(revoke)
    app.add_typer(keys, name="key")


@contextmanager
def transaction(ctx: typer.Context) -> Iterator[sa.Connection]:
    """One, in the database of the settings. Raises DatabaseError."""
    import sqlalchemy as sa

    from cdc.postgres import connections

    engine = connections.engine(load_settings(ctx).database_url)
    with connections.explained():
        try:
            with engine.begin() as conn:
                yield conn
        except sa.exc.DBAPIError as error:
            raise error.orig or error from None


def create(
    ctx: typer.Context,
    scope: Annotated[
        str,
        typer.Option(
            metavar="SCOPE",
            help="admin, operator, read, or of one company or webhook: company:7, webhook:5.",
        ),
    ],
    expires: Annotated[
        str | None, typer.Option(help="How long it is valid: 24h, 90d. If left out: until revoked.")
    ] = None,
    description: Annotated[str, typer.Option(help="For people.")] = "",
    as_json: AsJson = False,
) -> None:
    """Make a key, which is shown only now.

    It is sent as `Authorization: Bearer`. docs/api.md says what each scope may do.
    """
    from cdc.web import keys
    from cdc.webhooks.audit import Actor

    wanted = keys.Scope.parse(scope)
    length = None if expires is None else duration(expires)
    if length == timedelta():
        raise UsageError(f"invalid --expires {expires!r}: expected at least 1s")
    with transaction(ctx) as conn:
        row, key = keys.create(conn, Actor.here(), wanted, description=description, expires=length)
    if as_json:
        print_json({"id": row["id"], "key": key, "scope": scope, "expires_at": row["expires_at"]})
        return
    print_facts({"id": row["id"], "key": key, "scope": scope, "expires": row["expires_at"]})
    say("The key is not shown again.")


def list_(ctx: typer.Context, as_json: AsJson = False) -> None:
    """List keys, without the keys themselves; revoked and expired ones, too."""
    from cdc.web import keys

    with transaction(ctx) as conn:
        found = keys.listed(conn)
    if as_json:
        print_json(found)
        return
    names = ["id", "scope", "description", "expires_at", "revoked_at", "last_used_at"]
    print_table(
        [name.removesuffix("_at") for name in names],
        [[row[name] for name in names] for row in found],
    )


def revoke(
    ctx: typer.Context,
    key_id: Annotated[str, typer.Argument(metavar="ID", help="Id of the key: 12 letters.")],
    as_json: AsJson = False,
) -> None:
    """End a key for good, at once."""
    from cdc.web import keys
    from cdc.webhooks.audit import Actor

    with transaction(ctx) as conn:
        row = keys.revoke(conn, Actor.here(), key_id)
    if as_json:
        print_json({"id": row["id"], "revoked_at": row["revoked_at"]})
    else:
        say(f"Revoked key {row['id']} (scope {row['scope']}).")
