"""`cdc notice`."""

from __future__ import annotations

from collections.abc import Callable

import psycopg

from tests.cli.command import Command


def test_notices_are_listed(
    cdc: Command, db: psycopg.Connection, as_role: Callable[[str], Command]
) -> None:
    first, second = cdc.add("1")["id"], cdc.add("2")["id"]
    db.execute(
        "insert into cdc.notice (kind, webhook_id, company, since, cause, sentence)"
        " select 'failing', id, company, now(), 'status 500', 'Notice ' || id from cdc.webhook"
        " order by id"
    )
    reader = as_role("cdc_reader")
    assert [one["webhook_id"] for one in reader.json("notice", "list")] == [second, first]
    [one] = reader.json("notice", "list", "--company", "1")
    assert one["sentence"] == f"Notice {first}"
    assert (one["kind"], one["cause"], one["event"]) == ("failing", "status 500", None)
    assert reader.json("notice", "list", "--webhook", second, "--limit", "1")[0]["company"] == "2"
    assert f"Notice {second}" in reader.good("notice", "list").out
    assert "unknown webhook 4711" in reader.refused("notice", "list", "--webhook", "4711")
