"""``cdc receive``: a local receiver that verifies and prints what arrives."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable
from typing import Annotated

import orjson
import typer
from rich.console import Console
from rich.text import Text

from cdc.cli.common import escaped
from cdc.errors import UsageError
from cdc.sandbox.receiver import Received, Receiver, Reply, Script
from cdc.wording import printable

_BODY_SHOWN = 4000  # characters of a body printed for people; --json has all of it
_NAME_SHOWN = 100  # characters of an event's or an action's name
_HIDDEN_HEADERS = frozenset({"authorization", "proxy-authorization", "cookie"})


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("receive")(receive)


def receive(
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")
    ] = 8081,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    secret: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[PATH=]whsec_...",
            help="Secret or public key (whpk_...) to verify with, for one path or all; - reads it "
            "from stdin. Repeatable.",
        ),
    ] = None,
    status: Annotated[
        int, typer.Option(min=200, max=599, help="Status to answer everything with.")
    ] = 200,
    delay: Annotated[float, typer.Option(min=0, help="Seconds to wait before answering.")] = 0.0,
    fail_first: Annotated[
        int, typer.Option(min=0, help="Fail the first N attempts of each delivery.")
    ] = 0,
    fail_rate: Annotated[
        float, typer.Option(min=0, max=1, help="Share of requests to fail, 0 to 1, at random.")
    ] = 0.0,
    retry_after: Annotated[
        int | None, typer.Option(min=0, help="Seconds to ask for in Retry-After when failing.")
    ] = None,
    count: Annotated[int | None, typer.Option(min=1, help="Stop after this many requests.")] = None,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json", help="Print one JSON object per request on stdout and nothing else."
        ),
    ] = False,
) -> None:
    """Receive webhooks on this machine, verify their signatures and print them.

    Options make it fail, delay, or answer any status, for trying things out.
    """
    stop = asyncio.Event()
    show = _printer(as_json)

    def on_answered(got: Received) -> None:
        try:
            show(got)
        except OSError:
            stop.set()  # the reader of our output has gone
        if count is not None and receiver.answered >= count:
            stop.set()

    receiver = Receiver(on_answered=on_answered, keep=False)
    for text in secret or ():
        _expect(receiver, sys.stdin.readline().strip() if text == "-" else text)
    receiver.script(None, _script(status, delay, fail_first, fail_rate, retry_after))
    asyncio.run(_serve(receiver, host, port, stop, verifying=bool(secret)))


def _expect(receiver: Receiver, text: str) -> None:
    # Base64 may hold "=" itself, so a path is known by its slash.
    if not text.startswith("/"):
        receiver.expect(None, text)
        return
    path, equals, secret = text.partition("=")
    if not equals:
        raise UsageError(f"--secret {path} has a path but no secret: expected PATH=whsec_...")
    receiver.expect(path, secret)


def _script(
    status: int, delay: float, fail_first: int, fail_rate: float, retry_after: int | None
) -> Script:
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
    return Script(
        reply=Reply(status, headers=headers if status >= 400 else {}),
        failure=Reply(500 if retry_after is None else 503, b"fails on request", headers),
        delay=delay,
        fail_first=fail_first,
        fail_rate=fail_rate,
    )


async def _serve(
    receiver: Receiver, host: str, port: int, stop: asyncio.Event, *, verifying: bool
) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    await receiver.start(host, port)
    try:
        note = "" if verifying else " Signatures are not verified: no --secret was given."
        typer.echo(f"Listening on {receiver.url()} - stop with Ctrl-C.{note}", err=True)
        await stop.wait()
    finally:
        await receiver.stop()
    bad = f", {receiver.unverified} of them not verified" if receiver.unverified else ""
    typer.echo(f"{receiver.count} received{bad}.", err=True)


def _printer(as_json: bool) -> Callable[[Received], None]:
    if as_json:
        return lambda got: typer.echo(escaped(_as_json(got)))
    console = Console(highlight=False, soft_wrap=True)
    return lambda got: console.print(_as_text(got))


def _as_json(got: Received) -> str:
    shown = {
        _text(name): "[hidden]" if name in _HIDDEN_HEADERS else _text(value)
        for name, value in got.headers.items()
    }
    made = orjson.dumps(
        {
            "at": got.at.isoformat(timespec="microseconds"),
            "method": got.method,
            "path": got.path,
            "id": _text(got.uid),
            "try": got.tries,
            "verified": got.verified,
            "problem": got.problem,
            "status": got.status,
            "headers": shown,
            "body": got.body.decode(errors="replace"),
        },
        default=str,
    )
    return made.decode()


def _text(header: str) -> str:
    """Bytes in a header that are not text leave surrogates, which JSON cannot hold."""
    return header.encode(errors="surrogateescape").decode(errors="replace")


def _as_text(got: Received) -> Text:
    event, action = _what(got.body)
    verdict = ("verified", "green") if got.verified else (f"not verified: {got.problem}", "red")
    status = str(got.status)
    again = f"  try {got.tries}" if got.tries > 1 else ""
    body = got.body.decode(errors="replace")
    if len(body) > _BODY_SHOWN:
        body = body[:_BODY_SHOWN] + f" ... ({len(got.body)} bytes)"
    return Text.assemble(
        (got.at.astimezone().strftime("%H:%M:%S.%f")[:-3], "dim"),
        "  ",
        (printable(event), "bold cyan"),
        " ",
        printable(action),
        "  ",
        printable(got.path),
        "  ",
        verdict,
        "  ",
        (status, "green" if status.startswith("2") else "yellow"),
        (again, "yellow"),
        "\n    ",
        (printable(body), "dim"),
    )


def _what(body: bytes) -> tuple[str, str]:
    """Event and action of a body; what is missing is shown as such."""
    try:
        payload = orjson.loads(body)
    except orjson.JSONDecodeError:
        return "(no JSON)", ""
    if not isinstance(payload, dict):
        return "(no event)", ""
    data = payload.get("data")
    action = data.get("action") if isinstance(data, dict) else None
    event = payload.get("event")
    # It comes from outside: lists a thousand deep, or texts without end.
    return (
        event[:_NAME_SHOWN] if isinstance(event, str) else "(no event)",
        action[:_NAME_SHOWN] if isinstance(action, str) else "",
    )
