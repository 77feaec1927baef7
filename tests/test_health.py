"""Health and metrics of a daemon over HTTP."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator

import aiohttp
import pytest

from cdc.errors import ConfigError
from cdc.observe import HealthServer, Observer, State


class Moment:
    """A daemon's state that a test can change."""

    def __init__(self) -> None:
        self.ready = True

    def __call__(self) -> State:
        lanes = Counter({"closed": 3, "open": 1})
        return State(64, 7, 42, lanes, "sleeping", self.ready)


@pytest.fixture
def moment() -> Moment:
    return Moment()


@pytest.fixture
async def base(moment: Moment) -> AsyncIterator[str]:
    observer = Observer()
    observer.metrics.watch(moment)
    server = HealthServer(observer.metrics)
    port = await server.start("127.0.0.1", 0)
    yield f"http://127.0.0.1:{port}"
    await server.stop()


async def test_ready_follows_the_daemon_and_alive_does_not(base: str, moment: Moment) -> None:
    async with aiohttp.ClientSession(base) as http:
        assert (await http.get("/readyz")).status == 200
        moment.ready = False
        assert (await http.get("/readyz")).status == 503
        assert (await http.get("/healthz")).status == 200


async def test_metrics_tell_the_state_of_the_moment(base: str) -> None:
    async with aiohttp.ClientSession(base) as http:
        page = await (await http.get("/metrics")).text()
    assert "cdc_shards_owned 64.0" in page
    assert 'cdc_lanes{state="open"} 1.0' in page
    assert 'cdc_lanes{state="held"} 0.0' in page
    assert 'cdc_doorbell{mode="sleeping"} 1.0' in page
    assert "cdc_swept_rows_total 0.0" in page


async def test_a_taken_port_is_refused_by_name(base: str) -> None:
    server = HealthServer(Observer().metrics)
    with pytest.raises(ConfigError, match="cannot listen on 127") as refused:
        await server.start("127.0.0.1", int(base.rsplit(":", 1)[1]))
    assert "CDC_HTTP_PORT" in refused.value.hint
