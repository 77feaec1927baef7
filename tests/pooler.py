"""PgBouncer in front of PostgreSQL: Debian's program, as an ordinary user, on a free loopback port.

with Pooler(server, "transaction") as pooler:
    ... connect to pooler.url("test_1") ...
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from cdc.embedded import EmbeddedPostgres
from cdc.embedded.folder import PrivateFolder
from cdc.embedded.user import run_user

PROGRAM = shutil.which("pgbouncer", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")

CONFIGURATION = """
[databases]
* = host=127.0.0.1 port={server} user={user} password={password}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = {mode}
default_pool_size = 1
max_client_conn = 100
"""


class Pooler:
    """Pools the sessions of one account of a server: one session, so that sharing it shows."""

    def __init__(self, server: EmbeddedPostgres, mode: Literal["transaction", "session"]) -> None:
        self._server = server
        self._mode = mode
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0

    def url(self, dbname: str) -> str:
        """A database by way of the pooler."""
        return make_conninfo(self._server.url(dbname), port=self.port)

    def __enter__(self) -> Self:
        assert PROGRAM is not None
        user = run_user()
        self._folder = folder = PrivateFolder(user)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        account = conninfo_to_dict(self._server.url())
        # The pooler logs in with the password itself; whoever comes to it on loopback is let in.
        settings = CONFIGURATION.format(
            server=self._server.port,
            user=account["user"],
            password=account["password"],
            port=self.port,
            mode=self._mode,
        )
        room = folder.make_room("pooler")
        path = folder.write("pgbouncer.ini", settings)
        log = (folder.path / "log").open("wb")
        with log:
            self._process = subprocess.Popen(
                [PROGRAM, path],
                user=None if user is None else user.uid,
                group=None if user is None else user.gid,
                extra_groups=None if user is None else [],
                cwd=room,
                env={"PATH": "/usr/bin:/bin"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self._wait(folder.path / "log")
        return self

    def _wait(self, log: Path) -> None:
        assert self._process is not None
        deadline = time.monotonic() + 30
        while True:
            with suppress(psycopg.OperationalError):
                psycopg.connect(self.url("postgres"), connect_timeout=5).close()
                return
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"pgbouncer does not answer:\n{log.read_text()}")
            time.sleep(0.02)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self._folder.close()
