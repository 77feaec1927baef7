"""What the writers know: every change they made, noted after COMMIT (or its opposite) is certain.

The ledger is an append-only file, one line for each statement. Nothing in it was read from our
schema: what was committed is known from PostgreSQL's answer to COMMIT and, where none came, from
the suite's own tables.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import orjson

from cdc.sandbox.records import Change


@dataclass(frozen=True, slots=True)
class Statement:
    """The rows one statement wrote: key, version and the server's time of each.

    became: the status that it gave them all, if they have one.
    """

    company: str
    event: str
    action: str
    rows: list[tuple[str, int, int]]
    until: int
    became: str = ""


class Ledger:
    """Appends to the file; counts what is committed."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab", buffering=0)
        self.changes = 0
        self.rolled_back = 0

    def note(self, statements: list[Statement], *, done: float, committed: bool) -> None:
        """The end of some statements is certain."""
        lines = [
            orjson.dumps([s.company, s.event, s.action, s.rows, s.until, s.became, done, committed])
            + b"\n"
            for s in statements
        ]
        self._file.write(b"".join(lines))
        rows = sum(len(s.rows) for s in statements)
        if committed:
            self.changes += rows
        else:
            self.rolled_back += rows

    def close(self) -> None:
        self._file.close()


def read(path: Path) -> Iterator[Change]:
    """All changes, in the order in which their end became certain."""
    with path.open("rb") as file:
        for line in file:
            company, event, action, rows, until, became, done, committed = orjson.loads(line)
            for key, version, since in rows:
                yield Change(
                    *(company, event, key, action, version, since, until, done, committed),
                    became=became,
                )
