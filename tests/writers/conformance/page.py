"""The matrix as a page: statement x observation."""

from __future__ import annotations

from collections import Counter, defaultdict

from tests.writers.conformance.differences import ALLOWED, PENDING
from tests.writers.conformance.model import OBSERVATIONS, Statement

DIFFERENT = "different"


class Matrix:
    """Which differences were seen, by statement and observation."""

    def __init__(self) -> None:
        self.cells: dict[str, dict[str, set[str]]] = {}
        self.seen: Counter[str] = Counter()

    def add(self, statement: Statement, found: list[str]) -> list[str]:
        """Takes what differed in one run; returns what nothing allows."""
        cells = self.cells.setdefault(statement.name, defaultdict(set))
        wrong = []
        for item in found:
            name = _named(statement.name, item)
            cells[item.split(":")[0]].add(name or DIFFERENT)
            if name is None:
                wrong.append(item)
            else:
                self.seen[name] += 1
        return wrong

    def pending(self, statement: Statement) -> bool:
        return any(cell & PENDING.keys() for cell in self.cells[statement.name].values())

    def markdown(self, version: str) -> str:
        names = [*ALLOWED, *PENDING]
        numbers = {name: str(number) for number, name in enumerate(names, 1)}
        listed = [
            f"{numbers[name]}. {name}{' (to be mended)' if name in PENDING else ''}"
            for name in names
        ]
        lines = [
            f"# Writers beside capture, on PostgreSQL {version}",
            "",
            "Each statement was run without capture and with it, in several ways. Empty: all was",
            "equal. A number: what docs/capture.md allows under that name.",
            "",
            *listed,
            "",
            self.summary(),
            "",
            f"| statement | {' | '.join(OBSERVATIONS)} |",
            "|---" * (len(OBSERVATIONS) + 1) + "|",
        ]
        for statement, cells in self.cells.items():
            row = [
                ", ".join(sorted(numbers.get(name, name) for name in cells.get(observation, ())))
                for observation in OBSERVATIONS
            ]
            lines.append(f"| {statement} | {' | '.join(row)} |")
        return "\n".join(lines) + "\n"

    def summary(self) -> str:
        cells = [
            cells.get(observation, set())
            for cells in self.cells.values()
            for observation in OBSERVATIONS
        ]
        kinds = Counter(map(_kind, cells))
        reported = ", ".join(f"{kinds[kind]} {kind}" for kind in KINDS if kinds[kind])
        return f"{len(self.cells)} statements x {len(OBSERVATIONS)} observations: {reported}"


KINDS = ("equal", "allowed", "pending", DIFFERENT)


def _kind(cell: set[str]) -> str:
    if DIFFERENT in cell:
        return DIFFERENT
    if cell & PENDING.keys():
        return "pending"
    return "allowed" if cell else "equal"


def _named(statement: str, item: str) -> str | None:
    for name, difference in (*ALLOWED.items(), *PENDING.items()):
        if difference.fits(statement, item):
            return name
    return None
