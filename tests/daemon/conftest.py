"""Fixtures for tests of the daemon."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
import uvloop

from cdc.sandbox.receiver import Receiver
from tests.daemon.world import World
from tests.support import installation


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The one that `cdc run` has: it treats a socket that reports an error in its own way."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture
def suite_url(database: str) -> str:
    """A database with the suite and capture, of which the daemon knows that it is no copy."""
    installation.adopt(database)
    return database


@pytest.fixture
async def world(suite_url: str) -> AsyncIterator[World]:
    """The suite with a company, its project and no webhook yet."""
    async with World(suite_url) as made:
        yield made


@pytest.fixture
async def down() -> str:
    """An address at which no process listens."""
    receiver = Receiver()
    await receiver.start()
    url = receiver.url("/down")
    await receiver.stop()
    return url
