"""All of the benchmark, from the machine to the report."""

from __future__ import annotations

import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from cdc.errors import CdcError, UsageError
from tests.bench.bench import FULL, SHORT, Bench, Size
from tests.bench.figures import Figure
from tests.bench.machine import machine
from tests.bench.place import NotHere
from tests.bench.target import Target
from tests.bench.work.beside import backfill, reads
from tests.bench.work.bulk import bulk
from tests.bench.work.doorbell import doorbell
from tests.bench.work.drain import drain
from tests.bench.work.live import live
from tests.bench.work.scale import backlog, registered, snapshot
from tests.bench.work.sending import idle, processes, slow, tls
from tests.bench.work.writers import flush, writers

Workload = Callable[[Bench], list[Figure]]

WORKLOADS: dict[str, Workload] = {
    "drain": drain,
    "live": live,
    "flush": flush,
    "writers": writers,
    "bulk": bulk,
    "backlog": backlog,
    "snapshot": snapshot,
    "registered": registered,
    "idle": idle,
    "slow": slow,
    "processes": processes,
    "tls": tls,
    "doorbell": doorbell,
    "backfill": backfill,
    "reads": reads,
}
"""In the order in which they are run and reported."""

IN_SHORT = ("drain", "live", "writers")
"""Those of the short form."""


@dataclass(slots=True)
class Report:
    """What a run found.

    failed: workloads that did not come to an end, and why.  skipped: the same, where that is right.
    """

    machine: dict[str, Any]
    short: bool
    figures: list[Figure] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether all of it was measured, and nothing was lost. (Whether figures reach what they
        are to reach is for people to read: another machine has others.)"""
        return not self.failed and not any(figure.lost for figure in self.figures)

    def as_json(self) -> dict[str, Any]:
        return {
            "ok": self.ok,
            "machine": self.machine,
            "short": self.short,
            "figures": [figure.as_json() for figure in self.figures],
            "failed": self.failed,
            "skipped": self.skipped,
            "seconds": {name: round(took, 1) for name, took in self.seconds.items()},
        }


def chosen(names: Sequence[str], *, short: bool) -> list[str]:
    """The workloads to run. Raises UsageError for one that does not exist."""
    if not names:
        return list(IN_SHORT if short else WORKLOADS)
    if unknown := [name for name in names if name not in WORKLOADS]:
        raise UsageError(
            f"there is no workload {unknown[0]}", f"Choose from: {', '.join(WORKLOADS)}."
        )
    return [name for name in WORKLOADS if name in names]


def run(
    names: Sequence[str],
    *,
    size: Size,
    theirs: str | None,
    say: Callable[[str], None],
) -> Report:
    """Runs workloads one after the other; one that fails does not keep the others from theirs.

    theirs: the address of the user's server, None for one of our own.
    """
    if sys.platform != "linux":
        raise CdcError("the benchmark reads CPU and memory from /proc, so it needs Linux")
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end)  # whatever was made is taken down again on the way
    report = Report(machine(), size is not FULL)
    with tempfile.TemporaryDirectory(prefix="cdc-bench-") as folder, ExitStack() as stack:
        target = stack.enter_context(Target(Path(folder)))
        bench = Bench(size, Path(folder), target, say, stack, theirs)
        report.machine["postgresql"] = bench.server().version
        for name in names:
            began = time.perf_counter()
            say(f"{name}: {' '.join((WORKLOADS[name].__doc__ or '').split())}")
            try:
                report.figures += WORKLOADS[name](bench)
            except NotHere as error:
                report.skipped[name] = error.message
                say(f"  left out: {error.message}")
            except CdcError as error:
                report.failed[name] = f"{error.message}\n{error.hint}".rstrip()
                say(f"  failed: {report.failed[name]}")
            except Exception as error:
                # A defect of ours: reported in full, and it loses nothing of what others measured.
                report.failed[name] = f"{type(error).__name__}: {error}".strip()
                say("".join(traceback.format_exception(error)))
            finally:
                target.delay(0)
            report.seconds[name] = time.perf_counter() - began
    return report


def _end(number: int, _: object) -> NoReturn:
    sys.exit(128 + number)


__all__ = ["FULL", "SHORT", "WORKLOADS", "Report", "chosen", "run"]
