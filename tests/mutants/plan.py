"""Which changes are made, and which tests are asked about them first."""

from __future__ import annotations

import tomllib
from collections import defaultdict
from collections.abc import Iterable
from fnmatch import fnmatch
from hashlib import sha256
from pathlib import Path

from tests.mutants import changes, statements
from tests.mutants.changes import Change

TOP = Path(__file__).resolve().parents[2]
EXPLAINED = Path(__file__).with_name("explained.toml")

# The code between look and settlement, where a mistake loses, repeats or reorders deliveries. (Its
# statements on request: --only "sql/queries/*.sql".)
SUBJECT = (
    "cdc/daemon/watcher.py",
    "cdc/daemon/worker.py",
    "cdc/daemon/pipeline.py",
    "cdc/message/payload.py",
    "cdc/postgres/arrays.py",
    "cdc/daemon/dispatch/*.py",
    "cdc/daemon/store/*.py",
    "cdc/daemon/maintenance/*.py",
)

_QUICK = ("settle", "dispatch", "look", "ownership", "registrations", "answers", "take_over")
_MORE = ("retries", "replay", "maintenance", "restored", "fleet", "stop", "fetch")

# The tests that concern a module, its own first, then in the order in which they are likely to
# notice something and quick to do so.
_TESTS: dict[str, tuple[str, ...]] = {
    "cdc/daemon/watcher.py": (
        *("ownership", "take_over", "fleet", "restored", "doorbell", *_QUICK, *_MORE),
        *("connection",),
    ),
    "cdc/daemon/worker.py": ("registrations", "pipeline", "sealed", *_QUICK, *_MORE),
    "cdc/daemon/pipeline.py": ("retries", "answers", "forged", *_QUICK, *_MORE),
    "cdc/message/payload.py": ("../message/test_payload", "../fuzz/test_rows", "forged", "retries"),
    "cdc/daemon/dispatch/register.py": ("registrations", "sealed", "tls_profiles", *_QUICK, *_MORE),
    "cdc/daemon/dispatch/*": (
        "dispatch",
        "workers",
        *_QUICK,
        *_MORE,
        "held_snapshot",
        "many_webhooks",
    ),
    "cdc/postgres/arrays.py": ("arrays", "../fuzz/test_rows", "settle", "retries"),
    "cdc/daemon/store/fetch.py": ("fetch", "retries", "replay", *_QUICK, *_MORE),
    "cdc/daemon/store/look.py": ("look", "doorbell", *_QUICK, *_MORE),
    "cdc/daemon/store/ownership.py": (
        "take_over",
        "ownership",
        "fleet",
        "connection",
        "supervisor",
    ),
    "cdc/daemon/store/session.py": (*_QUICK, "forged", "start", *_MORE, "connection", "pooler"),
    "cdc/daemon/store/*": ("settle", "settle_odd", "ownership", *_QUICK, *_MORE, "connection"),
    "sql/queries/replay*": ("replay", "../cli/test_replay"),
    "sql/queries/backlog.sql": ("measure", "../cli/test_status"),
    "sql/queries/expire*": ("retention",),
    "sql/queries/future*": ("restored", "../upgrade/test_switch"),
    "sql/queries/look*": ("look", "take_over", "fleet", "doorbell", *_QUICK),
    "sql/queries/due*": ("retries", "replay", "take_over", "../cli/test_replay"),
    "sql/queries/webhooks.sql": ("registrations", "sealed"),
    "sql/queries/*": ("settle", "take_over", *_QUICK, "retries", "replay", "maintenance"),
    "cdc/daemon/maintenance/measure.py": ("measure", "maintenance", "../telemetry/test_health"),
    "cdc/daemon/maintenance/*": (
        "maintenance_schedule",
        "maintenance",
        "retention",
        "measure",
        "registrations",
    ),
}


def drawn(seed: int, count: int, only: Iterable[str] = ()) -> list[Change]:
    """As many changes as ``count``, at most one a line.

    Each kind is drawn as often as any other: there are many arguments to swap and few conditions
    to negate, but the conditions are where the mistakes are. Within a kind a digest of seed and
    change decides, so that a draw stays nearly the same when some of the code changes.
    """
    kinds: dict[str, list[tuple[str, Change]]] = defaultdict(list)
    for path in files(tuple(only) or SUBJECT):
        lines = (TOP / path).read_text("utf-8").splitlines()
        for change in changes_of(path):
            named = f"{seed} {path} {change.kind} {lines[change.line - 1].strip()} {change.new}"
            digest = sha256(named.encode()).hexdigest()
            kinds[change.kind].append((digest, change))
    for of_kind in kinds.values():
        of_kind.sort(key=lambda item: item[0], reverse=True)
    taken: dict[tuple[str, int], Change] = {}
    while len(taken) < count and any(kinds.values()):
        for _, of_kind in sorted(kinds.items()):
            if of_kind and len(taken) < count:
                change = of_kind.pop()[1]
                taken.setdefault((change.file, change.line), change)
    return list(taken.values())


def changes_of(file: str) -> list[Change]:
    """Every change of a module, or of a statement."""
    made = statements.changes_of if file.endswith(".sql") else changes.changes_of
    return made(file, (TOP / file).read_text("utf-8"))


def files(patterns: Iterable[str]) -> list[str]:
    """The files that these patterns name, from the top of the tree."""
    found = {path for pattern in patterns for path in TOP.glob(pattern)}
    return sorted(str(path.relative_to(TOP)) for path in found)


def paths_for(file: str) -> list[str]:
    """The files of tests that concern a file of the code, in the order in which to run them."""
    names = next(names for pattern, names in _TESTS.items() if fnmatch(file, pattern))
    return [_path(name) for name in dict.fromkeys(names)]


def _path(name: str) -> str:
    return f"tests/{name[3:]}.py" if name.startswith("../") else f"tests/daemon/test_{name}.py"


def explained() -> dict[tuple[str, str, str], str]:
    """Survivors that are known: (file, what a line was, what it became) to the reason."""
    entries = tomllib.loads(EXPLAINED.read_text("utf-8")).get("survivor", [])
    return {(x["file"], x["was"], x["becomes"]): x["reason"] for x in entries}
