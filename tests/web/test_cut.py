"""Every request that writes, ended before each of its steps, and behind its COMMIT.

For the database a killed process is a session that ends; test_deliveries.py kills one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import count
from typing import Any, NamedTuple

import psycopg
import pytest

from cdc.web.routes import ROUTES
from tests.support.proxy import Proxy
from tests.web.kit import Client, Served, account, serving
from tests.web.test_deliveries import DEAD

_numbers = count(1)


class Cutting(Proxy):
    """Of a session that has sent the key's id, ends it before the piece ``at``; without a number
    behind its COMMIT, once that is carried out, without the answer."""

    def __init__(self, target: str) -> None:
        super().__init__(target)
        self.arm("cdc_nothing_", 0)

    def arm(self, key: str | None, at: int | None) -> None:
        self.done = 0
        self._key, self._at = (key or "").encode()[4:16], at
        self._marked: dict[Any, int] = {}
        self._committing: set[Any] = set()

    async def _passes(self, link: Any, piece: bytes, *, asks: bool) -> bool:
        if asks and self._key in piece:
            self._marked.setdefault(link, self.done)
        if asks and link in self._marked:
            self.done += 1
            if self.done == self._at:
                link.reset()
                return False
            if b"COMMIT" in piece:
                # A transaction that only looks the key up has nothing to lose.
                steps = self.done - self._marked.pop(link)
                if self._at is None and steps > 3:
                    self._committing.add(link)
        if not asks and link in self._committing:
            link.reset()
            return False
        return True


def number(served: Served, operator: Client) -> int:
    return next(_numbers)


def webhook(served: Served, operator: Client) -> dict[str, Any]:
    endpoint = f"http://127.0.0.1:9/{next(_numbers)}"
    return {"events": ["candidate_changed"], "endpoint": endpoint}


def hook(served: Served, operator: Client) -> int:
    path = f"/v1/companies/cut-{next(_numbers)}/webhooks"
    return int(operator.good("POST", path, webhook(served, operator))["id"])


def dead(served: Served, operator: Client) -> str:
    of = hook(served, operator)
    served.run(DEAD, of, of * 1_000_000, 1)
    return str(served.rows("select uid from cdc.dead where webhook_id = %s", of)[0][0])


def rows(served: Served, operator: Client) -> dict[str, Any]:
    of = hook(served, operator)
    return {"webhook": of, "event": "candidate_changed", "action": "created"}


def backfill(served: Served, operator: Client) -> int:
    return int(operator.good("POST", "/v1/backfills", rows(served, operator))["id"])


def paused(served: Served, operator: Client) -> int:
    made = backfill(served, operator)
    operator.good("POST", f"/v1/backfills/{made}/pause")
    return made


def task(served: Served, operator: Client) -> str:
    return str(operator.good("POST", f"/v1/webhooks/{hook(served, operator)}/test")["id"])


def address(served: Served, operator: Client) -> dict[str, Any]:
    return {"email": f"{next(_numbers)}@example.com"}


def contact(served: Served, operator: Client) -> int:
    made = address(served, operator)
    return int(operator.good("POST", "/v1/companies/7/contacts", made)["id"])


def key(served: Served, operator: Client) -> str:
    return served.key("read").split("_")[1]


HOOK = "/v1/webhooks/{}"


class Case(NamedTuple):
    """make: what the path is about, or the body. path: with it."""

    make: Callable[[Served, Client], Any]
    path: str
    body: Any = None


CASES = {
    "POST /v1/companies/{company}/webhooks": Case(webhook, "/v1/companies/8/webhooks"),
    "PATCH /v1/webhooks/{webhook_id}": Case(hook, HOOK, {"ref": "b", "headers": {"X-A": "b"}}),
    "DELETE /v1/webhooks/{webhook_id}": Case(hook, HOOK),
    "POST /v1/webhooks/{webhook_id}/pause": Case(hook, f"{HOOK}/pause"),
    "POST /v1/webhooks/{webhook_id}/resume": Case(hook, f"{HOOK}/resume"),
    "POST /v1/webhooks/{webhook_id}/rotate-secret": Case(hook, f"{HOOK}/rotate-secret", {}),
    "POST /v1/webhooks/{webhook_id}/test": Case(hook, f"{HOOK}/test"),
    "POST /v1/webhooks/{webhook_id}/verify": Case(hook, f"{HOOK}/verify"),
    "POST /v1/deliveries/{uid}/retry": Case(dead, "/v1/deliveries/{}/retry"),
    "POST /v1/deliveries/{uid}/cancel": Case(dead, "/v1/deliveries/{}/cancel"),
    "POST /v1/replays": Case(number, "/v1/replays", {"company": "9"}),
    "POST /v1/backfills": Case(rows, "/v1/backfills"),
    "POST /v1/backfills/{backfill_id}/pause": Case(backfill, "/v1/backfills/{}/pause"),
    "POST /v1/backfills/{backfill_id}/resume": Case(paused, "/v1/backfills/{}/resume"),
    "POST /v1/backfills/{backfill_id}/cancel": Case(backfill, "/v1/backfills/{}/cancel"),
    "POST /v1/tasks/{task_id}/cancel": Case(task, "/v1/tasks/{}/cancel"),
    "POST /v1/companies/{company}/portal-links": Case(
        number, "/v1/companies/8/portal-links", {"may": ["test"]}
    ),
    "POST /v1/keys": Case(number, "/v1/keys", {"scope": "read"}),
    "DELETE /v1/keys/{key_id}": Case(key, "/v1/keys/{}"),
    "POST /v1/companies/{company}/contacts": Case(address, "/v1/companies/8/contacts"),
    "DELETE /v1/companies/{company}/contacts/{contact_id}": Case(
        contact, "/v1/companies/7/contacts/{}"
    ),
}


def test_all_that_write_are_here() -> None:
    assert set(CASES) == {route.name for route in ROUTES if route.method != "GET"}


def state(served: Served) -> dict[str, Any]:
    """Rows of all our tables and what they hold. Of tasks how many: serve is at them itself."""
    tables = served.rows(
        "select relname from pg_class where relnamespace = 'cdc'::regnamespace"
        " and relkind in ('r', 'p') and not relispartition"
    )
    read = " union all ".join(
        f"select '{name}', count(*), "
        + (
            "0"
            if name == "task"
            else "sum(hashtextextended((to_jsonb(t) - 'last_used_at')::text, 0))"
        )
        + f" from cdc.{name} t"
        for (name,) in tables
    )
    return {name: rest for name, *rest in served.rows(read.replace("%", "%%"))}


FEW = [
    "POST /v1/companies/{company}/webhooks", "DELETE /v1/webhooks/{webhook_id}",
    "POST /v1/webhooks/{webhook_id}/rotate-secret", "POST /v1/deliveries/{uid}/retry",
]  # fmt: skip


@pytest.mark.parametrize(
    "names", [FEW, pytest.param(sorted({*CASES} - {*FEW}), marks=pytest.mark.long)]
)
async def test_nothing_is_half_done_and_a_repeat_gets_the_same_answer(
    served: Served, admin: psycopg.Connection, names: list[str]
) -> None:
    operator = served.client("admin")
    with account(admin, served.database) as url:
        async with Cutting(url) as proxy:

            def tried() -> None:
                with serving(proxy.url, served.database) as other:
                    client = Client(other.url, operator.key)
                    for name in names:
                        case = CASES[name]
                        for try_it in (cut_before_each_step, cut_behind_commit):
                            body, path = case.body, case.path
                            made = case.make(served, operator)
                            if isinstance(made, dict):
                                body = made
                            ask = (name.partition(" ")[0], path.format(made), body)
                            client.good("GET", "/v1/events")
                            try_it(served, proxy, client, *ask)

            await asyncio.to_thread(tried)


def cut_before_each_step(
    served: Served, proxy: Cutting, client: Client, method: str, path: str, body: Any
) -> None:
    before = state(served)
    for at in count(1):
        proxy.arm(client.key, at)
        answer = client(method, path, body, {"Idempotency-Key": f"{path}-before"})
        proxy.arm(client.key, 0)
        if answer.status < 400:
            break
        assert (answer.status, state(served)) == (503, before), (method, path, at, answer)
    assert at > 4, (method, path)


def cut_behind_commit(
    served: Served, proxy: Cutting, client: Client, method: str, path: str, body: Any
) -> None:
    head, before = {"Idempotency-Key": path}, state(served)
    proxy.arm(client.key, None)
    assert client(method, path, body, head).status == 503
    proxy.arm(client.key, 0)
    after = state(served)
    assert after != before
    if method == "POST":
        first, second = [client(method, path, body, head) for _ in range(2)]
        assert (first.status, first.body) == (second.status, second.body)
        assert {one.headers["idempotency-replayed"] for one in (first, second)} == {"true"}
        assert state(served) == after
