"""Forward proxies that companies have: Squid and Tinyproxy. They ask for a login, tunnel to some
ports of this machine, and refuse all others.

with Squid(ports=[peer.port]) as proxy:
    ... CDC_PROXY=proxy.url() ...
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import md5
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote

from cdc.sandbox.embedded.folder import PrivateFolder
from tests.support.foreign import Foreign, SquidProgram, found

SQUID = """
http_port 127.0.0.1:{port}
visible_hostname localhost
pid_filename {room}/pid
cache_log {room}/log
access_log none
cache_store_log none
coredump_dir {room}
cache deny all
memory_cache_shared off
pinger_enable off
netdb_filename none
hosts_file {hosts}
dns_nameservers 127.0.0.1
shutdown_lifetime 0 seconds
auth_param basic program {helper} {users}
auth_param basic children 1
acl known proxy_auth REQUIRED
acl open port {ports}
acl here dst 127.0.0.0/8
http_access deny !open
http_access deny !known
http_access allow CONNECT here
http_access deny all
"""

TINYPROXY = """
Listen 127.0.0.1
Port {port}
Allow 127.0.0.1
Timeout 600
MaxClients 100
PidFile "{room}/pid"
BasicAuth {user} {password}
{ports}
"""


class Forward(Foreign):
    """ports: those it opens a way to.

    USER, PASSWORD: who is let in. NOT_LET_IN: its status for those who know a wrong one.
    MISSING: why a test is skipped.
    """

    USER: ClassVar[str] = "me"
    PASSWORD: ClassVar[str]
    NOT_LET_IN: ClassVar[int]
    MISSING: ClassVar[str]

    def __init__(self, ports: Iterable[int]) -> None:
        self._ports = list(ports)

    def url(self, password: str | None = None) -> str:
        """Its address with a login: the right one, or one with another password."""
        login = f"{self.USER}:{quote(password or self.PASSWORD, safe='')}"
        return f"http://{login}@127.0.0.1:{self.port}"

    @property
    def bare_url(self) -> str:
        """Its address without a login."""
        return f"http://127.0.0.1:{self.port}"


class Squid(SquidProgram, Forward):
    """Knows a name, too: ``hooks.example`` is this machine."""

    PASSWORD = "marked-p@ss:w/rd"
    NOT_LET_IN = 407
    MISSING = "squid is not installed (Debian: apt install squid)"

    def settings(self, folder: PrivateFolder, room: Path) -> str:
        kept = md5(self.PASSWORD.encode()).hexdigest()
        return SQUID.format(
            port=self.port,
            room=room,
            hosts=folder.write("hosts", "127.0.0.1 hooks.example\n"),
            helper="/usr/lib/squid/basic_ncsa_auth",
            users=folder.write("users", f"{self.USER}:{kept}\n"),
            ports=" ".join(map(str, self._ports)),
        )


class Tinyproxy(Forward):
    """Answers in HTTP/1.0, and 401 where others say 407."""

    PROGRAM = found("tinyproxy")
    PASSWORD = "marked-pass.word"
    NOT_LET_IN = 401
    MISSING = "tinyproxy is not installed (Debian: apt install tinyproxy-bin)"

    def command(self, folder: PrivateFolder, room: Path) -> list[str | Path]:
        assert self.PROGRAM is not None
        settings = TINYPROXY.format(
            port=self.port,
            room=room,
            user=self.USER,
            password=self.PASSWORD,
            ports="\n".join(f"ConnectPort {port}" for port in self._ports),
        )
        return [self.PROGRAM, "-d", "-c", folder.write("tinyproxy.conf", settings)]
