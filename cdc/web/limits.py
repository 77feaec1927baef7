"""What is remembered of keys that were sent: guessing is slow and costs the database nothing, and
requests of one company share its part of the threads."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address
from time import monotonic

FAILURES = 20
WINDOW_S = 60.0
ADDRESSES = 10_000
"""Remembered at once, and as many keys; the oldest is forgotten first."""


class SentKeys:
    """Of the API, and cookies of sessions.

    Counts failures per address, of IPv6 per /64: one client has as many addresses as that holds.

    A key that was valid before is looked at in any case: others behind its address cannot lock it
    out.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._failures: OrderedDict[str, tuple[int, float]] = OrderedDict()
        self._valid: OrderedDict[bytes, str] = OrderedDict()

    def wait(self, source: str, sent: str) -> float:
        """Seconds until this key is looked at; 0: now."""
        if self.whose(sent):
            return 0.0
        count, since = self._failures.get(_network(source), (0, 0.0))
        left = since + WINDOW_S - self._clock()
        return left if count >= FAILURES and left > 0 else 0.0

    def whose(self, sent: str) -> str:
        """Its company, or itself; empty for one that has not worked yet."""
        if found := self._valid.get(digest := _digest(sent), ""):
            self._valid.move_to_end(digest)
        return found

    def worked(self, sent: str, company: str | None = None) -> str:
        """It is valid. company: that it is bound to. Returns whose it is."""
        digest = _digest(sent)
        whose = digest.hex() if company is None else f"company:{company}"
        self._valid[digest] = whose
        if len(self._valid) > ADDRESSES:
            self._valid.popitem(last=False)
        return whose

    def failed(self, source: str) -> None:
        network, now = _network(source), self._clock()
        count, since = self._failures.pop(network, (0, now))
        if now - since >= WINDOW_S:
            count, since = 0, now
        self._failures[network] = (count + 1, since)
        if len(self._failures) > ADDRESSES:
            self._failures.popitem(last=False)


def _digest(sent: str) -> bytes:
    return hashlib.sha256(sent.encode(errors="surrogateescape")).digest()


def _network(source: str) -> str:
    try:
        address = ip_address(source)
    except ValueError:
        return source
    if isinstance(address, IPv6Address):
        return str(address.ipv4_mapped or int(address) >> 64)
    return str(address)
