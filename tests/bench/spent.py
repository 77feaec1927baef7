"""What a delivered change costs, process by process, compared with queueless LISTEN and POST.

    python -m tests.bench.spent [--rates 20,200,1000,4000] [--seconds 8] [--pairs 3] [--json]

Processor time a change, of the daemon, of its sessions and the writers', while changes come at a
fixed rate; how often a second daemon and watching session were woken (voluntary context switches);
and of baseline (b) of `make bench` the same, in turns. Medians. The server does not flush.

Prints the table of docs/performance.md. Asserts nothing. On a busy machine latencies and wake-ups
are those of the machine: there it is run by root with `chrt --rr 1`, for a short time.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from statistics import median
from typing import NamedTuple, Self

from tests.bench.bench import Bench, Size
from tests.bench.child import Child, cpu_of, tree
from tests.bench.kit import arguments
from tests.bench.place import Database
from tests.bench.target import Target
from tests.bench.work.live import FEW_CONNECTIONS, HOOKS, listening, load, rows

SAMPLED_EVERY_S = 0.2
WARM_UP_S = 2.0
CONSUMER, WATCHES, OTHER = "what delivers", "watching session", "other sessions"
WRITERS = "writers' sessions"
PARTS = (CONSUMER, WATCHES, WRITERS, OTHER)
ACTIVITY = (
    "select pid, application_name, datname, starts_with(query, 'listen bench')"
    " from pg_stat_activity where pid <> pg_backend_pid()"
)


class Use(NamedTuple):
    """Seconds of processor time, and how often it was woken."""

    cpu: float
    woken: int


Samples = Sequence[tuple[float, Mapping[int, Use]]]
"""At what time which process had used what."""


class Spent(NamedTuple):
    """By part: microseconds a change, and wake-ups a second.  p50, p99: milliseconds."""

    us: dict[str, float]
    woken: dict[str, float]
    p50: float
    p99: float


class Sampler:
    """Notes what the server's processes and the consumer use, while the block lasts."""

    def __init__(self, bench: Bench, database: Database, consumer: Child) -> None:
        self._server = bench.server()
        self._database = database.name
        self._consumer = consumer.pid
        self._samples: list[tuple[float, Mapping[int, Use]]] = []
        self._parts: dict[int, str] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def spent(self, since: float, until: float) -> dict[str, tuple[float, float]]:
        return spent_between(self._samples, self._parts, since, until)

    def _run(self) -> None:
        assert self._server.pid is not None
        with self._server.session() as conn:
            while not self._over.wait(SAMPLED_EVERY_S):
                consumer = tree(self._consumer)
                self._parts |= dict.fromkeys(consumer, CONSUMER)
                for pid, application, database, listens in conn.execute(ACTIVITY).fetchall():
                    if database == self._database:
                        watches = listens or application == "cdc watch"
                        unnamed = WRITERS if not application else OTHER
                        self._parts[pid] = WATCHES if watches else unnamed
                pids = {*tree(self._server.pid), *consumer} - {conn.info.backend_pid}
                uses = {pid: Use(cpu_of(pid), _woken(pid)) for pid in pids}
                self._samples.append((time.monotonic(), uses))


def spent_between(
    samples: Samples, parts: Mapping[int, str], since: float, until: float
) -> dict[str, tuple[float, float]]:
    """By part: seconds of processor time and wake-ups, both a second, between these times.

    parts: what each process is for.
    """
    within = [sample for sample in samples if since <= sample[0] <= until]
    (began, first), (ended, last) = within[0], within[-1]
    found: dict[str, tuple[float, float]] = defaultdict(lambda: (0.0, 0.0))
    for pid, use in last.items():
        before, part = first.get(pid, Use(0.0, 0)), parts.get(pid, OTHER)
        cpu, woken = found[part]
        found[part] = (
            cpu + (use.cpu - before.cpu) / (ended - began),
            woken + (use.woken - before.woken) / (ended - began),
        )
    return dict(found)


def _woken(pid: int) -> int:
    found = None
    with suppress(OSError):
        found = re.search(
            r"^voluntary_ctxt_switches:\s+(\d+)", Path(f"/proc/{pid}/status").read_text(), re.M
        )
    return 0 if found is None else int(found[1])


def measured(
    bench: Bench, rate: int, seconds: float, pairs: int
) -> tuple[list[Spent], list[Spent]]:
    """Ours and baseline (b), in turns."""
    ours, plain = [], []
    server = bench.server()
    candidates = rows(rate, WARM_UP_S + seconds)
    with (
        server.database("captured", HOOKS, candidates) as captured,
        server.database("notify", HOOKS, candidates) as notify,
    ):
        captured.register(bench.target.base())
        for number in range(pairs):
            with listening(bench, notify, FEW_CONNECTIONS) as child:
                child.calm()
                plain.append(_one(bench, notify, child, rate, seconds))
            captured.empty()
            with bench.daemon(captured) as daemon:
                daemon.calm()
                ours.append(_one(bench, captured, daemon, rate, seconds))
            bench.say(
                f"  {rate:,}/s, pair {number + 1}: {_all(ours[-1]):.0f} us a change,"
                f" (b) {_all(plain[-1]):.0f}; p50 {ours[-1].p50:.2f} ms,"
                f" p99 {ours[-1].p99:.2f}, (b) {plain[-1].p50:.2f}, {plain[-1].p99:.2f}"
            )
    return ours, plain


def _one(bench: Bench, database: Database, consumer: Child, rate: int, seconds: float) -> Spent:
    with Sampler(bench, database, consumer) as sampler:
        lived = load(bench, database, rate, seconds, warm_up=WARM_UP_S, consumer=consumer)
    # What is settled after the end stands for what was written before the beginning.
    spent = sampler.spent(*lived.span)
    return Spent(
        {part: cpu / lived.written * 1e6 for part, (cpu, _) in spent.items()},
        {part: woken for part, (_, woken) in spent.items()},
        lived.account.latency(0.5),
        lived.account.latency(0.99),
    )


def table(found: Mapping[int, tuple[list[Spent], list[Spent]]]) -> list[str]:
    """Lines of Markdown: for each rate ours, and baseline (b) below."""
    titles = ["us a change", *PARTS, "all", "ratio", "p50, ms", "p99, ms", "wake-ups/s"]
    lines = [_row(titles), "|---|" + "---:|" * (len(titles) - 1)]
    for rate, (ours, plain) in found.items():
        pairs = zip(ours, plain, strict=True)
        ratio = median(_all(one) / _all(other) for one, other in pairs)
        lines.append(_row([f"{rate:,}/s", *_cells(ours), f"{ratio:.2f}", *_latency(ours)]))
        lines.append(_row(["(b)", *_cells(plain), "1", *_latency(plain)]))
    return lines


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cells(runs: list[Spent]) -> list[str]:
    parts = [median(run.us.get(part, 0.0) for run in runs) for part in PARTS]
    return [f"{us:,.0f}" for us in (*parts, median(map(_all, runs)))]


def _latency(runs: list[Spent]) -> list[str]:
    """Milliseconds; and how often daemon and watching session were woken."""
    woken = [median(run.woken.get(part, 0.0) for run in runs) for part in (CONSUMER, WATCHES)]
    times = [median(getattr(run, name) for run in runs) for name in ("p50", "p99")]
    return [*(f"{ms:.2f}" for ms in times), "+".join(f"{count:,.0f}" for count in woken)]


def _all(run: Spent) -> float:
    return sum(run.us.values())


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("--rates", default="20,200,1000,4000")
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--pairs", type=int, default=3)
    args = parser.parse_args()
    found: dict[int, tuple[list[Spent], list[Spent]]] = {}
    with tempfile.TemporaryDirectory(prefix="cdc-bench-") as folder, ExitStack() as stack:
        target = stack.enter_context(Target(Path(folder)))
        size = Size(args.pairs, 1.0, args.seconds, WARM_UP_S)
        bench = Bench(size, Path(folder), target, _say, stack)
        for rate in map(int, args.rates.split(",")):
            found[rate] = measured(bench, rate, args.seconds, args.pairs)
    if args.json:
        print(json.dumps({rate: {"cdc": ours, "plain": b} for rate, (ours, b) in found.items()}))
    else:
        print("\n".join(table(found)))
    return 0


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
