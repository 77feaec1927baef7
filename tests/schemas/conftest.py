"""A place for each kind of schema."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import pytest

from cdc.sandbox.embedded import EmbeddedPostgres
from tests.schemas.kit import Place


@pytest.fixture
async def place(
    postgres: EmbeddedPostgres, empty_database: str
) -> AsyncIterator[Callable[[str], Awaitable[Place]]]:
    """Makes one, by the name of its files: schema cdc is migrated, nothing is installed yet."""
    async with AsyncExitStack() as stack:

        async def made(name: str) -> Place:
            place = Place(postgres, empty_database, name)
            stack.callback(place.app.close)
            await place.receiver.start()
            stack.push_async_callback(place.receiver.stop)
            place.cdc.good("migrate")
            return place

        yield made
