"""Tasks: tests and challenges of webhooks, which a daemon carries out, and what came of them."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import sqlalchemy as sa

from cdc.schema.tables import task
from cdc.web.call import ApiAnswer, Call
from cdc.web.delivery_models import TaskOut
from cdc.web.keys import NOW
from cdc.web.problems import Problem, about
from cdc.webhooks import audit, trials


def show_task(call: Call) -> ApiAnswer:
    return ApiAnswer(shown_task(call, call.access.task(_task(call))))


def test_webhook(call: Call) -> ApiAnswer:
    access = call.access
    number = access.webhook(int(call.params["webhook_id"]))
    outside = access.company_only is not None or access.webhook_only is not None
    if outside and call.registry.get(number).unverified_since is not None:
        text = "the endpoint is not yet verified: nothing but a challenge is sent to it"
        raise Problem("unverified", f"{text}. Verify it first.")
    with about("event"):
        row = trials.start(call.conn, call.actor, number, call.body.event)
    return ApiAnswer(shown_task(call, row), 202, {"Location": f"/v1/tasks/{row['id']}"})


def verify_webhook(call: Call) -> ApiAnswer:
    number = call.access.webhook(int(call.params["webhook_id"]))
    row = trials.challenge(call.conn, call.actor, number, call.service.settings.challenge)
    return ApiAnswer(shown_task(call, row), 202, {"Location": f"/v1/tasks/{row['id']}"})


def shown_task(call: Call, row: dict[str, Any]) -> TaskOut:
    """What to do about a failed test is for operators: a company cannot do it."""
    if row["result"] is not None and (call.access.company_only or call.access.webhook_only):
        row = {**row, "result": {**row["result"], "todo": None}}
    return TaskOut(**row)


def cancel_task(call: Call) -> ApiAnswer:
    row = call.access.task(_task(call), lock=True)
    if row["state"] in ("waiting", "running"):
        changed = (
            sa.update(task)
            .where(task.c.id == row["id"])
            .values(state="cancelled", ended_at=NOW)
            .returning(task)
        )
        row = dict(call.conn.execute(changed).mappings().one())
        audit.note(
            call.conn,
            call.actor,
            "task.cancel",
            company=row["company"],
            webhook=row["webhook_id"],
            after={"task": str(row["id"]), "done": row["done"]},
        )
    return ApiAnswer(shown_task(call, row))


def _task(call: Call) -> UUID:
    return UUID(call.params["task_id"])
