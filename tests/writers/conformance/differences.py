"""What may differ between a writer beside capture and one without it: each by a name.

A name of ALLOWED is a heading that docs/capture.md explains. PENDING will be mended.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Difference:
    """item: what is seen (``observation: +item``). statement: by which ones alone."""

    item: str
    statement: str = ""

    def fits(self, statement: str, item: str) -> bool:
        return bool(re.search(self.statement, statement) and re.fullmatch(self.item, item, re.S))


ALLOWED: Final[dict[str, Difference]] = {
    "Locks on schema cdc": Difference(
        r"locks: \+\d+: cdc\.(queue|unresolved|bell)\w* RowExclusiveLock"
    ),
    "Predicate locks": Difference(r"locks: \+\d+: (public|cdc)\.\w+ SIReadLock"),
    "Command ids": Difference(r"rows: .*cmin.*", statement="command ids"),
    "EXPLAIN ANALYZE": Difference(r"(rows|count): .*", statement="explain analyze"),
    "Settings of PL/pgSQL": Difference(r"settings: \+\d+: plpgsql\.\w+=.*"),
    "Temporary files": Difference(r"temporary files: .*", statement="100000 rows"),
    "Two-phase commit": Difference(
        r"(errors|tag|count|state|contents|transactions): .*",
        statement="two-phase commit beside an armed bell",
    ),
}

PENDING: Final[dict[str, Difference]] = {}
