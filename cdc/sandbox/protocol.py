"""The protocol's shapes, written out by hand a second time: bodies are made and read.

What an account expects must not come from the code that it checks: neither the mapping nor the
translator is used here. Rule: the suite's webhook documentation (docs/protocol.md).
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import orjson

API = "https://interview-suite.com/api/v3/"
HEADERS = {"content-type": "application/json", "user-agent": "interview suite webhook"}

DATA = {
    "project_changed": ("project",),
    "candidate_changed": ("project", "candidate"),
    "answervideo_changed": ("project", "candidate", "question", "answervideo"),
    "rating_changed": ("project", "candidate", "rating"),
    "note_changed": ("project", "customer", "answervideo", "candidate", "note"),
}
"""Members of a payload's data after ``action``, in the protocol's order, by event."""

EVENTS = tuple(DATA)


class SuiteRow(NamedTuple):
    """A row of the suite. data: members of the payload's data after ``action``."""

    company: str
    event: str
    key: str
    data: dict[str, str | None]


def row(company: int, path: str, *others: str) -> SuiteRow:
    """A row by its path below its company, such as ``projects/17/candidates/19``.

    others: paths of what its payload names in addition to the path's own resources.
    """
    urls: dict[str, str] = {}
    for parts in (one.split("/") for one in (path, *others)):
        for end in range(2, len(parts) + 1, 2):
            url = f"{API}companies/{company}/{'/'.join(parts[:end])}/"
            urls.setdefault(parts[end - 2].removesuffix("s"), url)
    *_, table, key = path.split("/")
    event = f"{table.removesuffix('s')}_changed"
    return SuiteRow(str(company), event, key, {name: urls.get(name) for name in DATA[event]})


def body(endpoint: str, time: int, of: SuiteRow, action: str, status: str = "") -> bytes:
    """The exact bytes of a POST.

    time:   microseconds since the epoch.
    status: the value that the row was given, for a webhook that includes it.
    """
    at = datetime.fromtimestamp(0, UTC) + timedelta(microseconds=time)
    head = {"endpoint": endpoint, "time": at.isoformat(timespec="microseconds"), "event": of.event}
    included = {"changed": ["status"], "fields": {"status": status}} if status else {}
    return json.dumps({**head, "data": {"action": action, **of.data, **included}}).encode()


class Said(NamedTuple):
    """What a body says. time: microseconds since the epoch."""

    company: str
    event: str
    key: str
    action: str
    time: int


def said(body: bytes) -> Said:
    """Reads a body.

    Raises ValueError, LookupError, TypeError, AttributeError where it is of another form.
    """
    payload = orjson.loads(body)
    event, data = payload["event"], payload["data"]
    url = data[event.removesuffix("_changed")]
    return Said(
        company=url.partition("/companies/")[2].partition("/")[0],
        event=event,
        key=url.rsplit("/", 2)[1],
        action=data["action"],
        time=round(datetime.fromisoformat(payload["time"]).timestamp() * 1_000_000),
    )
