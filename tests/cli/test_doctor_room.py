"""`cdc doctor`: room for what we need, and who may do what."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
import pytest

from tests.cli.command import Command
from tests.cli.test_doctor import told
from tests.cli.test_status import log


class TestRoom:
    def test_a_table_that_is_nearly_empty_and_large(
        self, cdc: Command, db: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("cdc.cli.doctor.room.BLOATED", 200_000)
        assert told(cdc, "sizes")[0] == "ok"
        db.execute(
            "insert into cdc.queue (webhook_id, layout, action, time, refs)"
            " select 1, 1, 'c', now(), '{}' from generate_series(1, 5000)"
        )
        db.execute("analyze cdc.queue")
        assert told(cdc, "sizes")[0] == "ok"
        db.execute("delete from cdc.queue")
        db.execute("analyze cdc.queue")
        verdict, said = told(cdc, "sizes")
        assert verdict == "warn"
        assert "reindex table concurrently cdc.queue" in said

    def test_dead_rows(
        self, cdc: Command, db: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("cdc.cli.doctor.room.DEAD_ROWS", 50)
        db.execute(
            "insert into cdc.queue (webhook_id, layout, action, time, refs)"
            " select 1, 1, 'c', now(), '{}' from generate_series(1, 100)"
        )
        db.execute("delete from cdc.queue")
        db.execute("select pg_stat_force_next_flush()")
        db.execute("select 1")
        verdict, said = told(cdc, "vacuum")
        assert verdict == "warn"
        assert "cdc.queue has 100 dead rows" in said

    def test_a_server_without_autovacuum(self, cdc: Command, db: psycopg.Connection) -> None:
        db.execute(f"alter database {db.info.dbname} set track_counts = off".encode())
        verdict, said = told(cdc, "vacuum")
        assert verdict == "fail"
        assert "track_counts" in said

    def test_a_log_that_nobody_empties(self, cdc: Command, db: psycopg.Connection) -> None:
        log(db, cdc.add()["id"], 1, "delivered", at="clock_timestamp() - interval '15 days'")
        assert told(cdc, "log")[0] == "ok"
        log(db, 1, 2, "delivered", at="clock_timestamp() - interval '17 days'")
        assert told(cdc, "log")[0] == "warn"

    def test_an_account_with_few_connections(self, cdc: Command, db: psycopg.Connection) -> None:
        db.execute("create role narrow login connection limit 2 in role cdc_daemon")
        try:
            verdict, said = told(cdc, "connections")
            assert verdict == "warn"
            assert "alter role narrow connection limit" in said
        finally:
            db.execute("drop role narrow")


class TestWhoMayDoWhat:
    @pytest.mark.parametrize(
        ("harm", "mended", "verdict", "words"),
        [
            ("alter role cdc_reader rename to once", "alter role once rename to cdc_reader",
             "fail", "no role cdc_reader"),
            ("alter role cdc_daemon login", "alter role cdc_daemon nologin", "warn", "can log in"),
            ("alter role cdc_capture superuser", "alter role cdc_capture nosuperuser", "fail",
             "SUPERUSER"),
            ("grant cdc_owner to cdc_daemon", "revoke cdc_owner from cdc_daemon", "fail",
             "cdc_daemon is a member of cdc_owner"),
        ],
    )  # fmt: skip
    def test_roles(
        self, cdc: Command, db: psycopg.Connection, harm: str, mended: str, verdict: str, words: str
    ) -> None:
        db.execute(harm.encode())
        try:
            found, said = told(cdc, "roles")
            assert (found, words in said) == (verdict, True), said
        finally:
            db.execute(mended.encode())
        assert told(cdc, "roles")[0] == "ok"

    def test_accounts(
        self, cdc: Command, db: psycopg.Connection, as_role: Callable[[str], Command]
    ) -> None:
        db.execute("create role django login in role cdc_owner; alter table note owner to django")
        try:
            verdict, said = told(cdc, "accounts")
            assert verdict == "warn"
            assert "revoke cdc_owner, cdc_capture from django" in said
        finally:
            db.execute("alter table note owner to postgres; drop role django")

        def running(url: str) -> psycopg.Connection:
            return psycopg.connect(url, application_name="cdc watch", autocommit=True)

        with running(cdc.env["CDC_DATABASE_URL"]):
            verdict, said = told(cdc, "accounts")
            assert (verdict, "runs as postgres" in said) == ("warn", True)
        with running(as_role("cdc_reader").env["CDC_DATABASE_URL"]):
            verdict, said = told(cdc, "accounts")
            assert (verdict, "Any account can call itself so" in said) == ("fail", True)
        with running(as_role("cdc_daemon").env["CDC_DATABASE_URL"]):
            assert told(cdc, "accounts")[0] == "ok"
