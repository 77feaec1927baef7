"""Asked to stop, from the first moment of the process on.

A daemon takes some time to begin: imports, settings. As PID 1 of a container it would not even end
of a signal that nothing handles. So what comes before the daemon can act on it is noted here.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Iterable
from types import FrameType

_noted: list[signal.Signals] = []


def asks_to_run(arguments: Iterable[str]) -> bool:
    """Whether these arguments of `cdc` start a process that runs until it is stopped."""
    rest = iter(arguments)
    for argument in rest:
        if argument == "--config":
            next(rest, None)
        elif not argument.startswith("-"):
            return argument in ("run", "serve")
    return False


def note() -> None:
    """From now on a signal to stop is noted, until ``call`` says what to do."""
    for number in _signals():
        signal.signal(number, _note)


def call(stop: Callable[[str], None]) -> None:
    """`stop` is called, with the signal's name, for each signal to stop, noted ones included."""
    loop = asyncio.get_running_loop()
    for number in _signals():
        loop.add_signal_handler(number, stop, number.name)
    for number in _noted:
        stop(number.name)
    _noted.clear()


def hold_standard_descriptors() -> None:
    """Opens /dev/null for those of 0 to 2 that are closed: a socket in their place would be written
    to as stderr is, or closed as stdin is."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)


def _signals() -> list[signal.Signals]:
    """SIGHUP is one, unless the process that started us ignores it (nohup)."""
    ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return [signal.SIGTERM, signal.SIGINT, *([] if ignored else [signal.SIGHUP])]


def _note(number: int, _: FrameType | None) -> None:
    _noted.append(signal.Signals(number))
