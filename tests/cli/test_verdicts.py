"""Neither `cdc status` nor `cdc doctor` says that all is well when it is not."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from cdc.model import SHARDS
from cdc.postgres import connections as database
from cdc.postgres.advisory_locks import CLOCK_EVEN, LOCK_CLASS, LOG_LOST
from cdc.postgres.session_settings import HERE, LOCK_TIMEOUT
from tests.cli.command import Command
from tests.cli.test_doctor import findings
from tests.cli.test_status import UID, daemon, fails, log, owe, status

__all__ = ["daemon"]  # the fixture

Connection = psycopg.Connection
LONG_AGO = {'"time"': "clock_timestamp() - interval '12 days'"}
LATE = {'"time"': "clock_timestamp() - interval '8 minutes'"}
TRIED = {"tries": "3", "attempts": "3", "last_status": "401", "last_error": "'status'"}


def shows(daemon: Connection, number: int) -> None:
    daemon.execute("select pg_advisory_lock_shared(%s, %s)", (LOCK_CLASS, number))


def stops(daemon: Connection) -> None:
    """At once: of a connection that is closed, the session and its locks end a moment later."""
    daemon.execute("select pg_advisory_unlock_all()")


def held(db: Connection, webhook: int) -> None:
    db.execute("update cdc.webhook set state = 'paused'")
    db.execute("update cdc.webhook set since = now() - interval '12 days'")
    owe(db, webhook, **LONG_AGO)


def published(db: Connection) -> None:
    db.execute("alter table cdc.lane replica identity nothing")
    db.execute("create publication everything for all tables")


def unusable(db: Connection, webhook: int, why: str) -> None:
    db.execute("insert into cdc.lane (webhook_id, last_error) values (%s, %s)", [webhook, why])


def refused(db: Connection, webhook: int) -> None:
    tried = {"tries": "1", "attempts": "1", "last_error": "'guard'", "body": "'x'"}
    due = {"due_at": "clock_timestamp() + interval '5 min'"}
    owe(db, webhook, "retry", id="7", uid=f"'{UID.format(7)}'", **tried, **due)
    why = "plain http is refused: it would be readable on the network. Use https, or"
    why += " allow http for all endpoints: CDC_ALLOW_HTTP=true"
    log(db, webhook, 7, "failed", error="'guard'", detail=f"'{why}'")


def no_consumer(db: Connection, daemon: Connection, webhook: int) -> None:
    stops(daemon)
    for number in range(1, 21):
        owe(db, webhook, id=str(number), **LATE)


# What is so; what is done to a database where all is well; words of the problem that status states;
# the check of the doctor that fails. More of them, each a statement: HARMS of test_doctor.py.
SITUATIONS: dict[str, tuple[Callable[[Connection, Connection, int], object], str, str]] = {
    "no daemon": (lambda db, d, w: stops(d), "no daemon runs", "daemons"),
    "queue grows without a consumer": (no_consumer, "20 deliveries wait for one; 1 webhook waits b",
                                       "daemons"),
    "shards without an owner": (lambda db, d, w: d.execute(
        "select pg_advisory_unlock(%s, 3)", [LOCK_CLASS]), "1 of 64 shards have no daemon",
        "daemons"),
    "dead letters": (lambda db, d, w: owe(db, w, "dead", **TRIED), "1 delivery dead, of webhook 1",
                     "backlog"),
    "held, and about to expire": (lambda db, d, w: held(db, w),
                                  "held deliveries of webhook 1 are about to expire, the first",
                                  "backlog"),
    "expired": (lambda db, d, w: log(db, w, 1, "expired"), "1 delivery expired", "backlog"),
    "late": (lambda db, d, w: owe(db, w, **LATE), "webhook 1 is late", "backlog"),
    "the daemon's clock apart": (lambda db, d, w: shows(d, CLOCK_EVEN - 600),
                                 "the clock of daemon host:17 is 10 min behind", "clock"),
    "lines of log lost": (lambda db, d, w: shows(d, LOG_LOST), "host:17 cannot write its log",
                          "daemons"),
    "publication in the way": (lambda db, d, w: published(db), "publication everything keeps",
                               "publications"),
    "secrets published": (lambda db, d, w: db.execute(
        "set client_min_messages = error; create publication everything for all tables"),
        "Replace publication everything by one that names schemas or tables", "publications"),
    "a key that daemons lack": (lambda db, d, w: unusable(
        db, w, "cannot be used: a secret is encrypted with a key that is not in CDC_SECRET_KEYS"),
        "Give the daemons the keys that it was encrypted with (CDC_SECRET_KEYS), and restart them",
        "backlog"),
    "http that is not allowed": (lambda db, d, w: refused(db, w),
        "webhook 1 is not called: plain http is refused: it would be readable on",
        "backlog"),
    "capture that may not read": (lambda db, d, w: db.execute(
        "revoke select on project from cdc_capture"), "is blind", "triggers"),
}  # fmt: skip


@pytest.mark.parametrize("situation", SITUATIONS)
def test_no_situation_is_well(
    cdc: Command, db: Connection, daemon: Connection, situation: str
) -> None:
    harm, words, check = SITUATIONS[situation]
    number = cdc.add()["id"]
    harm(db, daemon, number)
    try:
        problems = status(cdc)["problems"]
        assert any(words in problem for problem in problems), problems
        assert findings(cdc)[check]["verdict"] == "fail"
    finally:
        db.execute("drop publication if exists everything")


def test_a_daemon_that_has_installed_is_one(
    cdc: Command, db: Connection, admin: Connection
) -> None:
    """With the rights of the owner, and no member of cdc_daemon: status said that there was none,
    and doctor advised to end it."""
    cdc.add()
    name = sql.Identifier(f"installer_{db.info.dbname}")
    admin.execute(sql.SQL("create role {} login password 'x' in role cdc_owner").format(name))
    url = psycopg.conninfo.make_conninfo(
        cdc.env["CDC_DATABASE_URL"], user=f"installer_{db.info.dbname}", password="x"
    )
    try:
        with psycopg.connect(url, autocommit=True) as conn:
            hold(conn)
            found = status(cdc)
            assert found["ok"], found["problems"]
            assert (found["fleet"]["daemons"], found["fleet"]["shards_owned"]) == (1, SHARDS)
            assert findings(cdc)["daemons"]["verdict"] == "ok"
            # Without the right it is a stranger, and both say what to do.
            admin.execute(sql.SQL("revoke cdc_owner from {}").format(name))
            (problem,) = status(cdc)["problems"]
            assert f"user installer_{db.info.dbname}) holds advisory locks of daemons" in problem
            assert "grant cdc_daemon to its account" in problem
            assert findings(cdc)["daemons"]["verdict"] == "fail"
    finally:
        admin.execute(sql.SQL("drop role {}").format(name))


def hold(conn: Connection) -> None:
    conn.execute("select pg_advisory_lock_shared(%s, %s)", (LOCK_CLASS, SHARDS))
    conn.execute(
        "select pg_advisory_lock(%s, s) from generate_series(0, %s) s", (LOCK_CLASS, SHARDS - 1)
    )
    conn.execute("update cdc.shard set owner = 'host:17', since = clock_timestamp()")


def test_a_host_without_certificates(
    cdc: Command, daemon: Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cdc.add()
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none.pem"))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    assert findings(cdc)["tls"]["verdict"] == "fail"
    seen = cdc("status")
    assert seen.code == 1
    assert "ca-certificates" in seen.out


def test_one_cause_is_stated_once(cdc: Command, db: Connection, daemon: Connection) -> None:
    """Twenty webhooks wait: for one daemon, for receivers that fail alike, or for a cause each."""
    numbers = [cdc.add(company="1", url=f"http://127.0.0.1:9/{n}")["id"] for n in range(12)]
    for number in numbers:
        owe(db, number, **LATE)
        fails(db, number, "9 minutes")
    (problem,) = status(cdc)["problems"]
    assert problem.startswith(
        "12 webhooks (1, 2, 3, 4, 5, ...) are late, one of webhook 1 waits for 8 min: the "
        "endpoint accepts no connection (refused), for 9 min."
    )
    stops(daemon)
    (problem,) = status(cdc)["problems"]
    assert problem.startswith("no daemon runs: 12 deliveries wait for one; 12 webhooks wait becau")


@pytest.mark.parametrize(
    ("error", "status_", "detail", "cause", "todo"),
    [
        ("tls", "null", "the certificate of x.test is refused: certificate has expired",
         "the certificate of x.test is refused: certificate has expired (tls)",
         "The receiver must renew its certificate."),
        ("tls", "null", None, "TLS with the endpoint fails (tls)", "Ask the receiver's operator."),
        ("status", "401", None, "the receiver answered 401", "Compare the signing secret"),
        ("guard", "null", None, "the endpoint may not be called (guard)", "CDC_ALLOWED_NETWORKS"),
        ("dns", "null", "the name of x.test cannot be resolved: no such name",
         "the name of x.test cannot be resolved: no such name (dns)",
         "Correct the endpoint: `cdc webhook update 1 --url URL`."),
    ],
)  # fmt: skip
def test_the_advice_is_for_the_cause(
    cdc: Command,
    db: Connection,
    daemon: Connection,
    error: str,
    status_: str,
    detail: str | None,
    cause: str,
    todo: str,
) -> None:
    """It was always: if the receiver is well again, resume."""
    number = cdc.add()["id"]
    tried = {"tries": "1", "attempts": "1", "last_error": f"'{error}'", "last_status": status_}
    due = {"due_at": "clock_timestamp() + interval '5 min'", "body": "'x'"}
    owe(db, number, "retry", id="7", uid=f"'{UID.format(7)}'", **LATE, **tried, **due)
    what = {"error": f"'{error}'", "status": status_}
    if detail is not None:
        what["detail"] = f"'{detail}'"
    log(db, number, 7, "failed", **what)
    (problem,) = status(cdc)["problems"]
    assert cause in problem
    assert todo in problem
    backlog = findings(cdc)["backlog"]
    assert (cause in backlog["message"], todo in backlog["todo"]) == (True, True)
    said = cdc.json("explain", 7)["deliveries"][0]["said"][0]
    assert todo in said["todo"]
    assert "When that is fixed: `cdc webhook resume 1`" in said["todo"]


def test_lag_is_the_metric_s(cdc: Command, db: Connection, daemon: Connection) -> None:
    """It was what the metrics call oldest: 0.0 stood beside "lag 8 min"."""
    failing, waiting = cdc.add()["id"], cdc.add(company="2")["id"]
    owe(db, failing, **LATE)
    fails(db, failing, "9 minutes")
    totals = status(cdc)["totals"]
    assert (totals["lag"], totals["oldest"] > 470) == (0.0, True)
    out = cdc("status").out
    assert re.search("^lag +none: all that waits is due to its receiver *$", out, re.MULTILINE)
    assert re.search("^oldest +8 min *$", out, re.MULTILINE)
    owe(db, waiting, **{'"time"': "clock_timestamp() - interval '20 s'"})
    assert 20 <= status(cdc)["totals"]["lag"] < 40


def test_screens_fit_and_name_their_zone(cdc: Command, db: Connection, daemon: Connection) -> None:
    number = cdc.add()["id"]
    owe(db, number, "retry", **LATE, **TRIED, due_at="clock_timestamp()", body="'x'")
    db.execute("update cdc.installation set system_identifier = 1")
    cdc.env["COLUMNS"] = "80"
    for words in (("status",), ("doctor",), ("doctor", "--all")):
        screen = cdc(*words)
        assert screen.code == 1
        assert "well" not in screen.out
        assert max(map(len, screen.out.splitlines())) <= 80
    # The doctor: what fails, then warnings; what is fine only if asked for.
    marks = [line.split()[0] for line in cdc("doctor").out.splitlines() if line[:1].strip()]
    assert marks == sorted(marks)
    assert set(marks) == {"fail", "warn"}
    assert "ok     schema" in cdc("doctor", "--all").out
    times = cdc("webhook", "show", number).out + cdc("explain", number).out
    assert "Z" in times
    assert "+00:00" not in times


def test_no_command_waits_for_a_lock_for_long(
    cdc: Command, db: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All but `cdc status` waited behind it for as long as it was held."""
    owe(db, cdc.add()["id"])
    monkeypatch.setattr(database, "HERE", HERE.replace(f"'{LOCK_TIMEOUT}'", "'20ms'"))
    with psycopg.connect(cdc.env["CDC_DATABASE_URL"]) as holder:
        # Ends what waits without a limit; counted from the holder's last statement.
        holder.execute("set idle_in_transaction_session_timeout = '20s'")
        holder.execute("lock table cdc.queue in access exclusive mode")
        for command in (
            "status",
            "explain candidate 1",
            "explain 1",
            "delivery list",
            "delivery show 1",
            "delivery replay 1 --dry-run",
            "delivery replay --webhook 1 --since 1h --dry-run",
            "webhook remove 1 --yes",
            "triggers status",
            "webhook list",
        ):
            done = cdc(*command.split())
            holder.execute("select")
            if done.code:
                assert "Another session holds a lock" in done.err, command
                assert "`cdc doctor` names it" in done.err
                assert "Pipeline" not in done.err
            else:
                assert command in ("triggers status", "webhook list")
        assert "holds the lock AccessExclusive on cdc.queue" in findings(cdc)["locks"]["message"]


def test_what_our_own_settings_refuse_is_said_in_sentences(
    cdc: Command, db: Connection, daemon: Connection
) -> None:
    """It was CDC_ALLOWED_NETWORKS for plain http, and `CDC_ALLOW_HTTP=true When that is fixed`."""
    refused(db, cdc.add()["id"])
    todo = "CDC_ALLOW_HTTP=true. Daemons read their settings at the start: restart them. "
    assert todo in cdc.json("explain", 7)["deliveries"][0]["said"][0]["todo"]
    (problem,) = status(cdc)["problems"]
    assert todo in problem
    cdc.env["CDC_ALLOW_HTTP"] = "false"
    endpoints = findings(cdc)["endpoints"]
    assert endpoints["message"].startswith("webhook 1 cannot be called: plain http is refused")
    assert todo in endpoints["todo"]
    assert "NETWORKS" not in endpoints["todo"]


def test_a_name_that_leads_nowhere_is_to_be_corrected_once(cdc: Command) -> None:
    cdc.add(url="http://nowhere.invalid/hook")
    endpoints = findings(cdc)["endpoints"]
    assert endpoints["message"].startswith("webhook 1 cannot be called: the name nowhere.invalid")
    assert endpoints["todo"].lower().count("correct the endpoint") == 1
    assert "name can be resolved" in endpoints["todo"]


def test_a_blind_capture_loses_nothing(cdc: Command, db: Connection, daemon: Connection) -> None:
    db.execute("revoke select on project from cdc_capture")
    (problem,) = status(cdc)["problems"]
    for text in (problem, findings(cdc)["triggers"]["message"]):
        assert "kept in cdc.unresolved" in text
        assert "lost" not in text


def test_what_waits_for_a_daemon_has_no_slow_receiver(
    cdc: Command, db: Connection, daemon: Connection
) -> None:
    no_consumer(db, daemon, cdc.add()["id"])
    backlog = findings(cdc)["backlog"]
    assert backlog["message"] == "1 webhook waits for a daemon"
    assert "receiver" not in backlog["todo"]
