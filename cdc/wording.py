"""Times, durations, counts and foreign texts as people read them. Pure."""

from __future__ import annotations

from datetime import UTC, datetime


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
