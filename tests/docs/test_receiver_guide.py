"""The verifiers and tables of docs/receiver.md, against what signs and judges."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import time
from random import Random
from typing import Any

import pytest

from cdc.deliver.outcome import answer_for
from cdc.keys import new_secret
from cdc.lanes.breaker import Breaker
from cdc.lanes.judge import Judge
from cdc.lanes.lines import Held
from cdc.lanes.pace import SlowDown
from cdc.lanes.rules import LaneRules
from cdc.road import Answer, Delivery, Layout, Outcome
from cdc.settings import Settings
from cdc.sign import Signer
from tests.docs.pages import blocks, page, table

GUIDE = page("docs/receiver.md")
SECRET, OTHER = new_secret(), new_secret()
UID = "0f6ae0b3-5c0d-4a58-9d1c-6a3a2f3e9b57"
BODY = '{"event": "project_changed", "name": "Müller"}'.encode()


def cases() -> dict[str, tuple[dict[str, str], bytes, bool]]:
    """Requests by name: headers, body, genuine or not."""
    now = int(time.time())

    def signed(*secrets: str, at: int = now) -> dict[str, str]:
        return dict(Signer(secrets).headers(UID, at, BODY))

    good = signed(SECRET)
    signature = good["webhook-signature"]
    return {
        "genuine": (good, BODY, True),
        "rotating, the new secret": (signed(SECRET, OTHER), BODY, True),
        "rotating, the old secret": (signed(OTHER, SECRET), BODY, True),
        "a minute old": (signed(SECRET, at=now - 60), BODY, True),
        "an hour old": (signed(SECRET, at=now - 3600), BODY, False),
        "of the future": (signed(SECRET, at=now + 3600), BODY, False),
        "another secret": (signed(OTHER), BODY, False),
        "another body": (good, BODY + b" ", False),
        "another id": ({**good, "webhook-id": "other"}, BODY, False),
        "another time": ({**good, "webhook-timestamp": str(now - 1)}, BODY, False),
        "no time": ({**good, "webhook-timestamp": ""}, BODY, False),
        "no number": ({**good, "webhook-timestamp": "1e9"}, BODY, False),
        "another version": ({**good, "webhook-signature": f"v2,{signature[3:]}"}, BODY, False),
        "no version": ({**good, "webhook-signature": signature[3:]}, BODY, False),
        "cut short": ({**good, "webhook-signature": signature[:-1]}, BODY, False),
        "empty": ({**good, "webhook-signature": ""}, BODY, False),
        "no headers": ({}, BODY, False),
    }


def test_the_python_verifier() -> None:
    (block,) = blocks(GUIDE, "python verify")
    scope: dict[str, Any] = {}
    exec(compile(block.text, "docs/receiver.md", "exec"), scope)
    judged = {name: scope["verify"](SECRET, *case[:2]) for name, case in cases().items()}
    assert judged == {name: genuine for name, (_, _, genuine) in cases().items()}


@pytest.mark.skipif(shutil.which("node") is None, reason="needs Node.js")
def test_the_javascript_verifier() -> None:
    (block,) = blocks(GUIDE, "js verify")
    driver = """
const given = JSON.parse(require("node:fs").readFileSync(0, "utf8"));
const judged = {};
for (const [name, { headers, body }] of Object.entries(given.cases))
  judged[name] = verify(given.secret, headers, Buffer.from(body, "base64"));
console.log(JSON.stringify(judged));
"""
    given = {
        name: {"headers": headers, "body": base64.b64encode(body).decode()}
        for name, (headers, body, _) in cases().items()
    }
    done = subprocess.run(
        ["node", "-e", block.text + driver],
        input=json.dumps({"secret": SECRET, "cases": given}),
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout) == {name: genuine for name, (_, _, genuine) in cases().items()}


# -- answers --------------------------------------------------------------------------------------

TOLD = {
    "success": Answer.SUCCESS,
    "gone": Answer.GONE,
    "too busy": Answer.BUSY,
    "too slow": Answer.SLOW,
    "failure": Answer.FAILURE,
}


def told_of(status: int) -> dict[str, str]:
    """The row of the table of answers that a status falls under."""
    rows = table(GUIDE, "your answer", "counts as")
    by_number = [row for row in rows if str(status) in re.split(r"\W+", row["your answer"])]
    by_class = [row for row in rows if f"{status // 100}xx" in re.split(r"\W+", row["your answer"])]
    return (by_number or by_class)[0]


def test_the_table_of_answers_is_what_is_done() -> None:
    statuses = [*range(200, 300), *range(300, 600)]
    told = {status: TOLD[told_of(status)["counts as"]] for status in statuses}
    assert told == {status: answer_for(status) for status in statuses}


@pytest.mark.parametrize("status", [410, 429, 503, 502, 504, 500, 404, 301])
def test_tries_are_used_up_as_told(status: int) -> None:
    rules = LaneRules()
    judge = Judge(rules, Random(1), Breaker(rules), SlowDown())
    layout = Layout(1, "project_changed", ("base", "company", "project"))
    delivery = Delivery(1, 1, 1, UID, layout, "created", Any, (None, "1", "1"))  # type: ignore[arg-type]  # the time is not looked at
    held = Held(delivery, delivery.resource, 0)
    verdict = judge.verdict(held, Outcome(answer_for(status), status, "status", "", 0.1), 100.0)
    assert told_of(status)["uses up one of the tries"] == ("yes" if verdict.attempts else "no")


# -- numbers --------------------------------------------------------------------------------------


def spelled(seconds: float) -> str:
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:g} {unit}"
    return f"{seconds:g} s"


@pytest.mark.parametrize("name", ["docs/receiver.md", "docs/operator.md"])
def test_the_schedule_told_is_the_default(name: str) -> None:
    *early, last = [spelled(seconds) for seconds in Settings().retry_schedule]
    schedule = f"after {', '.join(early)} and {last}, each {Settings().retry_jitter * 100:g} %"
    assert schedule in " ".join(page(name).split())


def test_the_numbers_told_are_the_defaults() -> None:
    told = " ".join(GUIDE.split())
    defaults = Settings()
    assert f"within {defaults.attempt_timeout:g} seconds" in told
    assert f"After {defaults.breaker_failures} failures in a row" in told
    assert f"After {defaults.suspend_after_days:g} days without one success" in told
    assert f"collected for {defaults.held_days:g} days" in told
    assert f"At most {defaults.max_concurrency} requests" in told
    assert defaults.retry_after_cap == 3600
    assert "at most an hour" in told
    assert len(defaults.retry_schedule) == 9
    assert "nine times more" in told
