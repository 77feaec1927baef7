"""The protocol's shapes, written out by hand a second time.

What the demo expects must not come from the code that it checks: neither the mapping nor the
translator is used here. Rule: the suite's webhook documentation (docs/protocol.md).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

API = "https://interview-suite.com/api/v3/"

METHOD = "POST"
HEADERS = {"content-type": "application/json", "user-agent": "interview suite webhook"}
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00")

EVENTS = (
    "project_changed",
    "candidate_changed",
    "answervideo_changed",
    "rating_changed",
    "note_changed",
)


@dataclass(frozen=True, slots=True)
class SuiteRow:
    """A row of the suite.

    data: members of the payload's data after ``action``, in the protocol's order.
    """

    table: str
    company: int
    id: int
    url: str
    data: dict[str, str | None] = field(default_factory=dict)

    @property
    def event(self) -> str:
        return f"{self.table}_changed"


def _row(
    table: str, company: int, key: int, base: str, parents: Mapping[str, str | None] | None
) -> SuiteRow:
    """parents: what stands before the row's own address in data; None: changes are no event."""
    url = f"{base}{table}s/{key}/"
    data = {} if parents is None else {**parents, table: url}
    return SuiteRow(table, company, key, url, data)


def customer(company: int, key: int) -> SuiteRow:
    return _row("customer", company, key, f"{API}companies/{company}/", None)


def project(company: int, key: int) -> SuiteRow:
    return _row("project", company, key, f"{API}companies/{company}/", {})


def question(of: SuiteRow, key: int) -> SuiteRow:
    return _row("question", of.company, key, of.url, None)


def candidate(of: SuiteRow, key: int) -> SuiteRow:
    return _row("candidate", of.company, key, of.url, of.data)


def answervideo(of: SuiteRow, asked: SuiteRow, key: int) -> SuiteRow:
    return _row("answervideo", of.company, key, of.url, {**of.data, "question": asked.url})


def rating(of: SuiteRow, key: int) -> SuiteRow:
    return _row("rating", of.company, key, of.url, of.data)


def note(of: SuiteRow, author: SuiteRow, key: int, video: SuiteRow | None = None) -> SuiteRow:
    """A note on a candidate, or on one of its answer videos."""
    parents = {
        "project": of.data["project"],
        "customer": author.url,
        "answervideo": None if video is None else video.url,
        "candidate": of.url,
    }
    return _row("note", of.company, key, of.url, parents)


def body(endpoint: str, time: str, row: SuiteRow, action: str) -> bytes:
    """The exact bytes of a POST."""
    data = {"action": action, **row.data}
    return json.dumps(
        {"endpoint": endpoint, "time": time, "event": row.event, "data": data}
    ).encode()
