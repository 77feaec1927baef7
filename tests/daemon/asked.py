"""Tests of webhooks, asked for as `cdc serve` does it."""

from __future__ import annotations

from typing import Any, Literal

from cdc.postgres import connections
from cdc.webhooks import trials
from cdc.webhooks.audit import Actor
from tests.daemon.world import Hook, World

ME = Actor("key:me")


class Asked:
    """Tests of webhooks, asked for with the rights of `cdc serve`."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.engine = connections.engine(world.url)

    def start(self, hook: Hook, event: str | None = None) -> Any:
        with self.engine.begin() as conn:
            conn.exec_driver_sql("set local role cdc_serve")
            return trials.start(conn, ME, hook.id, event)["id"]

    def challenge(self, hook: Hook, proof: Literal["echo", "accept"] = "echo") -> None:
        with self.engine.begin() as conn:
            conn.exec_driver_sql("set local role cdc_serve")
            trials.challenge(conn, ME, hook.id, proof)

    def newest(self, hook: Hook) -> dict[str, Any]:
        with self.engine.begin() as conn:
            conn.exec_driver_sql("set local role cdc_serve")
            found = trials.newest(conn, hook.id) or trials.newest(conn, hook.id, challenges=True)
        assert found is not None
        return found

    def give_up(self) -> None:
        with self.engine.begin() as conn:
            conn.exec_driver_sql("set local role cdc_serve")
            trials.give_up(conn)

    async def ended(self, hook: Hook) -> dict[str, Any]:
        await self.world.until(
            "select count(*) > 0 and bool_and(ended_at is not null) from cdc.task"
            " where webhook_id = %s",
            hook.id,
        )
        return self.newest(hook)
