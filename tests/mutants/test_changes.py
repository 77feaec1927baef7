"""The changes that the mutation tests make, and what is known of those that survive."""

from __future__ import annotations

import ast

import pytest

from tests.mutants import statements
from tests.mutants.changes import changes_of
from tests.mutants.plan import SUBJECT, TOP, drawn, explained, files, paths_for
from tests.mutants.plan import changes_of as changes_in
from tests.mutants.run import changed_lines


@pytest.mark.parametrize(
    ("line", "becomes"),
    [
        ("return a < b", {"return (a <= b)"}),
        ("return a is not b", {"return (a is b)"}),
        ("return a not in b", {"return (a in b)"}),
        ("return not a", {"return a"}),
        ("return a and b", {"return (a or b)", "return a", "return b"}),
        ("return a - b", {"return (a + b)"}),
        ("return a | b", {"return (a & b)"}),
        ("return (a, b)", {"return ((a,))", "return ((b,))"}),
        ("return {a, b}", {"return {a}", "return {b}"}),
        ("return {a: b}", {"return {}"}),
        ("return 3", {"return 4", "return 2"}),
        ("return 0.0", {"return 1.0", "return (-1.0)"}),
        ("return True", {"return False"}),
        ("return min(a)", {"return max(a)"}),
        ("return sorted(a)", {"return list(a)"}),
        ("return a.get(b, c)", {"return a.get(b)", "return a.get(c, b)"}),
        ("return a(b=c)", {"return a()"}),
        ("a.b = c", {"pass"}),
        ("a(b)", {"pass"}),
        ("await a", {"pass"}),
        ("if a: return b", {"if (not a): return b"}),
        ("if a < b: pass", {"if (a <= b): pass", "if (not a < b): pass"}),
        ("return [a for a in b if c]", {"return [a for a in b if True]"}),
        ("a: Final[1]", set()),
        ("return f'{a + 1}'", set()),
        ("return 'ä' if a else b", {"return 'ä' if (not a) else b"}),
    ],
)
def test_what_a_line_may_become(line: str, becomes: set[str]) -> None:
    head = "async def f():\n    "
    found = [change.applied(head + line) for change in changes_of("x.py", head + line)]
    assert len(found) == len(becomes)
    assert {text.removeprefix(head) for text in found} == becomes


def test_a_function_returns_early() -> None:
    source = "def f() -> None:\n    a = b\n    c = d\n    return\n"
    [change] = changes_of("x.py", source)
    assert change.applied(source) == source.replace("    c", "    return\n    c")


@pytest.mark.parametrize(
    ("line", "becomes"),
    [
        ("where a < b -- c < d", {"where a <= b -- c < d"}),
        ("where a >= b", {"where a > b"}),
        ("from a\n   and b = c\n", {"from a\n\n"}),
        ("(order by a limit 1)", {"(order by a desc limit 1)"}),
        ("(order by a.b desc)", {"(order by a.b )"}),
        ("where a is not null", {"where a is null"}),
        ("for share of a skip locked", {"", "for share of a"}),
    ],
)
def test_what_a_statement_may_become(line: str, becomes: set[str]) -> None:
    assert {x.applied(line) for x in statements.changes_of("x.sql", line)} == becomes


def test_every_change_is_one_of_its_file() -> None:
    for file in files((*SUBJECT, "sql/queries/*.sql")):
        source = (TOP / file).read_text("utf-8")
        changed = [change.applied(source) for change in changes_in(file)]
        assert len(set(changed)) == len(changed)
        assert source not in changed
        for text in changed[::20] if file.endswith(".py") else []:
            ast.parse(text)


def test_a_seed_draws_the_same_again() -> None:
    changes = drawn(11, 60)
    assert changes == drawn(11, 60)
    assert changes != drawn(12, 60)
    assert len({(change.file, change.line) for change in changes}) == 60
    assert len({change.kind for change in changes}) > 10
    for change in changes:
        assert all(changed_lines(change)) or change.kind == "early return"


def test_every_file_has_tests() -> None:
    for file in files((*SUBJECT, "sql/queries/*.sql")):
        tests = paths_for(file)
        assert tests
        assert all((TOP / test).is_file() for test in tests), file


def test_what_is_explained_can_still_happen() -> None:
    lines = {
        (file, *changed_lines(change))
        for file in {file for file, *_ in explained()}
        for change in changes_in(file)
    }
    assert not explained().keys() - lines, "these survivors are history: remove them"
    assert all(len(reason) > 10 for reason in explained().values())
