"""The shapes that an account expects are the protocol's, literally."""

from __future__ import annotations

from cdc.sandbox import protocol
from cdc.sandbox.protocol import SuiteRow, row
from tests.demo.made import PROJECT

CANDIDATE = "projects/17/candidates/19"
VIDEO = f"{CANDIDATE}/answervideos/7"
API = "https://interview-suite.com/api/v3/companies/1/"


def test_the_documented_example() -> None:
    made = protocol.body("https://abc.com/project", 1_426_519_954_174_752, PROJECT, "modified")
    assert made == (
        b'{"endpoint": "https://abc.com/project", "time": "2015-03-16T15:32:34.174752+00:00", '
        b'"event": "project_changed", "data": {"action": "modified", '
        b'"project": "https://interview-suite.com/api/v3/companies/1/projects/17/"}}'
    )


def test_every_event() -> None:
    candidate = f"{API}projects/17/candidates/19/"
    expected: list[tuple[SuiteRow, dict[str, str | None]]] = [
        (row(1, CANDIDATE), {"project": f"{API}projects/17/", "candidate": candidate}),
        (
            row(1, VIDEO, "projects/15/questions/123"),
            {
                "project": f"{API}projects/17/",
                "candidate": candidate,
                "question": f"{API}projects/15/questions/123/",
                "answervideo": f"{candidate}answervideos/7/",
            },
        ),
        (
            row(1, f"{CANDIDATE}/ratings/9"),
            {
                "project": f"{API}projects/17/",
                "candidate": candidate,
                "rating": f"{candidate}ratings/9/",
            },
        ),
        (
            row(1, f"{CANDIDATE}/notes/4", "customers/1", VIDEO),
            {
                "project": f"{API}projects/17/",
                "customer": f"{API}customers/1/",
                "answervideo": f"{candidate}answervideos/7/",
                "candidate": candidate,
                "note": f"{candidate}notes/4/",
            },
        ),
        (
            row(1, f"{CANDIDATE}/notes/5", "customers/1"),
            {
                "project": f"{API}projects/17/",
                "customer": f"{API}customers/1/",
                "answervideo": None,
                "candidate": candidate,
                "note": f"{candidate}notes/5/",
            },
        ),
    ]
    for made, data in expected:
        assert list(made.data.items()) == list(data.items())
        assert made.company == "1"
    assert {made.event for made, _ in expected} | {PROJECT.event} == set(protocol.EVENTS)
