"""`cdc doctor`: room for what we need, and who may do what."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
import pytest

from cdc.sandbox.embedded import EmbeddedPostgres
from cdc.schema import migrations
from tests.cli.command import Command
from tests.cli.test_doctor import verdict_of
from tests.cli.test_status import log
from tests.support.installation import adopt


class TestRoom:
    def test_a_table_that_is_nearly_empty_and_large(
        self, cdc: Command, db: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("cdc.diagnosis.doctor.resources.BLOATED", 200_000)
        assert verdict_of(cdc, "sizes")[0] == "ok"
        db.execute(
            "insert into cdc.queue (webhook_id, layout, action, time, refs)"
            " select 1, 1, 'c', now(), '{}' from generate_series(1, 5000)"
        )
        db.execute("analyze cdc.queue")
        assert verdict_of(cdc, "sizes")[0] == "ok"
        db.execute("delete from cdc.queue")
        db.execute("analyze cdc.queue")
        verdict, said = verdict_of(cdc, "sizes")
        assert verdict == "warn"
        assert "reindex table concurrently cdc.queue" in said

    def test_dead_rows(
        self, cdc: Command, db: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("cdc.diagnosis.doctor.resources.DEAD_ROWS", 50)
        db.execute(
            "insert into cdc.queue (webhook_id, layout, action, time, refs)"
            " select 1, 1, 'c', now(), '{}' from generate_series(1, 100)"
        )
        db.execute("delete from cdc.queue")
        db.execute("select pg_stat_force_next_flush()")
        db.execute("select 1")
        verdict, said = verdict_of(cdc, "vacuum")
        assert verdict == "warn"
        assert "cdc.queue has 100 dead rows" in said

    def test_a_server_without_autovacuum(self, cdc: Command, db: psycopg.Connection) -> None:
        db.execute(f"alter database {db.info.dbname} set track_counts = off".encode())
        verdict, said = verdict_of(cdc, "vacuum")
        assert verdict == "fail"
        assert "track_counts" in said

    def test_a_log_that_is_not_pruned(self, cdc: Command, db: psycopg.Connection) -> None:
        log(db, cdc.add()["id"], 1, "delivered", at="clock_timestamp() - interval '15 days'")
        assert verdict_of(cdc, "log")[0] == "ok"
        log(db, 1, 2, "delivered", at="clock_timestamp() - interval '17 days'")
        assert verdict_of(cdc, "log")[0] == "warn"

    def test_an_account_with_few_connections(self, cdc: Command, db: psycopg.Connection) -> None:
        db.execute("create role narrow login connection limit 2 in role cdc_daemon")
        try:
            verdict, said = verdict_of(cdc, "connections")
            assert verdict == "warn"
            assert "alter role narrow connection limit" in said
        finally:
            db.execute("drop role narrow")


class TestWhoMayDoWhat:
    @pytest.mark.parametrize(
        ("harm", "mended", "verdict", "words"),
        [
            ("alter role cdc_reader rename to once", "alter role once rename to cdc_reader",
             "fail", "missing roles: cdc_reader"),
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
            found, said = verdict_of(cdc, "roles")
            assert (found, words in said) == (verdict, True), said
        finally:
            db.execute(mended.encode())
        assert verdict_of(cdc, "roles")[0] == "ok"

    def test_accounts(
        self, cdc: Command, db: psycopg.Connection, as_role: Callable[[str], Command]
    ) -> None:
        db.execute("create role django login in role cdc_owner; alter table note owner to django")
        try:
            verdict, said = verdict_of(cdc, "accounts")
            assert verdict == "warn"
            assert "revoke cdc_owner, cdc_capture from django cascade" in said
        finally:
            db.execute("alter table note owner to postgres; drop role django")

        def running(url: str) -> psycopg.Connection:
            return psycopg.connect(url, application_name="cdc watch", autocommit=True)

        with running(cdc.env["CDC_DATABASE_URL"]):
            verdict, said = verdict_of(cdc, "accounts")
            assert (verdict, "runs as postgres" in said) == ("warn", True)
        with running(as_role("cdc_reader").env["CDC_DATABASE_URL"]):
            verdict, said = verdict_of(cdc, "accounts")
            assert (verdict, "Any account can choose that application name" in said) == (
                "fail",
                True,
            )
        with running(as_role("cdc_daemon").env["CDC_DATABASE_URL"]):
            assert verdict_of(cdc, "accounts")[0] == "ok"

    def test_who_can_become_our_owners(
        self, cdc: Command, db: psycopg.Connection, as_role: Callable[[str], Command]
    ) -> None:
        installer = as_role("cdc_owner")
        name = psycopg.conninfo.conninfo_to_dict(installer.env["CDC_DATABASE_URL"])["user"]
        verdict, said = verdict_of(cdc, "accounts")
        assert (verdict, f"{name} can become cdc_owner" in said) == ("warn", True)
        assert f"revoke cdc_owner from {name} cascade" in said
        # Who asks is named, and no stranger; nor is the owner of the database.
        verdict, said = verdict_of(installer, "accounts")
        assert (verdict, f"{name} can become cdc_owner" in said) == ("ok", True)
        db.execute(f"alter database {db.info.dbname} owner to {name}".encode())
        try:
            verdict, said = verdict_of(cdc, "accounts")
            assert (verdict, f"{name} can become cdc_owner" in said) == ("ok", True)
            # But not beside a stranger.
            db.execute("create role stranger in role cdc_capture")
            verdict, said = verdict_of(cdc, "accounts")
            assert verdict == "warn"
            assert "stranger can become cdc_capture" in said
            assert "revoke cdc_capture from stranger cascade" in said
        finally:
            db.execute(f"alter database {db.info.dbname} owner to postgres".encode())
            db.execute("drop role if exists stranger")


def test_who_made_our_roles_before_us() -> None:
    """On a server of its own: roles belong to the whole server."""
    with EmbeddedPostgres() as server:
        with psycopg.connect(server.url(), autocommit=True) as dba:
            dba.execute("create role early login createrole password 'bird'")
        early = psycopg.conninfo.make_conninfo(server.url(), user="early", password="bird")
        with psycopg.connect(early, autocommit=True) as conn:
            for role in ("cdc_owner", "cdc_admin"):
                conn.execute(f"create role {role} nologin".encode())
            if conn.info.server_version < 160_000:  # there it is not theirs by default
                conn.execute("grant cdc_owner, cdc_admin to early with admin option")
        migrations.upgrade(server.url())
        cdc = Command({"CDC_DATABASE_URL": server.url()})
        adopt(server.url())
        verdict, said = verdict_of(cdc, "accounts")
        assert (verdict, "early can become cdc_owner" in said) == ("warn", True), said
        revoke = said[said.index("revoke cdc_admin, cdc_owner from early") :].split(". ")[0]
        with psycopg.connect(server.url(), autocommit=True) as dba:
            dba.execute(revoke.encode())
        verdict, said = verdict_of(cdc, "accounts")
        assert "early" not in said
        assert verdict == "ok"
        with psycopg.connect(early, autocommit=True) as conn:
            if conn.info.server_version >= 160_000:  # before, CREATEROLE is enough for any
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    conn.execute("grant cdc_owner to early")
