"""Health and metrics of a daemon over HTTP."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator

import aiohttp
import pytest

from cdc.errors import ConfigError
from cdc.telemetry import Backlog, Observer, Pulse, State, pulse, watch_for_stillness
from cdc.telemetry.http import HEALTH_CONNECTIONS, PAGES_PER_S, HealthServer
from cdc.telemetry.metrics import UNREADY_AFTER_S
from cdc.telemetry.pulse import STUCK_AFTER_S
from tests.daemon.running import LIMIT


class Moment:
    """A daemon's state that a test can change."""

    def __init__(self) -> None:
        self.ready = True

    def __call__(self) -> State:
        lanes = Counter({"closed": 3, "open": 1})
        return State(64, 7, 42, lanes, "sleeping", self.ready, 4, 12)


@pytest.fixture
def moment() -> Moment:
    return Moment()


@pytest.fixture
def observer() -> Observer:
    return Observer()


@pytest.fixture
async def base(moment: Moment, observer: Observer) -> AsyncIterator[str]:
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


async def test_who_cannot_record_for_long_is_not_ready_and_says_since_when(
    base: str, observer: Observer
) -> None:
    observer.settling_failed(OSError("No space left on device"), 6)
    async with aiohttp.ClientSession(base) as http:
        assert (await http.get("/readyz")).status == 200  # a moment is forgiven
        assert observer.metrics.unrecorded_since is not None
        observer.metrics.unrecorded_since -= 2 * UNREADY_AFTER_S
        observer.settling_failed(OSError("No space left on device"), 9)
        assert (await http.get("/readyz")).status == 503
        page = await (await http.get("/metrics")).text()
        assert float(page.split("\ncdc_unrecorded_seconds ")[1].split()[0]) >= 2 * UNREADY_AFTER_S
        observer.settled(0)  # all of it was dropped: another daemon sends it again
        assert (await http.get("/readyz")).status == 200
        assert "\ncdc_unrecorded_seconds 0.0" in await (await http.get("/metrics")).text()
        assert "cdc_settle_batch_size_count 0.0" in await (await http.get("/metrics")).text()


async def test_who_lost_the_database_owns_nothing(base: str, moment: Moment) -> None:
    """Others have taken over: a sum over all daemons is not more than there are."""
    moment.ready = False
    async with aiohttp.ClientSession(base) as http:
        assert "cdc_shards_owned 0.0" in await (await http.get("/metrics")).text()


async def test_a_process_that_stood_still_says_so() -> None:
    received: asyncio.Queue[float] = asyncio.Queue()
    watching = asyncio.create_task(watch_for_stillness(received.put_nowait, every=0.01))
    await asyncio.sleep(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pulse, "STOOD_STILL_S", 0.2)
        time.sleep(0.3)  # noqa: ASYNC251  # the loop is held up, as by SIGSTOP
        async with asyncio.timeout(LIMIT):
            assert await received.get() > 0.2
    watching.cancel()


async def test_metrics_show_the_present_state(base: str) -> None:
    async with aiohttp.ClientSession(base) as http:
        page = await (await http.get("/metrics")).text()
    assert "cdc_shards_owned 64.0" in page
    assert 'cdc_lanes{state="open"} 1.0' in page
    assert 'cdc_lanes{state="held"} 0.0' in page
    assert 'cdc_doorbell{mode="sleeping"} 1.0' in page
    assert "cdc_swept_rows_total 0.0" in page


def backlog(**values: float) -> Backlog:
    return Backlog(
        **{
            **{"queued": 5, "retrying": 2, "parked": 1, "held": 3, "dead": 4, "unresolved": 0},
            **{"lag": 1.5, "oldest": 90.0, "oldest_held": 7.0, "notification_queue": 0.25},
            **values,  # type: ignore[arg-type]  # counts and ages alike
        }
    )


async def test_metrics_show_what_was_measured_unless_others_own_it(
    base: str, moment: Moment, observer: Observer
) -> None:
    async with aiohttp.ClientSession(base) as http:
        assert "cdc_waiting" not in await (await http.get("/metrics")).text()
        observer.measured(backlog())
        page = await (await http.get("/metrics")).text()
        assert 'cdc_waiting{state="queued"} 5.0' in page
        assert 'cdc_waiting{state="parked"} 1.0' in page
        assert "cdc_held 3.0" in page
        assert "cdc_dead 4.0" in page
        assert "cdc_lag_seconds 1.5" in page
        assert "cdc_oldest_seconds 90.0" in page
        assert "cdc_notification_queue_usage 0.25" in page
        assert "cdc_database_sessions 4.0" in page
        assert "cdc_http_connections 12.0" in page
        moment.ready = False
        assert "cdc_waiting" not in await (await http.get("/metrics")).text()


async def test_a_lag_above_the_bound_is_not_ready(base: str, observer: Observer) -> None:
    async with aiohttp.ClientSession(base) as http:
        observer.measured(backlog(lag=61.0))
        assert (await http.get("/readyz")).status == 200
        observer.metrics.ready_lag = 60.0
        assert (await http.get("/readyz")).status == 503
        # What a receiver is in the way of is not ours.
        observer.measured(backlog(lag=59.0, oldest=7200.0))
        assert (await http.get("/readyz")).status == 200


async def test_a_taken_port_is_refused_by_name(base: str) -> None:
    server = HealthServer(Observer().metrics)
    with pytest.raises(ConfigError, match="cannot listen on 127") as refused:
        await server.start("127.0.0.1", int(base.rsplit(":", 1)[1]))
    assert "CDC_HTTP_PORT" in refused.value.hint


async def test_a_daemon_that_stands_still_is_not_alive(base: str, observer: Observer) -> None:
    now = 100.0
    observer.metrics.pulse = Pulse(lambda: observer.counts.looks, lambda: now)
    async with aiohttp.ClientSession(base) as http:
        assert (await http.get("/healthz")).status == 200
        now += 2 * STUCK_AFTER_S
        observer.counts.looks += 1
        assert (await http.get("/healthz")).status == 200
        now += STUCK_AFTER_S
        assert (await http.get("/healthz")).status == 503


async def test_who_connects_and_says_nothing_takes_no_descriptors(base: str) -> None:
    """Of the process, which needs them for webhooks; who asks is still answered."""
    host, _, port = base.removeprefix("http://").partition(":")
    silent = [await asyncio.open_connection(host, int(port)) for _ in range(3 * HEALTH_CONNECTIONS)]
    async with asyncio.timeout(20), aiohttp.ClientSession(base) as http:
        assert (await http.get("/healthz")).status == 200
        # The oldest ones end; they, and as many as there are too many.
        ended = [await reader.read() for reader, _ in silent[: 2 * HEALTH_CONNECTIONS]]
    assert set(ended) == {b""}
    assert not any(reader.at_eof() for reader, _ in silent[2 * HEALTH_CONNECTIONS + 1 :])
    for _, writer in silent:
        writer.close()


class Counting:
    """Counts how often it was asked."""

    def __init__(self) -> None:
        self.pages = self.looks = 0

    def alive(self) -> bool:
        return True

    async def ready(self) -> bool:
        self.looks += 1
        return True

    async def page(self) -> bytes:
        self.pages += 1
        return b"page"


async def test_who_asks_again_and_again_takes_little_of_the_daemons_time() -> None:
    source = Counting()
    server = HealthServer(source)
    port = await server.start("127.0.0.1", 0)
    began = time.monotonic()
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as http:

        async def ask(path: str) -> None:
            for _ in range(20):
                assert (await http.get(path)).status == 200

        await asyncio.gather(*(ask(path) for path in ("/metrics", "/readyz") for _ in range(5)))
    most = PAGES_PER_S * (time.monotonic() - began + 1)
    await server.stop()
    assert 1 <= source.pages <= min(most, 99)
    assert 1 <= source.looks <= min(most, 99)


async def test_what_peers_send_is_not_written_into_the_log(
    base: str, caplog: pytest.LogCaptureFixture
) -> None:
    host, _, port = base.removeprefix("http://").partition(":")
    for sent in (
        b"GET /\xff HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nA\x00: b\r\n\r\n",
        b"\x16\x03\x01\r\n",
    ):
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(sent)
        async with asyncio.timeout(20):
            assert b" 400 " in await reader.read()
        writer.close()
    assert caplog.records == []


async def test_what_goes_wrong_in_here_is(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Counting):
        async def page(self) -> bytes:
            raise LookupError("a defect")

    server = HealthServer(Broken())
    port = await server.start("127.0.0.1", 0)
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as http:
        assert (await http.get("/metrics")).status == 500
    await server.stop()
    assert "a defect" in caplog.text


async def test_what_is_not_asked_for(base: str) -> None:
    async with aiohttp.ClientSession(base) as http:
        assert (await http.get("/")).status == 404
        assert (await http.post("/metrics")).status == 405
        assert (await http.head("/metrics")).status == 200
