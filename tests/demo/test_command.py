"""The real command, as a process: its output is true, and however it ends, nothing is left."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.request import urlopen

import psutil
import psycopg
import pytest

from cdc.sandbox import protocol
from tests.cli.command import Command

WITHIN = 60.0
ROOT = Path(__file__).parents[2]

# None of this is any of the demo's business.
NOISE = {
    "CDC_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none",
    "CDC_WINDOW": "no number",
    "CDC_NONSENSE": "1",
    "PGHOST": "127.0.0.1",
    "PGPORT": "1",
    "PGSSLMODE": "require",
    "PGOPTIONS": "-c nonsense=1",
}


class Demo:
    """A running `cdc demo`, its output read line by line."""

    def __init__(self, temp: Path, *options: str) -> None:
        self.temp = temp
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            [sys.executable, "-m", "cdc", "demo", *options],
            cwd=ROOT,
            env={**os.environ, **NOISE, "TMPDIR": str(temp), "COLUMNS": "100"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def read_until(self, pattern: str) -> str:
        """Reads on until a line that the pattern is found in, and returns that."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)
            if re.search(pattern, line):
                return line
        raise AssertionError(f"no line with {pattern!r} in:\n{''.join(self.lines)}")

    def end(self) -> int:
        """Reads the rest and waits for the end; nothing of it may be left then."""
        out, _ = self.process.communicate(timeout=WITHIN)
        self.lines.append(out)
        return self.process.returncode

    @property
    def output(self) -> str:
        return "".join(self.lines)

    def family(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def left_behind(self) -> list[str]:
        # Root keeps a copy of PostgreSQL's programs for the next time.
        kept = [p.name for p in self.temp.iterdir() if not p.name.startswith("cdc-postgresql-")]
        return kept + [p.name() for p in psutil.process_iter() if _works_in(p, self.temp)]


def _works_in(process: psutil.Process, folder: Path) -> bool:
    try:
        return process.environ().get("TMPDIR") == str(folder) or any(
            str(folder) in part for part in process.cmdline()
        )
    except psutil.Error:
        return False


@pytest.fixture
def temp() -> Iterator[Path]:
    """A temporary folder that an ordinary user may pass through, as root's PostgreSQL needs it."""
    folder = Path(tempfile.mkdtemp(prefix="cdc-t-"))
    folder.chmod(0o755)
    yield folder
    for process in psutil.process_iter():  # of a test that failed
        with suppress(psutil.Error):
            if _works_in(process, folder):
                process.kill()
    shutil.rmtree(folder, ignore_errors=True)


def gone(processes: list[psutil.Process]) -> bool:
    return not psutil.wait_procs(processes, timeout=WITHIN)[1]


def test_the_whole_road(temp: Path) -> None:
    demo = Demo(temp, "--json")
    code = demo.end()
    report = json.loads(demo.output)  # nothing but JSON
    assert (code, report["ok"], report["faults"], report["problems"]) == (0, True, [], [])
    assert report["rollback"] == {"forbidden": 3, "proven": True}
    assert report["found"] == {}
    assert list(report["events"]) == list(protocol.EVENTS)
    for line in (report["total"], *report["events"].values()):
        assert line["received"] == line["expected"] > 0
        assert 0 < line["p50_ms"] <= line["p99_ms"]
    assert report["events"]["candidate_changed"]["received"] > 2000
    assert demo.left_behind() == []


def test_kept_up_it_can_be_played_with_until_ctrl_c(temp: Path) -> None:
    demo = Demo(temp, "--keep")
    url = re.search(r"(postgresql://\S+)", demo.read_until(r"psql.* postgresql://"))
    export = demo.read_until("export CDC_DATABASE_URL").strip()
    commands = demo.read_until("cdc.* status; .* delivery list").strip()
    printed = subprocess.check_output(f"{export}; {commands}", shell=True, text=True)
    assert "All is well." in printed
    assert "not checked" not in printed  # the account may look at the suite's companies
    assert "1 (Acme)" in printed
    assert url is not None
    demo.read_until(r"http://127.0.0.1:\d+/console/sign-in#cdc_")
    portal = f"{export}; {demo.read_until('cdc.* portal-link').strip()} --json"
    link = json.loads(subprocess.check_output(portal, shell=True))["url"]
    with urlopen(link, timeout=WITHIN) as page:
        assert b"<button>Open</button>" in page.read()
    key = demo.read_until("export API_KEY=").strip()
    asked = [demo.read_until("curl").strip() for _ in range(3)]
    said = [json.loads(subprocess.check_output(f"{key}; {curl}", shell=True)) for curl in asked]
    assert [hook["id"] for hook in said[0]["items"]] == [1, 2, 5]
    assert {(sent["webhook"], sent["company"]) for sent in said[1]["items"]} == {(1, "1")}
    assert said[2]["company"] == "4"
    with psycopg.connect(url[1], autocommit=True) as conn:
        conn.execute("update project set name = 'Dug' where id = 40")
        demo.read_until("POST /mine .* signed")
        conn.execute("update project set name = 'Played with' where id = 30")
    demo.read_until("POST /cobalt/projects .* verified")
    processes = demo.family()
    assert len(processes) > 2
    demo.process.send_signal(signal.SIGINT)
    assert demo.end() == 0
    assert gone(processes)
    assert demo.left_behind() == []
    assert "\x1b" not in demo.output
    output = demo.output.partition("It stays up")[0]
    assert max(map(len, output.splitlines())) <= 100
    # The first body whole, then a line each.
    assert output.count('{"endpoint"') == 1
    assert output.count("POST /") > 15
    assert "verified  200  note created 5, no answervideo\n" in output
    assert "verified  200  candidate modified 19, status interviewed\n" in output
    assert len(output.splitlines()) < 160


@pytest.mark.parametrize(
    ("number", "moment"),
    [
        (signal.SIGINT, "from a COMMIT"),  # while PostgreSQL is being started
        (signal.SIGINT, "migrations"),
        (signal.SIGTERM, "webhooks"),  # while the daemon is being started
        (signal.SIGTERM, "An answer on video"),
    ],
)
def test_stopped_in_the_middle(temp: Path, number: signal.Signals, moment: str) -> None:
    demo = Demo(temp)
    demo.read_until(moment)
    processes = demo.family()
    demo.process.send_signal(number)
    demo.process.send_signal(number)  # impatience changes nothing
    assert demo.end() == 128 + number
    assert gone(processes)
    assert demo.left_behind() == []
    assert "Traceback" not in demo.output


def test_killed_it_takes_its_processes_along(temp: Path) -> None:
    demo = Demo(temp)
    demo.read_until("`cdc run`, process")
    processes = demo.family()
    assert len(processes) > 2
    demo.process.kill()
    demo.end()
    assert gone(processes)


def test_a_daemon_that_dies_is_a_failure_and_its_log_is_shown(temp: Path) -> None:
    demo = Demo(temp)
    pid = re.search(r"process (\d+)", demo.read_until("`cdc run`, process"))
    assert pid is not None
    demo.read_until("An answer on video")
    os.kill(int(pid[1]), signal.SIGKILL)
    assert demo.end() == 1
    assert "the daemon ended unexpectedly (by SIGKILL)" in demo.output
    assert "The end of the daemon's log:" in demo.output
    assert "connected" in demo.output.partition("daemon's log:")[2]
    assert demo.left_behind() == []


def test_json_and_keep_exclude_each_other() -> None:
    done = Command()("demo", "--json", "--keep")
    assert done.code == 2
    assert "--keep" in done.err
