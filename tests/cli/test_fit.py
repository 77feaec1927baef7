"""Tables on a narrow terminal, and behind a pipe."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console, Group

from cdc.cli import common
from cdc.cli.fit import fitted

HEADS = ["id", "company", "state", "events", "endpoint", "description"]
ROW = (
    17,
    "4711",
    "suspended",
    "candidate_changed, rating_changed",
    "https://x.example.com/" + "x" * 40,
    "The office of Berlin",
)


def drawn(width: int) -> list[str]:
    out = io.StringIO()
    console = Console(file=out, width=width, highlight=False)
    table = common.table(HEADS, [ROW] * 2, right="id")
    console.print(fitted(Group(table), console.width))
    return [line.rstrip() for line in out.getvalue().splitlines()]


@pytest.mark.parametrize("width", [80, 100, 200])
def test_no_word_is_broken(width: int) -> None:
    shown = drawn(width)
    assert max(map(len, shown)) <= width
    words = set(re.findall(r"[A-Za-z_]+", "\n".join(shown)))
    assert {"suspended", "candidate_changed", "rating_changed", "description"} <= words


def test_where_that_cannot_be_each_cell_has_a_line() -> None:
    shown = drawn(50)
    assert shown[:3] == ["id           17", "company      4711", "state        suspended"]
    assert "events       candidate_changed, rating_changed" in shown
    assert shown.count("") == 1, "between two rows"


def test_nothing_is_padded_in_a_pipe(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)  # pytest-xdist sets it
    common.print_table(["check", "finding", "todo"], [("a", "x" * 300, ""), ("b", "y\n z", "do")])
    common.print_facts({"one": 1, "another one": "two"})
    assert capsys.readouterr().out.splitlines() == [
        "check\tfinding\ttodo",
        f"a\t{'x' * 300}\t",
        "b\ty z\tdo",
        "one\t1",
        "another one\ttwo",
    ]
