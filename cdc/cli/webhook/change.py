"""`cdc webhook add` and `update`."""

from __future__ import annotations

from typing import Annotated

import typer

from cdc.cli.common import AsJson, company_key, print_facts, print_json, say
from cdc.cli.webhook import base
from cdc.cli.webhook.base import (
    WebhookId,
    open_registry,
    warn_of_companies,
    warn_of_endpoints,
    warn_of_profiles,
)
from cdc.errors import UsageError


def add(
    ctx: typer.Context,
    url: Annotated[str, base.Url],
    company: Annotated[str | None, typer.Option(help=base.COMPANY_HELP)] = None,
    event: Annotated[list[str] | None, base.Event] = None,
    system: Annotated[
        bool,
        typer.Option("--system", help="Send notices about all webhooks, not a company's events."),
    ] = False,
    action: Annotated[list[str] | None, base.Action] = None,
    filter_: Annotated[list[str] | None, base.Filter] = None,
    changed_only: Annotated[bool, base.ChangedOnly] = False,
    when: Annotated[list[str] | None, base.When] = None,
    include: Annotated[list[str] | None, base.Include] = None,
    secret: Annotated[str | None, base.Secret] = None,
    signature: Annotated[str | None, base.Signature] = None,
    cap: Annotated[int | None, base.Cap] = None,
    rate: Annotated[
        float | None, typer.Option(help="Requests per second; no limit if left out.")
    ] = None,
    header: Annotated[list[str] | None, base.Header] = None,
    tls_profile: Annotated[str | None, base.TlsProfile] = None,
    description: Annotated[str, typer.Option(help="Free text, for people.")] = "",
    as_json: AsJson = False,
) -> None:
    """Register a webhook; prints its number and its secret, which is shown only now.

    With --signature v1a it prints a public key instead, which need not be kept secret.

    It receives the changes of every transaction that begins from now on.
    """
    from cdc.message.signing_keys import Scheme
    from cdc.model import NOTICE_EVENT, SYSTEM
    from cdc.webhooks.model import NewWebhook, Secret

    if system:
        if company is not None or event or action or filter_ or include:
            raise UsageError(
                "--system contradicts --company, --event, --action, --filter and --include",
                "A webhook of the system gets the notices about all others.",
            )
    elif lacking := [
        option
        for option, given in (("--company", company is not None), ("--event", event))
        if not given
    ]:
        raise UsageError(
            f"{' and '.join(lacking)} {'are' if len(lacking) > 1 else 'is'} missing",
            "Give --company and --event, or --system. `cdc events` lists the events.",
        )
    endpoint = base.line_of(url) or ""
    own = base.line_of(secret)
    scheme = base.scheme_of(signature, own) or Scheme.V1
    registry, settings, mapping = open_registry(ctx)
    owner = SYSTEM if system else company_key(settings, company) or ""
    new = NewWebhook(
        company=owner,
        events=(NOTICE_EVENT,) if system else tuple(event or ()),
        endpoint=endpoint,
        description=description,
        cap=cap,
        rate=rate,
        headers=base.headers_of(header or ()),
        secrets=() if own is None else (Secret(own),),
        scheme=scheme,
        tls_profile=tls_profile,
        actions=tuple(action or ()),
        filter=base.filter_of(filter_ or ()),
        changed=base.changed_of(changed_only, when or ()),
        include=tuple(include or ()),
    )
    with registry:
        warn_of_companies(settings, mapping, [owner])
        added = registry.add(new)
    warn_of_endpoints(registry.rules, [added.webhook.endpoint])
    warn_of_profiles(settings, [tls_profile])
    if as_json:
        print_json({**added.webhook.shown(), **base.secret_fields(added.secret)})
        return
    print_facts({"id": added.webhook.id, **base.told_to_people(added.secret)})
    what = (
        "secret to verify signatures; it is not shown again"
        if scheme is Scheme.V1
        else "public key to verify signatures"
    )
    say(f"The receiver needs the {what}. Try it out: `cdc webhook test {added.webhook.id}`.")


def update(
    ctx: typer.Context,
    webhook_id: WebhookId,
    event: Annotated[
        list[str] | None,
        typer.Option(metavar="EVENT", help="Replace all its events by this one. Repeatable."),
    ] = None,
    add_event: Annotated[
        list[str] | None, typer.Option(metavar="EVENT", help="Add an event. Repeatable.")
    ] = None,
    remove_event: Annotated[
        list[str] | None, typer.Option(metavar="EVENT", help="Remove an event. Repeatable.")
    ] = None,
    action: Annotated[
        list[str] | None,
        typer.Option(
            metavar="created|modified|deleted",
            help="Send only these kinds of changes from now on. Repeatable.",
        ),
    ] = None,
    filter_: Annotated[
        list[str] | None,
        typer.Option(
            "--filter", metavar="FIELD=VALUE,...", help="Replace its filters by this. Repeatable."
        ),
    ] = None,
    no_filter: Annotated[bool, typer.Option("--no-filter", help="Remove its filters.")] = False,
    changed_only: Annotated[bool, base.ChangedOnly] = False,
    when: Annotated[list[str] | None, base.When] = None,
    any_update: Annotated[
        bool, typer.Option("--any-update", help="Send every update, whatever it changed.")
    ] = False,
    include: Annotated[
        list[str] | None,
        typer.Option(metavar="FIELD", help="Send the values of these fields only. Repeatable."),
    ] = None,
    no_include: Annotated[
        bool, typer.Option("--no-include", help="Send no values any more.")
    ] = False,
    url: Annotated[str | None, base.Url] = None,
    cap: Annotated[int | None, base.Cap] = None,
    rate: Annotated[
        float | None, typer.Option(help="Requests per second; 0 removes the limit.")
    ] = None,
    header: Annotated[
        list[str] | None,
        typer.Option(
            metavar="'NAME: VALUE'",
            help="Replace all its headers by this one; - reads it from stdin. Repeatable.",
        ),
    ] = None,
    no_headers: Annotated[bool, typer.Option("--no-headers", help="Remove its headers.")] = False,
    tls_profile: Annotated[str | None, base.TlsProfile] = None,
    no_tls_profile: Annotated[
        bool, typer.Option("--no-tls-profile", help="Use the certificates for all webhooks again.")
    ] = False,
    description: Annotated[str | None, typer.Option(help="Free text, for people.")] = None,
    as_json: AsJson = False,
) -> None:
    """Change a webhook; prints the old and the new values.

    Deliveries that are being retried keep their body, and go to a new endpoint at once.
    """
    from cdc.webhooks.model import Changes

    if event and (add_event or remove_event):
        raise UsageError(
            "--event names all events: it contradicts --add-event and --remove-event",
            "Use --event alone, or the others.",
        )
    if filter_ and no_filter:
        raise UsageError("--filter and --no-filter contradict each other")
    asked = base.changed_of(changed_only, when or ())
    if any_update and asked is not None:
        given = "--when" if when else "--changed-only"
        raise UsageError(f"--any-update and {given} contradict each other")
    if include and no_include:
        raise UsageError("--include and --no-include contradict each other")
    if header and no_headers:
        raise UsageError("--header and --no-headers contradict each other")
    if tls_profile is not None and no_tls_profile:
        raise UsageError("--tls-profile and --no-tls-profile contradict each other")
    if tls_profile == "":
        raise UsageError("invalid TLS profile '': expected a name", "--no-tls-profile removes it.")
    endpoint = base.line_of(url)
    headers = {} if no_headers else base.headers_of(header) if header else None
    changes = Changes(
        events=tuple(event) if event else None,
        added=tuple(add_event or ()),
        dropped=tuple(remove_event or ()),
        endpoint=endpoint,
        description=description,
        cap=cap,
        rate=rate,
        headers=headers,
        tls_profile="" if no_tls_profile else tls_profile,
        actions=tuple(action) if action else None,
        filter={} if no_filter else base.filter_of(filter_) if filter_ else None,
        changed="any" if any_update else asked,
        include=() if no_include else tuple(include) if include else None,
    )
    if changes == Changes():
        raise UsageError("no changes given", "`cdc webhook update --help` lists options.")
    registry, settings, _ = open_registry(ctx)
    with registry:
        before = registry.get(webhook_id).shown()
        changed = registry.update(webhook_id, changes)
    if url is not None:
        warn_of_endpoints(registry.rules, [changed.endpoint])
    warn_of_profiles(settings, [tls_profile])
    after = changed.shown()
    differ = {name: before[name] for name in after if before[name] != after[name]}
    differ.pop("version", None)
    if as_json:
        print_json({**after, "before": differ})
        return
    say(f"Changed {base.headline(changed)}." if differ else f"{base.headline(changed)}: as before.")
    for name, old in differ.items():
        words = base.changed_in_words if name == "changed" else _in_words
        say(f"  {name}: {words(old)} -> {words(after[name])}")


def _in_words(value: object) -> str:
    if isinstance(value, (list, dict)):
        return ", ".join(value) or "none"
    return "none" if value is None or value == "" else str(value)
