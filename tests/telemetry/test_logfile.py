"""The log on a disk that is full, a pipe without a reader, and one that is closed."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

import pytest

from cdc.telemetry import logfile
from cdc.telemetry.logfile import LogFile

FULL = Path("/dev/full")


@contextmanager
def pipe() -> Iterator[tuple[int, TextIO]]:
    """Both ends; a test may close them itself."""
    reading, writing = os.pipe()
    with open(reading, "rb", closefd=False), open(writing, "w", closefd=False) as file:
        yield reading, file
    for fd in (reading, writing):
        try:
            os.close(fd)
        except OSError:
            continue


def until_full(log: LogFile) -> None:
    while not log.lost:
        log.info("x" * 1000)


def logged(log: LogFile) -> dict[str, object]:
    return dict(log.tell_lost(None, "info", {"event": "e"}))


def test_a_line_is_written_as_it_is(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w") as file:
        log = LogFile(file)
        log.info("one")
        log.warning("a lone surrogate \udc80, and an ä")
    assert (tmp_path / "log").read_bytes() == b"one\na lone surrogate \\udc80, and an \xc3\xa4\n"
    assert logged(log) == {"event": "e"}


@pytest.mark.skipif(not FULL.exists(), reason="no /dev/full on this system")
def test_a_full_disk_costs_lines_only_and_they_are_counted(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w") as file, FULL.open("w") as full:
        log = LogFile(file)
        there = os.dup(file.fileno())
        os.dup2(full.fileno(), file.fileno())
        for _ in range(3):
            log.info("lost")
        assert logged(log) == {"event": "e", "lines_lost": 3}
        os.dup2(there, file.fileno())
        os.close(there)
        log.info("there is room again")
        assert logged(log) == {"event": "e"}
    assert (tmp_path / "log").read_text() == "there is room again\n"


def test_a_closed_pipe_costs_lines_only() -> None:
    with pipe() as (reading, file):
        log = LogFile(file)
        os.close(reading)
        log.info("lost")
        log.info("lost")
        assert log.lost == 2


def test_no_stderr_at_all_costs_lines_only() -> None:
    log = LogFile(None)
    log.info("lost")
    assert log.lost == 1


def drained(reading: int) -> None:
    """Reads all that is in a pipe, and has further reads not wait."""
    os.set_blocking(reading, False)
    while True:
        try:
            os.read(reading, 1 << 16)
        except BlockingIOError:
            return


def test_an_unread_pipe_does_not_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logfile, "WRITE_WITHIN_S", 0.0)
    with pipe() as (reading, file):
        log = LogFile(file)
        until_full(log)
        # Would not return if it waited for the reader.
        log.info("lost, too")
        assert log.lost == 2
        drained(reading)
        log.info("read again")
        assert log.lost == 0
        assert os.read(reading, 1 << 16).splitlines()[-1] == b"read again"


def test_a_reader_who_is_slow_for_a_moment_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logfile, "WRITE_WITHIN_S", 30.0)
    with pipe() as (reading, file):
        log = LogFile(file)
        got = bytearray()

        def read() -> None:
            while not got.endswith(b"end\n"):
                got.extend(os.read(reading, 1 << 12))

        reader = threading.Thread(target=read)
        lines = [f"{n} " + "y" * 20_000 for n in range(20)]
        reader.start()
        for line in [*lines, "end"]:
            log.info(line)
        reader.join(30)
        assert got.decode().splitlines() == [*lines, "end"]
        assert log.lost == 0


def test_a_torn_line_does_not_swallow_the_next_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logfile, "WRITE_WITHIN_S", 0.0)
    with pipe() as (reading, file):
        log = LogFile(file)
        log.info("z" * 1_000_000)  # more than a pipe holds: a part of it is in there
        assert log.lost == 1
        drained(reading)
        log.info("whole")
        assert os.read(reading, 1 << 16) == b"\nwhole\n"
