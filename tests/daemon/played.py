"""A clock, a database and daemons that are played, as far as the doorbell is concerned."""

from __future__ import annotations

from dataclasses import dataclass, field

from cdc.daemon.doorbell import ARMED_S, Doorbell, Mode
from cdc.daemon.watcher import FLEET_EVERY_S


@dataclass
class Played:
    """A database as far as the bell is concerned.

    armed_until: what ``cdc.bell`` says.  open: transaction ids that are running.
    full: the notification queue is.
    crowd: writers that wait for each other to ring, while the bell is armed.
    rung: a daemon rings, because it has silenced the bell.
    """

    now: float = 100.0
    armed_until: float = 0.0
    next_xid: int = 1000
    open: set[int] = field(default_factory=set)
    full: bool = False
    crowd: int = 0
    rung: bool = False

    def xmin(self) -> int:
        return min(self.open, default=self.next_xid)

    def takes_xid(self) -> int:
        self.next_xid += 1
        return self.next_xid - 1

    def begins(self) -> int:
        """A writer has begun."""
        xid = self.takes_xid()
        self.open.add(xid)
        return xid


class Daemon:
    """A doorbell and the loop that uses it, as cdc/daemon/watcher.py does."""

    def __init__(self, played: Played, *, usable: bool = True) -> None:
        self.bell = Doorbell(usable=usable)
        self.played = played
        self.next_look = played.now
        self.looks = 0
        self.glances = 0
        self.looked = -1.0

    def look(self, *, found: bool = False) -> None:
        played = self.played
        was_armed = played.armed_until > played.now
        fleet = played.now - self.looked >= FLEET_EVERY_S
        if not fleet and self.bell.may_glance(played.now):
            self.bell.glanced(played.now, found=found, xmin=played.xmin())
            if was_armed or not self.bell.relied_on:
                self.glances += 1
                self.looks += 1
                self.next_look = played.now + self.bell.wait().seconds
                return
            found = False
        self.looked = played.now
        arm = self.bell.arms(played.now)
        armed = arm is True and not played.full
        if armed:
            played.armed_until = played.now + ARMED_S
        if arm is False:
            played.armed_until = 0.0
            played.rung = True
        self.bell.looked(
            played.now,
            found=found,
            armed=armed,
            was_armed=was_armed,
            xmin=played.xmin(),
            waiting=(played.crowd if was_armed else 0) if fleet else None,
        )
        if self.bell.needs_xid():
            self.bell.guard(played.takes_xid())
        self.looks += 1
        self.next_look = played.now + self.bell.wait().seconds

    def mode(self) -> Mode:
        return self.bell.mode


def run(played: Played, seconds: float, finds: float, *daemons: Daemon) -> None:
    """Time passes; commits come evenly, ``finds`` a second. A ring wakes listeners;
    a daemon that looks first after a commit sees it, and all look."""
    end = played.now + seconds
    step = 1.0 / finds if finds else float("inf")
    next_commit = played.now + step
    fresh: dict[Daemon, bool] = dict.fromkeys(daemons, False)
    while True:
        if played.rung:
            played.rung = False
            for daemon in daemons:
                if daemon.bell.wait().listen:
                    daemon.next_look = played.now
        at = min(next_commit, *(d.next_look for d in daemons))
        if at >= end:
            played.now = end
            return
        played.now = at
        if at == next_commit:
            next_commit += step
            for daemon in daemons:
                fresh[daemon] = True
                if played.armed_until > at and daemon.bell.wait().listen:
                    daemon.next_look = at
        for daemon in daemons:
            if daemon.next_look <= at:
                daemon.look(found=fresh[daemon])
                fresh[daemon] = False
