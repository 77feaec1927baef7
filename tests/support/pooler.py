"""PgBouncer in front of PostgreSQL.

with Pooler(server, "transaction") as pooler:
    ... connect to pooler.url("test_1") ...
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from cdc.sandbox.embedded import EmbeddedPostgres
from cdc.sandbox.embedded.folder import PrivateFolder
from tests.support.foreign import Foreign, found

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
ignore_startup_parameters = options
"""


class Pooler(Foreign):
    """Pools the sessions of one account of a server: one session, so that sharing it shows."""

    PROGRAM = found("pgbouncer")

    def __init__(self, server: EmbeddedPostgres, mode: Literal["transaction", "session"]) -> None:
        self._server = server
        self._mode = mode

    def url(self, dbname: str) -> str:
        """A database by way of the pooler."""
        return make_conninfo(self._server.url(dbname), port=self.port)

    def command(self, folder: PrivateFolder, room: Path) -> list[str | Path]:
        assert self.PROGRAM is not None
        account = conninfo_to_dict(self._server.url())
        # The pooler logs in with the password itself; clients on loopback are let in.
        settings = CONFIGURATION.format(
            server=self._server.port,
            user=account["user"],
            password=account["password"],
            port=self.port,
            mode=self._mode,
        )
        return [self.PROGRAM, folder.write("pgbouncer.ini", settings)]

    def answers(self) -> bool:
        try:
            psycopg.connect(self.url("postgres"), connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True


needs_pooler = pytest.mark.skipif(
    Pooler.PROGRAM is None, reason="pgbouncer is not installed (Debian: apt install pgbouncer)"
)
