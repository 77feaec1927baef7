"""The protocol's shapes, written out by hand a second time.

What the demo expects must not come from the code that it judges: neither the mapping nor the
translator is used here. Rule: the suite's webhook documentation (ARCHITECTURE.md, "The protocol").
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, Protocol

API = "https://interview-suite.com/api/v3/"

METHOD = "POST"
HEADERS = {"content-type": "application/json", "user-agent": "interview suite webhook"}

EVENTS = (
    "project_changed",
    "candidate_changed",
    "answervideo_changed",
    "rating_changed",
    "note_changed",
)


class DemoRow(Protocol):
    """A row of the suite whose changes are events."""

    event: ClassVar[str]

    @property
    def company(self) -> int: ...

    @property
    def url(self) -> str: ...

    @property
    def data(self) -> dict[str, str | None]:
        """Members of the payload's data after ``action``, in the protocol's order."""
        ...


@dataclass(frozen=True, slots=True)
class Customer:
    company: int
    id: int

    @property
    def url(self) -> str:
        return f"{API}companies/{self.company}/customers/{self.id}/"


@dataclass(frozen=True, slots=True)
class Project:
    event: ClassVar[str] = "project_changed"
    company: int
    id: int

    @property
    def url(self) -> str:
        return f"{API}companies/{self.company}/projects/{self.id}/"

    @property
    def data(self) -> dict[str, str | None]:
        return {"project": self.url}


@dataclass(frozen=True, slots=True)
class Question:
    project: Project
    id: int

    @property
    def url(self) -> str:
        return f"{self.project.url}questions/{self.id}/"


@dataclass(frozen=True, slots=True)
class Candidate:
    event: ClassVar[str] = "candidate_changed"
    project: Project
    id: int

    @property
    def company(self) -> int:
        return self.project.company

    @property
    def url(self) -> str:
        return f"{self.project.url}candidates/{self.id}/"

    @property
    def data(self) -> dict[str, str | None]:
        return {"project": self.project.url, "candidate": self.url}


@dataclass(frozen=True, slots=True)
class AnswerVideo:
    event: ClassVar[str] = "answervideo_changed"
    candidate: Candidate
    question: Question
    id: int

    @property
    def company(self) -> int:
        return self.candidate.company

    @property
    def url(self) -> str:
        return f"{self.candidate.url}answervideos/{self.id}/"

    @property
    def data(self) -> dict[str, str | None]:
        return {
            "project": self.candidate.project.url,
            "candidate": self.candidate.url,
            "question": self.question.url,
            "answervideo": self.url,
        }


@dataclass(frozen=True, slots=True)
class Rating:
    event: ClassVar[str] = "rating_changed"
    candidate: Candidate
    customer: Customer
    id: int

    @property
    def company(self) -> int:
        return self.candidate.company

    @property
    def url(self) -> str:
        return f"{self.candidate.url}ratings/{self.id}/"

    @property
    def data(self) -> dict[str, str | None]:
        return {
            "project": self.candidate.project.url,
            "candidate": self.candidate.url,
            "rating": self.url,
        }


@dataclass(frozen=True, slots=True)
class Note:
    """A note on an answer video, or (answervideo None) on a candidate."""

    event: ClassVar[str] = "note_changed"
    customer: Customer
    answervideo: AnswerVideo | None
    candidate: Candidate
    id: int

    @property
    def company(self) -> int:
        return self.candidate.company

    @property
    def url(self) -> str:
        return f"{self.candidate.url}notes/{self.id}/"

    @property
    def data(self) -> dict[str, str | None]:
        return {
            "project": self.candidate.project.url,
            "customer": self.customer.url,
            "answervideo": None if self.answervideo is None else self.answervideo.url,
            "candidate": self.candidate.url,
            "note": self.url,
        }


def body(
    endpoint: str, time: str, event: str, action: str, data: Mapping[str, str | None]
) -> bytes:
    """The exact bytes of a POST. time: as the protocol writes it, see ``split``."""
    payload = {
        "endpoint": endpoint,
        "time": time,
        "event": event,
        "data": {"action": action, **data},
    }
    return json.dumps(payload).encode()


# The only member that nobody can know beforehand.
_TIME = re.compile(
    rb'(\{"endpoint": "(?:[^"\\]|\\.)*", "time": ")'
    rb'(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00)(", .*)',
    re.DOTALL,
)


def split(received: bytes) -> tuple[bytes, datetime] | None:
    """A body without its time, and the time; None where there is none in the protocol's form."""
    found = _TIME.fullmatch(received)
    if found is None:
        return None
    try:
        time = datetime.fromisoformat(found[2].decode())
    except ValueError:
        return None
    return found[1] + found[3], time
