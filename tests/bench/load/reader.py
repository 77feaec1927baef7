"""Reads of the API with a schedule: an open loop, as the writer's.

    python -m tests.bench.load.reader < {"url": "http://...", "key": "...", "paths": [...], ...}

A read is due at start + i / rate, whatever the ones before it took, and its time counts from then.
Says "ready", waits for a line, and writes nanoseconds: its own processor time, then each read's.
"""

from __future__ import annotations

import asyncio
import struct
import sys
import time
from dataclasses import dataclass

import aiohttp
import orjson
import uvloop

RECORD = struct.Struct("<q")


@dataclass(frozen=True, slots=True)
class ReadPlan:
    """What is to be read: one path after the other, ``rate`` a second, for ``seconds``."""

    url: str
    key: str
    paths: list[str]
    rate: float
    seconds: float


async def _read(plan: ReadPlan) -> bytes:
    took = bytearray()
    headers = {"Authorization": f"Bearer {plan.key}"}
    async with aiohttp.ClientSession(headers=headers) as http:

        async def one(path: str, due: float) -> None:
            async with http.get(plan.url + path) as got:
                await got.read()
                if got.status != 200:
                    raise SystemExit(f"{path} was answered {got.status}")
            took.extend(RECORD.pack(int((time.monotonic() - due) * 1e9)))

        for path in plan.paths:
            await one(path, time.monotonic())
        took.clear()
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
        start, used = time.monotonic(), time.process_time_ns()
        async with asyncio.TaskGroup() as reads:
            for number in range(round(plan.rate * plan.seconds)):
                due = start + number / plan.rate
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                reads.create_task(one(plan.paths[number % len(plan.paths)], due))
        used = time.process_time_ns() - used
    return RECORD.pack(used) + bytes(took)


def main() -> None:
    plan = ReadPlan(**orjson.loads(sys.stdin.readline()))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        sys.stdout.buffer.write(runner.run(_read(plan)))


if __name__ == "__main__":
    main()
