"""What all commands share: settings, connections, output for people and for programs.

Data goes to stdout, everything else to stderr. Heavy imports stay inside functions.
"""

from __future__ import annotations

import gc
import os
import re
import sys
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cdc.errors import CdcError, UsageError
from cdc.guides import located
from cdc.wording import expected, printable, when

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table
    from rich.text import Text

    from cdc.mapping import Mapping
    from cdc.postgres import connections
    from cdc.settings import Settings

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on stdout and nothing else.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]

# Options of several commands that select deliveries.
DeliveryIds = Annotated[
    list[str] | None,
    typer.Argument(metavar="ID", help="Numbers of deliveries, or webhook-ids."),
]
OfWebhook = Annotated[int | None, typer.Option(help="Only this webhook's.")]
OfCompany = Annotated[str | None, typer.Option(help="Only this company's.")]
OfEvent = Annotated[str | None, typer.Option(help="Only this event.")]
Since = Annotated[
    str | None, typer.Option(help="Only changes since then: 30m, 2d, or a time in ISO form.")
]
Until = Annotated[str | None, typer.Option(help="Only changes before then.")]

GOOD, SO_SO, BAD, FAINT = "green", "yellow", "red", "dim"


@dataclass(frozen=True, slots=True)
class Global:
    """Options before the command."""

    config: Path | None = None


def load_settings(
    ctx: typer.Context, *, need_database: bool = True, warned: bool = False
) -> Settings:
    """The settings as ``--config`` and the environment give them. Raises ConfigError.

    warned: the caller reports what was left out; else it is said once in a command.
    """
    from cdc.settings import load

    given = ctx.find_object(Global) or Global()
    settings = load(given.config, need_database=need_database)
    for one in () if warned or ctx.meta.get("warned") else settings.left_out:
        warn(f"{one.message}. {one.hint}")
    ctx.meta["warned"] = True
    return settings


def load_mapping(settings: Settings) -> Mapping:
    """The mapping that the settings name. Raises MappingError."""
    from cdc.mapping import load_mapping

    return load_mapping(settings.mapping)


def connect(settings: Settings) -> connections.Connection:
    """A connection in autocommit. Raises DatabaseError."""
    from cdc.postgres.connections import connect

    return connect(settings.database_url)


def company_key(settings: Settings, given: str | None) -> str | None:
    """A company's key, where its name was given and the mapping knows where names are."""
    mapping = load_mapping(settings)
    if given is None or mapping.company.name is None:
        return given
    from cdc.webhooks import company

    return company.keyed(settings.database_url, mapping, given)


# -- errors ---------------------------------------------------------------------------------------


def keep_modules() -> None:
    """What a long-running process has imported stays, and is not looked through again."""
    gc.collect()
    gc.freeze()


def translated(error: Exception) -> CdcError | None:
    """The error as one of ours; None for a defect, which keeps its traceback."""
    if isinstance(error, CdcError):
        return error
    original = getattr(error, "orig", None)  # SQLAlchemy wraps the driver's errors
    if isinstance(original, Exception):
        error = original
    if "psycopg" not in sys.modules:
        return None
    import psycopg

    from cdc.postgres.connections import explained

    if isinstance(error, psycopg.Error):
        try:
            with explained():
                raise error
        except CdcError as ours:
            return ours
    return None


def refused_value(error: typer.BadParameter) -> str:
    """What is wrong with the value of an option or argument, and how to find a better one."""
    details = getattr(error.__cause__, "errors", None)  # pydantic's, since typer 0.29
    if details is None:
        return error.message
    [first, *_] = details()
    shown = expected(first)
    if first["type"] != "value_error":
        shown += f", found {printable(str(first['input']))!r}"
    named = getattr(error.param, "name", "")
    where = "; `cdc webhook list` shows the numbers" if named in ("webhook", "webhook_id") else ""
    return f"{shown}{where}"


def report(error: CdcError) -> None:
    """Prints for a person what is wrong and what to do next."""
    lines = [typer.style("error: ", fg="red") + printable(error.message, lines=True)]
    lines += [f"  {line}" for line in printable(located(error.hint), lines=True).splitlines()]
    typer.echo("\n".join(lines), err=True)


# -- output ---------------------------------------------------------------------------------------


def say(message: str) -> None:
    """Something for people only."""
    typer.echo(printable(located(message), lines=True), err=True)


def warn(message: str) -> None:
    head = typer.style("warning: ", fg="yellow")
    typer.echo(head + printable(located(message), lines=True), err=True)


def print_json(value: Any) -> None:
    import orjson

    # Keys may be numbers; what orjson does not know (paths, states) becomes text.
    options = orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS
    typer.echo(escaped(orjson.dumps(value, default=str, option=options).decode()))


def escaped(json: str) -> str:
    """JSON, with what could steer a terminal (bytes of C1, marks of direction) as \\u....: it can
    only stand inside texts, and means the same there. So is all beyond ASCII where stdout is not in
    UTF-8."""
    if json.isascii() and "\x7f" not in json:
        return json
    ascii_only = not (sys.stdout.encoding or "").lower().startswith("utf")
    return "".join(
        c if c == "\n" or (c.isprintable() and (c.isascii() or not ascii_only)) else _as_escape(c)
        for c in json
    )


def _as_escape(char: str) -> str:
    units = char.encode("utf-16-be")
    return "".join(f"\\u{units[i : i + 2].hex()}" for i in range(0, len(units), 2))


def styled(value: object, style: str = "") -> Text:
    """A cell of a table; None is shown as nothing."""
    from rich.text import Text

    if value is None:
        return Text("")
    if isinstance(value, datetime):
        value = when(value)
    elif isinstance(value, float):
        value = f"{value:g}"
    return Text(printable(str(value)), style)


def table(
    heads: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    title: str = "",
    right: str = "",
    whole: str = "",
) -> Table:
    """A table for people.

    rows:  cells, plain or made by ``styled``.
    right: heads of columns that hold numbers, with spaces between; they are never folded.
    whole: heads of others that are not.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    made = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, title_justify="left")
    made.padding = (0, 1, 0, 0)  # with the box's own blank: cdc.cli.fit.BETWEEN
    made.title = Text(title, "bold") if title else None
    numbers, unfolded = right.split(), whole.split()
    for head in heads:
        made.add_column(
            head,
            justify="right" if head in numbers else "left",
            overflow="fold",
            no_wrap=head in unfolded or head in numbers,
        )
    for row in rows:
        made.add_row(*(cell if isinstance(cell, Text) else styled(cell) for cell in row))
    return made


def print_table(
    heads: Sequence[str], rows: Iterable[Sequence[object]], *, title: str = "", right: str = ""
) -> None:
    """Prints what ``table`` makes."""
    print_made(table(heads, rows, title=title, right=right))


def facts(named: dict[str, object]) -> Table:
    """One thing's facts, a line each; empty ones are left out."""
    from rich.table import Table
    from rich.text import Text

    made = Table.grid(padding=(0, 2))
    made.add_column(style="bold")
    made.add_column(overflow="fold")
    for name, value in named.items():
        if value is None or value == "":
            continue
        made.add_row(name, value if isinstance(value, Text) else styled(value))
    return made


def print_facts(named: dict[str, object]) -> None:
    """Prints what ``facts`` makes."""
    print_made(facts(named))


def print_text(text: Text) -> None:
    print_made(text)


def print_made(made: RenderableType) -> None:
    """Prints what rich can draw: as wide as the terminal, or for a program to read."""
    from rich.console import Console

    from cdc.cli.fit import fitted, lines

    if sys.stdout.isatty() or "COLUMNS" in os.environ:
        console = Console(highlight=False)
        console.print(fitted(made, console.width))
    else:
        for line in lines(made):
            print(line)


# -- asking, reading ------------------------------------------------------------------------------


def confirm(question: str, *, yes: bool) -> None:
    """Asks before what cannot be undone, unless --yes was given.

    Raises UsageError without a terminal (piped input is ignored), typer.Abort for a no.
    """
    if yes:
        return
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError(
            f"cannot ask without a terminal: {question}", "Add --yes to confirm beforehand."
        )
    typer.confirm(question, abort=True, err=True)


_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def duration(text: str) -> timedelta:
    """``90s``, ``30m``, ``24h``, ``7d`` or ``0``. Raises UsageError."""
    found = re.fullmatch(r"([0-9]{1,9})([smhd])|0", text.strip())
    if found is None:
        raise UsageError(f"invalid duration {text!r}: expected such as 90s, 30m, 24h or 7d")
    seconds = int(found[1]) * _UNITS[found[2]] if found[1] else 0
    if seconds > 3650 * 86400:
        raise UsageError(f"invalid duration {text!r}: expected ten years (3650d) at most")
    return timedelta(seconds=seconds)


def moment(text: str) -> datetime:
    """A time in ISO form, or a length of time ago. Raises UsageError."""
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError:
        try:
            return datetime.now(UTC) - duration(text)
        except UsageError:
            raise UsageError(
                f"invalid time {text!r}: expected ISO 8601, such as 2026-01-31T10:00Z, or a "
                "duration ago, such as 30m or 2d"
            ) from None
    if not 1970 <= found.year <= 9998:  # one that can be converted and counted with
        raise UsageError(f"invalid time {text!r}: expected a year from 1970 to 9998")
    return found.astimezone(UTC)


def delivery_id(text: str) -> tuple[int | None, str | None]:
    """A delivery's number, or its webhook-id. Raises UsageError."""
    # Those of a backfill are below 0.
    if re.fullmatch("-?[0-9]{1,19}", text) and abs(int(text)) < 2**63:
        return int(text), None
    try:
        return None, str(uuid.UUID(text))
    except ValueError:
        raise UsageError(
            f"invalid delivery {text!r}: expected its number, or the webhook-id that the receiver "
            "saw (a UUID)"
        ) from None


def fields_of(made: Any) -> dict[str, Any]:
    """A dataclass with slots as a dictionary, for JSON."""
    from dataclasses import asdict

    return asdict(made)
