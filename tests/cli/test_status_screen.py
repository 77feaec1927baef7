"""`cdc status` as a screen: bounded whatever waits, usable at 80 columns, live until Ctrl-C."""

from __future__ import annotations

import fcntl
import io
import json
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from cdc.cli.status import screen
from cdc.diagnosis.health import LaneState, reading
from cdc.mapping import default_mapping
from cdc.model import UNUSABLE
from cdc.settings import Settings
from tests.cli.command import Command
from tests.cli.test_status import daemon, owe, status

__all__ = ["daemon"]  # the fixture

LIMIT = 60.0


def fill(db: psycopg.Connection, webhook: int, rows: int) -> None:
    db.execute(
        'insert into cdc.queue (webhook_id, layout, action, "time", refs)'
        " select %s, (select min(id) from cdc.layout), 'm', clock_timestamp(), '{7}'"
        " from generate_series(1, %s)",
        [webhook, rows],
    )


class TestBound:
    def test_no_more_rows_are_read_than_are_counted(
        self, cdc: Command, db: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        full, few = cdc.add()["id"], cdc.add(company="2")["id"]
        fill(db, full, 5_000)
        fill(db, few, 3)
        monkeypatch.setattr(reading, "COUNT_AT_MOST", 200)
        found = {lane.webhook_id: lane for lane in reading.lanes(db)}
        assert (found[full].queued, found[full].more) == (200, True)
        assert (found[few].queued, found[few].more) == (3, False)
        with db.transaction():
            db.execute(reading._BY_INDEX)
            (row,) = db.execute(
                "explain (analyze, format json) " + reading._LANES,
                {"bound": 200, "unusable": UNUSABLE, "webhooks": None},
            ).fetchall()
        reads = [node for node in nodes(row[0][0]["Plan"]) if node.get("Relation Name") == "queue"]
        assert reads
        for node in reads:
            assert node["Index Name"] == "queue_lane"
            assert node["Actual Rows"] * node["Actual Loops"] <= 210

    def test_a_shortened_list_says_so(
        self,
        cdc: Command,
        db: psycopg.Connection,
        daemon: psycopg.Connection,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        fill(db, cdc.add()["id"], 300)
        monkeypatch.setattr(reading, "COUNT_AT_MOST", 200)
        found = status(cdc)
        assert found["totals"]["more"] is True
        assert found["webhooks"][0]["more"] is True
        assert "200+ queued" in cdc("status").out
        monkeypatch.setattr(reading, "COUNT_AT_MOST", 10_000)
        assert status(cdc)["totals"]["more"] is False
        assert "300 queued" in cdc("status").out

    def test_rows_are_made_of_what_is_shown(
        self,
        cdc: Command,
        db: psycopg.Connection,
        daemon: psycopg.Connection,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """Of 100,000 webhooks forty are shown: making rows of all took half of the time."""
        db.execute(
            "insert into cdc.webhook (company, endpoint, state) select n::text, 'https://x.test/',"
            " 'paused' from generate_series(1, 60) n"
        )
        made: list[LaneState] = []
        row = screen._row

        def counted(lane: LaneState) -> tuple[object, ...]:
            made.append(lane)
            return row(lane)

        monkeypatch.setattr(screen, "_row", counted)
        assert "... and 20 more; --json has all." in cdc("status").out
        assert len(made) == 40

    def test_it_loads_neither_a_server_of_http_nor_sqlalchemy(self, database: str) -> None:
        """Each would be a quarter of its time; both are for others."""
        run = """
import sys
sys.argv = ["cdc", "status", "--json"]
from cdc.cli import main
try:
    main()
finally:
    print("loaded:", *sorted({"aiohttp", "sqlalchemy"} & {*sys.modules}))
"""
        done = subprocess.run(
            [sys.executable, "-c", run],
            env={**os.environ, "CDC_DATABASE_URL": database},
            capture_output=True,
            text=True,
            timeout=LIMIT,
        )
        shown, _, loaded = done.stdout.partition("loaded:")
        assert json.loads(shown)["problems"], done.stderr
        assert not loaded.strip()

    def test_many_failing_webhooks_are_summarised(
        self, cdc: Command, db: psycopg.Connection, daemon: psycopg.Connection
    ) -> None:
        db.execute(
            "insert into cdc.webhook (company, endpoint, state) select n::text, 'https://x.test/',"
            " 'suspended' from generate_series(1, 50) n"
        )
        (problem,) = (p for p in status(cdc)["problems"] if "suspended" in p)
        assert problem.startswith("50 webhooks (1, 2, 3, 4, 5, ...) are suspended: no reason. When")


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for below in plan.get("Plans", ()):
        yield from nodes(below)


class TestScreen:
    def test_companies(
        self, cdc: Command, db: psycopg.Connection, daemon: psycopg.Connection
    ) -> None:
        well, ill = cdc.add()["id"], cdc.add(event="note_changed")["id"]
        cdc.add(company="2")
        owe(db, well)
        owe(db, ill)
        owe(db, ill, "dead", tries="10", attempts="10")
        db.execute("insert into cdc.lane (webhook_id, breaker) values (%s, 'open')", [ill])
        (one,) = status(cdc)["companies"]
        assert (one["company"], one["webhooks"], one["queued"], one["dead"], one["worst"]) == (
            ("1", 2, 2, 1, "failing")
        )
        assert "webhooks" in cdc("status", "--companies").out
        rows = cdc("status", "--company", "2", "--json").json["webhooks"]
        assert [row["company"] for row in rows] == ["2"]
        assert "Company 3 has no webhook." in cdc("status", "--company", "3").out

    def test_held_and_dead_are_shown_with_their_ages(
        self, cdc: Command, db: psycopg.Connection, daemon: psycopg.Connection
    ) -> None:
        number = cdc.add()["id"]
        db.execute("update cdc.webhook set state = 'paused', reason = 'they migrate'")
        owe(db, number, **{'"time"': "clock_timestamp() - interval '3 hours'"})
        dead = {'"time"': "clock_timestamp() - interval '5 days'", "tries": "1", "attempts": "1"}
        owe(db, number, "dead", **dead)
        totals = status(cdc)["totals"]
        assert totals["oldest"] is None
        assert 3 * 3600 <= totals["oldest_held"] < 3 * 3600 + 60
        assert 5 * 86400 <= totals["oldest_dead"] < 5 * 86400 + 60
        out = cdc("status").out
        assert "1 of them held, for 3 h" in out
        assert "1, the oldest change for 5 days" in out
        assert "they migrate" in out

    def test_it_shows_doorbell_and_notification_queue(
        self, cdc: Command, db: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert status(cdc)["bell"]["armed"] is False
        assert "silent: no daemon runs" in cdc("status").out
        db.execute("select setval('cdc.bell', (extract(epoch from now()) * 1e6 + 6e7)::bigint)")
        assert status(cdc)["bell"]["armed"] is True
        assert "armed: no daemon hears it" in cdc("status").out
        full = reading._BELL.replace("pg_notification_queue_usage()", "0.6")
        monkeypatch.setattr(reading, "_BELL", full)
        assert any("60% full" in problem for problem in status(cdc)["problems"])

    def test_it_fits_into_80_columns(
        self, cdc: Command, db: psycopg.Connection, daemon: psycopg.Connection
    ) -> None:
        for number in range(1, 4):
            hook = cdc.add(company=f"{number}")["id"]
            owe(db, hook, **{'"time"': "clock_timestamp() - interval '2 minutes'"})
            db.execute(
                "insert into cdc.lane (webhook_id, breaker, last_error) values (%s, 'open', %s)",
                [hook, "answered 503 and wants to be left alone for a long time"],
            )
        cdc.env["COLUMNS"] = "80"
        lines = cdc("status").out.splitlines()
        assert max(map(len, lines)) <= 80
        (head,) = [line for line in lines if line.startswith("webhook ")]
        assert head.split() == [
            *("webhook", "company", "state", "waiting", "failed", "dead", "oldest", "why")
        ]


class Terminal:
    """A process on a terminal of 24 lines with 80 columns."""

    def __init__(self, env: dict[str, str], *arguments: str) -> None:
        self.screen = ""
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "cdc", *arguments],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={**os.environ, "TERM": "xterm-256color", **env},
            start_new_session=True,
            # The terminal is theirs, so that Ctrl-C reaches them.
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(theirs)

    def until(self, text: str) -> None:
        """Waits for it to be drawn after what was waited for before."""
        deadline = time.monotonic() + LIMIT
        while text not in self.screen:
            assert time.monotonic() < deadline, (text, self.screen[-4000:])
            if select.select([self._ours], [], [], 0.1)[0]:
                self.screen += os.read(self._ours, 65_536).decode(errors="replace")
        self.screen = self.screen.partition(text)[2]

    def type(self, keys: bytes) -> None:
        os.write(self._ours, keys)

    def close(self) -> None:
        self.process.kill()
        self.process.wait(LIMIT)
        os.close(self._ours)


@contextmanager
def terminal(cdc: Command, *arguments: str) -> Iterator[Terminal]:
    made = Terminal(cdc.env, *arguments)
    try:
        yield made
    finally:
        made.close()


class TestWatch:
    def test_the_screen_follows_until_ctrl_c(
        self, cdc: Command, db: psycopg.Connection, daemon: psycopg.Connection
    ) -> None:
        number = cdc.add()["id"]
        with terminal(cdc, "status", "--watch", "--every", "0.2") as screen:
            screen.until("\x1b[?1049h")  # the terminal's other screen
            screen.until("All is well")
            owe(db, number, **{'"time"': "clock_timestamp() - interval '2 minutes'"})
            screen.until(f"webhook {number} is late")
            # The database goes away, and comes back.
            db.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity"
                " where application_name = 'cdc command'"
            )
            screen.until("cannot be reached")
            screen.until(f"webhook {number} is late")
            screen.type(b"\x03")
            screen.until("\x1b[?1049l")  # what was there before is there again
            assert screen.process.wait(LIMIT) == 0

    def test_for_programs_it_prints_lines(
        self, cdc: Command, db: psycopg.Connection, daemon: psycopg.Connection
    ) -> None:
        cdc.add()
        command = [sys.executable, "-m", "cdc", "status", "--watch", "--json", "--every", "0.2"]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, env={**os.environ, **cdc.env}, text=True
        ) as process:
            assert process.stdout is not None
            for _ in range(2):
                assert json.loads(process.stdout.readline())["ok"] is True
            process.send_signal(signal.SIGINT)
            assert process.wait(LIMIT) == 0

    def test_without_a_terminal_it_is_refused(self, unchanged: Command) -> None:
        assert "--json" in unchanged.refused("status", "--watch", code=2)

    def test_a_long_screen_is_cut_to_its_height(
        self, cdc: Command, db: psycopg.Connection, daemon: psycopg.Connection
    ) -> None:
        from rich.console import Console

        from cdc.diagnosis.status import read as look

        db.execute(
            "insert into cdc.webhook (company, endpoint, state) select n::text, 'https://x.test/',"
            " 'suspended' from generate_series(1, 50) n"
        )
        settings = Settings(database_url=cdc.env["CDC_DATABASE_URL"])
        seen = look(db, settings, default_mapping(), None)
        console = Console(width=80, record=True, file=io.StringIO())
        console.print(screen.drawn(seen, height=22))
        lines = console.export_text().splitlines()
        assert len(lines) <= 22
        assert any("more" in line for line in lines)
