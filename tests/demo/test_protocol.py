"""The shapes that the demo expects are the protocol's, literally."""

from __future__ import annotations

from cdc.sandbox.demo import protocol
from cdc.sandbox.demo.protocol import SuiteRow
from tests.demo.made import PROJECT

CANDIDATE = protocol.candidate(PROJECT, 19)
VIDEO = protocol.answervideo(CANDIDATE, protocol.question(protocol.project(1, 15), 123), 7)
ANN = protocol.customer(1, 1)
API = "https://interview-suite.com/api/v3/companies/1/"


def test_the_documented_example() -> None:
    made = protocol.body(
        "https://abc.com/project", "2015-03-16T15:32:34.174752+00:00", PROJECT, "modified"
    )
    assert made == (
        b'{"endpoint": "https://abc.com/project", "time": "2015-03-16T15:32:34.174752+00:00", '
        b'"event": "project_changed", "data": {"action": "modified", '
        b'"project": "https://interview-suite.com/api/v3/companies/1/projects/17/"}}'
    )


def test_every_event() -> None:
    candidate = f"{API}projects/17/candidates/19/"
    expected: list[tuple[SuiteRow, dict[str, str | None]]] = [
        (CANDIDATE, {"project": f"{API}projects/17/", "candidate": candidate}),
        (
            VIDEO,
            {
                "project": f"{API}projects/17/",
                "candidate": candidate,
                "question": f"{API}projects/15/questions/123/",
                "answervideo": f"{candidate}answervideos/7/",
            },
        ),
        (
            protocol.rating(CANDIDATE, 9),
            {
                "project": f"{API}projects/17/",
                "candidate": candidate,
                "rating": f"{candidate}ratings/9/",
            },
        ),
        (
            protocol.note(CANDIDATE, ANN, 4, VIDEO),
            {
                "project": f"{API}projects/17/",
                "customer": f"{API}customers/1/",
                "answervideo": f"{candidate}answervideos/7/",
                "candidate": candidate,
                "note": f"{candidate}notes/4/",
            },
        ),
        (
            protocol.note(CANDIDATE, ANN, 5),
            {
                "project": f"{API}projects/17/",
                "customer": f"{API}customers/1/",
                "answervideo": None,
                "candidate": candidate,
                "note": f"{candidate}notes/5/",
            },
        ),
    ]
    for row, data in expected:
        assert list(row.data.items()) == list(data.items())
        assert row.company == 1
    assert {row.event for row, _ in expected} | {PROJECT.event} == set(protocol.EVENTS)
