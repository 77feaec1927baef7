"""Clients that may dial this machine."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from cdc.deliver import Client
from tests.deliver.kit import DEADLINE, LOOPBACK


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    """With a deadline nobody should need."""
    client = Client(LOOPBACK, deadline=5, connect_timeout=3)
    yield client
    await client.close()


@pytest.fixture
async def hasty() -> AsyncIterator[Client]:
    """With a short deadline."""
    client = Client(LOOPBACK, deadline=DEADLINE, connect_timeout=DEADLINE)
    yield client
    await client.close()
