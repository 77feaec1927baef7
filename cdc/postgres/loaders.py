"""Times and letters from the database, whatever was written there.

The owner of a table of the suite can write into the queue (their code runs as ``cdc_capture`` when
capture reads the table): times that Python has no year for, letters that are not text. The driver
raises for these, and one row would stop every read that it is part of.
"""

from __future__ import annotations

import struct
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from psycopg import pq
from psycopg.adapt import AdaptersMap, Loader

# A year away from Python's ends, so that no time zone leads beyond them.
EARLIEST: Final = datetime(2, 1, 1, tzinfo=UTC)
LATEST: Final = datetime(9999, 1, 1, tzinfo=UTC)
"""Stand for all that lies before and after: no capture function has ever written such a time."""

_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_FIRST, _LAST = ((moment - _EPOCH) // timedelta(microseconds=1) for moment in (EARLIEST, LATEST))
_micros = struct.Struct("!q").unpack


def readable(moment: datetime) -> bool:
    """Whether it is the time that was written."""
    return EARLIEST < moment < LATEST


class _Binary(Loader):
    format = pq.Format.BINARY

    def load(self, data: Any) -> datetime:
        (micros,) = _micros(data)
        if _FIRST < micros < _LAST:
            return _EPOCH + timedelta(microseconds=micros)
        return EARLIEST if micros < 0 else LATEST


class _Text(Loader):
    """In the form that every session of ours sets, ISO. psycopg's own loader goes by what the
    server reported last, which may be the session's default and not what our transaction set."""

    def load(self, data: Any) -> datetime:
        text = bytes(data).decode()
        try:
            return _bounded(datetime.fromisoformat(text).astimezone(UTC))
        except (ValueError, OverflowError):
            past = text.startswith(("-", "0001")) or text.endswith("BC")
            return EARLIEST if past else LATEST


def _bounded(moment: datetime) -> datetime:
    if readable(moment):
        return moment
    return EARLIEST if moment < LATEST else LATEST


class _Letter(Loader):
    def load(self, data: Any) -> str:
        return bytes(data).decode("latin-1")


class _BinaryLetter(_Letter):
    format = pq.Format.BINARY


def register(adapters: AdaptersMap) -> None:
    """Has a connection read them so."""
    for loader in (_Text, _Binary):
        adapters.register_loader("timestamptz", loader)
    for letter in (_Letter, _BinaryLetter):
        adapters.register_loader('"char"', letter)
