"""The interview suite at work: its ledger of what it changed, and what arrived read by that.

Knows nothing of the queue.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress

import psycopg

from cdc.sandbox.account import Account, account
from cdc.sandbox.demo import protocol
from cdc.sandbox.demo.protocol import SuiteRow
from cdc.sandbox.receiver import Received
from cdc.sandbox.records import Arrival, Change, Hook, Said, said

LATE_AFTER_S = 30.0
"""Seconds from COMMIT to receipt beyond which a delivery counts as wrong."""

_WRITES = re.compile(r"(insert into|update) (\w+)")
_STATUS = re.compile(r"status = '(\w+)'")


class Ledger:
    """Every change that the suite made.

    hooks:   the registered webhooks; each receives at ``/`` and its name.
    refused: POSTs that the receiver answers with a failure, so they come twice.
    """

    def __init__(self, hooks: Iterable[Hook], rows: Iterable[SuiteRow]) -> None:
        self.hooks = {f"/{hook.name}": hook for hook in hooks}
        self.rows = {(row.event, row.key): row for row in rows}
        self.changes: list[Change] = []
        self.refused = 0
        self._versions: Counter[tuple[str, str]] = Counter()

    def enter(self, changes: Iterable[Change], *, committed: bool, done: float = 0.0) -> None:
        """They are about to be committed, or were rolled back."""
        for change in changes:
            version = self._versions[change.event, change.key]
            self.changes.append(change._replace(committed=committed, done=done, version=version))
            self._versions[change.event, change.key] += 1

    def wanted(self, *, committed: bool) -> int:
        """Deliveries that the changes owe, or would if they had not been rolled back."""
        hooks = self.hooks.values()
        return sum(h.wants(c) for c in self.changes if c.committed is committed for h in hooks)

    def arrival(self, got: Received) -> Arrival:
        """What a POST says, and in what it differs from what its row owes."""
        says, altered = Said("", "", "", "", 0), f"another form: {got.body[:600]!r}"
        with suppress(ValueError, LookupError, TypeError, AttributeError):
            says = said(got.body)
            altered = self._altered(got, says)
        number = self.hooks[got.path].number if got.path in self.hooks else -1
        problem = "" if got.verified else str(got.problem)
        ends = (got.clock, got.clock, got.status or 0, problem)
        return Arrival(number, got.uid, *says, *ends, altered, hash(got.body))

    def _altered(self, got: Received, says: Said) -> str:
        row, hook = self.rows.get((says.event, says.key)), self.hooks.get(got.path)
        if row is None:
            return ""
        status = hook.became if hook else ""
        endpoint = f"http://{got.headers['host']}{got.path}"
        body = protocol.body(endpoint, says.time, row, says.action, status)
        came = (got.method, {name: got.headers.get(name) for name in protocol.HEADERS}, got.body)
        owed = ("POST", protocol.HEADERS, body)
        return "" if came == owed else f"owed was {owed}, but {came} came"

    def account(self, received: Iterable[Received]) -> Account:
        """All of it, compared."""
        arrivals = map(self.arrival, received)
        return account(self.changes, arrivals, [*self.hooks.values()], late_after=LATE_AFTER_S)

    def latency(self, got: Received) -> float | None:
        """Seconds to the receipt: from just before COMMIT was sent or, where no change of the
        ledger owes it, from the time that the POST says; None where it says none."""
        came = self.arrival(got)
        for change in reversed(self.changes):
            of_row = (change.event, change.key) == (came.event, came.key)
            if of_row and change.since <= came.time <= change.until:
                return got.clock - change.done
        return got.at.timestamp() - came.time / 1e6 if came.time else None


class SuiteSession:
    """A session of the suite, whose changes are noted in the ledger."""

    def __init__(self, conn: psycopg.AsyncConnection, ledger: Ledger) -> None:
        self._conn = conn
        self._ledger = ledger
        self._made: list[Change] = []
        self._saved = 0
        self.in_transaction = False

    async def run(self, sql: str, tag: str) -> None:
        """Runs a statement, in a transaction of its own unless one is open.

        tag: of the change, if it changes one row.
        """
        word, *to_savepoint = sql.split()
        ends = word == "commit" or sql == "rollback"
        self.in_transaction = not ends and (self.in_transaction or word == "begin")
        if word == "savepoint":
            self._saved = len(self._made)
        elif word == "rollback":
            kept = self._saved if to_savepoint else 0
            self._ledger.enter(self._made[kept:], committed=False)
            del self._made[kept:]
        if word not in ("begin", "commit"):  # which the connection does, at the next statement
            await self._execute(sql, tag)
        if not self.in_transaction:
            # Noted before the server can know: nothing arrives unnoted, and no latency is too
            # short.
            self._ledger.enter(self._made, committed=True, done=time.perf_counter())
            self._made = []
            await self._conn.commit()

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
        became = status[1] if status else ""
        keys = [str(key) for (key,) in await cursor.fetchall()]
        for key in keys:
            # A row that the protocol does not know has no event.
            if row := self._ledger.rows.get((f"{writes[2]}_changed", key)):
                whose = (row.company, row.event, row.key, action, 0, since, until, 0.0, False)
                self._made.append(Change(*whose, "bulk" if len(keys) > 1 else tag, became))
