"""All that the demo prints: in a terminal, and without colours in a log file."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import orjson
from rich.console import Console
from rich.markup import escape
from rich.text import Text

from cdc.message.signing import SignatureProblem
from cdc.sandbox.account import OwedDelivery
from cdc.sandbox.demo.ledger import Report, percentiles_ms
from cdc.sandbox.demo.stage import Stage
from cdc.sandbox.demo.story import Scene
from cdc.sandbox.protocol import EVENTS, said
from cdc.sandbox.receiver import Received
from cdc.sandbox.records import Hook
from cdc.wording import printable

LOG_WIDTH = 100
"""Columns of a log file or a pipe."""


class Show:
    """Prints what happens. Plain ASCII but for what a terminal is known to have.

    quiet:   only what is wrong, and the closing table.
    as_json: only the report, as JSON.
    """

    def __init__(self, console: Console, *, quiet: bool = False, as_json: bool = False) -> None:
        self._console = console
        console.quiet = self._as_json = as_json
        if not console.is_terminal:
            console.width = LOG_WIDTH
        self._quiet = quiet
        self._last = time.perf_counter()  # when a part was up
        self._seen_a_body = False

    def say(self, markup: str, by: int = 3, *, always: bool = False) -> None:
        """A text that may take several lines; without spaces at their ends, for log files.

        by:     columns that it is moved to the right.
        always: also if quiet.
        """
        if self._quiet and not always:
            return
        for line in Text.from_markup(markup).wrap(self._console, max(20, self._console.width - by)):
            line.rstrip()
            self._console.print(Text(" " * by if line else "") + line, soft_wrap=True)

    def part(self, what: str, detail: str) -> None:
        """A part of the stage is up."""
        now = time.perf_counter()
        self.say(f"[cyan]{what:<13}[/]{escape(detail):<71}[dim]{now - self._last:6.2f} s[/]", 2)
        self._last = now

    def hooks(self, hooks: Sequence[Hook]) -> None:
        """Which webhook wants what."""
        self.say(f"\n[bold]{'company':<9}{'webhook':<21}events[/]")
        for hook in hooks:
            events = [event for event in EVENTS if event in hook.events]
            wants = "all five" if len(events) == len(EVENTS) else ", ".join(events)
            wants += f", status becomes {hook.became}" if hook.became else ""
            self.say(f"{hook.company:<9}/{hook.name:<20}{wants}")

    def scene(self, number: int, scene: Scene) -> None:
        self.say(f"\n[bold]{number}. {scene.title}[/]", 0)
        self.say(f"[dim]{scene.note}[/]")

    def sql(self, statements: Iterable[str]) -> None:
        """A transaction of the suite."""
        for sql in statements:
            self.say(f"[green]suite>[/] {escape(sql)};")

    def counted(self, owed: Sequence[OwedDelivery]) -> None:
        """In place of POSTs that are too many to show."""
        p50, p99 = map(_shown, percentiles_ms(owed).values())
        self.say(f"[magenta]{len(owed):,} POSTs: p50 {p50} ms, p99 {p99} ms[/]")

    def post(self, got: Received) -> None:
        """A POST that came, the first one with its body whole, the others with what it says."""
        verdict = "[green]verified[/]" if got.verified else f"[bold red]{got.problem}[/]"
        if got.problem is SignatureProblem.NO_SECRET:
            verdict = "[yellow]signed; secret unknown here[/]"
        status = f"[{'green' if got.status == 200 else 'bold yellow'}]{got.status}[/]"
        again = f"  [yellow]try {got.tries}[/]" if got.tries > 1 else ""
        says, took = _in_short(got)
        path, says = (escape(printable(text)) for text in (got.path, says[:200]))
        self.say(
            f"[bold]POST {path:<20}[/] [magenta]{_shown(took):>6} ms[/]  {verdict}  {status}{again}"
            f"  [cyan]{says}[/]"
        )
        if not self._seen_a_body:
            self._seen_a_body = True
            self.say(f"[dim]{escape(printable(got.body[:2000].decode(errors='replace')))}[/]", 5)

    def report(self, report: Report) -> None:
        """The closing table, what is to be said below it, and the verdict."""
        if self._as_json:
            sys.stdout.write(orjson.dumps(report, option=orjson.OPT_INDENT_2).decode() + "\n")
        head = "".join(f"{name.replace('_', ' '):>10}" for name in report["total"])
        lines = ["", "[bold]The account[/]", "", f"{'event':<20}{head}", "-" * 60]
        for event, figures in [*report["events"].items(), ("total", report["total"])]:
            whole = "bold" if event == "total" else "default"
            style = whole if figures["received"] == figures["expected"] else "bold red"
            cells = "".join(f"{_shown(number):>10}" for number in figures.values())
            lines.append(f"[{style}]{event:<20}{cells}[/]")
        never = f"{report['rollback']['forbidden']} changes that must never be sent"
        lines += [
            "\nLatency: from just before COMMIT to the receipt, of changes of one row each.",
            f"Rollback: {never}; none came, and later changes of these webhooks did."
            if report["rollback"]["proven"]
            else "Rollback: NOT proven that nothing of it was sent.",
            *(f"[bold red]{number} {kind}[/]" for kind, number in report["found"].items()),
            *(f"[bold red]{one['kind']}:[/] {escape(one['text'])}" for one in report["faults"]),
        ]
        if report["ok"]:
            owed = f"{report['total']['expected']:,} deliveries arrived exactly as owed"
            took = f"({report['seconds']:.1f} s in all)"
            lines += [f"\n[bold green]All {owed}, and nothing else did {took}.[/]"]
        else:
            problems = escape("; ".join(report["problems"]) or "see the faults above")
            lines += [f"\n[bold red]Not everything was as it should be: {problems}.[/]"]
            lines += ["\n[bold]The end of the daemon's log:[/]"]
            lines += [f"  {escape(line)}" for line in report["daemon_log"]]
        self.say(printable("\n".join(lines), lines=True), always=True)

    def how_to_play(self, stage: Stage, api: str, key: str) -> None:
        """What can be done while it stays up, and after each the line that does it, to be copied.

        api: URL of the API and the console.  key: an administrator's.
        """
        psql = shlex.quote(str(stage.postgres.bin_dir / "psql"))
        beside = Path(sys.executable).with_name("cdc")
        cdc = shlex.join([str(beside)] if beside.is_file() else [sys.executable, "-m", "cdc"])
        exports = " ".join(f"{name}={shlex.quote(v)}" for name, v in stage.environment.items())
        curl = f"curl -s -H 'Authorization: Bearer '$API_KEY {api}/v1"
        mine = stage.receiver.url("/mine")
        new = orjson.dumps({"events": ["project_changed"], "endpoint": mine}).decode()
        text = f"""
It stays up until Ctrl-C. The suite's database, as its owner:
{psql} {stage.dsn}
Change something there, and see it arrive here:
update rating set stars = 1;
For cdc in another terminal:
export {exports}
One more webhook, received here:
{cdc} webhook add --company 1 --event project_changed --url {mine}
Or a receiver of your own, which can fail on request. Register it in the same way, as \
http://127.0.0.1:8081/, and start it with the secret that this prints:
{cdc} receive --port 8081 --secret whsec_... --fail-first 1
What there is to see:
{cdc} status;  {cdc} webhook list;  {cdc} delivery list
The console, for the helpdesk: open this, and click on Sign in.
{api}/console/sign-in#{key}
A company's own pages, by a link that this prints; it works once, within 5 minutes:
{cdc} portal-link --company 1 --may replay --may manage
An administrator's key, for the API:
export API_KEY={key}
The API, for programs: the webhooks of a company,
{curl}/companies/1/webhooks
what was sent to the first of them,
{curl}/webhooks/1/deliveries
and a new one, received here:
{curl}/companies/4/webhooks -H 'Content-Type: application/json' -d '{new}'
"""  # noqa: S608 - a statement to copy
        for number, line in enumerate(text.strip().splitlines()):
            shown = Text(f"   {line}") if number % 2 else Text(f"\n   {line}", "bold")
            self._console.print(shown, soft_wrap=True)


def _shown(number: float | None) -> str:
    """Milliseconds, or a count."""
    return "-" if number is None else f"{number:,}" if number == int(number) else f"{number:,.1f}"


def _in_short(got: Received) -> tuple[str, float | None]:
    """What a body of the protocol says, ``rating created 9``, and what of it is null; and the
    milliseconds from its statement to its receipt."""
    try:
        says, data = said(got.body), orjson.loads(got.body)["data"]
        more = [f", no {name}" for name, value in data.items() if value is None]
        more += [f", {name} {value}" for name, value in data.get("fields", {}).items()]
    except (ValueError, TypeError, LookupError, AttributeError):
        return "(another form)", None
    short = f"{says.event.removesuffix('_changed')} {says.action} {says.key}{''.join(more)}"
    return short, got.at.timestamp() * 1000 - says.time / 1000
