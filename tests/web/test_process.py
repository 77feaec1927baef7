"""The process: its account, its first key, proxies and TLS, a database that goes, stopping."""

from __future__ import annotations

import json
import signal
import ssl
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import psycopg
import pytest

from cdc.mapping import default_mapping
from cdc.postgres.connections import PREPARED_AFTER, Connection, driver_of
from cdc.sandbox.process import bare_environment
from cdc.settings import Settings
from cdc.web import dispatch
from cdc.web.call import Service
from cdc.web.pool import RequestPool
from cdc.web.tally import Tally
from cdc.webhooks.model import Rules
from cdc.webhooks.registry import Registry
from tests.support.certificates import Authority
from tests.web.kit import Answer, Client, Served, account, problem, serving, until

HOOK = {"events": ["project_changed"], "endpoint": "http://127.0.0.1:9/hook"}


def test_the_account_needs_its_role_alone(served: Served) -> None:
    """All other tests run with such an account; one that can read secrets is warned of."""
    assert not [line for line in served.lines if line["level"] == "warning"]
    roles = served.rows(
        "select r.rolname from pg_auth_members m join pg_roles r on r.oid = m.roleid"
        " join pg_roles u on u.oid = m.member where u.rolname = %s",
        served.user,
    )
    assert roles == [("cdc_serve",)]


def test_the_first_key_by_machine(
    shared_database: str, admin: psycopg.Connection, tmp_path: Path
) -> None:
    file = tmp_path / "first.key"
    with account(admin, shared_database) as url:
        with serving(url, shared_database, "--bootstrap-key-file", file) as first:
            key = file.read_text().strip()
            assert stat.S_IMODE(file.stat().st_mode) == 0o600
            assert Client(first.url, key).good("GET", "/v1/keys")["items"]
        # The same file again: the same key.
        with serving(url, shared_database, "--bootstrap-key-file", file) as again:
            assert Client(again.url, key).good("GET", "/v1/keys")["items"]
    assert again.rows("select count(*) from cdc.api_key where description = 'bootstrap'") == [(1,)]


@pytest.fixture(scope="module")
def proxied(shared_database: str, admin: psycopg.Connection) -> Any:
    with (
        account(admin, shared_database) as url,
        serving(
            url,
            shared_database,
            CDC_SERVE_TRUSTED_PROXIES="127.0.0.1/32,10.0.0.0/8",
            CDC_HTTP_PORT="0",
        ) as made,
    ):
        yield made


def test_a_trusted_proxy_names_the_client(proxied: Served, served: Served) -> None:
    def seen(where: Served, **headers: str) -> Any:
        client = where.client("operator")
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = client("GET", "/v1/events", None, named)
        number = answer.headers["x-request-id"]
        until(lambda: [line for line in where.lines if line.get("request") == number])
        return next(line for line in where.lines if line.get("request") == number)

    assert seen(proxied, X_Forwarded_For="203.0.113.9")["source"] == "203.0.113.9"
    # Only what trusted ones have seen: a client may send such a header, too.
    forged = seen(proxied, X_Forwarded_For="198.51.100.1, 203.0.113.9, 10.1.2.3")
    assert forged["source"] == "203.0.113.9"
    assert seen(proxied, X_Forwarded_For="nonsense\t;")["source"] == "127.0.0.1"
    assert seen(proxied, X_Request_Id="abc-1")["request"] == "abc-1"
    assert seen(proxied, X_Request_Id="a b")["request"] != "a b"
    assert seen(served, X_Forwarded_For="203.0.113.9")["source"] == "127.0.0.1"


def test_health_and_metrics(proxied: Served) -> None:
    for path in ("healthz", "readyz"):
        with urlopen(proxied.url + path, timeout=20) as got:
            assert got.status == 200
    proxied.client("operator").good("GET", "/v1/events")
    port = next(line for line in proxied.lines if line["event"] == "serving health and metrics")
    with urlopen(f"http://127.0.0.1:{port['port']}/metrics", timeout=20) as got:
        text = got.read().decode()
    assert 'cdc_serve_requests_total{route="GET /v1/events",status="200"}' in text
    # Not on the port of strangers.
    assert Client(proxied.url)("GET", "/metrics").status == 404


def test_tls_below_a_path_of_a_proxy(
    shared_database: str, admin: psycopg.Connection, tmp_path: Path
) -> None:
    authority = Authority(tmp_path, "authority")
    cert, private = authority.issue("127.0.0.1")
    with (
        account(admin, shared_database) as url,
        serving(
            url,
            shared_database,
            CDC_SERVE_TLS_CERT_FILE=str(cert),
            CDC_SERVE_TLS_KEY_FILE=str(private),
            CDC_SERVE_URL="https://hooks.example/suite",
        ) as made,
    ):
        trusting = ssl.create_default_context(cafile=str(authority.file))
        client = Client(made.url, made.key("operator"), trusting)
        answer = client("POST", "/suite/v1/companies/7/webhooks", HOOK)
        assert answer.status == 201
        assert answer.headers["location"].startswith("/suite/v1/webhooks/")
        client.good("GET", answer.headers["location"])
        # A proxy that takes the path away.
        client.good("GET", answer.headers["location"].removeprefix("/suite"))
        servers = Client(made.url, None, trusting).good("GET", "/v1/openapi.json")["servers"]
        assert servers == [{"url": "https://hooks.example/suite"}]


def test_requests_in_flight_end_before_it_stops(
    shared_database: str, admin: psycopg.Connection
) -> None:
    answers: list[Answer] = []
    with (
        account(admin, shared_database) as url,
        serving(url, shared_database, CDC_STOP_GRACE="20") as made,
        psycopg.connect(shared_database) as conn,
    ):
        client = made.client("operator")
        # However long this takes on a busy machine, the request does not give up.
        made.run(
            "create function patient() returns trigger language plpgsql as"
            " 'begin set local lock_timeout = 0; set local statement_timeout = 0; return new; end';"
            " create trigger patient before insert on cdc.webhook"
            " for each row execute function patient()"
        )
        conn.execute("lock table cdc.subscription in exclusive mode")
        sent = threading.Thread(
            target=lambda: answers.append(client("POST", "/v1/companies/8/webhooks", HOOK))
        )
        sent.start()
        until(
            lambda: made.rows(
                "select true from pg_locks where relation = 'cdc.subscription'::regclass"
                " and not granted"
            )
        )
        made.process.send_signal(signal.SIGTERM)
        until(lambda: any(line["event"] == "stopping" for line in made.lines))
        conn.rollback()
        sent.join(20)
        assert [answer.status for answer in answers] == [201]
        assert made.process.wait(20) == 0
        until(lambda: made.lines[-1]["event"] == "stopped")
        made.run("drop function patient cascade")


def test_a_database_that_is_gone_for_a_while(served: Served) -> None:
    """Its sessions are ended, and it may not connect: 503, then it goes on."""
    client = served.client("operator")
    client.good("GET", "/v1/events")
    user = served.user
    served.run(f'alter role "{user}" nologin')
    try:
        served.run(
            "select pg_terminate_backend(pid) from pg_stat_activity where usename = %s", user
        )
        answer = until(lambda: refused(client))
        assert problem(answer)["code"] == "unavailable"
        assert "retry-after" in answer.headers
        assert served.database.rpartition("@")[2].encode() not in answer.body
        until(lambda: client("GET", "/readyz").status == 503)
    finally:
        served.run(f'alter role "{user}" login')
    until(lambda: client("GET", "/readyz").status == 200)
    client.good("GET", "/v1/events")


def test_kept_sessions_that_have_ended_are_replaced(served: Served) -> None:
    """Without a question to the server before each request."""
    pool = RequestPool(served.database)
    with pool.transaction() as one, pool.transaction() as other:
        ended = [conn.exec_driver_sql("select pg_backend_pid()").scalar() for conn in (one, other)]
    served.run("select pg_terminate_backend(pid) from unnest(%s::int[]) pid", ended)
    until(lambda: not served.rows("select from pg_stat_activity where pid = any(%s)", ended))
    with pool.transaction() as one, pool.transaction() as other:
        assert [conn.exec_driver_sql("select 1").scalar() for conn in (one, other)] == [1, 1]
    pool.close()


def refused(client: Client) -> Answer | None:
    answer = client("GET", "/v1/events")
    return answer if answer.status >= 500 else None


def test_what_is_wrong_at_the_start_is_said(tmp_path: Path) -> None:
    def refused(**settings: str) -> str:
        given = {"CDC_DATABASE_URL": "postgresql://x@127.0.0.1:1/none", "CDC_SERVE_PORT": "0"}
        done = subprocess.run(
            [sys.executable, "-m", "cdc", "serve"],
            env={**bare_environment(), **given, "CDC_LOG_FORMAT": "json", **settings},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 1, done
        line = json.loads(done.stderr.splitlines()[-1])
        assert line["event"] == "cannot run"
        return str(line["error"])

    assert "with the key in it" in refused(CDC_SERVE_TLS_CERT_FILE=str(tmp_path))
    cert, _ = Authority(tmp_path, "authority").issue("127.0.0.1")
    without = {"CDC_SERVE_TLS_CERT_FILE": str(cert), "CDC_SERVE_TLS_KEY_FILE": "/no/such.key"}
    assert "with the key /no/such.key" in refused(**without)
    assert "serve_tls_cert_file is not" in refused(CDC_SERVE_TLS_KEY_FILE="x")


def test_a_database_that_is_down_at_the_start_is_named_once(tmp_path: Path) -> None:
    """It said that it serves, and nothing else."""
    env = bare_environment()
    env |= {"CDC_DATABASE_URL": "postgresql://x@127.0.0.1:1/none", "CDC_SERVE_PORT": "0"}
    log = tmp_path / "log"
    with log.open("wb") as file:
        served = subprocess.Popen(
            [sys.executable, "-m", "cdc", "serve"],
            env={**env, "CDC_LOG_FORMAT": "json"},
            stderr=file,
        )
    try:
        until = time.monotonic() + 20
        while "not ready" not in log.read_text() and time.monotonic() < until:
            time.sleep(0.02)
    finally:
        served.terminate()
        assert served.wait(20) == 0
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    [said] = [line["error"] for line in lines if line["event"] == "not ready"]
    assert "the database cannot be reached" in said


def test_each_transaction_of_a_request_has_its_limits(shared_database: str) -> None:
    pool = RequestPool(shared_database)
    for _ in range(2):
        with pool.transaction() as conn:
            kept = {
                name: conn.exec_driver_sql(f"show {name}").scalar()
                for name in ("statement_timeout", "lock_timeout", "search_path")
            }
        assert kept == {
            "statement_timeout": "10s",
            "lock_timeout": "3s",
            "search_path": "pg_catalog, pg_temp",
        }
    pool.close()


@pytest.mark.parametrize("direct", [True, False], ids=["direct", "pooler"])
def test_statements_without_a_transaction_have_its_settings(
    shared_database: str, served: Served, monkeypatch: pytest.MonkeyPatch, direct: bool
) -> None:
    """Whatever the database's defaults are. Behind a pooler there is a transaction: settings last
    no longer."""
    monkeypatch.setattr(Connection, "_is_direct", lambda _: direct)
    name = served.rows("select current_database()")[0][0]
    default = f'alter database "{name}" set default_transaction_isolation = '
    served.run(f"{default}'serializable'")
    pool = RequestPool(shared_database)
    try:
        for _ in range(2):
            with pool.statements() as conn:
                kept = [
                    conn.exec_driver_sql(f"show {name}").scalar()
                    for name in ("statement_timeout", "search_path", "transaction_isolation")
                ]
                begun = [conn.exec_driver_sql("select now()").scalar() for _ in range(2)]
            assert kept == ["10s", "pg_catalog, pg_temp", "read committed"]
            assert (begun[0] == begun[1]) == (not direct)
            with pool.transaction() as conn:  # in the same session
                begun = [conn.exec_driver_sql("select now()").scalar() for _ in range(2)]
            assert begun[0] == begun[1]
    finally:
        pool.close()
        served.run(f"{default}default")


def test_requests_at_once_read_in_sessions_of_their_own(shared_database: str) -> None:
    """Also in those that are new: the first of an engine is not as the others are."""
    pool = RequestPool(shared_database)
    with pool.statements() as one, pool.statements() as other, pool.statements() as third:
        found = [
            conn.exec_driver_sql("select pg_backend_pid()").scalar() for conn in (one, other, third)
        ]
    assert len(set(found)) == 3
    pool.close()


def test_a_page_of_the_list_is_two_statements(
    shared_database: str, served: Served, tmp_path: Path
) -> None:
    """Counted on the wire: no question before it, no settings, nothing that is planned again."""
    made = served.client("operator").good("POST", "/v1/companies/6/webhooks", HOOK)
    settings, mapping = Settings(database_url=shared_database), default_mapping()
    pool = RequestPool(shared_database)
    registry = Registry(pool.engine, Rules.of(settings, mapping))
    service = Service(settings, mapping, pool, registry, Tally(pool))
    path, sent = f"/v1/webhooks/{made['id']}/deliveries", served.key("operator")
    route, params = dispatch.route_of("GET", path)
    asked = dispatch.ApiRequest("GET", path, {}, {}, b"", "127.0.0.1", "1")

    def page() -> None:
        dispatch.with_key(
            service,
            sent,
            lambda *key: dispatch.carry_out(service, route, params, asked, *key),
            made["id"],
            one_read=route.one_read,
        )

    for _ in range(PREPARED_AFTER + 1):
        page()
    with pool.engine.connect() as conn:  # the one used last is the next that is used
        driver = driver_of(conn)
    with (tmp_path / "wire").open("w+") as file:
        driver.pgconn.trace(file.fileno())
        page()
        driver.pgconn.untrace()
        file.seek(0)
        sent_kinds = [line.split("\t")[3] for line in file if line.split("\t")[1] == "F"]
    pool.close()
    statements = [kind for kind in sent_kinds if kind in ("Query", "Execute")]
    # The key, with the webhook's company; the page.
    assert (len(statements), sent_kinds.count("Parse")) == (2, 0), sent_kinds
