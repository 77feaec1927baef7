"""What every workload has at hand: receiver, databases, daemon, and a printer of progress."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.bench.account import Written
from tests.bench.child import Child
from tests.bench.daemon import Daemon
from tests.bench.load import bare, writer
from tests.bench.place import FREE_FLUSH, Database, NotHere, Server
from tests.bench.target import Target


@dataclass(frozen=True, slots=True)
class Size:
    """How much of everything.

    runs:   of each way, in turns; a figure is their median.
    scale:  what numbers of rows and requests are multiplied by.
    seconds: of a load that is kept up, where the whole benchmark takes 30.
    warm_up: seconds of the same load before it counts.
    """

    runs: int
    scale: float
    seconds: float
    warm_up: float = 1.0

    def count(self, full: int, least: int = 1) -> int:
        return max(least, round(full * self.scale))

    def time(self, full: float) -> float:
        """Seconds, in proportion."""
        return max(0.5, round(full * self.seconds / 30, 1))


FULL = Size(runs=3, scale=1.0, seconds=30.0)
SHORT = Size(runs=1, scale=0.2, seconds=4.0)


@dataclass(slots=True)
class Bench:
    """A run of the benchmark.

    say:    prints what is going on.
    theirs: the user's own server, if that is what is measured.
    best:   concurrencies of the baselines' clients that were found best, by what they are for.
    """

    size: Size
    folder: Path
    target: Target
    say: Callable[[str], None]
    stack: ExitStack
    theirs: str | None = None
    best: dict[str, int] = field(default_factory=dict)
    _servers: dict[str, Server] = field(default_factory=dict)

    def server(self, settings: Mapping[str, str] = FREE_FLUSH) -> Server:
        """A server with these settings, started when it is first asked for.

        Raises NotHere where it is the user's and does not have them.
        """
        if self.theirs is not None and settings is not FREE_FLUSH:
            raise NotHere("it needs a server with settings of its own")
        key = repr(sorted(settings.items()))
        if key not in self._servers:
            self._servers[key] = self.stack.enter_context(
                Server.embedded(settings) if self.theirs is None else Server.theirs(self.theirs)
            )
        return self._servers[key]

    @contextmanager
    def daemon(self, database: Database, **options: Any) -> Iterator[Daemon]:
        """A daemon for as long as the block lasts, from when it owns everything."""
        with Daemon(database, self.folder / "daemon.log", **options) as daemon:
            daemon.ready()
            yield daemon

    def post(self, kind: str, hooks: int, count: int, connections: int, *, tls: bool) -> None:
        """Has a baseline's client post so many requests to the receiver."""
        self.target.clear()
        plan = bare.Plan(
            kind, self.target.base(tls=tls), hooks, count, connections, str(self.target.ca_file)
        )
        with self.child("bare", plan) as child:
            child.result()

    def child(self, name: str, plan: Any) -> Child:
        """A process of ``load/``, with its plan."""
        return Child(
            *("-m", f"tests.bench.load.{name}"), log=self.folder / f"{name}.log", plan=plan
        )

    def write(self, plan: writer.Plan) -> list[Written]:
        """Carries out a writer's plan. Returns what was committed."""
        with self.child("writer", plan) as child:
            child.answer()
            child.send(b"go")
            return [Written._make(row) for row in writer.RECORD.iter_unpack(child.result())]
