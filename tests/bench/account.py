"""What arrived, held against what was written. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypedDict

from tests.bench.figures import milliseconds, percentile
from tests.bench.load.wire import hook_of
from tests.bench.target import Receipt


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
    strange: requests that nobody owed.
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
        return percentile(self.latencies, share) if self.latencies else float("inf")


def match(
    written: Sequence[Written], receipts: Iterable[Receipt], hooks: int, since: int = 0
) -> Account:
    """Each change against the first request that came for its row at its webhook.

    since: latencies of changes that were committed before are not told: the load was warming up.
    """
    first: dict[int, int] = {}
    account = Account(expected=len(written))
    owed = {change.key: change for change in written}
    for receipt in receipts:
        if receipt.key not in owed or receipt.hook != hook_of(receipt.key, hooks):
            account.strange += 1
        elif receipt.key in first:
            account.repeated += 1
        else:
            first[receipt.key] = receipt.at
    account.lost = len(owed) - len(first)
    counted = [(at, owed[key]) for key, at in first.items() if owed[key].done >= since]
    account.latencies = milliseconds(at - change.due for at, change in counted)
    account.from_sent = milliseconds(at - change.sent for at, change in counted)
    return account


def tally(expected: int, receipts: Iterable[Receipt]) -> tuple[int, int]:
    """Lost and repeated where rows are changed more than once: by webhook-id, or by row where the
    sender has none."""
    times = Counter((r.hook, r.uid if r.uid.strip(b"\0") else r.key) for r in receipts)
    return expected - len(times), times.total() - len(times)


class Summed(TypedDict):
    """Over several runs; what nobody owed counts as repeated."""

    lost: int
    repeated: int


def summed(accounts: Iterable[Account]) -> Summed:
    some = list(accounts)
    return Summed(
        lost=sum(account.lost for account in some),
        repeated=sum(account.repeated + account.strange for account in some),
    )
