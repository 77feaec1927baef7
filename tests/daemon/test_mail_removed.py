"""Contacts that are removed while their mail is in flight: it is the last, and leaves nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import pytest

from cdc.daemon import mail
from cdc.daemon.maintenance import notices
from cdc.daemon.store.session import open_session, run
from cdc.telemetry import Observer
from cdc.webhooks import contacts
from tests.daemon.running import Log
from tests.daemon.test_mail import Post, change, contact, mailer, post, text
from tests.daemon.test_notices import EPOCHS, TERMS
from tests.daemon.world import World

__all__ = ["post"]

IT = "it@example.com"
NOTICES = "2 notices about your webhooks"
QUESTION = "Confirm this address for notices about webhooks"


@pytest.mark.parametrize(
    ("asked", "answer"),
    [(False, "250 OK"), (True, "451 later"), (False, "554 no"), (True, "killed")],
)
async def test_removed_and_added_again_in_flight(
    world: World, post: Post, asked: bool, answer: str
) -> None:
    """The mail server has not answered, and the removal does not wait for that. What is added again
    is a new contact, which is asked. killed: the daemon is, before it has recorded the mail."""
    if asked:
        number = change(world, contacts.add, "1", IT)[0]["id"]
    else:
        number = await contact(world, IT, notices=2)
    log = Log()
    running = asyncio.create_task(mailer(world, post.url, log).run_once())
    again: list[int] = []

    def meanwhile() -> None:
        post.meanwhile = lambda: None
        change(world, contacts.remove, number)
        again.append(change(world, contacts.add, "1", IT)[0]["id"])
        if answer == "killed":
            running.cancel()

    post.meanwhile, post.answer = meanwhile, answer.replace("killed", "250 OK")
    with suppress(asyncio.CancelledError):
        await running
    post.answer = "250 OK"
    await mailer(world, post.url, log).run_once()
    await mailer(world, post.url, log).run_once()
    first, second = post.mails
    assert first[1]["Subject"] == (QUESTION if asked else NOTICES)
    [(number, code)] = await world.all(
        "select id, code from cdc.contact where confirmed_at is null and invited_at < now()"
        " and claimed_until is null and tries = 0 and last_error is null"
    )
    assert number == again[0]
    assert code in text(second[1])
    assert len({message["Message-ID"] for _, message in post.mails}) == 2
    assert await world.one("select count(*) from cdc.mail") == 0
    assert [line for line in log.lines if line.level != "info"] == []


async def test_removed_after_its_claim(
    world: World, post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was claimed is sent as a whole: it said "0 notices"."""
    await contact(world, IT, notices=2)

    async def interrupted(conn: Any, name: str, params: Sequence[Any] = ()) -> Any:
        rows = await run(conn, name, params)
        if name == "mail_claim":
            await world.run("delete from cdc.contact")
        return rows

    monkeypatch.setattr(mail, "run", interrupted)
    await mailer(world, post.url).run_once()
    assert [message["Subject"] for _, message in post.mails] == [NOTICES]


async def test_a_question_whose_code_has_ended_is_not_sent(world: World, post: Post) -> None:
    """It was tried each hour for ever, with a code that confirms nothing."""
    post.refuse = {IT}
    change(world, contacts.add, "1", IT)
    log = Log()
    await mailer(world, post.url, log).run_once()
    assert log.all("mail cannot be sent")
    post.refuse = set()
    await world.run("update cdc.contact set due_at = now(), created_at = now() - interval '8 days'")
    await mailer(world, post.url).run_once()
    assert post.mails == []


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
