"""What a company reads about its webhook."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from cdc.diagnosis.health import LaneState
from cdc.web.console import for_companies

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
QUIET = LaneState(
    webhook_id=5, company="7", state="active", reason="", since=NOW, queued=0, retrying=0, parked=0,
    dead=0, oldest=None, oldest_queued=None, oldest_dead=None, breaker="closed", failing_since=None,
    failing_for=None, slow=False, error=None, status=None, delivery=None, next_try=None,
    held_for=None, bound=1000,
)  # fmt: skip


@pytest.mark.parametrize(
    ("lane", "said"),
    [
        ({}, ["ok: All is well: nothing waits to be sent."]),
        ({"queued": 3, "oldest": 0.1}, ["wait: 3 notifications are on the way."]),
        (
            {"retrying": 1, "parked": 44, "oldest": 3000, "error": "status", "status": 500,
             "next_try": 300},
            ["bad: Your server answered 500 to our last request. We try again at 2026-03-01 "
             "12:05:00Z. Since 2026-03-01 11:10:00Z, 45 notifications are waiting; changes of the "
             "same row will be sent in their order. Its log says why."],
        ),
        (
            {"retrying": 1, "oldest": 2, "error": "tls", "next_try": 0},
            ["wait: A secure connection to your server could not be made. We try again now. Since "
             "2026-03-01 11:59:58Z, 1 notification is waiting; changes of the same row will be "
             "sent in their order. Check its certificate: the date, the name, and that a public "
             "authority issued it, with all certificates in between."],
        ),
        (
            {"retrying": 1, "oldest": 2, "error": "guard"},
            ["wait: Nothing can be sent just now. Since 2026-03-01 11:59:58Z, 1 notification is "
             "waiting; changes of the same row will be sent in their order. This is not your "
             "server's fault; please contact us."],
        ),
        (
            {"state": "paused", "reason": "a move", "queued": 1, "held_for": 60},
            ["wait: Sending is paused since 2026-03-01 12:00:00Z (a move). Since 2026-03-01 "
             "11:59:00Z, 1 notification is waiting; changes of the same row will be sent in their "
             "order."],
        ),
        (
            {"state": "suspended", "dead": 1000},
            ["bad: Sending was stopped at 2026-03-01 12:00:00Z. When your server accepts "
             "notifications again, resume this webhook.",
             "bad: At least 1000 notifications are given up: your server did not accept them in "
             "all attempts. When your server works again, send them again."],
        ),
        ({"state": "removed"}, ["wait: This webhook was removed at 2026-03-01 12:00:00Z."]),
    ],
)  # fmt: skip
def test_it_is_said_in_whole_sentences(lane: dict[str, Any], said: list[str]) -> None:
    found = for_companies.sentences(QUIET._replace(**lane), NOW)
    assert [f"{one.verdict}: {one.text} {one.todo}".strip() for one in found] == said


def test_no_command_and_no_setting_is_in_them() -> None:
    texts = [*for_companies.MET.values(), *for_companies.ANSWERED.values()]
    assert not [text for text in texts if "cdc" in str(text).lower() or "`" in str(text)]
