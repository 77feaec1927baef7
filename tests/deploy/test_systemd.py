"""The unit for systemd is valid, and the daemon notifies what the unit expects."""

from __future__ import annotations

import asyncio
import configparser
import os
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import yaml

from cdc.daemon.app import FLUSH_WITHIN_S
from cdc.settings import Settings, load
from cdc.telemetry import Systemd, pulse
from cdc.telemetry.otel import CLOSE_WITHIN_S
from tests.bench.work import beside
from tests.daemon.running import LIMIT, Process, Running
from tests.daemon.world import World
from tests.docs.test_commands import accepted
from tests.house.files import TOP

UNIT = TOP / "deploy" / "systemd" / "cdc.service"
ENV = TOP / "deploy" / "systemd" / "cdc.env"
SERVE = UNIT.with_name("cdc-serve.service")


@pytest.fixture
def service() -> configparser.SectionProxy:
    made = configparser.RawConfigParser(strict=False)
    made.optionxform = str  # type: ignore[assignment, method-assign]  # names as they are written
    made.read(UNIT)
    return made["Service"]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
@pytest.mark.parametrize("unit", [UNIT, SERVE], ids=lambda unit: unit.name)
def test_systemd_accepts_it(tmp_path: Path, unit: Path) -> None:
    copy = tmp_path / unit.name
    copy.write_text(unit.read_text().replace("/opt/cdc/bin/cdc", shutil.which("true") or ""))
    done = subprocess.run(["systemd-analyze", "verify", copy], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_its_times_fit_the_daemon(service: configparser.SectionProxy) -> None:
    longest = Settings().stop_grace + FLUSH_WITHIN_S + CLOSE_WITHIN_S
    assert int(service["TimeoutStopSec"]) > longest
    assert int(service["WatchdogSec"]) > pulse.STUCK_AFTER_S
    assert service["Type"] == "notify"
    assert service["ExecStart"].startswith("/opt/cdc/bin/cdc ")
    accepted(service["ExecStart"].removesuffix(" $RUN_OPTIONS").split()[1:])


def test_the_example_settings_are_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = re.findall(r"^(?:#(?=[A-Z_]+=))?([A-Z_]+)=(.*)$", ENV.read_text(), re.MULTILINE)
    assert len(lines) > 3
    for name, value in lines:
        monkeypatch.setenv(name, value)
    assert load().http_port == 9464
    options = dict(lines)["RUN_OPTIONS"]
    accepted(["run", *options.split()])


def test_the_unit_of_the_api_differs_in_what_it_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has no more rights than the daemon's, and its example settings are accepted."""
    daemon, api = UNIT.read_text(), SERVE.read_text()
    rights = daemon[daemon.index("# It needs the network") : daemon.index("[Install]")]
    assert rights in api
    command = re.search(r"^ExecStart=/opt/cdc/bin/cdc (.*)$", api, re.MULTILINE)
    assert command is not None
    accepted(command[1].split())
    text = SERVE.with_suffix(".env").read_text()
    for name, value in re.findall(r"^([A-Z_]+)=(.*)$", text, re.MULTILINE):
        monkeypatch.setenv(name, value)
    assert load().serve_url == "https://hooks.internal/"


def test_the_api_gives_way_to_the_daemon(service: configparser.SectionProxy) -> None:
    """By the same share in the unit, in the compose file, and as the benchmark runs it."""
    found = re.search(r"^CPUWeight=(\d+)$", SERVE.read_text(), re.MULTILINE)
    assert found is not None
    share = int(found[1]) / 100
    assert share <= 0.5
    assert "CPUWeight" not in service
    services = yaml.safe_load((TOP / "docker-compose.yml").read_text())["services"]
    shares = {name: one["cpu_shares"] for name, one in services.items() if "cpu_shares" in one}
    assert shares == {"api": round(1024 * share)}
    # A step of niceness is a quarter of weight.
    assert pytest.approx(share, rel=0.1) == 1.25**-beside.NICENESS


class Manager:
    """The part of systemd that listens."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "notify"
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._sock.bind(str(self.path))
        self._sock.setblocking(False)

    async def notified(self, wanted: str) -> str:
        """Waits for a message with this in it."""
        async with asyncio.timeout(LIMIT):
            while True:
                text = (await asyncio.get_running_loop().sock_recv(self._sock, 4096)).decode()
                if wanted in text:
                    return text

    def forget(self) -> None:
        """What was notified until now does not count."""
        while True:
            try:
                self._sock.recv(4096)
            except BlockingIOError:
                return

    def close(self) -> None:
        self._sock.close()


@pytest.fixture
async def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Manager]:
    made = Manager(tmp_path)
    monkeypatch.setenv("NOTIFY_SOCKET", str(made.path))
    monkeypatch.setenv("WATCHDOG_USEC", "300000")
    yield made
    made.close()


async def test_a_daemon_notifies_ready_watchdog_and_stopping(
    world: World, manager: Manager
) -> None:
    async with Process(world.url) as daemon:
        assert "delivering" in await manager.notified("READY=1")
        for _ in range(3):
            await manager.notified("WATCHDOG=1")
        daemon.signal(signal.SIGTERM)
        await manager.notified("STOPPING=1")
        assert await daemon.ended() == 0


async def test_a_parent_notifies_for_its_processes(world: World, manager: Manager) -> None:
    async with Process(world.url, options=("--processes", "2")) as parent:
        assert "2 daemons" in await manager.notified("READY=1")
        await manager.notified("WATCHDOG=1")
        await parent.until("connected", times=2)
        parent.signal(signal.SIGTERM)
        assert await parent.ended() == 0


async def test_a_database_that_is_down_does_not_hold_up_the_start(
    manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"postgresql://x@127.0.0.1:{closed.getsockname()[1]}/x"
        async with Process(url) as daemon:
            assert "waiting for the database" in await manager.notified("READY=1")
            # And is not ended by the watchdog for as long as that lasts.
            for _ in range(3):
                assert "waiting for the database" in await manager.notified("WATCHDOG=1")
            daemon.signal(signal.SIGTERM)
            await daemon.ended()


async def test_a_daemon_that_hangs_does_not_notify_the_watchdog(
    world: World, manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its loop turns, its looks do not come back."""
    monkeypatch.setattr(pulse, "STUCK_AFTER_S", 0.0)
    async with Running(world.url):
        await manager.notified("READY=1")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.5):
                await manager.notified("WATCHDOG=1")


async def test_nothing_is_notified_without_a_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    notified = Systemd()
    notified.ready("x")
    await notified.watch(lambda: True, lambda: "")  # ends at once


async def test_the_abstract_namespace_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(f"\0cdc-test-{os.getpid()}")
        sock.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", f"@cdc-test-{os.getpid()}")
        Systemd().ready("here")
        assert b"READY=1" in await asyncio.get_running_loop().sock_recv(sock, 100)


async def test_a_watchdog_for_another_process_is_ignored(
    manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_PID", str(os.getppid()))
    await asyncio.wait_for(Systemd().watch(lambda: True, lambda: ""), LIMIT)
