"""A ledger and a delivery stream made by hand, with a clock that goes as it is told."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from cdc.message.signing import SignatureProblem
from cdc.sandbox.demo import protocol
from cdc.sandbox.demo.account import Account, draw_up
from cdc.sandbox.demo.ledger import Change, Entry, Hook, Kind, Ledger, Statement
from cdc.sandbox.demo.protocol import Candidate, Customer, DemoRow, Project, Rating
from cdc.sandbox.receiver import Received

ALL = Hook("a/all", 1, protocol.EVENTS, "http://receiver/a/all")
RATINGS = Hook("a/ratings", 1, ("rating_changed",), "http://receiver/a/ratings")
OTHER = Hook("b/all", 2, protocol.EVENTS, "http://receiver/b/all")

PROJECT = Project(1, 17)
DORA, ERIN = Candidate(PROJECT, 19), Candidate(PROJECT, 20)
STARS = Rating(DORA, Customer(1, 1), 9)

START = datetime(2025, 3, 16, 15, 32, 34, 174752, tzinfo=UTC)


class World:
    """The suite writes, the receiver receives; each takes a millisecond."""

    def __init__(self) -> None:
        self.ledger = Ledger([ALL, RATINGS, OTHER])
        self.received: list[Received] = []
        self.seconds = 0.0

    @property
    def now(self) -> datetime:
        return START + timedelta(seconds=self.seconds)

    def wrote(
        self,
        row: DemoRow,
        action: str = "modified",
        *,
        committed: bool = True,
        answers: tuple[int, ...] = (200,),
        kind: Kind = "live",
    ) -> list[Entry]:
        """One statement in its own transaction. Returns what it owes, or must never be."""
        statement = Statement(began=self.now)
        self.seconds += 0.001
        statement.ended = self.now
        self.seconds += 0.001
        change = Change(row, "created" if action == "created" else "modified")
        if not committed:
            return self.ledger.forbid([(change, statement)])
        statement.commit = self.seconds
        return self.ledger.owe([(change, statement)], kind=kind, answers=answers)

    def posted(
        self,
        entry: Entry,
        *,
        uid: str | None = None,
        status: int = 200,
        late: float = 0.0,
        body: bytes | None = None,
        problem: SignatureProblem | None = None,
        path: str | None = None,
        headers: dict[str, str] | None = None,
        method: str = "POST",
    ) -> Received:
        """The POST of an entry comes, as it should or with something changed."""
        self.seconds += 0.001 + late
        time = entry.statement.began + timedelta(microseconds=500)
        uid = str(uuid4()) if uid is None else uid
        got = Received(
            method=method,
            path=path or entry.hook.path,
            headers={**protocol.HEADERS, "webhook-id": uid, **(headers or {})},
            body=entry.body(time.isoformat(timespec="microseconds")) if body is None else body,
            at=self.now,
            clock=self.seconds,
            problem=problem,
            tries=1,
            status=status,
        )
        self.received.append(got)
        return got

    def again(self, got: Received, *, status: int = 200, body: bytes | None = None) -> None:
        """The same delivery comes once more."""
        self.seconds += 0.001
        self.received.append(
            replace(
                got,
                status=status,
                at=self.now,
                clock=self.seconds,
                body=got.body if body is None else body,
            )
        )

    def account(self) -> Account:
        return draw_up(self.ledger.entries, self.ledger.forbidden, self.received)
