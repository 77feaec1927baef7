"""What a daemon holds is bounded in bytes, whatever keys the suite's rows have."""

from __future__ import annotations

import re
from pathlib import Path

from tests.daemon.running import Process
from tests.daemon.world import World

HOOKS = 40
OWED = 300  # to each
PLACES = 2000

# docs/run.md, "Sizing": a place, and 2,000 rows that are fetched, of 20 kB, with some air.
A_PLACE = 2.2e3
A_FETCH = 50e6

# 3,904 bytes; in Python's memory each character takes four of them, for the last one's sake.
LONG = """
insert into cdc.queue (webhook_id, layout, action, time, refs)
select w.id, l.id, 'm', now(), array[null, '1', repeat('x', 3900) || chr(128512), n::text]
  from cdc.layout l, cdc.webhook w, generate_series(1, %s) n
 where l.event = 'candidate_changed' and w.endpoint like %s
"""


async def test_long_keys_do_not_fill_the_memory(world: World, down: str) -> None:
    """A company's receivers are down, and its rows have keys as long as may be; the others go on,
    and nothing is lost."""
    good = await world.hook("candidate")
    for number in range(HOOKS):
        hook = await world.hook("candidate", company="2", path=f"/down{number}")
        await world.run("update cdc.webhook set endpoint = %s where id = %s", down, hook.id)
    writer = await world.writer()
    async with Process(world.url, total_window=PLACES, retry_schedule="1000", fresh=True) as daemon:
        await daemon.until("connected")
        await writer.insert("candidate", project_id=1)
        await world.arrived(good)
        before = peak(daemon.pid)
        await world.run(LONG, OWED, down)
        await daemon.log.seen("circuit breaker opened", times=HOOKS)
        for _ in range(20):
            await writer.insert("candidate", project_id=1)
            await world.arrived(good)
        grown = peak(daemon.pid) - before
    assert grown < PLACES * A_PLACE + A_FETCH, f"{grown / 1e6:.0f} MB"
    left = await world.one(
        "select (select count(*) from cdc.queue where webhook_id <> %s)"
        " + (select count(*) from cdc.retry where webhook_id <> %s)",
        *(good.id, good.id),
    )
    assert left == HOOKS * OWED


def peak(pid: int) -> int:
    """The most memory that the process has had, in bytes."""
    status = Path(f"/proc/{pid}/status").read_text("ascii")
    found = re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
    assert found
    return int(found[1]) * 1024
