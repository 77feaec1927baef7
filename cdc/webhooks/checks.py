"""What a registration must look like, alone and among the others of its company. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from typing import Any

from cdc.deliver.trust import check_name
from cdc.deliver.url import check_encoding
from cdc.errors import CdcError, UsageError
from cdc.message.signing import check_headers, split_endpoint
from cdc.message.signing_keys import parse_secret
from cdc.model import ACTIONS, NOTICE_EVENT, SYSTEM, USUAL_ACTIONS
from cdc.webhooks.model import (
    HIDDEN,
    Changes,
    Duplicate,
    LimitReached,
    NewWebhook,
    Registration,
    Rules,
    Secret,
    Wanted,
    in_order,
    same_place,
)
from cdc.webhooks.vault import sealed

Filter = Mapping[str, Sequence[str]]

MAX_COMPANY = 200
MAX_TEXT = 1000
CAP = (1, 1000)
LEAST_RATE, MOST_RATE = 0.001, 1_000_000.0
MOST_FILTERED, MOST_VALUES = 10, 50
MOST_SECRETS = 5
"""Secrets valid at once: each adds a signature to every request."""


def checked(new: NewWebhook, rules: Rules) -> NewWebhook:
    """The registration in its stored form. Raises UsageError or Refused, naming what is wrong."""
    system = new.company == SYSTEM and NOTICE_EVENT in new.events
    if not system:
        company(new.company)
    endpoint = checked_endpoint(new.endpoint, rules)
    if sealed(new.endpoint) or any(map(sealed, new.headers.values())):
        raise UsageError("an encrypted value cannot be registered", "Give the plain text.")
    text("description", new.description)
    text("reason", new.reason)
    check_ref(new.ref)
    cap(new.cap)
    if new.rate is not None:
        rate(new.rate)
    headers(new.headers, endpoint)
    if new.tls_profile is not None:
        check_name(new.tls_profile)
    for secret in new.secrets:
        parse_secret(secret.secret)
    events = _only_notices(new.events) if system else checked_events(new.events, rules)
    wanted = checked_wanted(new, events, rules)
    return replace(new, endpoint=endpoint, events=events, **wanted.parts())


def _only_notices(events: Sequence[str]) -> tuple[str, ...]:
    if tuple(events) != (NOTICE_EVENT,):
        raise UsageError(
            f"invalid events of a webhook of the system: {', '.join(events)}",
            f"It gets {NOTICE_EVENT} and nothing else.",
        )
    return (NOTICE_EVENT,)


def company(value: str) -> None:
    """A company is named by its key, as text."""
    if not value or value != value.strip() or not value.isprintable() or len(value) > MAX_COMPANY:
        raise UsageError(f"invalid company {value!r}: expected its key in the suite, such as 17")


def checked_events(events: Sequence[str], rules: Rules) -> tuple[str, ...]:
    """Events that the mapping has, each once, in its order."""
    if not events:
        raise UsageError("no event given", f"The mapping has: {', '.join(rules.events)}.")
    for event in events:
        known_event(event, rules.events)
    return in_order(events, rules.events)


def known_event(event: str, known: Sequence[str]) -> None:
    """Raises UsageError for an event that is not among the known ones."""
    if event not in known:
        close = get_close_matches(event, known, 1)
        raise UsageError(
            f"unknown event '{event}'",
            f"Did you mean {close[0]}?" if close else f"The mapping has: {', '.join(known)}.",
        )


def checked_wanted(given: Wanted, events: Sequence[str], rules: Rules) -> Wanted:
    """What of these events may be asked for. Raises UsageError."""
    actions = checked_actions(given.actions, events, rules)
    checked_filter(given.filter, events, rules)
    return Wanted(
        actions=actions,
        filter=given.filter,
        changed=checked_changed(given.changed, events, rules),
        include=checked_include(given.include, events, rules),
    )


def changed_wanted(
    old: Registration, changes: Changes, events: Sequence[str], rules: Rules
) -> Wanted:
    """What a webhook wants of its events after a change. Raises UsageError."""
    changed = None if changes.changed == "any" else changes.changed
    given = Wanted(
        actions=changes.actions or old.actions,
        filter=old.filter if changes.filter is None else changes.filter,
        changed=old.changed if changes.changed is None else changed,
        include=old.include if changes.include is None else changes.include,
    )
    return checked_wanted(given, events, rules)


def checked_actions(actions: Sequence[str], events: Sequence[str], rules: Rules) -> tuple[str, ...]:
    """What may be done to a row, each once, in their order; none given: created and modified.
    Deleted rows need a mapping that declares them, for each of the events."""
    for action in actions:
        if action not in ACTIONS:
            raise UsageError(f"unknown action '{action}': expected one of {', '.join(ACTIONS)}")
    lacking = [event for event in events if event not in rules.deleted]
    if "deleted" in actions and lacking:
        raise UsageError(
            f"event {lacking[0]} has no action 'deleted'",
            f"The mapping declares it for {', '.join(rules.deleted)}."
            if rules.deleted
            else "The mapping declares it for no event (`deleted = true`).",
        )
    return in_order(actions or USUAL_ACTIONS, ACTIONS)


def checked_filter(given: Filter, events: Sequence[str], rules: Rules) -> None:
    """Fields that the mapping declares for each of the events, and some values of each."""
    if len(given) > MOST_FILTERED:
        raise UsageError(f"{len(given)} fields to filter by: expected at most {MOST_FILTERED}")
    for name, wanted in given.items():
        for event in events:
            _known_field(name, event, rules)
        if not wanted or len(wanted) > MOST_VALUES:
            raise UsageError(
                f"{len(wanted)} values for field '{name}': expected 1 to {MOST_VALUES}"
            )
        for value in wanted:
            text(f"value for field '{name}'", value)


def checked_changed(
    given: Sequence[str] | None, events: Sequence[str], rules: Rules
) -> tuple[str, ...] | None:
    """Fields that the mapping declares for each of the events, each once."""
    if given is None:
        return None
    for event in events:
        for name in given:
            _known_field(name, event, rules)
        if event not in rules.fields:
            raise UsageError(
                f"what an update of {event} changes is not known: the mapping has no `fields` "
                "for it",
                "Write `fields = []` there, or the fields' names, and run `cdc triggers install`.",
            )
    return tuple(dict.fromkeys(given))


def checked_include(given: Sequence[str], events: Sequence[str], rules: Rules) -> tuple[str, ...]:
    """Fields that the mapping declares for each of the events, each once."""
    for event in events:
        for name in given:
            _known_field(name, event, rules)
    return tuple(dict.fromkeys(given))


def _known_field(name: str, event: str, rules: Rules) -> None:
    known = rules.fields.get(event, ())
    if name not in known:
        raise UsageError(
            f"event {event} has no field '{name}'",
            f"Its fields: {', '.join(known)}."
            if known
            else f"The mapping declares none for it. Write `fields = [{json.dumps(name)}]` there, "
            "and run `cdc triggers install`.",
        )


def changed_events(old: Registration, changes: Changes, rules: Rules) -> tuple[str, ...]:
    """A webhook's events after a change. Raises UsageError."""
    if old.company == SYSTEM:
        wanted = (*(changes.events or ()), *changes.added, *changes.dropped)
        if wanted or changes.actions or changes.filter or changes.include:
            raise UsageError(
                f"webhook {old.id} is of the system: it gets {NOTICE_EVENT} and nothing else",
                "`cdc webhook add --company` registers one that gets changes.",
            )
    if changes.events is not None:
        return checked_events(changes.events, rules)
    if not (changes.added or changes.dropped):
        return old.events
    has = f"It has: {', '.join(in_order(old.events, rules.events))}."
    for event in changes.dropped:
        if event not in old.events:
            raise UsageError(f"webhook {old.id} has no event '{event}'", has)
    added = checked_events(changes.added, rules) if changes.added else ()
    left = [event for event in (*old.events, *added) if event not in changes.dropped]
    if not left:
        raise UsageError(
            f"webhook {old.id} would have no event left",
            f"`cdc webhook pause {old.id}` stops it for a while, `cdc webhook remove {old.id}` "
            "for good.",
        )
    return in_order(left, rules.events)


def checked_endpoint(endpoint: str, rules: Rules) -> str:
    """An endpoint that may be called, its scheme in lower case."""
    rules.guard.check_url(endpoint)
    check_encoding(endpoint)
    if HIDDEN in (split_endpoint(endpoint)[1] or ()):
        raise UsageError(f"the endpoint's user and password are hidden ({HIDDEN})", "Give them.")
    scheme, _, rest = endpoint.partition("://")
    return f"{scheme.lower()}://{rest}"


def headers(given: dict[str, str], endpoint: str) -> None:
    check_headers(given, endpoint)
    for name, value in given.items():
        if value == HIDDEN:
            raise UsageError(f"the value of the header {name} is hidden ({HIDDEN})", "Give it.")


def cap(value: int | None) -> None:
    if value is not None and not CAP[0] <= value <= CAP[1]:
        raise UsageError(f"invalid cap {value}: expected {CAP[0]} to {CAP[1]}")


def rate(value: float) -> None:
    if not LEAST_RATE <= value <= MOST_RATE:
        raise UsageError(
            f"invalid rate {value:g}: expected requests per second, from {LEAST_RATE:g} to "
            f"{MOST_RATE:,.0f}"
        )


def text(what: str, value: str) -> None:
    if len(value) > MAX_TEXT or "\0" in value:
        raise UsageError(f"the {what} is too long: expected {MAX_TEXT} characters at most")


def check_ref(value: str | None) -> None:
    """A caller's own id of a webhook."""
    if value is not None and (not value.isprintable() or not 0 < len(value) <= MAX_COMPANY):
        raise UsageError(
            f"invalid ref: {value!r}", f"Expected 1 to {MAX_COMPANY} printable characters."
        )


def within_capacity(others: Sequence[Registration], new: NewWebhook, rules: Rules) -> None:
    """Refuses a duplicate of the company's others, and one too many.

    Raises Duplicate, LimitReached.
    """
    for other in others:
        twice = sorted(set(other.events) & set(new.events))
        if twice and same_place(other.endpoint, new.endpoint):
            raise Duplicate(
                f"webhook {other.id} of company {new.company} has this endpoint for "
                f"{', '.join(twice)} already",
                f"`cdc webhook update {other.id}` changes it, `cdc webhook remove {other.id}` "
                "makes room for a new one.",
            )
        if new.ref and other.ref == new.ref:
            raise Duplicate(
                f"webhook {other.id} of company {new.company} has the ref {new.ref!r} already",
                "Give another ref, or change that webhook.",
            )
    if len(others) >= rules.per_company:
        raise LimitReached(
            f"company {new.company} has {len(others)} webhooks already",
            "Remove one, or raise CDC_WEBHOOKS_PER_COMPANY.",
        )
    for event in new.events:
        count = sum(event in other.events for other in others)
        if count >= rules.per_event:
            raise LimitReached(
                f"company {new.company} has {count} webhooks on {event} already",
                "Remove one, or raise CDC_WEBHOOKS_PER_EVENT.",
            )


def values(old: Registration, changes: Changes, rules: Rules) -> dict[str, Any]:
    """What a change writes into the row. Raises UsageError or Refused."""
    written: dict[str, Any] = {}
    if changes.endpoint is not None:
        if sealed(changes.endpoint):
            raise UsageError("an encrypted value cannot be registered", "Give the plain text.")
        written["endpoint"] = rules.vault.seal_endpoint(checked_endpoint(changes.endpoint, rules))
    if changes.headers is not None:
        headers(changes.headers, changes.endpoint or old.endpoint)
        written["headers"] = rules.vault.seal_headers(changes.headers)
    elif changes.endpoint is not None:
        # Their values were checked before; may they go with this endpoint?
        check_headers(dict.fromkeys(old.headers, ""), changes.endpoint)
    if changes.description is not None:
        text("description", changes.description)
        written["description"] = changes.description
    if changes.cap is not None:
        cap(changes.cap)
        written["max_concurrency"] = changes.cap
    if changes.rate is not None:
        if changes.rate:
            rate(changes.rate)
        written["rate_limit"] = changes.rate or None
    if changes.tls_profile is not None:
        if changes.tls_profile:
            check_name(changes.tls_profile)
        written["tls_profile"] = changes.tls_profile or None
    if changes.ref is not None:
        check_ref(changes.ref or None)
        written["ref"] = changes.ref or None
    return written


def may_rotate(secrets: Sequence[Secret], valid: int, webhook_id: int, made: str) -> None:
    """Refuses a secret that is in use already, as far as they were read, and one too many."""
    if any(secret.secret == made for secret in secrets):
        raise UsageError("this secret is in use for the webhook already", "Give another one.")
    if valid >= MOST_SECRETS:
        raise CdcError(
            f"webhook {webhook_id} has {valid} valid secrets already",
            "Wait for the old ones to end, or end them at once with --grace 0.",
        )
