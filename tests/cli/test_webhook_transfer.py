"""`cdc webhook export` and `import`."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import psycopg
import pytest

from cdc.message.signing_keys import parse_secret
from cdc.webhooks.vault import new_key
from tests.cli.command import Command


@pytest.fixture
def filled(cdc: Command, db: psycopg.Connection) -> Command:
    """Three webhooks: one with everything, one paused, one removed."""
    cdc.add(url="http://me:pass@127.0.0.1:9/a", header="X-Key: 1", rate=2, cap=3, description="A")
    cdc.good("webhook", "rotate-secret", 1)
    cdc.add(company="2", event="note_changed")
    cdc.good("webhook", "pause", 2, "--reason", "later")
    cdc.add(company="2", event="rating_changed")
    cdc.good("webhook", "remove", 3, "--yes")
    return cdc


def stored(db: psycopg.Connection) -> list[Any]:
    """All that matters of the webhooks that are not removed, without their numbers."""
    return db.execute(
        "select company, endpoint, description, state, reason, max_concurrency, rate_limit,"
        " headers,"
        " array(select event from cdc.subscription where webhook_id = w.id order by 1),"
        " array(select row(secret, expires_at)::text from cdc.webhook_secret s"
        "        where s.webhook_id = w.id order by s.created_at desc)"
        " from cdc.webhook w where state <> 'removed' order by company, endpoint"
    ).fetchall()


def test_with_secrets_everything_comes_back(filled: Command, db: psycopg.Connection) -> None:
    exported = filled.good("webhook", "export", "--secrets").out
    before = stored(db)
    for number in (1, 2):
        filled.good("webhook", "remove", number, "--yes")
    added = filled.json("webhook", "import", "-", stdin=exported)
    assert [(w["id"], w["secret"]) for w in added] == [(4, None), (5, None)]
    assert stored(db) == before
    assert len(before) == 2


def test_without_secrets_new_ones_are_made(filled: Command) -> None:
    done = filled.good("webhook", "export")
    assert "whsec_" not in done.out
    assert "pass" not in done.out
    assert "hidden (***) in webhooks 1" in done.err
    file = json.loads(done.out)
    for number in (1, 2):
        filled.good("webhook", "remove", number, "--yes")
    output = filled.refused("webhook", "import", "-", code=2, stdin=json.dumps(file))
    assert "1 of 2" in output
    assert "hidden" in output
    file["webhooks"][0] |= {"endpoint": "http://127.0.0.1:9/a", "headers": {}}
    for webhook in filled.json("webhook", "import", "-", stdin=json.dumps(file)):
        parse_secret(webhook["secret"])


def test_without_secrets_it_is_kept_how_a_webhook_signs(cdc: Command) -> None:
    for number, signature in ((1, "v1"), (2, "v1a")):
        cdc.add(company=str(number), signature=signature)
    file = cdc.good("webhook", "export").out
    assert "whsk_" not in file
    assert [w["signature"] for w in json.loads(file)["webhooks"]] == ["v1", "v1a"]
    for number in (1, 2):
        cdc.good("webhook", "remove", number, "--yes")
    one, two = cdc.json("webhook", "import", "-", stdin=file)
    assert one["secret"].startswith("whsec_")
    assert (two["signature"], two["secret"]) == ("v1a", None)
    assert two["public_key"].startswith("whpk_")
    assert cdc.json("webhook", "show", two["id"])["signatures"] == ["v1a"]


def test_how_it_signs_is_unknown_without_the_key(cdc: Command) -> None:
    key = Command({**cdc.env, "CDC_SECRET_KEYS": new_key()})
    key.add(signature="v1a")
    assert json.loads(key.good("webhook", "export").out)["webhooks"][0]["signature"] == "v1a"
    done = cdc.good("webhook", "export")
    assert "how they sign cannot be read" in done.err
    assert "webhooks 1;" in done.err


def test_is_all_or_nothing_and_names_every_problem(filled: Command, db: psycopg.Connection) -> None:
    file = json.loads(filled.good("webhook", "export", "--secrets").out)
    good = {"company": "1", "events": ["note_changed"], "endpoint": "http://127.0.0.1:9/new"}
    file["webhooks"].insert(0, good)
    before = stored(db)
    output = filled.refused("webhook", "import", "-", stdin=json.dumps(file))
    assert "2 of 3" in output
    assert "2. webhook 1 of company 1" in output
    assert "3. webhook 2 of company 2" in output
    assert "Nothing was registered" in output
    assert stored(db) == before


def test_twins_within_a_file_are_duplicates(cdc: Command) -> None:
    one = {"company": "1", "events": ["note_changed"], "endpoint": "http://127.0.0.1:9/new"}
    file = {"format": "cdc webhooks", "version": 1, "webhooks": [one, one]}
    assert "1 of 2" in cdc.refused("webhook", "import", "-", stdin=json.dumps(file))
    assert cdc.json("webhook", "list") == []


def test_a_file_of_ones_own_is_not_readable_by_others(filled: Command, tmp_path: Path) -> None:
    file = tmp_path / "webhooks.json"
    filled.good("webhook", "export", "--secrets", "--output", file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "does not exist yet" in filled.refused("webhook", "export", "--output", file)
    for number in (1, 2):
        filled.good("webhook", "remove", number, "--yes")
    assert "2 webhooks registered" in filled.good("webhook", "import", file).err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "something"}, "format"),
        ({"version": 2}, "version"),
        ({"webhooks": [{"company": 1}]}, "webhooks.0.company"),
        ({"webhooks": [{"company": "1", "events": [], "endpoint": "x", "what": 1}]}, "what"),
        ({"webhooks": [{"company": "1", "events": [], "endpoint": "https://a.b/"}]}, "no event"),
        ({"webhooks": [{"company": "9 ", "events": ["x"], "endpoint": "https://a.b/"}]}, "17"),
    ],
)  # fmt: skip
def test_refuses_what_is_no_such_file(
    unchanged: Command, change: dict[str, Any], message: str
) -> None:
    file = {"format": "cdc webhooks", "version": 1, "webhooks": [], **change}
    assert message in unchanged.refused("webhook", "import", "-", code=2, stdin=json.dumps(file))


def test_refuses_what_cannot_be_read(unchanged: Command, tmp_path: Path) -> None:
    assert "invalid JSON" in unchanged.refused("webhook", "import", "-", code=2, stdin="{")
    assert "cannot be read" in unchanged.refused("webhook", "import", tmp_path / "nowhere", code=2)


def test_an_endpoint_that_is_not_verified_stays_so(filled: Command, db: psycopg.Connection) -> None:
    waits = "update cdc.webhook set state = 'paused', unverified_since = now() where id = 1"
    db.execute(waits)
    assert "its endpoint is not yet verified" in filled.refused("webhook", "resume", 1)
    exported = filled.good("webhook", "export", "--secrets").out
    for number in (1, 2):
        filled.good("webhook", "remove", number, "--yes")
    filled.good("webhook", "import", "-", stdin=exported)
    [shown] = [one for one in filled.json("webhook", "list") if one["unverified_since"]]
    assert shown["state"] == "paused"
    filled.good("webhook", "resume", shown["id"], "--unverified")
    again = filled.json("webhook", "show", shown["id"])
    assert (again["state"], again["unverified_since"]) == ("active", None)
