"""What arrived, held against what was written: the shared account, in what the load keeps of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypedDict

from cdc.sandbox import account
from cdc.sandbox.records import Arrival, Change, Hook
from tests.bench.figures import milliseconds
from tests.bench.load.wire import hook_of
from tests.bench.target import Receipt

EVENT = "candidate_changed"


class Written(NamedTuple):
    """A committed change of one row; every row is changed once in a run.

    due, sent, done: when it was to be sent, was sent, was answered (nanoseconds).
    """

    key: int
    due: int
    sent: int
    done: int


@dataclass(slots=True)
class Account:
    """lost: changes of which nothing came.  repeated: requests beyond the first of a change.
    strange: requests that no change owes.
    latencies: from when a change was due to its receipt, milliseconds in order of size.
    from_sent: the same from when its COMMIT was sent.
    """

    expected: int = 0
    lost: int = 0
    repeated: int = 0
    strange: int = 0
    latencies: list[float] = field(default_factory=list)
    from_sent: list[float] = field(default_factory=list)

    def latency(self, share: float) -> float:
        """Percentile in milliseconds; infinite where nothing came."""
        return account.percentile(self.latencies, share) if self.latencies else float("inf")


def match(
    written: Sequence[Written], receipts: Iterable[Receipt], hooks: int, since: int = 0
) -> Account:
    """Each change against the first request that came for its row at its webhook.

    since: latencies of changes that were committed before do not count: the load was warming up.
    """
    by_key = {str(change.key): change for change in written}
    found = account.account(
        (_change(change, hooks) for change in written),
        (_arrival(receipt) for receipt in receipts),
        [Hook(number, str(number), frozenset({EVENT})) for number in range(1, hooks + 1)],
    )
    repeated = found.retries + found.repeats
    counted = [
        (owed.first, by_key[owed.change.key])
        for owed in found.deliveries
        if owed.first is not None and by_key[owed.change.key].done >= since
    ]
    return Account(
        expected=found.owed,
        lost=found.counts.get("lost", 0),
        repeated=repeated,
        strange=found.counts.get("unowed", 0),
        latencies=milliseconds(first - change.due for first, change in counted),
        from_sent=milliseconds(first - change.sent for first, change in counted),
    )


# The receiver keeps no body: all times are the same to it, and clocks are in nanoseconds.


def _change(written: Written, hooks: int) -> Change:
    company = str(hook_of(written.key, hooks))
    return Change(company, EVENT, str(written.key), "modified", 1, 0, 0, written.sent, True)


def _arrival(receipt: Receipt) -> Arrival:
    at, uid = receipt.at, receipt.uid.strip(b"\0").decode(errors="replace")
    company = str(receipt.hook)
    return Arrival(receipt.hook, uid, company, EVENT, str(receipt.key), "modified", 0, at, at, 200)


def tally(expected: int, receipts: Iterable[Receipt]) -> tuple[int, int]:
    """Lost and repeated where only the number of changes is known: by webhook-id, or by row where
    the sender has none."""
    times = Counter((r.hook, r.uid if r.uid.strip(b"\0") else r.key) for r in receipts)
    return expected - len(times), times.total() - len(times)


class Summed(TypedDict):
    """Over several runs; what no change owes counts as repeated."""

    lost: int
    repeated: int


def summed(accounts: Iterable[Account]) -> Summed:
    some = list(accounts)
    return Summed(
        lost=sum(account.lost for account in some),
        repeated=sum(account.repeated + account.strange for account in some),
    )
