"""Whose processor time is whose, and the baseline that inserts constants."""

from __future__ import annotations

import psycopg
import pytest

from cdc.sandbox.embedded import EmbeddedPostgres
from tests.bench.constant import BULK_TRIGGER
from tests.bench.place import Server
from tests.bench.sharing import Shares, shared, split

BUSY = "select count(*) from generate_series(1, 1000000)"
COLUMNS = (
    "select a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,"
    "       pg_get_expr(d.adbin, d.adrelid)"
    "  from pg_attribute a left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum"
    " where a.attrelid = %s::regclass and a.attnum > 0 and not a.attisdropped order by a.attnum"
)
INDEXES = (
    "select pg_get_indexdef(i.indexrelid, n, true) from pg_index i, generate_series(1, 2) n"
    " where i.indrelid = %s::regclass order by i.indexrelid, n"
)


def test_unattributed_time_counts_as_the_writers() -> None:
    before = {(1, "checkpointer"): 5.0, (2, ""): 1.0}
    after = {
        (1, "checkpointer"): 5.5,
        (2, ""): 4.0,  # a session of the daemon
        (3, ""): 7.0,  # a writer, as it was seen last
        (4, "autovacuum worker"): 0.25,
    }
    found = split(20.0, 6.0, before, after, {2})
    assert found == Shares(clients=6.0, writers=16.25, sessions=3.0, background=0.75)


def test_sessions_of_a_daemon_are_distinguished_from_writers(postgres: EmbeddedPostgres) -> None:
    server = Server(postgres.url(), postgres)
    with (
        server.database("bare", 1, 1) as database,
        psycopg.connect(database.url, application_name="cdc watch", autocommit=True) as daemon,
    ):
        with shared(server, database) as shares:
            daemon.execute(BUSY)
        found = shares()
        assert found
        assert found.sessions > 0.01
        # Other tests may use this server meanwhile: more may count as the writers', never less.
        with shared(server, database) as shares, psycopg.connect(database.url) as writer:
            writer.execute(BUSY)
        found = shares()
        assert found
        assert found.writers > 0.01
        assert found.sessions < found.writers


def test_a_server_of_others_is_not_looked_into(postgres: EmbeddedPostgres) -> None:
    server = Server(postgres.url())
    with server.database("bare", 1, 1) as database, shared(server, database) as shares:
        pass
    assert shares() is None


@pytest.mark.parametrize("change", ["update candidate set name = 'x'", "insert into candidate"])
def test_the_baseline_of_constants_inserts_one_into_a_table_like_the_queue(
    postgres: EmbeddedPostgres, change: str
) -> None:
    if change.startswith("insert"):
        change += " (id, project_id) values (2, 1)"
    with (
        Server.theirs(postgres.url()) as server,
        server.database("constant", 1, 1) as database,
        psycopg.connect(database.url, autocommit=True) as conn,
    ):
        conn.execute(change.encode())
        assert conn.execute("select count(*) from constant_queue").fetchone() == (1,)
        for asked in (COLUMNS, INDEXES):
            ours, queue = (
                conn.execute(asked.encode(), (table,)).fetchall()
                for table in ("constant_queue", "cdc.queue")
            )
            assert ours == queue


def test_the_baseline_of_constants_inserts_as_many_as_a_statement_changes(
    postgres: EmbeddedPostgres,
) -> None:
    with (
        Server.theirs(postgres.url()) as server,
        server.database("constant", 2, 3) as database,
    ):
        database.run(BULK_TRIGGER)
        database.change(3)
        assert database.ask("select count(*) from constant_queue") == 3
