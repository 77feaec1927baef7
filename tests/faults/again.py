"""Holds the account of a run again, from the files that it left.

python -m tests.faults.again FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import orjson

from cdc.sandbox.account import Account, Disturbances, account
from cdc.sandbox.records import Hook
from tests.faults import ledger, records


def hooks_of(run: dict[str, Any]) -> list[Hook]:
    """The webhooks, from run.json."""
    return [
        Hook(number, company, frozenset(events), became=became, deleted=deleted)
        for number, company, events, became, deleted in run["hooks"]
    ]


def again(folder: Path) -> Account:
    """The account; what daemons logged of their own accord is not in the files that it reads."""
    run = orjson.loads((folder / "run.json").read_bytes())
    faults = orjson.loads((folder / "faults.json").read_bytes())
    hooks = hooks_of(run)
    return account(
        ledger.read(folder / "ledger.jsonl"),
        records.read(folder / "requests.bin", dict(run["secrets"]), run["wall"]),
        hooks,
        Disturbances([(span["at"], span["over"]) for kind in faults.values() for span in kind]),
        frozenset((n, event, key) for n, event, key in run["rejected"]),
        run["budget"],
    )


if __name__ == "__main__":
    held = again(Path(sys.argv[1]))
    for violation in held.violations:
        print(violation.kind, violation.webhook, violation.text)
    print(held.counts, held.delivered, "of", held.owed)
    sys.exit(1 if held.violations else 0)
