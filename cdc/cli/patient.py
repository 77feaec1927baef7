"""Options of the commands that take strong locks: how long to wait for one, and how often."""

from typing import Annotated

import typer

LockTimeout = Annotated[
    int,
    typer.Option(
        min=10,
        max=60_000,
        help="Milliseconds to wait for a lock at a time; whoever comes later waits as long.",
    ),
]
Tries = Annotated[int, typer.Option(min=1, max=10_000, help="How often to try.")]
Pause = Annotated[
    float,
    typer.Option(
        min=0,
        max=3600,
        help="Seconds after the first try; then half as long again each time, up to ten times.",
    ),
]
