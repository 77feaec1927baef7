"""What the measuring commands share, and their tests."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

WITHIN = 30.0


def until(true: Callable[[], bool]) -> None:
    """Waits until it is. Raises AssertionError when that takes too long."""
    deadline = time.monotonic() + WITHIN
    while not true():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.005)


def arguments(doc: str | None) -> argparse.ArgumentParser:
    """A parser for a command that is described by the first line of its module, and has --json."""
    parser = argparse.ArgumentParser(description=(doc or "").partition("\n")[0])
    parser.add_argument("--json", action="store_true")
    return parser
