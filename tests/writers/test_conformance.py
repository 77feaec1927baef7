"""A writer sees the same with capture and without it, but for what docs/capture.md names."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest

from cdc.sandbox.embedded import EmbeddedPostgres
from tests.house.files import TOP
from tests.writers.conformance.database import SETTINGS, Database, pair
from tests.writers.conformance.differences import ALLOWED, PENDING
from tests.writers.conformance.load import statements
from tests.writers.conformance.model import Statement
from tests.writers.conformance.page import Matrix
from tests.writers.conformance.run import run

STATEMENTS = statements()
PAGES = TOP / "build"


@pytest.fixture(scope="module")
def databases() -> Iterator[tuple[Database, Database]]:
    with EmbeddedPostgres(settings=SETTINGS) as server, pair(server) as made:
        yield made


@pytest.fixture(scope="module")
def matrix() -> Matrix:
    return Matrix()


@pytest.mark.parametrize("statement", STATEMENTS, ids=lambda statement: statement.name)
def test_a_writer_sees_no_difference(
    databases: tuple[Database, Database], matrix: Matrix, statement: Statement
) -> None:
    without, captured = databases
    if captured.release < statement.since:
        pytest.skip(f"PostgreSQL {statement.since} or newer")
    wrong: dict[str, None] = {}
    unseen: dict[str, None] = {}
    for variant in statement.variants:
        found = run(statement, variant, without).differences(run(statement, variant, captured))
        wrong |= dict.fromkeys(f"{variant}: {item}" for item in matrix.add(statement, found))
        if variant.webhooks and (captured.captured() > 0) != statement.captures:
            unseen[f"{variant}: captured {captured.captured()} changes"] = None
    if not matrix.pending(statement):
        wrong |= unseen
    if wrong:
        pytest.fail("\n".join(wrong), pytrace=False)


def test_each_difference_is_still_there(
    databases: tuple[Database, Database],
    matrix: Matrix,
    record_property: Callable[[str, object], None],
) -> None:
    """Writes the page, too: build/writers-18.md. What is equal by now is not listed any longer."""
    release = databases[1].release
    PAGES.mkdir(exist_ok=True)
    (PAGES / f"writers-{release}.md").write_text(matrix.markdown(str(release)), "utf-8")
    record_property("summary", f"writers, PostgreSQL {release}: {matrix.summary()}")
    if len(matrix.cells) < sum(statement.since <= release for statement in STATEMENTS):
        pytest.skip("not all statements were run")
    listed = {**ALLOWED, **PENDING}
    assert listed.keys() - matrix.seen.keys() == set()


def test_each_difference_is_named_in_the_guide() -> None:
    guide = (TOP / "docs" / "capture.md").read_text("utf-8")
    section = guide.split("\n## What a writer can notice\n")[1].split("\n## ")[0]
    assert re.findall(r"^- \*\*(.+?)\*\*", section, re.M) == list(ALLOWED)
