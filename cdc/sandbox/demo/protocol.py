"""The protocol's shapes, written out by hand a second time.

What the demo expects must not come from the code that it checks: neither the mapping nor the
translator is used here. Rule: the suite's webhook documentation (docs/protocol.md).
"""

from __future__ import annotations

import json
import re
from typing import NamedTuple

API = "https://interview-suite.com/api/v3/"

METHOD = "POST"
HEADERS = {"content-type": "application/json", "user-agent": "interview suite webhook"}
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00")

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


def body(endpoint: str, time: str, of: SuiteRow, action: str) -> bytes:
    """The exact bytes of a POST."""
    payload = {"endpoint": endpoint, "time": time, "event": of.event}
    return json.dumps({**payload, "data": {"action": action, **of.data}}).encode()
