"""The shapes that the demo expects are the protocol's, literally; and who is owed them."""

from __future__ import annotations

from datetime import UTC, datetime

from cdc.sandbox.demo import protocol
from cdc.sandbox.demo.ledger import Change, Ledger, Statement
from cdc.sandbox.demo.protocol import (
    AnswerVideo,
    Candidate,
    Customer,
    DemoRow,
    Note,
    Project,
    Question,
    Rating,
)
from tests.demo.made import ALL, OTHER, RATINGS, START

PROJECT = Project(1, 17)
CANDIDATE = Candidate(PROJECT, 19)
VIDEO = AnswerVideo(CANDIDATE, Question(Project(1, 15), 123), 7)
API = "https://interview-suite.com/api/v3/companies/1/"


def test_the_documented_example() -> None:
    made = protocol.body(
        "https://abc.com/project",
        "2015-03-16T15:32:34.174752+00:00",
        "project_changed",
        "modified",
        PROJECT.data,
    )
    assert made == (
        b'{"endpoint": "https://abc.com/project", "time": "2015-03-16T15:32:34.174752+00:00", '
        b'"event": "project_changed", "data": {"action": "modified", '
        b'"project": "https://interview-suite.com/api/v3/companies/1/projects/17/"}}'
    )


def test_every_event() -> None:
    candidate = f"{API}projects/17/candidates/19/"
    rows: dict[DemoRow, dict[str, str | None]] = {
        CANDIDATE: {"project": f"{API}projects/17/", "candidate": candidate},
        VIDEO: {
            "project": f"{API}projects/17/",
            "candidate": candidate,
            "question": f"{API}projects/15/questions/123/",
            "answervideo": f"{candidate}answervideos/7/",
        },
        Rating(CANDIDATE, Customer(1, 1), 9): {
            "project": f"{API}projects/17/",
            "candidate": candidate,
            "rating": f"{candidate}ratings/9/",
        },
        Note(Customer(1, 1), VIDEO, CANDIDATE, 4): {
            "project": f"{API}projects/17/",
            "customer": f"{API}customers/1/",
            "answervideo": f"{candidate}answervideos/7/",
            "candidate": candidate,
            "note": f"{candidate}notes/4/",
        },
        Note(Customer(1, 1), None, CANDIDATE, 5): {
            "project": f"{API}projects/17/",
            "customer": f"{API}customers/1/",
            "answervideo": None,
            "candidate": candidate,
            "note": f"{candidate}notes/5/",
        },
    }
    for row, data in rows.items():
        assert list(row.data.items()) == list(data.items())
        assert row.event in protocol.EVENTS


def test_splitting_off_the_time() -> None:
    time = "2015-03-16T15:32:34.174752+00:00"
    body = protocol.body('http://x/"time": "', time, "project_changed", "created", PROJECT.data)
    assert protocol.split(body) == (
        body.replace(time.encode(), b""),
        datetime(2015, 3, 16, 15, 32, 34, 174752, tzinfo=UTC),
    )
    assert protocol.split(b"{}") is None


def test_who_is_owed_what() -> None:
    ledger = Ledger([ALL, RATINGS, OTHER])
    rating = Rating(CANDIDATE, Customer(1, 1), 9)
    statement = Statement(began=START)
    owed = ledger.owe([(Change(rating, "created"), statement)])
    assert [entry.hook for entry in owed] == [ALL, RATINGS]
    stranger = Project(3, 1)
    assert ledger.owe([(Change(stranger, "created"), statement)]) == []
    never = ledger.forbid([(Change(Project(2, 1), "created"), statement)])
    assert [entry.hook for entry in never] == [OTHER]
    assert (ledger.entries, ledger.forbidden) == (owed, never)
    ledger.owe([(Change(PROJECT, "modified"), statement)], answers=(500, 200))
    assert ledger.posts == 4
    assert [entry.number for entry in ledger.entries] == [0, 1, 2]
