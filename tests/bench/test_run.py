"""All of it at a tiny size: figures come out, nothing is lost, nothing is left behind."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import psycopg
import pytest

from cdc.errors import CdcError, UsageError
from cdc.sandbox.embedded import EmbeddedPostgres
from tests.bench import run as bench
from tests.bench.__main__ import main
from tests.bench.bench import Bench, Size
from tests.bench.child import ROOT
from tests.bench.figures import Figure
from tests.bench.place import PREFIX, ROLES
from tests.bench.work.live import LOADS

TINY = Size(runs=1, scale=0.004, seconds=0.5, warm_up=0.1)


def databases(server: EmbeddedPostgres) -> list[str]:
    with psycopg.connect(server.url()) as conn:
        rows = conn.execute("select datname from pg_database where datname like 'cdc_bench%'")
        return [name for (name,) in rows]


def roles(server: EmbeddedPostgres) -> set[str]:
    with psycopg.connect(server.url()) as conn:
        rows = conn.execute("select rolname from pg_roles where rolname = any(%s)", (list(ROLES),))
        return {name for (name,) in rows}


def test_on_the_users_server(postgres: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch) -> None:
    """The road of every delivery, the baselines, and what needs a server of our own."""
    monkeypatch.setattr("tests.bench.work.live.LOADS", LOADS[:1])
    monkeypatch.setattr("tests.bench.work.live.CONNECTIONS", (16,))
    monkeypatch.setattr("tests.bench.work.drain.CONNECTIONS", (16,))
    with psycopg.connect(postgres.url(), autocommit=True) as conn:
        conn.execute(f"create database {PREFIX}1_1")  # left by one that was killed
    before = roles(postgres)
    printed: list[str] = []
    names = bench.chosen(["flush", "live", "drain"], short=False)
    assert names == ["drain", "live", "flush"]
    report = bench.run(names, size=TINY, theirs=postgres.url(), say=printed.append)
    assert not report.failed
    assert set(report.skipped) == {"flush"}
    assert {figure.workload for figure in report.figures} == {"drain", "live"}
    assert all(figure.value > 0 for figure in report.figures)
    assert {figure.name for figure in report.figures if not figure.base} == {
        "CPU a delivery, the daemon"
    }
    assert not any(figure.lost or figure.repeated for figure in report.figures)
    assert report.ok
    assert json.dumps(report.as_json(), allow_nan=False)
    assert printed[0].startswith("drain: ")
    assert not databases(postgres)
    assert roles(postgres) == before


def test_a_failed_workload_is_reported_and_the_others_run(
    postgres: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: Bench) -> list[Figure]:
        """Fails."""
        raise psycopg.OperationalError("it is gone")

    def fine(_: Bench) -> list[Figure]:
        """Works."""
        return [Figure("fine", "it", "ms", [1.0])]

    monkeypatch.setattr(bench, "WORKLOADS", {"broken": broken, "fine": fine})
    report = bench.run(["broken", "fine"], size=TINY, theirs=postgres.url(), say=lambda _: None)
    assert report.failed == {"broken": "OperationalError: it is gone"}
    assert [figure.workload for figure in report.figures] == ["fine"]
    assert not report.ok


def test_the_command_measures_on_a_server_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tests.bench.__main__.SHORT", TINY)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("CDC_DATABASE_URL", "postgresql://nobody@x/y")
    assert main(["--short", "--workload", "bulk", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert {figure["workload"] for figure in printed["figures"]} == {"bulk"}
    statement, _, single = printed["figures"]  # that with constants has nothing to reach
    assert statement["verdict"]
    assert single["verdict"]
    left = [path.name for path in tmp_path.iterdir() if not path.name.startswith("cdc-postgresql-")]
    assert not left


def test_workloads_are_chosen_by_name() -> None:
    assert bench.chosen([], short=False) == list(bench.WORKLOADS)
    assert bench.chosen([], short=True) == list(bench.IN_SHORT)
    with pytest.raises(UsageError, match="no workload bulky"):
        bench.chosen(["bulky"], short=False)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        # Before anything is measured, not half an hour later.
        ("--report {folder}", "no place for what"),
        ("--workload bulky", "no workload bulky"),
        ("--short --report .", "whole run"),
        ("--on-my-server", "CDC_DATABASE_URL"),
    ],
)
def test_wrong_usage_is_refused(
    words: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CDC_DATABASE_URL", raising=False)
    with pytest.raises(CdcError) as refused:
        main(words.format(folder=tmp_path).split())
    assert message in f"{refused.value.message} {refused.value.hint}"


def test_workloads_of_make_bench_are_not_written_to_the_page() -> None:
    """It is for a whole run; docs/performance.md names this command."""
    for chosen, reported in (("", True), ("BENCH_ARGS=--workload drain,live", False)):
        command = ["make", "-n", "bench", *filter(None, [chosen])]
        made = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        assert ("--report" in made.stdout) is reported
