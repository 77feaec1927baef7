"""What the figures were measured on, without names of hosts or people."""

from __future__ import annotations

import os
import platform
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cdc import __version__
from tests.bench.place import Database, Server

BUSY = 0.3
"""Load average, for each core, from which on others were at work too."""


def machine() -> dict[str, Any]:
    """Cores, processor, memory, versions, and how busy it is before we begin."""
    cores = len(os.sched_getaffinity(0))
    load = os.getloadavg()[0]
    return {
        "cdc": __version__,
        "at": datetime.now(UTC).isoformat(timespec="minutes"),
        "cores": cores,
        "processor": _named("/proc/cpuinfo", "model name") or platform.machine(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "kernel": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load_before": round(load, 2),
        "busy": load > BUSY * cores,
    }


def lone_commit(server: Server) -> float:
    """Milliseconds of a single-row update in autocommit, while no other session writes."""
    with server.database("bare", 1, 1) as database:
        return _lone_commit(database)


def _lone_commit(database: Database) -> float:
    import psycopg

    took = []
    with psycopg.connect(database.url, autocommit=True) as conn:
        for number in range(200):
            began = time.perf_counter()
            conn.execute("update candidate set name = %s where id = 1", (str(number),))
            took.append(time.perf_counter() - began)
    return sorted(took)[len(took) // 2] * 1000


def _named(file: str, name: str) -> str:
    try:
        lines = Path(file).read_text().splitlines()
    except OSError:
        return ""
    found = (line.partition(":") for line in lines)
    return next((value.strip() for key, _, value in found if key.strip() == name), "")
