"""The registry beneath the commands: what daemons get, and who waits for whom."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from ipaddress import ip_network
from threading import Barrier

import psycopg
import pytest

from cdc.deliver import Guard
from cdc.errors import CdcError, DatabaseError, UsageError
from cdc.message.signing_keys import new_secret
from cdc.model import WebhookState
from cdc.webhooks import statements
from cdc.webhooks.model import (
    Changes,
    Duplicate,
    LimitReached,
    NewWebhook,
    Rules,
    Secret,
    UnknownWebhook,
)
from cdc.webhooks.registry import Registry

EVENTS = ("project_changed", "candidate_changed", "note_changed")


def hook(number: int = 1, *, company: str = "1", events: tuple[str, ...] = EVENTS) -> NewWebhook:
    return NewWebhook(company, events, f"http://127.0.0.1:9/{number}")


@pytest.fixture
def rules() -> Rules:
    guard = Guard([ip_network("127.0.0.0/8")], allow_http=True)
    return Rules(EVENTS, guard, per_company=4, per_event=3)


@pytest.fixture
def registry(database: str, rules: Rules) -> Iterator[Registry]:
    with Registry(database, rules) as made:
        yield made


@pytest.fixture
def db(database: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database, autocommit=True) as conn:
        yield conn


def at_once(works: list[Callable[[], object]]) -> list[object]:
    """Runs these at the same time; errors of ours are results."""
    barrier = Barrier(len(works))

    def run(work: Callable[[], object]) -> object:
        barrier.wait(timeout=20)
        try:
            return work()
        except CdcError as error:
            return error

    with ThreadPoolExecutor(len(works)) as pool:
        return list(pool.map(run, works))


def test_a_daemon_gets_the_secrets_newest_first(registry: Registry) -> None:
    first = registry.add(hook())
    second = registry.rotate_secret(first.webhook.id)
    third = registry.rotate_secret(first.webhook.id, timedelta(hours=1))
    found = registry.sendable(first.webhook.id)
    assert found.secrets == (third.secret, second.secret, first.secret)
    assert found.version == third.webhook.version > first.webhook.version
    ends = [secret.expires_at for secret in registry.secrets(first.webhook.id)]
    assert ends[0] is None
    assert ends[1] is not None
    assert ends[2] is not None
    assert ends[2] - ends[1] < timedelta(minutes=1), "a longer grace does not prolong it"


def test_nothing_secret_is_in_a_repr(registry: Registry) -> None:
    new = NewWebhook(
        "1", EVENTS, "http://me:hush@127.0.0.1:9/", headers={"X-Key": "hush"},
        secrets=(Secret(new_secret()),),
    )  # fmt: skip
    added = registry.add(new)
    rotated = registry.rotate_secret(added.webhook.id)
    for thing in (new, added, rotated, Changes(endpoint=new.endpoint, headers=new.headers)):
        assert "hush" not in repr(thing)
        assert "whsec_" not in repr(thing)


def test_every_change_rings_the_daemons(registry: Registry, db: psycopg.Connection) -> None:
    number = registry.add(hook()).webhook.id
    changes: list[Callable[[], object]] = [
        lambda: registry.add(hook(2)),
        lambda: registry.update(number, Changes(cap=3)),
        lambda: registry.update(number, Changes(events=("note_changed",))),
        lambda: registry.rotate_secret(number),
        lambda: registry.pause(number),
        lambda: registry.resume(number),
        lambda: registry.remove(number),
    ]
    db.execute("listen cdc")
    version = 1
    for change in changes:
        change()
        assert len(list(db.notifies(timeout=5, stop_after=1))) == 1
        found = registry.get(number)
        assert found.version > version or change is changes[0]
        version = found.version


def test_what_does_not_change_anything_does_not_ring(registry: Registry) -> None:
    number = registry.add(hook()).webhook.id
    assert registry.resume(number).version == 1
    paused = registry.pause(number, "why").version
    assert registry.pause(number, "why").version == paused


def test_resuming_makes_what_waits_due_and_notifies_the_daemon(
    registry: Registry, db: psycopg.Connection
) -> None:
    number = registry.add(hook()).webhook.id
    db.execute(
        "insert into cdc.retry (webhook_id, id, uid, xid, layout, action, time, refs, event, key,"
        "                       body, tries, due_at)"
        " select %s, n, gen_random_uuid(), '5', 1, 'm', now(), array['a', 'b', 'c'], 'x', 'c',"
        "        'body', 1, case when n = 1 then now() + interval '2 hours' end"
        "   from generate_series(1, 2) n",
        (number,),
    )
    assert registry.resume(number).version == 2
    due = db.execute("select id, due_at <= clock_timestamp() from cdc.retry order by id")
    assert due.fetchall() == [(1, True), (2, None)]
    assert registry.resume(number).version == 2


def test_identical_ones_at_once_become_one(registry: Registry) -> None:
    done = at_once([lambda: registry.add(hook())] * 6)
    assert sum(isinstance(one, Duplicate) for one in done) == 5
    assert len(registry.find()) == 1


def test_limits_hold_for_those_at_once(registry: Registry) -> None:
    done = at_once(
        [partial(registry.add, hook(number, events=("note_changed",))) for number in range(6)]
    )
    assert sum(isinstance(one, LimitReached) for one in done) == 3
    assert len(registry.find(event="note_changed")) == 3


def test_updates_at_once_cannot_make_a_duplicate(registry: Registry) -> None:
    one, two = registry.add(hook(1)).webhook.id, registry.add(hook(2)).webhook.id
    same = Changes(endpoint="http://127.0.0.1:9/same")
    done = at_once([lambda: registry.update(one, same), lambda: registry.update(two, same)])
    assert sum(isinstance(result, Duplicate) for result in done) == 1


def test_two_imports_at_once_do_not_wait_for_each_other_for_ever(registry: Registry) -> None:
    forth = [hook(1, company="1"), hook(2, company="2")]
    back = [hook(3, company="2"), hook(4, company="1")]
    done = at_once([lambda: registry.add_all(forth), lambda: registry.add_all(back)])
    assert all(isinstance(result, list) and len(result) == 2 for result in done)


def test_a_daemons_notes_do_not_wait_for_a_change(
    registry: Registry, db: psycopg.Connection
) -> None:
    number = registry.add(hook()).webhook.id
    with registry._transaction() as conn:
        statements.alive(conn, number)  # the row is locked as every change locks it
        db.execute("set lock_timeout = '5s'")
        db.execute("insert into cdc.lane (webhook_id, version) values (%s, 1)", [number])


def test_writers_of_the_suite_do_not_wait_for_a_registration(
    registry: Registry, db: psycopg.Connection
) -> None:
    number = registry.add(hook()).webhook.id
    db.execute("insert into company default values")
    with registry._transaction() as conn:
        statements.lock_company(conn, "1")
        statements.alive(conn, number)
        statements.subscribe(conn, number, "1", ())
        db.execute("set lock_timeout = '5s'")
        db.execute("insert into project (company_id) values (1)")
    assert db.execute("select count(*) from cdc.queue").fetchone() == (1,)


def test_an_event_that_the_mapping_lost_is_kept_and_shown_last(
    registry: Registry, database: str, rules: Rules
) -> None:
    number = registry.add(hook(events=("candidate_changed", "note_changed"))).webhook.id
    fewer = Rules(("note_changed",), rules.guard)
    with Registry(database, fewer) as later:
        assert later.get(number).events == ("note_changed", "candidate_changed")
        assert later.update(number, Changes(cap=2)).events == ("note_changed", "candidate_changed")
        with pytest.raises(UsageError, match="candidate_changed"):
            later.update(number, Changes(events=("candidate_changed",)))


def test_states_as_imported(registry: Registry) -> None:
    secret = new_secret()
    new = NewWebhook(
        "1", EVENTS, "http://127.0.0.1:9/", secrets=(Secret(secret),),
        state=WebhookState.PAUSED, reason="later",
    )  # fmt: skip
    (added,) = registry.add_all([new])
    assert (added.webhook.state, added.webhook.reason) == (WebhookState.PAUSED, "later")
    assert (added.secret, added.generated) == (secret, False)


def test_a_removed_webhook_is_gone_for_all_but_reading(registry: Registry) -> None:
    number = registry.add(hook()).webhook.id
    registry.remove(number)
    assert registry.get(number).state is WebhookState.REMOVED
    assert registry.find() == []
    assert [found.id for found in registry.find(removed=True)] == [number]
    for refused in (registry.remove, registry.pause, registry.resume, registry.sendable):
        with pytest.raises(UnknownWebhook, match="was removed"):
            refused(number)
    with pytest.raises(UnknownWebhook, match="unknown webhook 999"):
        registry.get(999)


def test_a_database_without_our_schema_is_reported(empty_database: str, rules: Rules) -> None:
    with Registry(empty_database, rules) as registry, pytest.raises(DatabaseError) as failure:
        registry.find()
    assert "cdc migrate" in failure.value.hint
