"""A ledger and a stream of POSTs made by hand, with a clock that goes as the test says."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from cdc.message.signing import SignatureProblem
from cdc.sandbox import protocol
from cdc.sandbox.account import Account
from cdc.sandbox.demo.ledger import Ledger, Report
from cdc.sandbox.protocol import SuiteRow, row
from cdc.sandbox.receiver import Received
from cdc.sandbox.records import Change, Hook

HOST = "receiver"
BASE = f"http://{HOST}"
ALL = Hook(0, "1", frozenset(protocol.EVENTS), "a/all")
RATINGS = Hook(1, "1", frozenset({"rating_changed"}), "a/ratings")
OTHER = Hook(2, "2", frozenset(protocol.EVENTS), "b/all")
DONE = Hook(3, "1", frozenset({"candidate_changed"}), "a/done", "done")

PROJECT = row(1, "projects/17")
DORA, ERIN = row(1, "projects/17/candidates/19"), row(1, "projects/17/candidates/20")
STARS = row(1, "projects/17/candidates/19/ratings/9")
FOREIGN = row(2, "projects/1")
ROWS = [PROJECT, DORA, ERIN, STARS, FOREIGN]

START = datetime(2025, 3, 16, 15, 32, 34, 174752, tzinfo=UTC)


def body_of(row: SuiteRow, time: datetime, hook: Hook = ALL, action: str = "modified") -> bytes:
    """What is owed; a webhook that wants a status includes it."""
    at = round(time.timestamp() * 1_000_000)
    return protocol.body(f"{BASE}/{hook.name}", at, row, action, hook.became)


class World:
    """The suite writes, the receiver receives; each takes a millisecond."""

    def __init__(self) -> None:
        self.ledger = Ledger([ALL, RATINGS, OTHER, DONE], ROWS)
        self.received: list[Received] = []
        self.seconds = 0.0

    @property
    def now(self) -> datetime:
        return START + timedelta(seconds=self.seconds)

    def _microseconds(self) -> int:
        return round(self.now.timestamp() * 1_000_000)

    def wrote(
        self,
        row: SuiteRow,
        action: str = "modified",
        *,
        committed: bool = True,
        became: str = "",
        tag: str = "live",
    ) -> datetime:
        """One statement in its own transaction. Returns the time that its bodies have."""
        since = self._microseconds()
        self.seconds += 0.001
        until = self._microseconds()
        change = Change(*row[:3], action, 0, since, until, 0.0, False, tag, became)
        self.seconds += 0.001
        self.ledger.enter([change], committed=committed, done=self.seconds)
        return self.now - timedelta(microseconds=1500)

    def posted(
        self,
        row: SuiteRow,
        time: datetime | str,
        hook: Hook = ALL,
        *,
        action: str = "modified",
        uid: str | None = None,
        status: int = 200,
        late: float = 0.0,
        body: bytes | None = None,
        problem: SignatureProblem | None = None,
        headers: dict[str, str] | None = None,
        method: str = "POST",
        path: str | None = None,
    ) -> Received:
        """The POST of a change comes, as it should or with something changed."""
        self.seconds += 0.001 + late
        uid = str(uuid4()) if uid is None else uid
        if body is None:
            at = START if isinstance(time, str) else time
            body = body_of(row, at, hook, action)
            if isinstance(time, str):
                body = body.replace(START.isoformat().encode(), time.encode())
        got = Received(
            method=method,
            path=path or f"/{hook.name}",
            headers={"host": HOST, **protocol.HEADERS, "webhook-id": uid, **(headers or {})},
            body=body,
            at=self.now,
            clock=self.seconds,
            problem=problem,
            tries=1,
            status=status,
        )
        self.received.append(got)
        return got

    def again(self, got: Received, *, status: int = 200, body: bytes | None = None) -> None:
        """The same delivery comes again."""
        self.seconds += 0.001
        body = got.body if body is None else body
        again = replace(got, status=status, at=self.now, clock=self.seconds, body=body)
        self.received.append(again)

    def account(self) -> Account:
        return self.ledger.account(self.received)

    def report(self, *problems: str) -> Report:
        return self.ledger.report(self.received, problems)
