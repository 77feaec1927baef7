"""`cdc contact`: addresses to which a company's notices are mailed."""

from __future__ import annotations

from typing import Annotated

import typer

from cdc.cli.common import (
    AsJson,
    company_key,
    load_settings,
    print_facts,
    print_json,
    print_table,
    say,
)
from cdc.cli.key import transaction


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    contacts = typer.Typer(
        no_args_is_help=True, help="Contacts: addresses that get a company's notices by mail."
    )
    contacts.command("add")(add)
    contacts.command("list")(list_)
    contacts.command("confirm")(confirm)
    contacts.command("remove")(remove)
    app.add_typer(contacts, name="contact")


def add(
    ctx: typer.Context,
    company: Annotated[str, typer.Option(help="The company's key in the suite, or its name.")],
    email: Annotated[str, typer.Option(help="The address.")],
    as_json: AsJson = False,
) -> None:
    """Add an address. It gets notices once it is confirmed by the mailed link or code.

    Daemons send mail where CDC_SMTP_URL is set.
    """
    from cdc.webhooks import contacts
    from cdc.webhooks.audit import Actor

    settings = load_settings(ctx)
    owner = company_key(settings, company) or ""
    with transaction(ctx) as conn:
        row, _ = contacts.add(conn, Actor.here(), owner, email)
    if as_json:
        print_json(row)
        return
    print_facts({"id": row["id"], "company": row["company"], "email": row["email"]})
    say("A daemon asks it by mail to confirm the address, within a minute.")


def list_(
    ctx: typer.Context,
    company: Annotated[str | None, typer.Option(help="Only those of this company.")] = None,
    as_json: AsJson = False,
) -> None:
    """List contacts, confirmed or not."""
    from cdc.webhooks import contacts

    owner = company_key(load_settings(ctx), company)
    with transaction(ctx) as conn:
        found = contacts.listed(conn, owner)
    if as_json:
        print_json(found)
        return
    names = ["id", "company", "email", "invited_at", "confirmed_at", "last_error"]
    print_table(
        ["id", "company", "email", "asked", "confirmed", "problem"],
        [[row[name] for name in names] for row in found],
        right="id",
    )


def confirm(
    ctx: typer.Context,
    code: Annotated[str, typer.Argument(metavar="CODE", help="From the mail to the address.")],
    as_json: AsJson = False,
) -> None:
    """Confirm an address by the code that was mailed to it."""
    from cdc.webhooks import contacts
    from cdc.webhooks.audit import Actor

    with transaction(ctx) as conn:
        row = contacts.confirm(conn, Actor.here(), code)
    if as_json:
        print_json(row)
    else:
        say(f"Confirmed {row['email']}: it gets the notices of company {row['company']}.")


def remove(
    ctx: typer.Context,
    contact_id: Annotated[int, typer.Argument(metavar="ID", help="Number of the contact.")],
    as_json: AsJson = False,
) -> None:
    """Remove an address; no more mail is sent to it."""
    from cdc.webhooks import contacts
    from cdc.webhooks.audit import Actor

    with transaction(ctx) as conn:
        row = contacts.remove(conn, Actor.here(), contact_id)
    if as_json:
        print_json(row)
    else:
        say(f"Removed {row['email']} of company {row['company']}.")
