"""`cdc run --processes N`: one parent, several daemons."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator

import aiohttp
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from cdc.cli.run import _run_as_child
from cdc.daemon import supervisor
from cdc.daemon.supervisor import DEFECT_EXIT_CODE, merged
from cdc.errors import DatabaseError
from cdc.telemetry import Observer
from tests.cli.command import Command
from tests.daemon.running import LIMIT, Log, Process, eventually, settings
from tests.daemon.world import World

THREE = ("--processes", "3")


@pytest.fixture
async def parent(world: World) -> AsyncIterator[Process]:
    async with Process(world.url, options=THREE, http_port=0) as running:
        await running.until("connected", times=3, limit=40)
        yield running


def children(parent: Process) -> list[psutil.Process]:
    return psutil.Process(parent.pid).children()


async def ask(parent: Process, path: str) -> tuple[int, str]:
    logged = await parent.until("serving health and metrics")
    async with (
        aiohttp.ClientSession() as http,
        http.get(f"http://127.0.0.1:{logged.values['port']}{path}") as answer,
    ):
        return answer.status, await answer.text()


def samples(page: str, name: str) -> dict[str, float]:
    """The values of a metric, by process."""
    return {
        sample.labels["process"]: sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if sample.name == name
    }


async def test_they_share_the_work_one_answers_for_all_and_none_outlives_it(
    world: World, parent: Process
) -> None:
    hooks = [await world.hook() for _ in range(8)]
    writer = await world.writer()
    keys = [await writer.insert("candidate", project_id=1) for _ in range(10)]
    await writer.change("candidate", *keys)
    await world.arrived(*hooks)
    await world.settled()
    await world.until("select count(distinct owner) = 3 from cdc.shard")
    assert (await ask(parent, "/healthz"))[0] == 200
    assert (await ask(parent, "/readyz"))[0] == 200
    status, page = await ask(parent, "/metrics")
    assert status == 200
    assert sorted(samples(page, "cdc_shards_owned")) == ["1", "2", "3"]
    assert sum(samples(page, "cdc_shards_owned").values()) == 64
    assert samples(page, "cdc_process_up") == {"1": 1.0, "2": 1.0, "3": 1.0}
    attempts = samples(page, "cdc_change_to_receipt_seconds_count")
    assert sum(attempts.values()) == 8 * 20
    assert {line.values["process"] for line in parent.log.all("connected")} == {1, 2, 3}
    # Killed, the parent leaves none behind.
    pids = [child.pid for child in children(parent)]
    parent.signal(signal.SIGKILL)
    await parent.until("stopping", times=3, reason="its parent has ended")
    await eventually(lambda: not any(map(psutil.pid_exists, pids)), "the children have ended")


async def test_one_that_was_killed_is_started_again_and_they_stop_together(
    world: World, parent: Process
) -> None:
    hook = await world.hook()
    for process in (psutil.Process(parent.pid), *children(parent)):
        soft, _ = process.rlimit(psutil.RLIMIT_CORE)
        assert 0 <= soft <= 1, "a crash leaves no memory on a disk"
    children(parent)[0].kill()
    ended = await parent.until("process ended")
    assert ended.values["how"] == "killed by SIGKILL"
    await parent.until("connected", times=2, process=ended.values["process"], limit=40)
    writer = await world.writer()
    await writer.insert("candidate", project_id=1)
    await world.arrived(hook)
    pids = [child.pid for child in children(parent)]
    assert len(pids) == 3
    parent.signal(signal.SIGTERM)
    assert await parent.ended() == 0
    assert not [pid for pid in pids if psutil.pid_exists(pid)]
    assert len(parent.log.all("stopped")) == 3
    assert parent.other == []


async def test_a_refusal_is_reported_and_ends_all(empty_database: str) -> None:
    async with Process(empty_database, options=THREE) as parent:
        assert await parent.ended() == 1
    line = parent.log.all("cannot run")[0]
    assert "schema cdc is not installed" in line.values["error"]
    assert "cdc migrate" in line.values["hint"]
    assert parent.other == []


@pytest.mark.parametrize("number", ["0", "65", "many"])
def test_wrong_numbers_are_wrong_usage(number: str) -> None:
    assert Command()("run", "--processes", number).code == 2


async def test_pages_are_merged_by_process() -> None:
    pages: dict[int, str | None] = {3: None}
    for number in (1, 2):
        observer = Observer()
        observer.metrics.attempts.outcomes["refused"] += number
        observer.metrics.attempts.delivered(0.003)
        pages[number] = (await observer.metrics.page()).decode()
    page = merged(pages).decode()
    assert 'cdc_attempts_total{outcome="refused",process="2"} 2.0' in page
    assert 'cdc_change_to_receipt_seconds_bucket{le="0.005",process="1"} 1.0' in page
    assert 'cdc_process_up{process="3"} 0.0' in page
    assert page.count("# TYPE cdc_attempts_total counter") == 1
    assert page.count("# TYPE cdc_change_to_receipt_seconds histogram") == 1


def test_a_bug_is_distinguished_from_a_refusal(capsys: pytest.CaptureFixture[str]) -> None:
    async def mistaken() -> None:
        raise ZeroDivisionError("an unforeseen error")

    async def refused() -> None:
        raise DatabaseError("not this one")

    with pytest.raises(SystemExit) as ended:
        _run_as_child(mistaken())
    assert ended.value.code == DEFECT_EXIT_CODE
    assert "an unforeseen error" in capsys.readouterr().err
    with pytest.raises(DatabaseError):
        _run_as_child(refused())


async def test_a_process_that_hangs_is_restarted(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As SIGSTOP makes it: it does not answer, and the process does not end."""
    monkeypatch.setattr(supervisor, "ASK_EVERY_S", 0.1)
    monkeypatch.setattr(supervisor, "PROCESS_ANSWERS_WITHIN_S", 0.5)
    for name, value in Process(world.url)._env.items():
        monkeypatch.setenv(name, value)
    log = Log()
    kept = supervisor.Supervisor(settings(world.url), 2, [], Observer(log=log))
    running = asyncio.create_task(kept.run())
    try:
        # Each answers once before it counts as one that answers no more.
        await world.until("select count(distinct owner) = 2 from cdc.shard where owner <> ''")
        async with asyncio.timeout(LIMIT):
            for number in (1, 2):
                while await kept._ask(number, "/healthz") != (200, "alive\n"):
                    """It does not serve yet."""
        stopped, _ = (c for c in psutil.Process().children() if "--child" in c.cmdline())
        stopped.suspend()
        await log.seen("process does not respond, starting another")
        ended = await log.seen("process ended")
        assert ended.values["how"] == "killed by SIGKILL"
    finally:
        kept.stop()
        await running
