"""Clients that may dial this machine, on both kinds of event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
import uvloop

from cdc.deliver import Client
from tests.deliver.kit import DEADLINE, LOOPBACK


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The daemon runs on uvloop, whose exceptions and transports differ in places."""
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    """With a deadline no test should need."""
    client = Client(LOOPBACK, deadline=5, connect_timeout=3)
    yield client
    await client.close()


@pytest.fixture
async def hasty() -> AsyncIterator[Client]:
    """With a short deadline."""
    client = Client(LOOPBACK, deadline=DEADLINE, connect_timeout=DEADLINE)
    yield client
    await client.close()
