"""`cdc webhook`: registrations.

show.py      list, show
change.py    add, update
hold.py      pause, resume, remove
secrets.py   rotate-secret, reencrypt-secrets
trial.py     test
transfer.py  export, import
"""

from __future__ import annotations

import typer

from cdc.cli.webhook import change, hold, secrets, show, transfer, trial


def register(app: typer.Typer) -> None:
    """Adds the group."""
    group = typer.Typer(
        no_args_is_help=True,
        help="Webhooks: register, change, pause, test, remove.\n\nA webhook belongs to a company, "
        "and has an endpoint, one or more events and a secret of its own. Changes of it take "
        "effect at once.",
    )
    group.command("add")(change.add)
    group.command("list")(show.list_)
    group.command("show")(show.show)
    group.command("update")(change.update)
    group.command("pause")(hold.pause)
    group.command("resume")(hold.resume)
    group.command("remove")(hold.remove)
    group.command("rotate-secret")(secrets.rotate_secret)
    group.command("reencrypt-secrets")(secrets.reencrypt_secrets)
    group.command("test")(trial.send_test)
    group.command("export")(transfer.export)
    group.command("import")(transfer.import_)
    app.add_typer(group, name="webhook")
