"""Reads the statements (statements/*.sql; rows.sql says how they are written)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.writers.conformance.model import LOOK, Copy, Other, Statement, Step, Variant, repeated

FILES = Path(__file__).parent / "statements"
SIZES = (1, 64, 65)

EVERY_WAY: Final[tuple[Variant, ...]] = (
    Variant(webhooks=False),
    Variant("autocommit", "extended"),
    Variant("autocommit", "pipeline", bell=True),
    Variant("repeatable read", "generic plan"),
    Variant("serializable", "custom plan", bell=True),
)
"""Each mode, each protocol, each state of our tables."""

AS_IT_STANDS: Final[tuple[Variant, ...]] = (Variant(webhooks=False), Variant(), Variant(bell=True))
"""For what begins and ends its own transactions."""

FEWER: Final = {
    "once": (Variant(),),
    "unrung": AS_IT_STANDS[:2],
    "bell": AS_IT_STANDS[2:],
}

STEP: Final = re.compile(
    r"--look\n"
    r"|--other (?P<other>.*);\n"
    r"|--before (?P<before>.*);\n"
    r"|(?P<copy>copy [^;]* from stdin[^;]*);\n(--types (?P<types>.*)\n)?(?P<data>(?:.*\n)*?)\\\.\n"
    r"|(?P<block>do \$\$(?:.|\n)*?\$\$);\n"
    r"|(?P<sql>(?:.*\n)*?.*);\n"
)


def statements() -> list[Statement]:
    found = []
    for name in ("rows.sql", "sessions.sql"):
        text = (FILES / name).read_text("utf-8")
        for block in re.split(r"^--# ", text, flags=re.M)[1:]:
            body = re.sub(r"^-- .*\n", "", block, flags=re.M).strip() + "\n"
            sizes = SIZES if "{n}" in body else SIZES[:1]
            found += [_statement(body.replace("{n}", str(size))) for size in sizes]
    return found


def _statement(text: str) -> Statement:
    heading, body = text.split("\n", 1)
    name, *options = heading.split(" | ")
    steps: list[Step] = []
    before = ""
    end = 0
    for found in STEP.finditer(body):
        assert found.start() == end, body[end:]
        end = found.end()
        if found["before"]:
            before = found["before"]
        else:
            steps += _steps(found)
    assert end == len(body), body[end:]
    ways = AS_IT_STANDS if LOOK in steps else EVERY_WAY
    since = 15
    for option in options:
        ways = FEWER.get(option, ways)
        if option.startswith("since "):
            since = int(option.split()[1])
    return Statement(name, tuple(steps), ways, "silent" not in options, since, before)


def _steps(found: re.Match[str]) -> Iterator[Step]:
    if found["other"]:
        yield Other(found["other"])
    elif found["copy"]:
        types = tuple((found["types"] or "").split())
        yield Copy(found["copy"], tuple(found["data"].splitlines()), types)
    elif found["block"] or found["sql"]:
        yield from repeated(found["block"] or found["sql"])
    else:
        yield LOOK
