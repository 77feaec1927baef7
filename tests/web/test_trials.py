"""A webhook's test over the API: a task, which a daemon carries out."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cdc.message.trial import SENT_WITHIN_S
from cdc.webhooks.trials import TRIALS_PER_MINUTE
from tests.web.kit import Client, Served, problem, until

RESULT = {
    "ok": False, "uid": "0f6ae0b3-5c0d-4a58-9d1c-6a3a2f3e9b57", "event": "candidate_changed",
    "status": 503, "error": "status", "detail": "answered 503", "cause": "status 503",
    "sentence": "the receiver answered 503", "todo": "Look at `cdc explain`.",
    "duration_ms": 1.5, "excerpt": "closed",
}  # fmt: skip


@pytest.fixture(scope="module")
def operator(served: Served) -> Client:
    return served.client("operator")


def add(operator: Client, company: str) -> int:
    asked = {"events": ["candidate_changed"], "endpoint": f"http://127.0.0.1:9/{company}"}
    return int(operator.good("POST", f"/v1/companies/{company}/webhooks", asked)["id"])


def test_asked_for_and_looked_at(served: Served, operator: Client) -> None:
    hook = add(operator, "81")
    head = {"Idempotency-Key": "test-1"}
    answer = operator("POST", f"/v1/webhooks/{hook}/test", {}, head)
    made = answer.json
    assert (answer.status, answer.headers["location"]) == (202, f"/v1/tasks/{made['id']}")
    assert (made["kind"], made["state"], made["result"]) == ("test", "waiting", None)
    assert operator("POST", f"/v1/webhooks/{hook}/test", {}, head).json == made
    assert served.rows("select count(*) from cdc.task where webhook_id = %s", hook) == [(1,)]
    # As a daemon does it.
    served.run(
        "update cdc.task set state = 'done', ended_at = now(), result = %s where id = %s",
        *(json.dumps(RESULT), made["id"]),
    )
    done: Any = operator.good("GET", answer.headers["location"])
    assert (done["state"], done["result"]) == ("done", RESULT)
    # What to do about it is said in commands, which a company does not have.
    for scope in ("company:81", f"webhook:{hook}"):
        own = served.client(scope).good("GET", answer.headers["location"])
        assert own["result"] == {**RESULT, "todo": None}
    assert served.client("company:82").refused("GET", answer.headers["location"])[0] == 404
    [noted] = operator.good("GET", f"/v1/audit?webhook={hook}&action=webhook.test")["items"]
    assert noted["after"]["task"] == made["id"]


def test_refused(served: Served, operator: Client) -> None:
    hook = add(operator, "83")
    path = f"/v1/webhooks/{hook}/test"
    answer = operator("POST", path, {"event": "note_changed"})
    assert (answer.status, problem(answer)["errors"][0]["field"]) == (422, "event")
    own = served.client(f"webhook:{hook}")
    for _ in range(TRIALS_PER_MINUTE):
        own.good("POST", path, {"event": "candidate_changed"})
    answer = own("POST", path)
    assert problem(answer)["code"] == "too_many_requests"
    assert 1 <= int(answer.headers["retry-after"]) <= 60
    task = operator.good("GET", f"/v1/audit?webhook={hook}&action=webhook.test")["items"][0]
    cancelled = operator.good("POST", f"/v1/tasks/{task['after']['task']}/cancel", {})
    assert (cancelled["state"], cancelled["error"]) == ("cancelled", None)
    operator.good("DELETE", f"/v1/webhooks/{hook}")
    assert operator.refused("POST", path, {}) == (404, "not_found")


def test_without_a_daemon_it_fails_after_a_while(served: Served, operator: Client) -> None:
    hook = add(operator, "84")
    made = operator.good("POST", f"/v1/webhooks/{hook}/test", {})
    assert made["state"] == "waiting"
    served.run(
        "update cdc.task set created_at = created_at - interval '1 second' * %s where id = %s",
        *(SENT_WITHIN_S, made["id"]),
    )
    until(lambda: operator.good("GET", f"/v1/tasks/{made['id']}")["state"] == "failed")
    assert "no daemon" in operator.good("GET", f"/v1/tasks/{made['id']}")["error"]
