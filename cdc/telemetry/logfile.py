"""Where lines of log go. Deliveries are worth more than lines: one that cannot be written, because
a disk is full or the pipe has no reader, is left out and counted, and blocks nothing."""

from __future__ import annotations

import os
import select
import stat
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from structlog.typing import EventDict, WrappedLogger

WRITE_WITHIN_S = 0.1
"""Seconds that a line waits for a reader who is behind; those after it do not, until he reads."""


class LogFile:
    """A logger for structlog to wrap.

    file: None: there is none (the process was started with it closed), and all lines are lost.
    """

    def __init__(self, file: TextIO | None) -> None:
        self._fd = None if file is None else file.fileno()
        self._poll = select.poll()
        self._piece = 1 << 20
        if self._fd is not None:
            self._poll.register(self._fd, select.POLLOUT)
            if stat.S_ISFIFO(os.fstat(self._fd).st_mode):
                # What a pipe that says it has room takes without blocking.
                self._piece = select.PIPE_BUF
        self._torn = False  # of the last line only a part could be written
        self.lost = 0  # since the last line that could be written
        self.lost_ever = 0

    def debug(self, line: str) -> None:
        """Writes a line, or leaves it out."""
        data = f"{line}\n".encode(errors="backslashreplace")
        try:
            self._put(b"\n" + data if self._torn else data)
        except OSError:
            self.lost += 1
            self.lost_ever += 1
        else:
            self.lost = 0

    info = warning = error = critical = debug

    def tell_lost(self, _: WrappedLogger, __: str, event: EventDict) -> EventDict:
        """A processor of structlog's: the first line that gets through says how many did not."""
        if self.lost:
            event["lines_lost"] = self.lost
        return event

    def _put(self, data: bytes) -> None:
        if self._fd is None:
            raise OSError
        while data:
            # Between processes that share a pipe this is a race, which one may lose: it waits then
            # for the reader, as all lines did without this.
            if not self._poll.poll(0 if self.lost else WRITE_WITHIN_S * 1000):
                raise BlockingIOError
            written = os.write(self._fd, data[: self._piece])
            data = data[written:]
            self._torn = bool(data)
