"""Times in the zone of the reader, with its name.

The browser's own zone comes in a cookie that live.js sets, or the page zone.html; without, it is
the installation's (CDC_SERVE_ZONE). Sentences are made with times in UTC, as in the log; they are
shown in the zone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import cache, lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from markupsafe import Markup, escape

COOKIE = "cdc_zone"
KEPT_S = 365 * 86_400
_WHOLE = "%Y-%m-%d %H:%M:%S %Z"
_NAME = re.compile(r"[A-Za-z0-9_+-]{1,30}(?:/[A-Za-z0-9_+-]{1,30}){0,2}")
_AREAS = ("Africa", "America", "Antarctica", "Arctic", "Asia", "Atlantic", "Australia", "Europe",
          "Indian", "Pacific")  # fmt: skip
_WHEN = re.compile(r"\b([0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}Z)")
"""As wording.when() writes it."""

_reader: ContextVar[ZoneInfo] = ContextVar("_reader")


@contextmanager
def reading_in(zone: ZoneInfo) -> Iterator[None]:
    """What is shown within is for a reader there."""
    before = _reader.set(zone)
    try:
        yield
    finally:
        _reader.reset(before)


def reader() -> ZoneInfo:
    return _reader.get()


@lru_cache(512)
def zone_of(given: str, otherwise: str) -> ZoneInfo:
    """Of a cookie; one that this host does not know is left out."""
    if _NAME.fullmatch(given):
        try:
            return ZoneInfo(given)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            pass
    return ZoneInfo(otherwise)


@cache
def zones() -> tuple[str, ...]:
    """Those that can be chosen: by area and place, and UTC."""
    known = available_timezones()
    return ("UTC", *sorted(name for name in known if name.partition("/")[0] in _AREAS))


def moment(time: datetime | None) -> Markup | str:
    """With the name of its zone."""
    return "" if time is None else _shown(time, _WHOLE)


def clock(time: datetime) -> Markup:
    """The time of day, short."""
    return _shown(time, "%H:%M")


def in_text(text: str, *, short: bool = False) -> Markup:
    """A text, escaped, whose times are in the reader's zone. short: to the minute, and without the
    day if it is today."""
    return Markup("").join(
        _spoken(part, short) if number % 2 else escape(part)
        for number, part in enumerate(_WHEN.split(text))
    )


def _spoken(text: str, short: bool) -> Markup:
    try:
        time = datetime.strptime(text, "%Y-%m-%d %H:%M:%SZ").replace(tzinfo=UTC)
        if not short:
            return _shown(time, _WHOLE)
        today = time.astimezone(reader()).date() == datetime.now(reader()).date()
        return _shown(time, "%H:%M" if today else "%Y-%m-%d %H:%M")
    except (ValueError, OverflowError):  # a text of another's that looks like one
        return escape(text)


def _shown(time: datetime, form: str) -> Markup:
    local = time.astimezone(reader())
    return Markup('<time datetime="{}">{}</time>').format(
        time.astimezone(UTC).isoformat(timespec="seconds"), local.strftime(form)
    )
