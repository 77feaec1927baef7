"""`cdc status --watch`: one look after the other, on one connection, until Ctrl-C."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import typer

from cdc import wording
from cdc.cli import common
from cdc.cli.status import screen
from cdc.diagnosis.status import StatusReport
from cdc.errors import CdcError, UsageError
from cdc.guides import located

if TYPE_CHECKING:
    import psycopg
    from rich.console import RenderableType


def run(
    connect: Callable[[], psycopg.Connection],
    look: Callable[[psycopg.Connection], StatusReport],
    *,
    every: float,
    as_json: bool,
    companies: bool,
) -> None:
    """Survives the database going away and coming back. Raises UsageError without a terminal."""
    if not as_json and not sys.stdout.isatty():
        raise UsageError(
            "--watch needs a terminal", "For a program: --watch --json, which prints lines."
        )
    looks = _looks(connect, look, every)
    with suppress(KeyboardInterrupt):
        if as_json:
            _lines(looks)
        else:
            _live(looks, every, companies=companies)


def _looks(
    connect: Callable[[], psycopg.Connection],
    look: Callable[[psycopg.Connection], StatusReport],
    every: float,
) -> Iterator[StatusReport | CdcError]:
    """Endless. Yields errors, too: the database may be well again at the next look."""
    conn: psycopg.Connection | None = None
    try:
        while True:
            began = time.monotonic()
            try:
                if conn is None or conn.closed:
                    conn = connect()
                yield look(conn)
            except CdcError as error:
                yield error
            time.sleep(max(0.0, every - (time.monotonic() - began)))
    finally:
        if conn is not None:
            conn.close()


def _lines(looks: Iterator[StatusReport | CdcError]) -> None:
    import orjson

    for seen in looks:
        if isinstance(seen, CdcError):
            shown: object = {
                "ok": False,
                "problems": [located(f"{seen.message}. {seen.hint}".strip())],
            }
        else:
            shown = seen.as_json()
        line = orjson.dumps(shown, default=str, option=orjson.OPT_NON_STR_KEYS)
        typer.echo(common.escaped(line.decode()))
        sys.stdout.flush()


def _live(looks: Iterator[StatusReport | CdcError], every: float, *, companies: bool) -> None:
    from rich.console import Console, Group
    from rich.live import Live
    from rich.text import Text

    console = Console(highlight=False)
    # The other screen of the terminal, redrawn only when there is something new: no flicker, and
    # what was there before is there again afterwards.
    with Live(console=console, screen=True, auto_refresh=False) as live:
        for seen in looks:
            head = Text(
                f"{wording.when(datetime.now(UTC))}, every {every:g} s, Ctrl-C ends", common.FAINT
            )
            if isinstance(seen, CdcError):
                body: RenderableType = common.styled(f"! {seen.message}", common.BAD)
            else:
                body = screen.drawn(seen, companies=companies, height=console.height - 2)
            live.update(Group(head, Text(), body), refresh=True)
