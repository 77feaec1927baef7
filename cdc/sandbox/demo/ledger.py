"""The interview suite at work: its ledger of what it changed, and what arrived read by that.

Knows nothing of the queue.
"""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import psycopg

from cdc.sandbox.account import Account, account
from cdc.sandbox.demo import protocol
from cdc.sandbox.demo.protocol import SuiteRow
from cdc.sandbox.receiver import Received
from cdc.sandbox.records import Arrival, Change, Hook, said

LATE_AFTER_S = 30.0
"""Seconds from COMMIT to receipt beyond which a delivery counts as wrong."""

_WRITES = re.compile(r"(insert into|update) (\w+)")
_STATUS = re.compile(r"status = '(\w+)'")

Connection = psycopg.AsyncConnection[tuple[object, ...]]


class Ledger:
    """Every change that the suite made.

    hooks: the registered webhooks; each receives at ``/`` and its name.
    due:   POSTs that are owed by now, those that the receiver refuses at first included.
    """

    def __init__(
        self, base: str, hooks: Sequence[Hook], rows: Mapping[tuple[str, str], SuiteRow]
    ) -> None:
        self.hooks = hooks
        self.changes: list[Change] = []
        self.due = self.refused = 0
        self._base = base
        self._rows = rows
        self._versions: Counter[tuple[str, str]] = Counter()
        self._numbers = {f"/{hook.name}": hook.number for hook in hooks}

    def refuse_one(self) -> None:
        """The receiver answers one POST with a failure, so it comes twice."""
        self.due += 1
        self.refused += 1

    def enter(self, changes: Iterable[Change], *, committed: bool, done: float = 0.0) -> None:
        """They are about to be committed, or were rolled back."""
        for change in changes:
            place = change.event, change.key
            self.changes.append(
                change._replace(committed=committed, done=done, version=self._versions[place])
            )
            self._versions[place] += 1
            self.due += self.owed(change) if committed else 0

    def owed(self, change: Change) -> int:
        """At how many webhooks it is wanted."""
        return sum(hook.wants(change) for hook in self.hooks)

    def row(self, event: str, key: str) -> SuiteRow | None:
        """What the protocol says of a row; None where its changes are no event."""
        return self._rows.get((event, key))

    def arrival(self, got: Received) -> Arrival:
        """What a POST says, and in what it differs from what its row owes."""
        number = self._numbers.get(got.path, -1)
        problem = "" if got.verified else str(got.problem)
        ends = (got.clock, got.clock, got.status or 0, problem)
        try:
            says = said(got.body)
            stated = json.loads(got.body)["time"]
        except (ValueError, LookupError, TypeError, AttributeError):
            other = f"another form: {_shown(got)}"
            return Arrival(number, got.uid, "", "", "", "", 0, *ends, other)
        row = self.row(says.event, says.key)
        altered = "" if row is None else self._altered(got, row, says.action, stated)
        return Arrival(number, got.uid, *says, *ends, altered, hash(got.body))

    def _altered(self, got: Received, row: SuiteRow, action: str, stated: str) -> str:
        if got.method != protocol.METHOD:
            return f"came by {got.method}"
        for name, value in protocol.HEADERS.items():
            if got.headers.get(name) != value:
                return f"header {name} is {got.headers.get(name)!r}, not {value!r}"
        if not protocol.TIME.fullmatch(stated):
            return f"time {stated} is not in the protocol's form"
        owed = protocol.body(self._base + got.path, stated, row, action)
        return "" if got.body == owed else f"owed was {owed.decode()}, but {_shown(got)} came"

    def account(self, received: Iterable[Received]) -> Account:
        """All of it, compared."""
        arrivals = [self.arrival(got) for got in received]
        return account(self.changes, arrivals, self.hooks, late_after=LATE_AFTER_S)

    def latency(self, got: Received) -> float | None:
        """Seconds from just before COMMIT to the receipt; None where no change owes it."""
        came = self.arrival(got)
        for change in reversed(self.changes):
            of_row = (change.event, change.key) == (came.event, came.key)
            if of_row and change.since <= came.time <= change.until:
                return got.clock - change.done
        return None


class SuiteSession:
    """A session of the suite, whose changes are noted in the ledger."""

    def __init__(self, conn: Connection, ledger: Ledger) -> None:
        self._conn = conn
        self._ledger = ledger
        self._made: list[Change] = []
        self._saved = 0
        self.in_transaction = False

    async def run(self, sql: str, tag: str = "live") -> None:
        """Runs a statement, in a transaction of its own unless one is open.

        tag: of the change, if it changes one row.
        """
        alone = not self.in_transaction and sql != "begin"
        if alone:
            await self.run("begin")
        match sql.split()[0]:
            case "begin":
                self.in_transaction, self._made, self._saved = True, [], 0
            case "savepoint":
                self._saved = len(self._made)
            case "rollback":
                self._ledger.enter(self._made[self._saved :], committed=False)
                del self._made[self._saved :]
            case "commit":
                # Noted before the server can know: nothing arrives unnoted, and no latency is too
                # short.
                self._ledger.enter(self._made, committed=True, done=time.perf_counter())
        await self._execute(sql, tag)
        if sql in ("commit", "rollback"):
            self.in_transaction = False
        if alone:
            await self.run("commit")

    async def _execute(self, sql: str, tag: str) -> None:
        writes, status = _WRITES.match(sql), _STATUS.search(sql)
        since = time.time_ns() // 1000
        # Bytes, because psycopg wants no text that was put together; all of it is the demo's own.
        shown = f"{sql} returning id::text" if writes else sql
        cursor = await self._conn.execute(shown.encode())
        until = time.time_ns() // 1000 + 1
        if writes is None:
            return
        action = "created" if writes[1] == "insert into" else "modified"
        keys = [str(key) for (key,) in await cursor.fetchall()]
        tag = "bulk" if len(keys) > 1 else tag
        became = status[1] if status else ""
        for key in keys:
            row = self._ledger.row(f"{writes[2]}_changed", key)
            if row is not None:
                whose = row.company, row.event, row.key
                self._made.append(Change(*whose, action, 0, since, until, 0.0, False, tag, became))


def _shown(got: Received) -> str:
    return f"{got.method} {got.path} {got.body[:600].decode(errors='replace')}"
