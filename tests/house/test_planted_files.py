"""Python files that a stranger has put into the folder that we stand in are not run.

`python -m` looks there first, and so what we start ourselves must prevent that.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cdc.sandbox.process import ChildProcess, bare_environment
from tests.bench.child import Child

LIMIT = 60.0


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """We stand in a folder where modules that we import lie; the file returned says if one ran."""
    loaded = tmp_path / "loaded"
    for module in ("uvloop", "cdc", "typer", "psycopg"):
        (tmp_path / f"{module}.py").write_text(
            f"open({str(loaded)!r}, 'a').write({module!r} + ' ')"
        )
    monkeypatch.chdir(tmp_path)
    return loaded


def environment(url: str) -> dict[str, str]:
    return {**bare_environment(), "CDC_DATABASE_URL": url}


def test_several_daemons(planted: Path, empty_database: str) -> None:
    command: list[str | Path] = [Path(sys.executable).with_name("cdc"), "run", "--processes", "2"]
    ended = subprocess.run(
        command,
        env=environment(empty_database),
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert not planted.exists(), planted.read_text()
    assert "schema cdc is not installed" in ended.stderr, "they were started"


def test_the_demos_daemon(planted: Path, empty_database: str, tmp_path: Path) -> None:
    settings = {"CDC_DATABASE_URL": empty_database}
    daemon = ChildProcess(
        *("the daemon", "-m", "cdc", "run"), settings=settings, log=tmp_path / "log"
    )
    try:
        daemon.wait(LIMIT)
    finally:
        daemon.kill()
    assert not planted.exists(), planted.read_text()
    assert "schema cdc is not installed" in daemon.log_tail(), "it was started"


def test_the_benchmarks_processes(planted: Path, tmp_path: Path) -> None:
    child = Child("-m", "cdc", "--version", log=tmp_path / "log")
    try:
        assert child.result(LIMIT).startswith(b"cdc "), "it was started"
    finally:
        child.stop()
        assert not planted.exists(), planted.read_text()


def test_what_is_planted_would_run(planted: Path) -> None:
    subprocess.run([sys.executable, "-m", "cdc"], env=dict(os.environ), check=True, timeout=LIMIT)
    assert planted.exists()
