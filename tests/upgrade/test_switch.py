"""The kill switch on capture as the first release made it: it has to work before an upgrade."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from cdc.sandbox.embedded import EmbeddedPostgres
from tests.capture.kit import psql
from tests.cli.command import Command


@pytest.fixture
def old(old_database: str) -> Iterator[psycopg.Connection]:
    """A connection to a database of the first release with a webhook for each project."""
    with psycopg.connect(old_database, autocommit=True) as conn:
        conn.execute("insert into company default values")
        conn.execute("insert into cdc.webhook (company, endpoint) values ('1', 'https://abc.com')")
        conn.execute("insert into cdc.subscription values ('1', 'project_changed', 1)")
        yield conn


def captured(conn: psycopg.Connection) -> bool:
    """Whether a change that is made now is queued."""
    count = "select count(*) from cdc.queue"
    before = conn.execute(count).fetchone()
    conn.execute("insert into project (company_id) values (1)")
    return conn.execute(count).fetchone() != before


def states(cdc: Command) -> set[str]:
    return {row["state"] for row in cdc("triggers", "status", "--json").json["tables"]}


def test_off_and_on_again_by_way_of_an_upgrade(old_database: str, old: psycopg.Connection) -> None:
    """It stays off while the schema moves on, says how it is switched on, and what was missed."""
    cdc = Command({"CDC_DATABASE_URL": old_database})
    assert captured(old)
    # One was changed by hand.
    old.execute("alter function cdc.capture_project() owner to postgres")
    done = cdc.good("triggers", "off", "--json")
    assert len(done.json["tables"]) == 5
    assert not captured(old)
    cdc.good("migrate")
    assert not captured(old)
    assert states(cdc) == {"off"}
    assert "`cdc triggers install` switches it on" in cdc("triggers", "status").out
    said = cdc.refused("triggers", "on")
    assert "capture is as the first release installed it" in said
    cdc.good("triggers", "install")
    assert states(cdc) == {"installed"}
    assert captured(old)
    # The time that is missing has an end, and is reported.
    explained = cdc("explain", "project", "1").out
    assert "Capture of public.project was off from " in explained


def test_between_migrating_and_installing(old_database: str, old: psycopg.Connection) -> None:
    cdc = Command({"CDC_DATABASE_URL": old_database})
    cdc.good("migrate")
    assert captured(old)
    cdc.good("triggers", "off")
    assert not captured(old)
    cdc.good("triggers", "off")
    cdc.good("triggers", "install")
    assert captured(old)
    assert [one["action"] for one in cdc.json("audit")] == [
        "capture.install", "capture.off", "capture.off", "schema.upgrade",
    ]  # fmt: skip


def test_numbers_go_on_with_capture_of_the_first_release(
    old_database: str, old: psycopg.Connection
) -> None:
    """They have another source from the migration on, for its functions, too."""
    cdc = Command({"CDC_DATABASE_URL": old_database})
    assert captured(old)
    old.execute(
        "insert into cdc.retry (webhook_id, id, uid, xid, layout, action, time, refs, event, key)"
        " select webhook_id, nextval('cdc.queue_id'), uid, xid, layout, action, time, refs, '', ''"
        "   from cdc.queue"
    )
    highest = old.execute("select last_value from cdc.queue_id").fetchone()
    cdc.good("migrate")
    assert captured(old)
    cdc.good("triggers", "install")
    assert captured(old)
    assert old.execute("select last_value from cdc.queue_id").fetchone() == highest
    numbers = [row[0] for row in old.execute("select id from cdc.queue order by xid").fetchall()]
    assert len(numbers) == 3
    assert highest
    assert numbers[0] < highest[0] < numbers[1] < numbers[2]


def test_with_psql_alone(
    old_database: str, old: psycopg.Connection, postgres: EmbeddedPostgres, tmp_path: Path
) -> None:
    cdc = Command({"CDC_DATABASE_URL": old_database})
    script = tmp_path / "off.sql"
    script.write_text(cdc.good("triggers", "off", "--sql").out)
    psql(postgres.bin_dir, old_database, "-f", script)
    assert not captured(old)
