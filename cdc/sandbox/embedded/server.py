"""A PostgreSQL server of our own, from initdb to its removal."""

from __future__ import annotations

import atexit
import hashlib
import hmac
import os
import random
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from base64 import b64encode
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Literal, Self
from urllib.parse import quote

import psycopg

from cdc.errors import DatabaseError
from cdc.sandbox.embedded.binaries import find_binaries, programs_for
from cdc.sandbox.embedded.folder import PrivateFolder, tail
from cdc.sandbox.embedded.user import run_as, run_user

_START_TIMEOUT = 60.0
_STOP_TIMEOUT = 30.0

# Nothing of the caller's environment reaches the server; a fixed zone also spares initdb a search.
_ENVIRONMENT = {"LC_ALL": "C", "TZ": "UTC", "PATH": "/usr/bin:/bin"}

# Data that dies with the process need not survive the machine.
_NOT_DURABLE = {"fsync": "off", "full_page_writes": "off"}

# Below the ports that Linux and others hand out to outgoing connections, so that none takes
# ours between a stop and the next start.
_PORTS = range(16384, 32768)
_PORT_TRIES = 20


def _verifier(password: str) -> str:
    """What PostgreSQL keeps of a password (RFC 5803), with one iteration instead of 4096: they
    protect what can be guessed, and take 2 ms of CPU for each connection."""
    salt = secrets.token_bytes(16)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, 1)
    client = hmac.digest(salted, b"Client Key", "sha256")
    kept = (hashlib.sha256(client).digest(), hmac.digest(salted, b"Server Key", "sha256"))
    salt_, stored, server = (b64encode(part).decode() for part in (salt, *kept))
    return f"SCRAM-SHA-256$1:{salt_}${stored}:{server}"


class EmbeddedPostgres:
    """A private PostgreSQL: own data in a temporary folder, own port on 127.0.0.1, own password.

    bin_dir:  folder of its programs; None takes what ``find_binaries`` finds. Client programs
              (``psql``, ``pg_dump``) are found there too.
    settings: lines for postgresql.conf, name to value; read again at each start.
    durable:  whether committed data survives a crash of the machine. Off, it survives a crash of
              the server only (``stop("immediate")``), and everything is quicker.

    The superuser is ``postgres``. The server ends with this process, even when that is killed.
    Not for use by several threads at once.
    """

    def __init__(
        self,
        *,
        bin_dir: Path | None = None,
        settings: Mapping[str, str] | None = None,
        durable: bool = False,
    ) -> None:
        self.bin_dir = bin_dir or find_binaries()
        self.settings = dict(settings or {})
        self.port = 0
        self._durable = durable
        self._password = secrets.token_urlsafe(18)
        self._user = run_user()
        self._programs = programs_for(self.bin_dir, self._user)
        self._owner = os.getpid()
        self._folder: PrivateFolder | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._ended = threading.Event()

    @property
    def version(self) -> str:
        """PostgreSQL's version, such as ``18.4``."""
        return self._programs.version

    @property
    def pid(self) -> int | None:
        """The server's main process, None while it is not running."""
        return self._process.pid if self._process and not self._ended.is_set() else None

    @property
    def log_path(self) -> Path:
        """The server's log; it is gone after ``close``."""
        return self._home / "log"

    def log_tail(self, lines: int = 20) -> str:
        """The last lines of the log, empty when there is none."""
        return tail(self.log_path, lines)

    def url(self, dbname: str = "postgres") -> str:
        """Address of a database by TCP, with the password."""
        name = quote(dbname, safe="")
        return f"postgresql://postgres:{self._password}@127.0.0.1:{self.port}/{name}"

    def socket_url(self, dbname: str = "postgres") -> str:
        """Address of a database by Unix socket; without a password, for us and root only."""
        folder = quote(str(self._home / "socket"), safe="")
        return f"postgresql://postgres@/{quote(dbname, safe='')}?host={folder}&port={self.port}"

    def start(self) -> None:
        """Make the data at first, start the server and wait until it answers.

        After a stop: the same data, port and password. Raises DatabaseError with the end of
        the log when the server does not come up.
        """
        if self.pid is not None:
            return
        folder = self._folder or self._make_data()
        for tries_left in reversed(range(_PORT_TRIES)):
            first_start = self.port == 0
            self.port = self.port or free_port()
            self._launch(folder, self._write_settings(folder))
            try:
                self._wait_until_ready()
                return
            except DatabaseError:
                # Another process took the port in between: try another one, ours is not known yet.
                if not (first_start and tries_left and "could not bind" in self.log_tail()):
                    raise
                self.port = 0

    def stop(self, mode: Literal["fast", "immediate"] = "fast") -> None:
        """Stop the server and wait for its end; ``immediate`` is a crash, with recovery later."""
        if self._process is None or self.pid is None:
            return
        self._process.send_signal(signal.SIGINT if mode == "fast" else signal.SIGQUIT)
        if not self._ended.wait(_STOP_TIMEOUT):
            self._process.kill()
            self._ended.wait()

    def close(self) -> None:
        """Stop the server and remove its data. May be called twice, and without a start."""
        # In a child made by fork the server is its parent's.
        if os.getpid() != self._owner or self._folder is None:
            return
        self.stop("immediate")
        self._folder.close()
        self._folder = None
        self.port = 0
        atexit.unregister(self.close)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def _home(self) -> Path:
        if self._folder is None:
            raise DatabaseError("the embedded PostgreSQL was not started", "Call start() first.")
        return self._folder.path

    def _make_data(self) -> PrivateFolder:
        self._folder = folder = PrivateFolder(self._user)
        atexit.register(self.close)
        data = folder.make_room("data")
        folder.make_room("socket")
        password_file = folder.write("password", _verifier(self._password))
        try:
            made = run_as(
                self._user,
                [
                    *(self._programs.bin_dir / "initdb", "-D", data),
                    *("--username=postgres", f"--pwfile={password_file}"),
                    *("--auth-local=trust", "--auth-host=scram-sha-256"),
                    *("--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions"),
                ],
                env=_ENVIRONMENT,
            )
        except (OSError, subprocess.SubprocessError) as error:
            self.close()
            raise DatabaseError(f"PostgreSQL's initdb could not be run: {error}") from None
        password_file.unlink()
        if made.returncode != 0:
            self.close()
            raise DatabaseError(
                f"PostgreSQL's initdb failed:\n{made.stdout}{made.stderr}".rstrip(),
                "PostgreSQL needs a user with an entry in passwd, and some free disk space.",
            )
        return folder

    def _write_settings(self, folder: PrivateFolder) -> Path:
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": str(folder.path / "socket"),
            "log_line_prefix": "%m [%p] %q%u@%d ",
            **({} if self._durable else _NOT_DURABLE),
            **self.settings,
        }
        lines = [f"include {_quoted(f'{folder.path}/data/postgresql.conf')}"]
        lines += [f"{name} = {_quoted(value)}" for name, value in settings.items()]
        return folder.write("settings.conf", "\n".join(lines) + "\n")

    def _launch(self, folder: PrivateFolder, settings: Path) -> None:
        user = self._user
        command = [
            *(sys.executable, "-I", "-S", str(Path(__file__).with_name("launch.py"))),
            *(str(os.getpid()), str(user.uid) if user else "-", str(user.gid) if user else "-"),
            *(str(self._programs.bin_dir / "postgres"), "-D", str(folder.path / "data")),
            f"--config-file={settings}",
        ]
        log_fd = os.open(self.log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with open(log_fd, "ab") as log:
            launched: list[subprocess.Popen[bytes] | OSError] = []
            has_launched = threading.Event()
            self._ended = ended = threading.Event()

            # The kernel ties the server to the thread that started it, not to the whole process,
            # so that thread stays for as long as the server does.
            def live_with_server() -> None:
                try:
                    process = subprocess.Popen(
                        command,
                        cwd="/",
                        env=_ENVIRONMENT,
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=log,
                        # Ctrl-C in a terminal is for us; we stop the server when we are done.
                        start_new_session=True,
                    )
                except OSError as error:
                    launched.append(error)
                    has_launched.set()
                    return
                launched.append(process)
                has_launched.set()
                process.wait()
                ended.set()

            threading.Thread(target=live_with_server, name="postgres", daemon=True).start()
            has_launched.wait()
        if isinstance(launched[0], OSError):
            ended.set()
            raise DatabaseError(f"PostgreSQL could not be started: {launched[0]}")
        self._process = launched[0]

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + _START_TIMEOUT
        while not self._ended.is_set():
            try:
                psycopg.connect(self.url(), connect_timeout=5).close()
                return
            except psycopg.OperationalError as error:
                if time.monotonic() > deadline:
                    self.stop("immediate")
                    raise DatabaseError(
                        f"PostgreSQL does not answer after {_START_TIMEOUT:.0f} s: {error}",
                        f"The end of its log:\n{self.log_tail()}",
                    ) from None
            self._ended.wait(0.02)
        raise DatabaseError(
            "PostgreSQL ended while starting", f"The end of its log:\n{self.log_tail()}"
        )


def _quoted(value: str) -> str:
    """A value as postgresql.conf writes it."""
    escaped = value.replace("\\", "\\\\").replace("'", "''")
    return f"'{escaped}'"


def free_port() -> int:
    """A port of 127.0.0.1 that is free, and that no outgoing connection will be given.

    Raises DatabaseError.
    """
    for port in random.SystemRandom().sample(_PORTS, _PORT_TRIES):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise DatabaseError("found no free port on 127.0.0.1 for an embedded PostgreSQL")
