"""Runs the tests against changed copies of the tree. The tree itself is never written to."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from difflib import unified_diff
from pathlib import Path

from tests.mutants.changes import Change
from tests.mutants.plan import TOP, paths_for

ONE_TEST = 120  # seconds that pytest gives a test
_LEFT_OUT = shutil.ignore_patterns(
    ".git", ".venv*", "__pycache__", ".*_cache", ".hypothesis", ".mutants", "dist"
)


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a change.

    fate: killed, survived, timeout, or unclear: its test fails without it, too, or passes with it.
    by:   the test that failed.  took: seconds.
    """

    fate: str
    by: str
    took: float


class Copy:
    """A copy of the tree, in which one change at a time is made."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._running: int | None = None
        shutil.copytree(TOP, folder, ignore=_LEFT_OUT)

    def tried(self, change: Change, limit: float) -> Result:
        """Runs the tests that concern the changed file until one fails, or for ``limit`` seconds.

        One that fails has to fail again. Where it took too long, or could not be read, it has to
        pass without the change.
        """
        path = self.folder / change.file
        source = path.read_text("utf-8")
        began = time.monotonic()
        path.write_text(change.applied(source), "utf-8")
        try:
            code, said = self._pytest(paths_for(change.file), limit)
            took = time.monotonic() - began
            if code is None:
                return Result("timeout", "", took)
            if code == 0:
                return Result("survived", "", took)
            by = _failed(said)
            if self._pytest([by], limit)[0] == 0:
                return Result("unclear", by, took)
        finally:
            path.write_text(source, "utf-8")
        slow_or_unreadable = "Timeout" in said or "::" not in by
        if slow_or_unreadable and self._pytest([by], limit)[0] != 0:
            return Result("unclear", by, took)
        return Result("killed", by, took)

    def stop(self) -> None:
        """Ends the tests that run, with their servers and daemons."""
        if self._running is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._running, signal.SIGKILL)
            self._running = None

    def _pytest(self, tests: list[str], limit: float) -> tuple[int | None, str]:
        options = ["-q", "-x", "--tb=line", f"--timeout={ONE_TEST}", "-p", "no:cacheprovider"]
        # A group of its own, to be ended as one.
        with subprocess.Popen(
            [sys.executable, "-m", "pytest", *options, *tests],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(self.folder)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        ) as process:
            self._running = process.pid
            try:
                said, _ = process.communicate(timeout=max(limit, 1.0))
            except subprocess.TimeoutExpired:
                said = None
            finally:
                self.stop()
        return (None, "") if said is None else (process.returncode, said)


def _failed(said: str) -> str:
    """The first test that failed, or file that could not be read, out of what pytest said."""
    for line in said.rpartition("short test summary info")[2].splitlines():
        if line.startswith(("FAILED ", "ERROR ")):
            return line.partition(" ")[2].partition(" - ")[0]
    raise RuntimeError(f"the tests cannot be run:\n{said[-2000:]}")


def diff(change: Change) -> str:
    """The change, for people."""
    source = (TOP / change.file).read_text("utf-8")
    lines = unified_diff(
        source.splitlines(), change.applied(source).splitlines(), change.file, change.kind, n=1
    )
    return "\n".join(line.rstrip("\n") for line in lines)


def changed_lines(change: Change) -> tuple[str, str]:
    """What the lines were that the change concerns, and what they are with it."""
    lines = diff(change).splitlines()[3:]
    was, becomes = (
        " ".join(line[1:].strip() for line in lines if line.startswith(sign)) for sign in "-+"
    )
    return was, becomes
