"""Servers that others wrote: Debian's programs, as an ordinary user, on a free loopback port."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar, Self

from cdc.sandbox.embedded.folder import PrivateFolder
from cdc.sandbox.embedded.server import free_port
from cdc.sandbox.embedded.user import run_user


def found(program: str) -> str | None:
    """Where a program is; Debian puts servers where ordinary users do not look."""
    return shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")


class Foreign(ABC):
    """One of them, with settings and a folder of its own, for as long as the block lasts.

    PROGRAM: where it is; None where it is not installed.
    """

    PROGRAM: ClassVar[str | None]
    port = 0

    @abstractmethod
    def command(self, folder: PrivateFolder, room: Path) -> list[str | Path]:
        """How it is started, in the foreground; writes what it reads into the folder. room: where
        it may write."""

    def __enter__(self) -> Self:
        user = run_user()
        self._folder = folder = PrivateFolder(user)
        self.port = free_port()
        room = folder.make_room("room")
        command = self.command(folder, room)
        log = folder.path / "log"
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                command,
                user=None if user is None else user.uid,
                group=None if user is None else user.gid,
                extra_groups=None if user is None else [],
                cwd=room,
                env={"PATH": "/usr/bin:/bin"},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        self._wait(log)
        return self

    def answers(self) -> bool:
        """Whether it serves by now."""
        try:
            socket.create_connection(("127.0.0.1", self.port), 5).close()
        except OSError:
            return False
        return True

    def _wait(self, log: Path) -> None:
        deadline = time.monotonic() + 30
        while not self.answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.end()
                raise RuntimeError(f"{self.PROGRAM} does not answer:\n{log.read_text()}")
            time.sleep(0.02)

    def end(self) -> None:
        """Ends it, before the block does."""
        self._process.kill()
        self._process.wait()

    def __exit__(self, *_: object) -> None:
        self.end()
        self._folder.close()


class SquidProgram(Foreign):
    """Squid: its settings are all that differs."""

    PROGRAM = found("squid")

    @abstractmethod
    def settings(self, folder: PrivateFolder, room: Path) -> str:
        """The text of squid.conf; arguments as for ``command``."""

    def command(self, folder: PrivateFolder, room: Path) -> list[str | Path]:
        assert self.PROGRAM is not None
        settings = folder.write("squid.conf", self.settings(folder, room))
        return [self.PROGRAM, "-N", "-n", self._name, "-f", settings]

    @property
    def _name(self) -> str:
        """Of what it puts into shared memory; others may run beside it."""
        return f"cdc{self.port}"

    def end(self) -> None:
        super().end()
        for left in Path("/dev/shm").glob(f"{self._name}-*"):
            left.unlink(missing_ok=True)
