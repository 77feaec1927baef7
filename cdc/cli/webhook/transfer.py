"""`cdc webhook export` and `import`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from cdc.cli.common import AsJson, print_json, print_table, say, warn
from cdc.cli.webhook import base
from cdc.cli.webhook.base import (
    open_registry,
    warn_of_companies,
    warn_of_endpoints,
    warn_of_profiles,
)
from cdc.errors import CdcError, UsageError
from cdc.wording import counted


def export(
    ctx: typer.Context,
    secrets: Annotated[
        bool, typer.Option("--secrets", help="Include signing secrets, passwords and headers.")
    ] = False,
    output: Annotated[
        Path | None, typer.Option(metavar="FILE", help="File to write, readable by you only.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write all webhooks as JSON, to stdout or into a file; removed ones are left out.

    Without --secrets an import makes new secrets, which the receivers then need.
    """
    import orjson

    from cdc.message.signing_keys import Scheme
    from cdc.webhooks import transfer

    registry, _, _ = open_registry(ctx)
    with registry:
        if secrets:
            data = transfer.dump(registry.with_secrets())
        else:
            found = registry.find()
            schemes = registry.schemes()
            data = transfer.dump([(one, schemes.get(one.id, Scheme.V1)) for one in found])
            if unknown := [one.id for one in found if one.id not in schemes]:
                warn(
                    "how they sign cannot be read, so an import makes them sign v1: webhooks "
                    f"{', '.join(map(str, unknown))}; CDC_SECRET_KEYS opens their secrets."
                )
            if hidden := transfer.hidden(found):
                warn(
                    "passwords and values of headers are hidden (***) in webhooks "
                    f"{', '.join(map(str, hidden))}; write them before an import, or use --secrets."
                )
    if output is None:
        print_json(data)
        return
    _write_private(output, orjson.dumps(data, option=orjson.OPT_INDENT_2) + b"\n")
    if as_json:
        print_json({"file": output, "webhooks": len(data["webhooks"])})
    else:
        say(f"{counted(len(data['webhooks']), 'webhook')} written to {output}.")


def import_(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(help="A file from `cdc webhook export`; - is stdin.")],
    as_json: AsJson = False,
) -> None:
    """Register all webhooks of a file or, if one of them is refused, none.

    Prints their new numbers, and the secrets of those that came without one.
    """
    from cdc.webhooks import transfer

    news = transfer.parse(_read(file), str(file))
    registry, settings, mapping = open_registry(ctx)
    with registry:
        companies = dict.fromkeys(new.company for new in news)
        warn_of_companies(settings, mapping, companies)
        added = registry.add_all(news)
    warn_of_endpoints(registry.rules, [one.webhook.endpoint for one in added])
    warn_of_profiles(settings, [one.webhook.tls_profile for one in added])
    if as_json:
        print_json(
            [
                {
                    **one.webhook.shown(),
                    **(base.secret_fields(one.secret) if one.generated else {"secret": None}),
                }
                for one in added
            ]
        )
        return
    if not added:
        say("The file has no webhooks.")
        return
    print_table(
        ["id", "company", "endpoint", "new secret"],
        [
            (
                one.webhook.id,
                one.webhook.company,
                one.webhook.shown()["endpoint"],
                one.secret if one.generated else "",
            )
            for one in added
        ],
        right="id",
    )
    made = sum(one.generated for one in added)
    say(
        f"{counted(len(added), 'webhook')} registered."
        + (f" {counted(made, 'new secret')}, not shown again." if made else "")
    )


def _read(file: Path) -> bytes:
    try:
        return sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}") from None


def _write_private(path: Path, data: bytes) -> None:
    try:
        # A new file: an existing one might be readable by others.
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
    except OSError as error:
        raise CdcError(
            f"{path} cannot be written: {error.strerror}", "Name a file that does not exist yet."
        ) from None
