"""Times, durations, counts and foreign texts as people read them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any


def when(time: datetime) -> str:
    """A time as all screens show it, and the log: in UTC."""
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M:%S}Z"


def age(seconds: float | None) -> str:
    """Seconds in the form in which people compare them."""
    if seconds is None:
        return ""
    if seconds < 1:
        return f"{max(seconds, 0) * 1000:.0f} ms"
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h" if seconds < 172_800 else f"{seconds / 86400:.0f} days"


def counted(number: int, one: str, many: str = "") -> str:
    """``1 webhook``, ``2 webhooks``."""
    return f"{number} {one if number == 1 else many or one + 's'}"


def one_line(text: str, most: int = 100) -> str:
    shown = " ".join(text.split())
    return shown if len(shown) <= most else shown[: most - 3] + "..."


def bracketed(host: str) -> str:
    """A host as an address has it: of IPv6 in brackets."""
    return f"[{host}]" if ":" in host else host


def printable(text: str, *, lines: bool = False) -> str:
    """A text that came from elsewhere: it must not steer the terminal. lines: keep its breaks."""
    return "".join(c if c.isprintable() or (lines and c == "\n") else " " for c in text)


_A_TIME = "ISO 8601 with an offset, e.g. 2026-01-31T10:00:00Z"
_EXPECTED = {
    "string_type": "a text",
    "string_too_short": "{min_length} or more characters",
    "string_too_long": "at most {max_length} characters",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "int_parsing_size": "a smaller number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a number",
    "greater_than": "more than {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "list_type": "a list",
    "dict_type": "names with values",
    "model_type": "names with values",
    "model_attributes_type": "names with values",
    "too_short": "{min_length} or more entries",
    "too_long": "at most {max_length} entries",
    "literal_error": "{expected}",
    "uuid_type": "a UUID",
    "uuid_parsing": "a UUID",
    "datetime_type": _A_TIME,
    "datetime_parsing": _A_TIME,
    "datetime_from_date_parsing": _A_TIME,
    "datetime_object_invalid": _A_TIME,
    "timezone_aware": _A_TIME,
}


def expected(error: Mapping[str, Any]) -> str:
    """What is wrong with a value, of an error of pydantic's: its own words speak of Python."""
    kind, context = error["type"], error.get("ctx", {})
    if kind == "value_error":
        return str(context["error"])  # a check of ours
    if kind in _EXPECTED:
        return f"expected {_EXPECTED[kind].format(**context)}"
    own = {"missing": "is missing", "extra_forbidden": "unknown name"}
    return own.get(kind, str(error["msg"]))
