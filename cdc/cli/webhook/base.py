"""What the commands on webhooks share."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cdc.cli import common
from cdc.errors import CdcError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from cdc.mapping import Mapping
    from cdc.message.signing_keys import Scheme
    from cdc.settings import Settings
    from cdc.webhooks.model import Registration, Rules
    from cdc.webhooks.registry import Registry

COMPANY_HELP = (
    "The company's key in the suite; or its name, where the mapping has a column of names."
)
WebhookId = Annotated[int, typer.Argument(metavar="ID", help="Number of the webhook.")]
Event = typer.Option("--event", metavar="EVENT", help="Event to send. Repeatable.")
Action = typer.Option(
    "--action",
    metavar="created|modified|deleted",
    help="Send only these kinds of changes. Repeatable; created and modified if left out. deleted "
    "exists for events whose mapping declares it.",
)
Filter = typer.Option(
    "--filter",
    metavar="FIELD=VALUE,...",
    help="Send only changes after which this field has one of these values. Repeatable: all must "
    "match. `cdc events` lists the fields.",
)
ChangedOnly = typer.Option(
    "--changed-only", help="Send an update only if it changed the row. Inserts are always sent."
)
When = typer.Option(
    "--when",
    metavar="FIELD",
    help="Send an update only if it changed this field. Repeatable: one of them is enough. "
    "Inserts are always sent. `cdc events` lists the fields.",
)
Include = typer.Option(
    "--include",
    metavar="FIELD",
    help="Send the value of this field, and whether it was changed. Repeatable. "
    "`cdc events` lists the fields.",
)
Url = typer.Option(
    help="Endpoint to POST to; - reads it from stdin, which hides a password from process lists."
)
Header = typer.Option(
    "--header",
    metavar="'NAME: VALUE'",
    help="Header to send; - reads it from stdin. Repeatable.",
)
Cap = typer.Option(help="Requests in flight at once, at most; CDC_MAX_CONCURRENCY if left out.")
Secret = typer.Option(
    metavar="whsec_...",
    help="A secret of your own, or a private key (whsk_...); - reads it from stdin. If left out, "
    "one is made.",
)
Signature = typer.Option(
    metavar="v1|v1a",
    help="How to sign: v1 with a shared secret, v1a with a key pair (ed25519), of which the "
    "receiver only knows the public key.",
)
TlsProfile = typer.Option(
    metavar="NAME",
    help="Which certificates to trust and to present: a folder of CDC_TLS_PROFILES. If left out: "
    "those for all webhooks.",
)
Reason = Annotated[str, typer.Option(help="A note, shown with the webhook.")]

_AT_ONCE = 32  # names looked up at the same time

STATE_STYLE = {
    "active": common.GOOD,
    "paused": common.SO_SO,
    "suspended": common.BAD,
    "removed": common.FAINT,
}


def open_registry(ctx: typer.Context) -> tuple[Registry, Settings, Mapping]:
    """The registry as the settings have it."""
    from cdc.webhooks.model import Rules
    from cdc.webhooks.registry import Registry

    settings = common.load_settings(ctx)
    mapping = common.load_mapping(settings)
    return Registry(settings.database_url, Rules.of(settings, mapping)), settings, mapping


def headers_of(given: Sequence[str]) -> dict[str, str]:
    """``Name: value`` texts as headers, or for each ``-`` a line of stdin. Raises UsageError,
    without repeating a value."""
    headers: dict[str, str] = {}
    for text in (line_of(one) or "" for one in given):
        name, colon, value = text.partition(":")
        if not colon:
            raise UsageError("a header without a colon", "Write --header 'X-Api-Key: value'.")
        if name.lower() in (known.lower() for known in headers):
            raise UsageError(f"the header {name} is given twice", "Leave one of them out.")
        headers[name] = value.strip()
    return headers


def filter_of(given: Sequence[str]) -> dict[str, list[str]]:
    """``field=value,value`` texts. Raises UsageError."""
    found: dict[str, list[str]] = {}
    for text in given:
        name, equals, values = text.partition("=")
        if not equals or not name:
            raise UsageError(f"invalid filter '{text}'", "Write --filter status=new,invited.")
        if name in found:
            raise UsageError(
                f"field '{name}' is given twice",
                f"Write --filter {name}={found[name][0]},{values}.",
            )
        found[name] = values.split(",")
    return found


def changed_of(changed_only: bool, when: Sequence[str]) -> tuple[str, ...] | None:
    """What an update must have changed; None: nothing was said. Raises UsageError."""
    if changed_only and when:
        raise UsageError(
            "--changed-only and --when contradict each other",
            f"--when {when[0]} sends updates that have changed {when[0]}; --changed-only all that "
            "have changed anything.",
        )
    return tuple(when) if changed_only or when else None


def changed_in_words(changed: Sequence[str] | None) -> str:
    """Of which updates a webhook gets."""
    if changed is None:
        return "all updates"
    return f"updates if {' or '.join(changed) if changed else 'the row'} changed"


def line_of(given: str | None) -> str | None:
    """A text as given, or a line of stdin, where no list of processes shows it. Several are read in
    this order: URL, secret, headers."""
    return sys.stdin.readline().strip() if given == "-" else given


def scheme_of(signature: str | None, secret: str | None) -> Scheme | None:
    """The way of signing that is asked for; None: not said. Raises UsageError."""
    from cdc.message import signing_keys

    if signature is None:
        return None if secret is None else signing_keys.scheme_of(secret)
    if signature not in list(signing_keys.Scheme):
        raise UsageError(f"invalid signature '{signature}': expected v1 or v1a")
    if secret is not None and signing_keys.scheme_of(secret) != signature:
        raise UsageError(
            f"the secret does not fit signature {signature}",
            "v1 takes whsec_..., v1a takes whsk_...",
        )
    return signing_keys.Scheme(signature)


def secret_fields(secret: str) -> dict[str, str | None]:
    """A new secret, for JSON. Of a key pair only the public part: the other is not needed."""
    from cdc.message import signing_keys

    scheme = signing_keys.scheme_of(secret)
    if scheme is signing_keys.Scheme.V1A:
        return {
            "signature": str(scheme),
            "secret": None,
            "public_key": signing_keys.public_key(secret),
        }
    return {"signature": str(scheme), "secret": secret}


def told_to_people(secret: str) -> dict[str, object]:
    shown = secret_fields(secret)
    return {"secret": shown["secret"], "public key": shown.get("public_key")}


def warn_of_companies(settings: Settings, mapping: Mapping, companies: Iterable[str]) -> None:
    """Says so when the suite has no such company, as far as it can be seen.

    Raises UsageError for one that no company can be.
    """
    from cdc.webhooks import company

    for doubt in company.doubts(settings.database_url, mapping, companies):
        common.warn(f"{doubt}; the webhook gets its changes once it exists.")


def names_of(settings: Settings, mapping: Mapping, companies: Iterable[str]) -> dict[str, str]:
    """Names of companies by their keys, as far as the mapping and this account have them."""
    from cdc.webhooks import company

    return company.names(settings.database_url, mapping, companies)


def warn_of_endpoints(rules: Rules, endpoints: Iterable[str]) -> None:
    """Says what the address guard would refuse if the endpoints were called now."""
    import asyncio

    for note in asyncio.run(_previews(rules, endpoints)):
        common.warn(note)


def warn_of_profiles(settings: Settings, profiles: Iterable[str | None]) -> None:
    """Says which TLS profiles could not be used, were the daemon to run here."""
    from cdc.deliver.trust import Trust

    trust = Trust.of(settings)
    for profile in dict.fromkeys(filter(None, profiles)):
        try:
            trust.context(profile)
        except CdcError as error:
            common.warn(f"{error.message}. It must exist on the daemons' hosts.")


async def _previews(rules: Rules, endpoints: Iterable[str]) -> list[str]:
    import asyncio

    from cdc.deliver.url import parse

    gate = asyncio.Semaphore(_AT_ONCE)

    async def one(endpoint: str) -> list[str]:
        async with gate:
            try:
                found = await rules.guard.preview(endpoint)
            except CdcError as error:
                return [error.message]
            host = parse(endpoint)
            if host.scheme == "https" and "_" in host.host:
                found.append(
                    f"{host.host} holds an underscore: a wildcard certificate is not valid for it, "
                    "only one for exactly this name"
                )
            return found

    found = await asyncio.gather(*map(one, dict.fromkeys(endpoints)))
    return list(dict.fromkeys(note for notes in found for note in notes))


def state(value: object) -> Any:
    return common.styled(value, STATE_STYLE.get(str(value), ""))


def headline(webhook: Registration) -> str:
    shown = webhook.shown()
    return f"webhook {webhook.id} (company {webhook.company}, {shown['endpoint']})"
