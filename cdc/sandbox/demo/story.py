"""What happens in the demo: the suite's rows, the webhooks, and the scenes, from story.sql."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from cdc.mapping import parse_mapping
from cdc.sandbox.protocol import EVENTS, row
from cdc.sandbox.records import Hook
from cdc.sandbox.suite import declaring
from cdc.webhooks.model import Wanted

BULK = 2000
"""Rows of the bulk update."""
STEADY = 150
STEADY_PACE_S = 0.008

HOOKS = [
    Hook(0, "1", frozenset(EVENTS), "acme/everything"),
    Hook(1, "1", frozenset({"rating_changed"}), "acme/ratings"),
    Hook(2, "2", frozenset({"candidate_changed", "rating_changed"}), "blue-harbor/crm"),
    Hook(3, "3", frozenset({"project_changed"}), "cobalt/projects"),
    Hook(4, "1", frozenset({"candidate_changed"}), "acme/interviewed", "interviewed"),
]
INTERVIEWED = Wanted(changed=("status",), filter={"status": ["interviewed"]}, include=("status",))
"""What the last of them asks for."""

_DECLARED = declaring("candidate_changed", 'fields = ["status"]').source
MAPPING = parse_mapping(_DECLARED.replace("# name = ", "name = "), "suite.toml")
"""The interview suite's; a candidate's status can be asked for, and companies have names."""

_DORA = "projects/17/candidates/19"
ROWS = [
    *(row(company, f"projects/{key}") for company, key in ((1, 17), (2, 20), (3, 30), (4, 40))),
    *(row(1, f"projects/17/candidates/{key}") for key in (19, 20, 66, 67)),
    *(row(1, f"projects/10/candidates/{1000 + n}") for n in range(1, BULK + 1)),
    *(row(2, f"projects/20/candidates/21{rating}") for rating in ("", "/ratings/91")),
    row(1, f"{_DORA}/answervideos/7", "projects/17/questions/123"),
    row(1, f"{_DORA}/ratings/9"),
    row(1, f"{_DORA}/notes/4", "customers/1", f"{_DORA}/answervideos/7"),
    row(1, f"{_DORA}/notes/5", "customers/1"),
]
"""Those whose changes have an event."""


class Scene(NamedTuple):
    """A part of the story.

    kind: when its POSTs are shown: ``live``, after each transaction; ``retry``, at its end, and the
          receiver refuses the first; ``bulk``, they are only counted; ``steady``, they are only
          counted, and the transactions run in turns, at a steady pace.
    """

    kind: str
    title: str
    note: str
    transactions: list[list[str]]


COUNTED = {"steady": b"", "bulk": b'"candidate_changed"'}
"""What is in the POSTs that are only counted, by the kind of the scene."""

# From begin to its end, or one statement.
_TRANSACTION = re.compile(r"^begin$.*?^(?:commit|rollback)$|^.+?$", re.MULTILINE | re.DOTALL)


def _scene(text: str) -> Scene:
    head, note, sql = text.split("\n", 2)
    kind, title = head.removeprefix("-- ").split(": ", 1)
    transactions = [found.splitlines() for found in _TRANSACTION.findall(sql)]
    if kind == "steady":
        turns = sql.splitlines()
        transactions = [[turns[n % len(turns)].format(n=n)] for n in range(STEADY)]
    return Scene(kind, title, note.removeprefix("-- "), transactions)


_STORY = Path(__file__).with_name("story.sql").read_text("utf-8")
SAMPLE, *_SCENES = (
    _STORY.strip().format(bulk=BULK, steady=STEADY, pace_ms=STEADY_PACE_S * 1000).split("\n\n")
)
SCENES = [_scene(text) for text in _SCENES]
