"""`cdc backfill`."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import psycopg

from tests.cli.command import Command

OF = ("--event", "candidate_changed", "--as", "created")


def test_started_shown_and_changed(
    cdc: Command, db: psycopg.Connection, as_role: Callable[[str], Command]
) -> None:
    admin = as_role("cdc_admin")
    number = admin.add("1", "candidate_changed")["id"]
    db.execute("insert into project (id, company_id) values (71, 1), (72, 2)")
    db.execute("insert into candidate (project_id) select 71 + g % 2 from generate_series(1, 5) g")
    said = admin.good("backfill", "start", "--webhook", number, *OF, "--dry-run").err
    assert said == "2 rows would be read, and 2 deliveries sent.\n"
    made = admin.json("backfill", "start", "--webhook", number, *OF)
    assert (made["id"], made["state"], made["looked"], made["action"]) == (
        1,
        "running",
        0,
        "created",
    )
    assert "backfill 1 of candidate_changed for webhook 1 has not ended" in admin.refused(
        "backfill", "start", "--webhook", number, *OF
    )
    db.execute("update cdc.backfill set looked = 5, queued = 4, place = '{1,17,19}'")
    assert admin.good("backfill", "pause", 1).err == "Paused backfill 1 after 5 rows.\n"
    said = admin.refused("backfill", "pause", 1)
    assert "cannot pause backfill 1, which is paused" in said
    assert "Expected running." in said
    shown = admin.good("backfill", "show", 1).out
    assert "last key   19" in shown
    assert re.search(r"started    [0-9-]{10} [0-9:]{8}Z by cli:", shown)
    assert admin.json("backfill", "resume", 1)["state"] == "running"
    assert "Cancel backfill 1 for good, after 5 rows?" in admin.refused(
        "backfill", "cancel", 1, code=2
    )
    assert admin.json("backfill", "show", 1)["state"] == "running"
    assert admin.json("backfill", "cancel", 1, "--yes")["ended_at"] is not None
    assert "which is cancelled" in admin.refused("backfill", "cancel", 1)
    assert "which is cancelled" in admin.refused("backfill", "resume", 1)
    assert admin.json("backfill", "start", "--webhook", number, *OF)["id"] == 2
    assert [one["state"] for one in admin.json("backfill", "list")] == ["running", "cancelled"]
    status = as_role("cdc_reader")("status", "--json")
    assert json.loads(status.out)["backfills"] == {"running": 1, "paused": 0, "failed": 0}
    assert "1 running" in as_role("cdc_reader")("status").out
    assert "unknown webhook 99" in admin("backfill", "list", "--webhook", 99).err
    assert "candidate_changed" in as_role("cdc_reader").good("backfill", "list").out
    done = [one["action"] for one in admin.json("audit", "--webhook", number)]
    assert done == [
        "backfill.start", "backfill.cancel", "backfill.resume", "backfill.pause", "backfill.start",
        "webhook.add",
    ]  # fmt: skip


def test_what_cannot_be(cdc: Command, db: psycopg.Connection) -> None:
    number = cdc.add("1", "candidate_changed")["id"]

    def refused(*more: object, webhook: int = number, code: int = 1) -> str:
        asked = dict(zip(OF[::2], OF[1::2], strict=True)) | dict(
            zip(more[::2], more[1::2], strict=True)
        )
        options = [part for pair in asked.items() for part in pair]
        return cdc.refused("backfill", "start", "--webhook", webhook, *options, code=code)

    assert "unknown webhook 9" in refused(webhook=9)
    said = refused("--event", "note_changed", code=2)
    assert "webhook 1 is not registered for note_changed" in said
    assert "It is registered for candidate_changed." in said
    assert "invalid action 'deleted': expected created or modified" in refused(
        "--as", "deleted", code=2
    )
    said = refused("--since", "2d", code=2)
    assert "the mapping does not say which column holds when a row was changed" in said
    db.execute("alter table candidate rename to renamed")
    assert "table public.candidate does not exist in this database" in refused()
    db.execute("alter table renamed rename to candidate")
    db.execute("drop index candidate_project_id_idx")
    said = refused()
    assert "no index of public.candidate begins with project_id" in said
    statement = 'create index concurrently on "public"."candidate" ("project_id")'
    assert statement in said
    db.execute(statement.encode())
    db.execute("drop function cdc_capture.backfill_candidate")
    assert "Run `cdc triggers install`." in refused()
    db.execute("update cdc.subscription set actions = 'm'")
    assert "webhook 1 is not registered for action created" in refused(code=2)
    assert "unknown backfill 7" in cdc.refused("backfill", "show", 7)
    cdc.good("webhook", "remove", number, "--yes")
    assert "webhook 1 was removed" in refused()
