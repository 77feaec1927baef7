"""`cdc run` as containers run it: everything that they do to a process at once."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from tests.daemon.running import LIMIT
from tests.daemon.world import World

ROOT = Path(__file__).parents[2]
DESCRIPTORS = 40
ANY_UID = "54321"

# What Kubernetes sets for Services named cdc and cdc-http.
SERVICES = {
    f"{service}_{name}": value
    for service in ("CDC", "CDC_HTTP")
    for name, value in {
        "SERVICE_HOST": "10.96.0.7",
        "SERVICE_PORT": "9464",
        "PORT": "tcp://10.96.0.7:9464",
        "PORT_9464_TCP": "tcp://10.96.0.7:9464",
        "PORT_9464_TCP_PROTO": "tcp",
    }.items()
}

# Every file system becomes read-only, those of the kernel included.
READ_ONLY = """
mount --make-rprivate /
for folder in $(awk '{ print $2 }' /proc/self/mounts | sort -ru); do
    mount -o remount,bind,ro "$folder" 2>/dev/null
done
if touch /tmp/cdc-can-write /dev/shm/cdc-can-write 2>/dev/null; then exit 99; fi
"""


def namespaces() -> list[str]:
    """The beginning of a command that runs another as PID 1 on read-only file systems, where this
    account may do that."""
    if os.geteuid() != 0 or not all(map(shutil.which, ("unshare", "setpriv", "mount"))):
        return []
    into = ["unshare", "--mount", "--pid", "--fork", "--kill-child"]
    return into if subprocess.run([*into, "true"], check=False).returncode == 0 else []


def command(*options: str) -> list[str]:
    """`cdc run` with few descriptors, none of them open, and the rest as far as it can be."""
    run = f"exec {sys.executable} -P -m cdc run {' '.join(options)}"
    closed = f"ulimit -n {DESCRIPTORS}; cd /; exec 0<&- 1>&- 2>&-; {run}"
    if not (into := namespaces()):
        return ["sh", "-c", closed]
    # It may read all: this checkout, or Python itself, may lie in a private folder.
    reading = "--inh-caps +dac_read_search --ambient-caps +dac_read_search"
    as_any = f"exec setpriv --reuid {ANY_UID} --regid {ANY_UID} --clear-groups {reading}"
    return [*into, "sh", "-c", f"{READ_ONLY}\n{as_any} sh -c '{closed}'"]


@contextmanager
def contained(url: str, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    env = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "CDC_DATABASE_URL": url,
        "CDC_ALLOW_HTTP": "true",
        "CDC_ALLOWED_NETWORKS": "127.0.0.0/8",
        # No name of a Unix socket is as long as one below this folder.
        "TMPDIR": f"/tmp/{'long' * 28}",
        **SERVICES,
    }
    with subprocess.Popen(command(*options), env=env) as process:
        try:
            yield process
        finally:
            kill(process.pid)


def kill(pid: int) -> None:
    """With all below it: what has changed its uid is not killed with its parent."""
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        for one in (*process.children(recursive=True), process):
            with suppress(psutil.NoSuchProcess):
                one.kill()


def daemon(process: subprocess.Popen[bytes]) -> psutil.Process:
    """The one to stop: PID 1 of its namespace, or the process itself."""
    below = psutil.Process(process.pid).children()
    return below[0] if namespaces() else psutil.Process(process.pid)


@pytest.mark.parametrize("options", [(), ("--processes", "2")])
async def test_it_delivers_and_stops_in_a_container(world: World, options: tuple[str, ...]) -> None:
    hook = await world.hook()
    writer = await world.writer()
    key = await writer.insert("candidate", project_id=1)
    with contained(world.url, *options) as process:
        await world.arrived(hook)
        await writer.change("candidate", key)
        await world.arrived(hook)
        await world.settled()
        assert process.poll() is None
        daemon(process).send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(process.wait, LIMIT) == 0
    world.check(hook)


async def test_it_can_be_stopped_before_it_has_begun(tmp_path: Path) -> None:
    """SIGTERM while Python imports the program: PID 1 would ignore it and go on."""
    (tmp_path / "sitecustomize.py").write_text(
        "import os, signal, sys\n"
        "class Finder:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'cdc.cli':\n"
        "            os.kill(os.getpid(), signal.SIGTERM)\n"
        "sys.meta_path.insert(0, Finder())\n"
    )
    env = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": f"{tmp_path}:{ROOT}",
        "CDC_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/nothing",
    }
    into = [*namespaces()]
    process = await asyncio.create_subprocess_exec(
        *into, sys.executable, "-P", "-m", "cdc", "run", env=env, stderr=subprocess.PIPE
    )
    try:
        _, output = await asyncio.wait_for(process.communicate(), LIMIT)
    finally:
        kill(process.pid)
    assert process.returncode == 0, output
    assert b"SIGTERM" in output
