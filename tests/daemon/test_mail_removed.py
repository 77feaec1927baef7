"""Contacts that are removed while their mail is in flight: it is the last, and leaves nothing."""

from __future__ import annotations

import asyncio

from cdc.daemon.maintenance import notices
from cdc.daemon.store.session import open_session
from cdc.telemetry import Observer
from tests.daemon.running import Log
from tests.daemon.test_mail import contact
from tests.daemon.test_notices import EPOCHS, TERMS
from tests.daemon.world import World

IT = "it@example.com"


async def test_notices_are_written_while_a_contact_is_removed(world: World) -> None:
    """The removal is not committed yet: the statement failed, with the notices of all webhooks."""
    hook = await world.hook("candidate")
    await contact(world, IT)
    kept = await contact(world, "more@example.com", notices=0)
    await world.run("update cdc.webhook set state = 'suspended', reason = 'x'")
    leaver = await world.connect()
    conn = await open_session(world.url, "test")
    try:
        async with leaver.transaction():
            await leaver.execute(b"delete from cdc.contact where email = 'it@example.com'")
            observer = Observer(log=Log())
            writing = asyncio.create_task(notices.run_once(conn, EPOCHS, (), TERMS, observer))
            await world.until("select cardinality(pg_blocking_pids(%s)) > 0", conn.info.backend_pid)
        await writing
    finally:
        await conn.close()
    assert await world.all(
        "select n.kind, m.contact_id from cdc.mail m join cdc.notice n on n.id = m.notice_id"
        " where n.webhook_id = %s",
        hook.id,
    ) == [("suspended", kept)]
