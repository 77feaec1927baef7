"""Publications that hold our tables: daemons go on, subscribers are spoken of beforehand."""

from __future__ import annotations

import psycopg
import pytest

from cdc.mapping import default_mapping
from cdc.postgres import publications
from cdc.sandbox.embedded import EmbeddedPostgres
from cdc.sandbox.suite import capture
from cdc.schema import migrations
from tests.capture.kit import Suite, connect, psql
from tests.cli.command import Command
from tests.daemon.running import Running
from tests.daemon.world import World
from tests.postgres.conftest import Pair, until
from tests.support.installation import adopt

EVERYTHING = "create publication everything for all tables"


@pytest.fixture
def published(own_suite: Suite) -> Suite:
    own_suite.run(f"set client_min_messages = error; {EVERYTHING}")
    return own_suite


def test_each_table_of_ours_can_be_changed(published: Suite) -> None:
    """PostgreSQL refuses where a subscriber could not find the row; the log's partitions, too."""
    tables = [
        row[0]
        for row in published.all(
            "select oid::regclass::text from pg_class"
            " where relnamespace = 'cdc'::regnamespace and relkind in ('r', 'p')"
        )
    ]
    assert {"cdc.queue", "cdc.schema_version", "cdc.attempt", "cdc.attempt_31"} <= set(tables)
    for table in tables:
        published.run(f"delete from {table}")
    assert publications.unidentified(published.conn) == []
    assert publications.refused(published.conn) == ()
    [found] = publications.ours(published.conn)
    assert found.everything
    assert found.secrets
    assert len(found.tables) == 22 + 32


@pytest.mark.parametrize(
    ("made", "table", "todo"),
    [
        (
            f"alter table cdc.queue replica identity nothing; {EVERYTHING}",
            "queue",
            "alter table cdc.queue replica identity full",
        ),
        (
            "create publication few for table cdc.queue (id, webhook_id)",
            "queue",
            "alter publication few drop table cdc.queue",
        ),
        (
            "create publication few for table cdc.webhook (id, company), cdc.shard (epoch)",
            "shard",
            "alter publication few drop table cdc.shard",
        ),
        (
            "create publication few for table cdc.retry where (tries > 0)",
            "retry",
            "alter publication few drop table cdc.retry",
        ),
        ("create publication few for table cdc.queue where (id > 0)", "", ""),
        (
            "create publication few for table cdc.queue (id) with (publish = 'insert, truncate')",
            "",
            "",
        ),
    ],
)
def test_what_keeps_daemons_from_recording_is_found(
    own_suite: Suite, made: str, table: str, todo: str
) -> None:
    own_suite.run(f"set client_min_messages = error; {made}")
    found = publications.refused(own_suite.conn)
    assert [(one.table, one.todo) for one in found] == ([(table, todo)] if table else [])
    refused = []
    for name in ("queue", "webhook", "shard", "retry"):
        try:
            own_suite.run(f"explain delete from cdc.{name}")
        except psycopg.errors.ObjectNotInPrerequisiteState:
            refused.append(name)
        except psycopg.errors.InvalidColumnReference:
            refused.append(name)
    assert refused == ([table] if table else [])


def test_migrate_asks_before_a_subscriber_is_stopped(pair: Pair, logical: EmbeddedPostgres) -> None:
    cdc = Command({"CDC_DATABASE_URL": pair.publisher})
    with connect(pair.publisher) as suite, connect(pair.subscriber) as copy:
        suite.execute(EVERYTHING)
        pair.subscribe("everything")
        suite.execute("insert into company (id) values (1)")
        until(copy, "select exists (select from company where id = 1)")
        output = cdc.good("migrate", "--plan").err
        assert "publication everything will send the tables of schema cdc" in output
        assert "signing secrets included" in output
        assert "replication slots of this database: copy" in output
        assert cdc.json("migrate", "--plan")["publications"] == ["everything"]
        assert "Add --yes" in cdc.refused("migrate", code=2)
        with pytest.raises(AssertionError, match="publication everything is for all tables"):
            psql(logical.bin_dir, pair.publisher, "-f", "sql/install.sql")
        assert cdc.json("migrate", "--plan")["before"] is None
        # Who goes on nevertheless gets what was said.
        cdc.good("migrate", "--yes")
        suite.execute("insert into company (id) values (2)")
        until(suite, "select not active from pg_replication_slots")
        until(
            copy,
            "select apply_error_count > 0 from pg_stat_subscription_stats where subname = 'copy'",
        )
        assert copy.execute("select from company where id = 2").fetchone() is None
        # And the remedy: the tables, and nothing in them.
        migrations.upgrade(pair.subscriber)
        until(copy, "select exists (select from company where id = 2)")
        assert copy.execute("select from cdc.webhook").fetchone() is None


def test_the_publication_of_the_suite_alone(pair: Pair) -> None:
    """What the guide advises: the subscriber goes over to it before schema cdc is made."""
    cdc = Command({"CDC_DATABASE_URL": pair.publisher})
    with connect(pair.publisher) as suite, connect(pair.subscriber) as copy:
        suite.execute(EVERYTHING)
        pair.subscribe("everything")
        suite.execute("create publication suite for tables in schema public")
        copy.execute("alter subscription copy set publication suite with (refresh = false)")
        suite.execute("drop publication everything")
        assert "publication" not in cdc.good("migrate").err
        capture(pair.publisher, default_mapping())
        suite.execute("insert into company (id) values (1)")
        until(copy, "select exists (select from company where id = 1)")
        assert publications.ours(suite) == ()


async def test_deliveries_are_recorded_and_come_out_of_pgoutput(pair: Pair) -> None:
    """With a daemon, a publication for all tables and a reader of it."""
    with connect(pair.publisher) as suite:
        suite.execute(EVERYTHING)
    migrations.upgrade(pair.publisher, publish=True)
    capture(pair.publisher, default_mapping())
    adopt(pair.publisher)
    with connect(pair.publisher) as suite:
        suite.execute("select pg_create_logical_replication_slot('reader', 'pgoutput')")
        async with World(pair.publisher) as world:
            hook = await world.hook("candidate")
            writer = await world.writer()
            await writer.insert("candidate", project_id=1)
            async with Running(pair.publisher) as daemon:
                await world.arrived(hook)
                await world.settled()
                assert daemon.log.all("settling failed") == []
        # A delete that says the whole row: letter, number of the table, O for the old row. What a
        # daemon records is flushed a moment later.
        until(
            suite,
            "select bool_or(get_byte(data, 0) = ascii('D') and get_byte(data, 5) = ascii('O')"
            "  and substr(data, 2, 4) = int4send('cdc.queue'::regclass::oid::int))"
            "  from pg_logical_slot_peek_binary_changes('reader', null, null,"
            "       'proto_version', '1', 'publication_names', 'everything')",
        )


@pytest.mark.parametrize(
    "made",
    [EVERYTHING, "create publication ours for tables in schema cdc"],
)
def test_doctor_and_status_name_it(cdc: Command, db: psycopg.Connection, made: str) -> None:
    db.execute("set client_min_messages = error")
    db.execute(made.encode())
    name = made.split()[2]
    finding = check(cdc)
    assert finding["verdict"] == "fail"
    assert f"publication {name}" in finding["message"]
    wanted = "Replace publication everything by one" if name == "everything" else "Take the tables"
    assert wanted in finding["todo"]
    assert "signing secrets" in finding["message"]
    seen = cdc("status")
    assert f"publication {name}" in seen.out
    assert "signing secrets included" in seen.out
    assert seen.code == 1
    assert any(wanted in problem for problem in cdc("status", "--json").json["problems"])
    db.execute("alter table cdc.queue replica identity nothing")
    finding = check(cdc)
    assert finding["verdict"] == "fail"
    assert "alter table cdc.queue replica identity full" in finding["todo"]
    problems = cdc("status", "--json").json["problems"]
    assert any("keeps daemons from changing cdc.queue" in problem for problem in problems)


def check(cdc: Command) -> dict[str, str]:
    found: list[dict[str, str]] = cdc("doctor", "--json").json["checks"]
    return next(one for one in found if one["check"] == "publications")
