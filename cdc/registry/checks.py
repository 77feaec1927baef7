"""What a registration must look like. Pure: what other registrations say is checked in store.py."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from difflib import get_close_matches

from cdc.errors import UsageError
from cdc.registry.model import HIDDEN, NewWebhook, Rules, in_order
from cdc.sign import check_headers, parse_secret, split_endpoint

MAX_COMPANY = 200
MAX_TEXT = 1000
CAP = (1, 1000)
MOST_RATE = 1_000_000.0


def checked(new: NewWebhook, rules: Rules) -> NewWebhook:
    """The registration in its stored form. Raises UsageError or Refused, naming what is wrong."""
    company(new.company)
    endpoint = checked_endpoint(new.endpoint, rules)
    text("description", new.description)
    text("reason", new.reason)
    cap(new.cap)
    if new.rate is not None:
        rate(new.rate)
    headers(new.headers, endpoint)
    for secret in new.secrets:
        parse_secret(secret.secret)
    return replace(new, endpoint=endpoint, events=checked_events(new.events, rules))


def company(value: str) -> None:
    """A company is named by its key, as text."""
    if not value or value != value.strip() or not value.isprintable() or len(value) > MAX_COMPANY:
        raise UsageError(
            f"{value!r} cannot be a company", "Name it by its key in the suite, as in --company 17."
        )


def checked_events(events: Sequence[str], rules: Rules) -> tuple[str, ...]:
    """Events that the mapping has, each once, in its order."""
    if not events:
        raise UsageError("no event is named", f"The mapping has: {', '.join(rules.events)}.")
    for event in events:
        if event not in rules.events:
            close = get_close_matches(event, rules.events, 1)
            raise UsageError(
                f"there is no event '{event}'",
                f"Did you mean {close[0]}?"
                if close
                else f"The mapping has: {', '.join(rules.events)}.",
            )
    return in_order(events, rules.events)


def checked_endpoint(endpoint: str, rules: Rules) -> str:
    """An endpoint that may be called, its scheme in lower case."""
    rules.guard.check_url(endpoint)
    if HIDDEN in (split_endpoint(endpoint)[1] or ()):
        raise UsageError(f"the endpoint's user and password are hidden ({HIDDEN})", "Write them.")
    scheme, _, rest = endpoint.partition("://")
    return f"{scheme.lower()}://{rest}"


def headers(given: dict[str, str], endpoint: str) -> None:
    check_headers(given, endpoint)
    for name, value in given.items():
        if value == HIDDEN:
            raise UsageError(f"the value of the header {name} is hidden ({HIDDEN})", "Write it.")


def cap(value: int | None) -> None:
    if value is not None and not CAP[0] <= value <= CAP[1]:
        raise UsageError(f"a cap of {value} is not possible", f"It is {CAP[0]} to {CAP[1]}.")


def rate(value: float) -> None:
    if not math.isfinite(value) or not 0 < value <= MOST_RATE:
        raise UsageError(
            f"a rate of {value:g} is not possible",
            f"It is a number of requests per second, above 0, up to {MOST_RATE:,.0f}.",
        )


def text(what: str, value: str) -> None:
    if len(value) > MAX_TEXT or "\0" in value:
        raise UsageError(f"the {what} is too long", f"At most {MAX_TEXT} characters are kept.")
