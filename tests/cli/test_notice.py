"""`cdc notice`."""

from __future__ import annotations

import json
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


def test_a_webhook_of_the_system(cdc: Command, db: psycopg.Connection) -> None:
    added = cdc.json("webhook", "add", "--system", "--url", "http://127.0.0.1:9/ops")
    assert (added["company"], added["events"]) == ("", ["webhook_notice"])
    output = cdc("webhook", "test", added["id"], "--json")
    body = json.loads(output.json["body"])
    assert (body["event"], body["data"]["action"]) == ("webhook_notice", "test")
    # The suite has no such company, and need not.
    assert "of a company that is not in the suite" not in cdc("status").out
    listed = cdc.json("webhook", "list")
    assert [one["id"] for one in listed] == [added["id"]]
    update = ("webhook", "update", added["id"])
    assert "it gets webhook_notice and nothing else" in cdc.refused(
        *update, "--event", "rating_changed", code=2
    )
    assert cdc.json(*update, "--description", "pager")["description"] == "pager"
    exported = cdc.good("webhook", "export", "--secrets").out
    cdc.good("webhook", "remove", added["id"], "--yes")
    assert cdc.json("webhook", "import", "-", stdin=exported)


def test_the_suites_companies_do_not_concern_the_system(
    cdc: Command, db: psycopg.Connection
) -> None:
    db.execute("alter table company rename to firm")
    added = cdc.good("webhook", "add", "--system", "--url", "http://127.0.0.1:9/ops")
    assert "public.company" not in added.err


def test_options_of_a_webhook_of_the_system(unchanged: Command) -> None:
    url = ("--url", "http://127.0.0.1:9/ops")
    for more in (("--company", "1"), ("--event", "rating_changed"), ("--action", "created")):
        assert "--system contradicts" in unchanged.refused(
            "webhook", "add", "--system", *url, *more, code=2
        )
    for missing, given in (
        ("--company and --event are missing", ()),
        ("--event is missing", ("--company", "1")),
        ("--company is missing", ("--event", "rating_changed")),
    ):
        assert f"error: {missing}" in unchanged.refused("webhook", "add", *url, *given, code=2)
