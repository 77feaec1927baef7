"""tests/security.md names tests that exist."""

from __future__ import annotations

import ast

import pytest

from tests.docs.pages import codes, page, tables
from tests.house.files import TOP

ROWS = [row for rows in tables(page("tests/security.md")) for row in rows if "tried by" in row]


def functions(file: str) -> set[str]:
    """The tests of a file, those in classes too."""
    tree = ast.parse((TOP / file).read_text("utf-8"))
    return {
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["attack"][:40])
def test_each_attack_names_tests_that_exist(row: dict[str, str]) -> None:
    named = codes(row["tried by"])
    assert named
    for one in named:
        file, _, function = one.partition("::")
        assert file.startswith("tests/")
        assert (TOP / file).is_file(), one
        assert not function or function in functions(file), one
        assert any(name.startswith("test_") for name in functions(file)), one
    assert row["outcome"]


def test_there_are_attacks_of_every_kind() -> None:
    """Should the tables ever be read wrongly, nothing above would be tried."""
    files = {one.partition("::")[0] for row in ROWS for one in codes(row["tried by"])}
    assert len(ROWS) > 40
    assert len(files) > 20
