"""`cdc doctor`: the server, its settings, and who keeps it from its work."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import pq

from cdc.diagnosis.doctor.database import reached
from cdc.sandbox.embedded import EmbeddedPostgres
from tests.cli.command import Command
from tests.cli.test_doctor import verdict_of
from tests.support import installation


def test_old_transactions(
    cdc: Command, db: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cdc.diagnosis.doctor.database.OLD_TRANSACTION", 0.0)
    with psycopg.connect(cdc.env["CDC_DATABASE_URL"], application_name="report") as other:
        other.execute("select 1")
        verdict, said = verdict_of(cdc, "transactions")
        assert verdict == "warn"
        pid = other.info.backend_pid
        assert f"process {pid} (report, user postgres, idle in transaction)" in said
        assert f"pg_terminate_backend({pid})" in said


@contextmanager
def standby_feedback(url: str, slot: str, lsn: str, xmin: int) -> Iterator[None]:
    """What a standby with hot_standby_feedback says of the oldest snapshot of its queries."""
    conn = pq.PGconn.connect(f"{url}?replication=true".encode())
    try:
        assert conn.status == pq.ConnStatus.OK, conn.error_message
        started = conn.exec_(f"START_REPLICATION SLOT {slot} PHYSICAL {lsn}".encode())
        assert started.status == pq.ExecStatus.COPY_BOTH, started.error_message
        # Time, xmin and its epoch, the same of the catalogue: "hot standby feedback".
        conn.put_copy_data(b"h" + struct.pack("!qIIII", 0, xmin, 0, 0, 0))
        conn.flush()
        yield
    finally:
        conn.finish()


def test_what_keeps_vacuum_back(
    cdc: Command, db: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A standby that is gone, whose slot still stands for its last query."""
    monkeypatch.setattr("cdc.diagnosis.doctor.database.HELD_BACK", 20)

    def pass_by() -> None:
        for _ in range(30):
            db.execute("select pg_current_xact_id()")

    def row(sql: str) -> Any:
        return db.execute(sql.encode()).fetchall()[0][0]

    assert verdict_of(cdc, "snapshots")[0] == "ok"
    with psycopg.connect(cdc.env["CDC_DATABASE_URL"], application_name="report") as other:
        other.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        other.execute("select 1")
        pass_by()
        verdict, said = verdict_of(cdc, "snapshots")
        assert verdict == "warn"
        assert f"pg_terminate_backend({other.info.backend_pid})" in said
    db.execute("select pg_create_physical_replication_slot('gone')")
    try:
        xmin = int(row("select pg_current_xact_id()::text"))
        held = "select count(xmin) from pg_replication_slots where slot_name = 'gone'"
        here = row("select pg_current_wal_flush_lsn()::text")
        with standby_feedback(cdc.env["CDC_DATABASE_URL"], "gone", here, xmin):
            deadline = time.monotonic() + 30
            while not row(held):
                assert time.monotonic() < deadline
                time.sleep(0.01)
        while row("select count(*) from pg_replication_slots where active"):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        pass_by()
        verdict, said = verdict_of(cdc, "snapshots")
        assert verdict == "warn"
        assert "replication slot gone, unused," in said
        assert "pg_drop_replication_slot('gone')" in said
    finally:
        db.execute("select pg_drop_replication_slot('gone')")
    assert verdict_of(cdc, "snapshots")[0] == "ok"


def test_clocks_that_differ(cdc: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    real = time.time
    monkeypatch.setattr("cdc.diagnosis.doctor.database.time.time", lambda: real() + 90)
    verdict, said = verdict_of(cdc, "clock")
    assert verdict == "warn"
    assert "the clock of this host is 90 s ahead of the database's" in said
    monkeypatch.setattr("cdc.diagnosis.doctor.database.time.time", lambda: real() - 301)
    verdict, said = verdict_of(cdc, "clock")
    assert verdict == "fail"
    assert "5 min behind" in said


def test_a_server_that_is_too_old(cdc: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cdc.schema.migrations.SUPPORTED", 99)
    assert verdict_of(cdc, "server")[0] == "fail"


def test_a_standby_and_a_server_that_flushes() -> None:
    with EmbeddedPostgres(durable=True) as server:
        installation.prepare_template(server.url())
        cdc = Command({"CDC_DATABASE_URL": server.url()})
        assert verdict_of(cdc, "durability")[0] == "ok"
        with psycopg.connect(server.url()) as conn:
            (data,) = conn.execute("show data_directory").fetchall()[0]
        server.stop()
        (Path(data) / "standby.signal").touch()
        server.start()
        verdict, said = verdict_of(cdc, "server")
        assert verdict == "fail"
        assert "a standby" in said
        # Commands say so as well, and not what exactly cannot be done there.
        for words in (("status",), ("webhook", "pause", 1)):
            assert "accepts no writes: it is a standby" in cdc.refused(*words)


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("select from cdc.queue for update", "warn"),
        ("update cdc.webhook set reason = 'x'", "warn"),
        ("select from cdc.shard where id = 3 for update", "warn"),
        ("lock table cdc.attempt in share mode", "fail"),
        ("lock table cdc.lane in exclusive mode", "fail"),
    ],
)
def test_who_holds_what_daemons_write(
    cdc: Command,
    database: str,
    monkeypatch: pytest.MonkeyPatch,
    as_role: Callable[[str], Command],
    statement: str,
    expected: str,
) -> None:
    monkeypatch.setattr("cdc.diagnosis.doctor.recording.LOCK_HELD_S", 0.0)
    # A writer of the suite is in no session's way.
    with psycopg.connect(database) as writer:
        writer.execute("insert into company (name) values ('x')")
        writer.execute(
            "insert into cdc.queue (webhook_id, layout, action, time, refs)"
            " values (1, 1, 'c', now(), '{}')"
        )
        assert verdict_of(cdc, "recording")[0] == "ok"
    with psycopg.connect(database, application_name="forgotten") as holder:
        holder.execute(statement.encode())
        verdict, said = verdict_of(cdc, "recording")
        assert verdict == expected
        assert f"process {holder.info.backend_pid} (forgotten, user postgres, idle in" in said
        assert f"pg_terminate_backend({holder.info.backend_pid})" in said
        assert "open for" in said
        if expected == "fail":  # an account that sees no times sees the holder, and so does status
            verdict, said = verdict_of(as_role("cdc_reader"), "recording")
            assert (verdict, f"process {holder.info.backend_pid} (forgotten" in said) == (
                ("fail", True)
            )
            assert f"process {holder.info.backend_pid} (forgotten" in cdc("status").out


def test_a_commit_that_waits_for_a_standby_that_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cdc.diagnosis.doctor.locks.WAITED", 0.0)
    with EmbeddedPostgres(durable=True) as server:
        installation.prepare_template(server.url())
        cdc = Command({"CDC_DATABASE_URL": server.url()})
        assert verdict_of(cdc, "commits")[0] == "ok"
        with (
            psycopg.connect(server.url(), autocommit=True) as admin,
            psycopg.connect(server.url()) as writer,
        ):
            admin.execute("alter system set synchronous_standby_names = 'gone'")
            admin.execute("select pg_reload_conf()")
            admin.execute("set synchronous_commit = local")
            stop = threading.Event()

            def commits() -> None:
                # A commit waits from when the checkpointer has read the new setting.
                while not stop.is_set():
                    writer.execute("insert into company (name) values ('x')")
                    writer.commit()

            committing = threading.Thread(target=commits)
            committing.start()
            deadline = time.monotonic() + 60
            try:
                while admin.execute(
                    "select not exists (select from pg_stat_activity where wait_event = 'SyncRep')"
                ).fetchone() == (True,):
                    assert time.monotonic() < deadline
                verdict, said = verdict_of(cdc, "commits")
            finally:
                stop.set()
                admin.execute("alter system reset synchronous_standby_names")
                admin.execute("select pg_reload_conf()")
                committing.join()
    assert verdict == "fail"
    assert "1 session at COMMIT" in said


def test_prepared_transactions(monkeypatch: pytest.MonkeyPatch) -> None:
    """They forbid the doorbell, and hold locks without a session."""
    monkeypatch.setattr("cdc.diagnosis.doctor.recording.LOCK_HELD_S", 0.0)
    with EmbeddedPostgres(settings={"max_prepared_transactions": "2"}) as server:
        installation.prepare_template(server.url())
        cdc = Command({"CDC_DATABASE_URL": server.url(), "CDC_DOORBELL": "on"})
        assert verdict_of(cdc, "doorbell")[0] == "fail"
        cdc.env["CDC_DOORBELL"] = "auto"
        assert verdict_of(cdc, "doorbell")[0] == "ok"
        with psycopg.connect(server.url(), autocommit=True) as conn:
            for statement, verdict in (
                ("update cdc.shard set epoch = epoch where id = 3", "warn"),
                ("lock table cdc.attempt in share mode", "fail"),
            ):
                conn.execute(f"begin; {statement}; prepare transaction 'lost'".encode())
                found, said = verdict_of(cdc, "recording")
                assert found == verdict
                assert "prepared transaction 'lost' of postgres holds the lock" in said
                assert "rollback prepared 'lost'" in said
                conn.execute("rollback prepared 'lost'")
        assert verdict_of(cdc, "recording")[0] == "ok"


@contextmanager
def man_in_the_middle(heard: list[bytes]) -> Iterator[int]:
    """Says that there is no TLS, and asks for the password. Yields its port."""

    def listen(server: socket.socket) -> None:
        with suppress(OSError), server.accept()[0] as peer, peer.makefile("rb") as said:

            def message() -> bytes:
                return said.read(struct.unpack("!I", said.read(4))[0] - 4)

            with suppress(struct.error):  # it has hung up
                if message() == struct.pack("!I", 80877103):  # SSLRequest
                    peer.sendall(b"N")
                    message()
                peer.sendall(b"R" + struct.pack("!II", 8, 3))  # AuthenticationCleartextPassword
                heard.append(said.read(1) + message())

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=listen, args=[server])
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        thread.join(20)


def test_who_stands_on_the_way_to_the_database(cdc: Command) -> None:
    heard: list[bytes] = []
    for more in ("?sslmode=verify-full&sslrootcert=system", ""):
        with man_in_the_middle(heard) as port:
            address = f"postgresql://me:geheim@127.0.0.1:{port}/db{more}"
            assert Command({**cdc.env, "CDC_DATABASE_URL": address})("status").code == 1
        assert heard == ([] if more else [b"pgeheim\0"])
    assert verdict_of(cdc, "wire")[0] == "ok", "loopback"
    assert reached("", encrypted=False, mode="prefer").verdict == "ok"
    assert reached("192.0.2.1", encrypted=True, mode="verify-full").verdict == "ok"
    for encrypted, mode in ((False, "prefer"), (True, "prefer"), (True, "require")):
        found = reached("192.0.2.1", encrypted=encrypted, mode=mode)
        assert found.verdict == "warn"
        assert "sslmode=verify-full" in found.todo
