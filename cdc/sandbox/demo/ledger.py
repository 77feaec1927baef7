"""The interview suite at work: its ledger of what it changed, and what arrived read by that.

Knows nothing of the queue.
"""

from __future__ import annotations

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

    def due(self) -> int:
        """POSTs that are owed, those included that are refused at first."""
        hooks = self.hooks.values()
        return self.refused + sum(h.wants(c) for c in self.changes if c.committed for h in hooks)

    def account(self, received: Iterable[Received]) -> Account:
        """All of it, compared."""
        arrivals = map(self._arrival, received)
        return account(self.changes, arrivals, [*self.hooks.values()], late_after=LATE_AFTER_S)

    def _arrival(self, got: Received) -> Arrival:
        """What a POST says, and in what it differs from what its row owes."""
        says, altered = Said("", "", "", "", 0), f"another form: {got.body[:600]!r}"
        with suppress(ValueError, LookupError, TypeError, AttributeError):
            says = said(got.body)
            altered = self._altered(got, says)
        number = self.hooks[got.path].number if got.path in self.hooks else -1
        ends = (got.clock, got.clock, got.status or 0, got.problem or "")
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

        tag: of the changes it makes.
        """
        word, *names = sql.split()
        if word in ("begin", "commit"):  # the connection begins at the next statement
            self.in_transaction = word == "begin"
        else:
            await self._execute(sql, word, names, tag)
        if word == "savepoint":
            self._saved = len(self._made)
        elif word == "rollback":
            self.in_transaction = bool(names)
            kept = self._saved if names else 0
            self._ledger.enter(self._made[kept:], committed=False)
            del self._made[kept:]
        if not self.in_transaction:
            # Noted before the server can know: nothing arrives unnoted, and no latency is too
            # short.
            self._ledger.enter(self._made, committed=True, done=time.perf_counter())
            self._made = []
            await self._conn.commit()

    async def _execute(self, sql: str, word: str, names: list[str], tag: str) -> None:
        writes = word in ("insert", "update")
        since = time.time_ns() // 1000
        # Bytes, because psycopg wants no text that was put together; all of it is the demo's own.
        cursor = await self._conn.execute(f"{sql}{' returning id::text' * writes}".encode())
        until = time.time_ns() // 1000 + 1
        if not writes:
            return
        event = f"{names[word == 'insert']}_changed"
        action = "created" if word == "insert" else "modified"
        became = sql.partition("status = '")[2].partition("'")[0]
        for (key,) in await cursor.fetchall():
            # A row that the protocol does not know has no event.
            if row := self._ledger.rows.get((event, str(key))):
                whose = (row.company, event, row.key, action, 0, since, until, 0.0, False)
                self._made.append(Change(*whose, tag, became))
