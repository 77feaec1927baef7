"""How the demo looks to a person: in a terminal, and without colours in a log file."""

from __future__ import annotations

import orjson
from rich import box
from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from cdc.sandbox.demo import protocol
from cdc.sandbox.demo.report import TOTAL, DemoReport, Line, lines
from cdc.sandbox.receiver import Received
from cdc.sandbox.records import Hook, said
from cdc.wording import printable

FAULTS_SHOWN = 20
LOG_WIDTH = 100
"""Columns of a log file or a pipe."""


class Show:
    """Prints what happens. Plain ASCII but for what a terminal is known to have.

    quiet: only what is wrong, and the closing table.
    """

    def __init__(self, console: Console | None = None, *, quiet: bool = False) -> None:
        self.console = console or Console(highlight=False)
        if not self.console.is_terminal:
            self.console.width = LOG_WIDTH
        self._quiet = quiet
        self._step = 0
        self._seen_a_body = False

    @property
    def watched(self) -> bool:
        """Whether a person is looking on and needs time to read."""
        return self.console.is_terminal and not self._quiet and not self.console.quiet

    def title(self, text: str) -> None:
        self._print(Text(text, style="bold"))

    def done(self, what: str, detail: str, seconds: float) -> None:
        """A part of the stage is up."""
        self._print(
            Text.assemble(
                "  ", (f"{what:<13}", "cyan"), f"{detail:<71}", (f"{seconds:6.2f} s", "dim")
            )
        )

    def hooks(self, hooks: list[Hook], companies: dict[int, str]) -> None:
        """Who wants what."""
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for column in ("company", "webhook", "events"):
            table.add_column(column)
        for company, name in companies.items():
            of_company = [hook for hook in hooks if hook.company == str(company)]
            for hook in of_company:
                events = ", ".join(event for event in protocol.EVENTS if event in hook.events)
                events = "all five" if len(hook.events) == len(protocol.EVENTS) else events
                events += f", status becomes {hook.became}" if hook.became else ""
                table.add_row(f"{company} {name}", f"/{hook.name}", events)
            if not of_company:
                table.add_row(f"{company} {name}", Text("none", "dim"), "")
        self._print(Padding(table, (1, 2, 0, 2), expand=False))

    def step(self, title: str, note: str = "") -> None:
        self._step += 1
        self._print("")
        self._print(Text(f"{self._step}. {title}", style="bold"))
        if note:
            self._indented(Text(note, style="dim"), 3)

    def sql(self, text: str) -> None:
        """A statement of the suite."""
        self._indented(Text.assemble(("suite> ", "green"), text, ";"), 3)

    def say(self, text: str, style: str = "") -> None:
        self._indented(Text(text, style=style), 3)

    def post(self, got: Received, latency: float | None, *, known: bool = True) -> None:
        """A POST that came, the first one with its body whole, the others with what it says.

        known: its webhook's secret is the demo's own.
        """
        verdict = Text("verified", "green") if got.verified else Text(str(got.problem), "bold red")
        if not known:
            verdict = Text("signed; secret unknown here", "yellow")
        status = Text(str(got.status), "green" if got.status == 200 else "bold yellow")
        again = f"  try {got.tries}" if got.tries > 1 else ""
        self._indented(
            Text.assemble(
                ("POST ", "bold"),
                (f"{printable(got.path):<20} ", "bold"),
                (f"{milliseconds(latency and latency * 1000):>6} ms  ", "magenta"),
                verdict,
                "  ",
                status,
                (again, "yellow"),
                "  ",
                (_in_short(got.body), "cyan"),
            ),
            3,
        )
        if not self._seen_a_body:
            self._seen_a_body = True
            body = Text(printable(got.body[:2000].decode(errors="replace")), style="dim")
            body.highlight_regex(r'(?<="event": )"\w+"|(?<="action": )"\w+"', "cyan")
            self._indented(body, 5)

    def report(self, report: DemoReport) -> None:
        """The closing table, what is to be said below it, and the verdict."""
        table = Table(
            box=box.SIMPLE_HEAD, title="\n The account", title_justify="left", title_style="bold"
        )
        table.add_column("event")
        for column in ("expected", "received", "missing", "wrong", "repeated", "p50 ms", "p99 ms"):
            table.add_column(column, justify="right")
        for event, line in lines(report.account).items():
            if event == TOTAL:
                table.add_section()
            style = "bold" if event == TOTAL else ""
            table.add_row(event or "(none we know)", *_cells(line), style=style)
        self.console.print(table)
        for note in report.notes:
            self._indented(Text(note), 1, always=True)
        violations = report.account.violations
        for violation in violations[:FAULTS_SHOWN]:
            text = f"webhook {violation.webhook + 1}, {violation.text}"
            shown = Text.assemble((f"{violation.kind}: ", "bold red"), printable(text))
            self._indented(shown, 1, always=True)
        if (more := report.account.found.total() - FAULTS_SHOWN) > 0:
            self._indented(Text(f"... and {more} more"), 1, always=True)
        self.verdict(report.ok, report.verdict)
        self.log(report.log)

    def verdict(self, ok: bool, text: str) -> None:
        self.console.print()
        self._indented(Text(text, "bold green" if ok else "bold red"), 1, always=True)

    def log(self, lines: str) -> None:
        """The end of the daemon's log, when something failed."""
        if lines:
            self.console.print(Text("\n The end of the daemon's log:", "bold"))
            self._indented(Text(printable(lines, lines=True)), 3, always=True)

    def how_to_play(self, lines: list[tuple[str, str]]) -> None:
        """What to do while it stays up; never wrapped, so that it can be copied."""
        for what, command in lines:
            self.console.print(Text(f"\n   {what}", "bold"))
            self.console.print(Text(f"   {command}"), soft_wrap=True)
        self.console.print()

    def _print(self, what: RenderableType) -> None:
        if not self._quiet:
            self.console.print(what)

    def _indented(self, text: Text, by: int, *, always: bool = False) -> None:
        """A text that may take several lines; without spaces at their ends, for log files."""
        if self._quiet and not always:
            return
        for line in text.wrap(self.console, max(20, self.console.width - by)):
            line.rstrip()
            self.console.print(Text(" " * by) + line, soft_wrap=True)


def _in_short(body: bytes) -> str:
    """What a body of the protocol says: ``rating created 9``, and what of it is null."""
    try:
        says = said(body)
        null = [name for name, value in orjson.loads(body)["data"].items() if value is None]
    except (ValueError, TypeError, LookupError, AttributeError):
        return "(another form)"
    words = f"{says.event.removesuffix('_changed')} {says.action} {says.key}"
    return printable((words + "".join(f", no {name}" for name in null))[:200])


def milliseconds(number: float | None) -> str:
    return "-" if number is None else f"{number:.1f}"


def _cells(line: Line) -> list[str | Text]:
    numbers: list[str | Text] = [f"{line.expected:,}", f"{line.received:,}"]
    for number in (line.missing, line.wrong, line.repeated):
        numbers.append(Text(f"{number:,}", "bold red" if number else ""))
    return [*numbers, milliseconds(line.p50_ms), milliseconds(line.p99_ms)]
