"""A writer with a schedule: single-row updates, each a transaction of its own.

    python -m tests.bench.load.writer < {"url": "postgresql://...", "rate": 200, ...}

Open loop: change number i is due at start + i / rate, whatever the ones before it took. Where all
sessions are busy it is sent late, and its latency counts from when it was due: a system that stands
still is not asked less often for that ("coordinated omission"). Without a rate it is a closed loop:
each session sends as soon as it was answered, until the time is over.

It speaks to libpq directly and waits with select(), which is exact to microseconds; an event loop's
timers are not. Says "ready", waits for a line, and writes a record of each change.
"""

from __future__ import annotations

import ctypes
import select
import struct
import sys
import time
from contextlib import suppress
from dataclasses import dataclass

import orjson
from psycopg import pq

RECORD = struct.Struct("<qqqq")
"""A change: its key; when it was due, sent and answered (nanoseconds)."""

STATEMENT = b"update candidate set name = $2 where id = $1"
_PR_SET_TIMERSLACK = 29
SECOND = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be written.

    rate:     changes a second; 0: as many as come about.
    seconds:  for how long. What is not sent half as long again after that is left out.
    sessions: at most so many transactions at once.
    first, keys: candidates first .. first + keys - 1 are updated, one after the other.
    """

    url: str
    rate: float
    seconds: float
    sessions: int
    first: int
    keys: int


class Session:
    """One connection, one statement at a time."""

    __slots__ = ("_conn", "fd", "key", "due", "sent")  # noqa: RUF023 - as they come about

    def __init__(self, url: str) -> None:
        self._conn = conn = pq.PGconn.connect(url.encode())
        if conn.status != pq.ConnStatus.OK:
            raise SystemExit(conn.error_message.decode(errors="replace"))
        self._expect(conn.prepare(b"w", STATEMENT), pq.ExecStatus.COMMAND_OK)
        self.fd = conn.socket

    def send(self, key: int, due: int) -> None:
        self.key = key
        self.due = due
        self.sent = time.monotonic_ns()
        # The statement is a transaction of its own: what is sent here is its COMMIT too.
        self._conn.send_query_prepared(b"w", [str(key).encode(), str(self.sent).encode()])
        self._conn.flush()

    def answered(self) -> bool:
        conn = self._conn
        conn.consume_input()
        if conn.is_busy():
            return False
        while (result := conn.get_result()) is not None:
            self._expect(result, pq.ExecStatus.COMMAND_OK)
            if result.command_tuples != 1:
                raise SystemExit(f"there is no candidate {self.key}")
        return True

    def close(self) -> None:
        self._conn.finish()

    @staticmethod
    def _expect(result: pq.abc.PGresult, status: pq.ExecStatus) -> None:
        if result.status != status:
            raise SystemExit(result.error_message.decode(errors="replace"))


def write(plan: Plan, sessions: list[Session]) -> bytearray:
    """Writes all of it. Returns records of what was committed."""
    records = bytearray()
    free = list(sessions)
    busy: dict[int, Session] = {}
    start = time.monotonic_ns() + SECOND // 100
    step = SECOND / plan.rate if plan.rate else 0.0
    last = start + int(plan.seconds * SECOND)
    total = round(plan.rate * plan.seconds) if plan.rate else sys.maxsize
    late = start + int(plan.seconds * 1.5 * SECOND) if plan.rate else last
    number = 0
    while True:
        now = time.monotonic_ns()
        over = number >= total or now > late
        due = start + int(number * step)
        while free and not over and due <= now:
            session = free.pop()
            session.send(plan.first + number % plan.keys, due if plan.rate else now)
            busy[session.fd] = session
            number += 1
            over = number >= total
            due = start + int(number * step)
            now = time.monotonic_ns()
        if over and not busy:
            return records
        wait = (due - now) / SECOND if free and not over else None
        for fd in select.select(list(busy), (), (), wait)[0]:
            session = busy[fd]
            if session.answered():
                done = time.monotonic_ns()
                records += RECORD.pack(session.key, session.due, session.sent, done)
                free.append(busy.pop(fd))


def main() -> None:
    plan = Plan(**orjson.loads(sys.stdin.readline()))
    with suppress(OSError, AttributeError):
        # Sleep as exactly as asked for, not to the next 50 microseconds.
        ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, 1)
    sessions = [Session(plan.url) for _ in range(plan.sessions)]
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    records = write(plan, sessions)
    for session in sessions:
        session.close()
    sys.stdout.buffer.write(records)


if __name__ == "__main__":
    main()
