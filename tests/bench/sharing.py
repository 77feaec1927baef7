"""How processor time is shared while writers run: by their backends, a daemon's, and the rest."""

from __future__ import annotations

import resource
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import psycopg

from tests.bench.child import cpu_of
from tests.bench.place import Database, Server

SAMPLED_EVERY_S = 0.1
"""A worker of autovacuum that ends in between is seen this long before."""

ENDED_WITHIN_S = 10.0

DAEMONS = (
    "select pid from pg_stat_activity"
    " where datname = current_database() and application_name like 'cdc %'"
)


class Shares(NamedTuple):
    """Seconds of processor time.

    clients:    the programs that write, as their own system counts them.
    writers:    their backends.
    sessions:   backends of the daemon.
    background: the server's other processes, autovacuum's among them.
    """

    clients: float
    writers: float
    sessions: float
    background: float


@contextmanager
def shared(server: Server, database: Database) -> Iterator[Callable[[], Shares | None]]:
    """Counts while the block lasts. What it yields returns the shares afterwards; None where the
    server is not ours. The writers start and end within the block."""
    pid = server.pid
    if pid is None:
        yield lambda: None
        return
    found: list[Shares] = []
    before = _used(pid)
    sessions = _sessions(database)
    used, ended = dict(before), threading.Event()

    def sample() -> None:
        while not ended.wait(SAMPLED_EVERY_S):
            used.update(_used(pid))

    sampler = threading.Thread(target=sample)
    total, clients = server.cpu() or 0.0, _clients()
    sampler.start()
    try:
        yield lambda: found[0] if found else None
    finally:
        ended.set()
        sampler.join()
    sessions |= _sessions(database)
    _ended(pid, {one for one, name in used if not name} - sessions - {one for one, _ in before})
    total, clients = (server.cpu() or 0.0) - total, _clients() - clients
    used.update(_used(pid))
    found.append(split(total, clients, before, used, sessions))


def split(
    total: float,
    clients: float,
    before: Mapping[tuple[int, str], float],
    after: Mapping[tuple[int, str], float],
    sessions: set[int],
) -> Shares:
    """Deals the server's seconds out. What neither the daemon's backends nor processes without a
    client have used, the writers' backends have: these end with the load, and so between samples.

    before, after: seconds by process id, and the name of what it does; none for a client's.
    """
    grown = {key: seconds - before.get(key, 0.0) for key, seconds in after.items()}
    daemon = sum(seconds for (pid, _), seconds in grown.items() if pid in sessions)
    background = sum(seconds for (_, name), seconds in grown.items() if name)
    return Shares(clients, total - daemon - background, daemon, background)


def _ended(server: int, backends: set[int]) -> None:
    """Waits until they count as the server's: what they used is nowhere while they end."""
    deadline = time.monotonic() + ENDED_WITHIN_S
    while backends & set(_children(server)) and time.monotonic() < deadline:
        time.sleep(0.01)


def _children(server: int) -> list[int]:
    return [int(one) for one in Path(f"/proc/{server}/task/{server}/children").read_text().split()]


def _used(server: int) -> dict[tuple[int, str], float]:
    return {(pid, _background(pid)): cpu_of(pid) for pid in _children(server)}


def _background(pid: int) -> str:
    """What a process without a client does; empty for a backend, whose title names its client."""
    try:
        title = Path(f"/proc/{pid}/cmdline").read_bytes().partition(b"\0")[0].decode()
    except OSError:
        return ""
    name = title.partition(": ")[2].strip()
    client = "[local]" in name or "(" in name
    return "" if client or not name else " ".join(name.split()[:2])


def _sessions(database: Database) -> set[int]:
    with psycopg.connect(database.url, autocommit=True) as conn:
        return {pid for (pid,) in conn.execute(DAEMONS).fetchall()}


def _clients() -> float:
    """Seconds of our children that have ended, the writers' program among them."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
