"""Whatever is in a row of the queue that no capture function wrote, it stops nothing else."""

from __future__ import annotations

import pytest

from tests.daemon.running import Running
from tests.daemon.world import World

USUAL = {
    "id": "7",
    "xid": "pg_current_xact_id()",
    "webhook_id": "{hook}",
    "uid": "gen_random_uuid()",
    "layout": "(select id from cdc.layout where event = 'candidate_changed')",
    "action": "'m'",
    "time": "now()",
    "refs": "'{{NULL,1,1,5}}'",
}
ODD = {
    "no references": {"refs": "'{{}}'"},
    "only nulls": {"refs": "'{{NULL,NULL,NULL,NULL}}'"},
    "a table of references": {"refs": "'{{{{NULL,1}},{{1,5}}}}'"},
    "references that begin elsewhere": {"refs": "'[5:8]={{NULL,1,1,5}}'"},
    "references before all": {"refs": "'[-9:-6]={{NULL,1,1,5}}'"},
    "one of 50 MB": {"refs": "array[null, '1', '1', repeat('x', 50000000)]"},
    "a million references": {"refs": "array_fill('x'::text, array[1000000])"},
    "a number below all": {"id": "-9223372036854775808"},
    "a number above all": {"id": "9223372036854775807"},
    "a transaction of the far future": {"xid": "'9223372036854775807'"},
    "a transaction before all": {"xid": "'0'"},
    "a webhook below all": {"webhook_id": "-9223372036854775808"},
    "no webhook": {"webhook_id": "-5"},
    "a webhook above all": {"webhook_id": "9223372036854775807"},
    "no layout": {"layout": "-2147483648"},
    "no uuid of ours": {"uid": "'00000000-0000-0000-0000-000000000000'"},
}

# One of the far future is not seen before the next start, which mends it.
LEFT = """
select not exists (select from cdc.retry)
   and not exists (select from cdc.queue where webhook_id = %s)
"""


@pytest.mark.parametrize("schedule", [[], [0.01]], ids=["dead at once", "retried"])
async def test_an_odd_row_stops_nothing_else(
    world: World, down: str, schedule: list[float]
) -> None:
    """Each of them twice, for a receiver that is down."""
    odd, hook = await world.hook("project"), await world.hook("candidate")
    await world.run("update cdc.webhook set endpoint = %s where id = %s", down, odd.id)
    writer = await world.writer()
    async with Running(world.url, retry_schedule=schedule, breaker_failures=1000) as daemon:
        await daemon.until("connected")
        for name, values in ODD.items():
            row = {**USUAL, **values}
            line = ", ".join(row.values()).format(hook=odd.id)
            await world.run(f"insert into cdc.queue ({', '.join(row)}) values ({line}), ({line})")
            await writer.insert("candidate", project_id=1)
            await world.arrived(hook)
            assert daemon.log.all("connection lost") == [], name
    # As a daemon finds them at its start.
    async with Running(world.url, retry_schedule=schedule, breaker_failures=1000) as daemon:
        await writer.insert("candidate", project_id=1)
        await world.arrived(hook)
        await world.until(LEFT, odd.id)
        assert daemon.log.all("connection lost") == []
