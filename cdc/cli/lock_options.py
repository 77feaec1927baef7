"""Options of the commands that take strong locks: how long to wait for one, and how often."""

from typing import Annotated

import typer

LockTimeout = Annotated[
    int,
    typer.Option(
        min=10,
        max=60_000,
        help="Milliseconds per try to wait for a lock; later requests for it queue behind.",
    ),
]
Tries = Annotated[int, typer.Option(min=1, max=10_000, help="Number of tries.")]
Pause = Annotated[
    float,
    typer.Option(
        min=0,
        max=3600,
        help="Seconds to pause after the first try; grows by half each time, up to tenfold.",
    ),
]
