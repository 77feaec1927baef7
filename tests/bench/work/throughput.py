"""As many single-row updates as come about, by several clients at once: a closed loop.

PostgreSQL's pgbench where it is found, since it costs the writers' side least; else our own writer.
Baseline and subject are always measured by the same one.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import NamedTuple

from psycopg.conninfo import conninfo_to_dict

from cdc.sandbox.process import ProcessFailed, bare_environment
from tests.bench.bench import Bench
from tests.bench.figures import by_second
from tests.bench.load import writer
from tests.bench.place import Database, Server, pgbench
from tests.bench.sharing import Shares, shared

ROWS = 10_000
SPARE = 60  # seconds that it may take beyond its time

_SCRIPT = """
\\set id random(1, :rows)
update candidate set name = :id where id = :id;
"""
_PROGRESS = re.compile(r"progress: [\d.]+ s, ([\d.]+) tps")
_RATE = re.compile(r"tps = ([\d.]+)")
_COUNT = re.compile(r"transactions actually processed: (\d+)")
_VARIABLES = {"host": "HOST", "port": "PORT", "user": "USER", "password": "PASSWORD"}


class Throughput(NamedTuple):
    """rate: transactions a second.  done: how many.  over_time: a second, second by second.

    shares: of processor time; None: the server is not ours.
    """

    rate: float
    done: int
    over_time: list[float]
    shares: Shares | None = None


def throughput(
    bench: Bench, server: Server, database: Database, clients: int, seconds: int
) -> Throughput:
    """Updates random ones of the first 10,000 candidates for so many whole seconds."""
    program = pgbench(server)
    with shared(server, database) as shares:
        if program is None:
            found = _by_writer(bench, database, clients, seconds)
        else:
            found = _by_pgbench(bench, program, database, clients, seconds)
    return found._replace(shares=shares())


def _by_pgbench(
    bench: Bench, program: Path, database: Database, clients: int, seconds: int
) -> Throughput:
    script = bench.folder / "update.sql"
    script.write_text(_SCRIPT)
    parts = conninfo_to_dict(database.url)
    address = {f"PG{to}": str(parts[key]) for key, to in _VARIABLES.items() if key in parts}
    command = [
        *(str(program), "--no-vacuum", "--protocol=prepared", "--progress=1"),
        *(f"--client={clients}", "--jobs=2", f"--time={seconds}"),
        *(f"--file={script}", f"--define=rows={ROWS}", database.name),
    ]
    try:
        done = subprocess.run(
            command,
            env={**bare_environment(), **address},
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds + SPARE,
        )
    except subprocess.TimeoutExpired:
        raise ProcessFailed(f"pgbench does not end within {seconds + SPARE} s") from None
    rate, count = _RATE.search(done.stdout), _COUNT.search(done.stdout)
    if done.returncode or rate is None or count is None:
        raise ProcessFailed("pgbench failed", done.stderr[-2000:])
    over_time = [float(tps) for tps in _PROGRESS.findall(done.stderr)]
    return Throughput(float(rate[1]), int(count[1]), over_time)


def _by_writer(bench: Bench, database: Database, clients: int, seconds: int) -> Throughput:
    written = bench.write(writer.Plan(database.url, 0, seconds, clients, 1, ROWS))
    times = sorted(change.done for change in written)
    start = min(change.sent for change in written)
    over_time = by_second(times, start)
    return Throughput(len(times) * 1e9 / (times[-1] - start), len(times), over_time)
