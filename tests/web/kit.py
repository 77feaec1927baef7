"""A real `cdc serve`, as a process, and a client of it."""

from __future__ import annotations

import json
import os
import queue
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPSConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
from psycopg import sql

from cdc.postgres import connections
from cdc.sandbox.process import bare_environment
from cdc.web import keys
from cdc.web.keys import Scope
from cdc.webhooks.audit import Actor
from tests.support.forked import Forked

WITHIN = 20.0
LOCAL = {"CDC_ALLOW_HTTP": "true", "CDC_ALLOWED_NETWORKS": "127.0.0.0/8"}


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(slots=True)
class Client:
    """Requests with one key; each on a connection of its own."""

    url: str
    key: str | None = None
    trusting: ssl.SSLContext | None = None

    def __call__(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: dict[str, str] | None = None,
    ) -> Answer:
        parts = urlsplit(self.url)
        host, port = parts.hostname or "", parts.port
        conn = (
            HTTPConnection(host, port, timeout=WITHIN)
            if self.trusting is None
            else HTTPSConnection(host, port, timeout=WITHIN, context=self.trusting)
        )
        sent = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        data: bytes | None = body if isinstance(body, bytes) else None
        if body is not None and data is None:
            data = json.dumps(body).encode()
        if data is not None:
            sent["Content-Type"] = "application/json"
        try:
            conn.request(method, path, data, {**sent, **(headers or {})})
            got = conn.getresponse()
            return Answer(got.status, {k.lower(): v for k, v in got.getheaders()}, got.read())
        finally:
            conn.close()

    def good(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """The answer's JSON, which must be one of success; None without a body."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = self(method, path, body, named)
        assert answer.status < 300, (answer.status, answer.body)
        return answer.json if answer.body else None

    def refused(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, str]:
        """Status and code of a problem document."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = self(method, path, body, named)
        assert answer.status >= 400, (answer.status, answer.body)
        return answer.status, problem(answer)["code"]


def problem(answer: Answer) -> Any:
    assert answer.headers["content-type"] == "application/problem+json", answer
    found = answer.json
    assert found["status"] == answer.status
    return found


@dataclass(slots=True)
class Served:
    """url: of the process. database: as an account with all rights. user: the process's account."""

    url: str
    database: str
    process: Forked
    lines: list[dict[str, Any]] = field(default_factory=list)
    clients: dict[str, Client] = field(default_factory=dict)
    user: str = ""

    def key(self, scope: str, **options: Any) -> str:
        """A new key of this scope."""
        engine = connections.engine(self.database)
        with engine.begin() as conn:
            return keys.create(conn, Actor("test"), Scope.parse(scope), **options)[1]

    def client(self, scope: str) -> Client:
        """With one key of this scope."""
        if scope not in self.clients:
            self.clients[scope] = Client(self.url, self.key(scope))
        return self.clients[scope]

    def rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.database, autocommit=True) as conn:
            return conn.execute(query.encode(), values).fetchall()

    def run(self, statement: str, *values: Any) -> None:
        with psycopg.connect(self.database, autocommit=True) as conn:
            conn.execute(statement.encode(), values)


@contextmanager
def account(admin: psycopg.Connection, database: str, role: str = "cdc_serve") -> Iterator[str]:
    """The address of the database for an account that has this role and no other."""
    name = f"of_{role}_{time.monotonic_ns()}"
    admin.execute(
        sql.SQL("create role {} login password 'guess' in role {}").format(
            sql.Identifier(name), sql.Identifier(role)
        )
    )
    yield psycopg.conninfo.make_conninfo(database, user=name, password="guess")
    admin.execute(sql.SQL("drop role {}").format(sql.Identifier(name)))


@contextmanager
def serving(url: str, database: str, *arguments: str | Path, **settings: str) -> Iterator[Served]:
    """A process of `cdc serve` with this address of the database, once it is ready."""
    given = {"CDC_DATABASE_URL": url, "CDC_SERVE_PORT": "0", "CDC_LOG_FORMAT": "json", **LOCAL}
    environment = {**bare_environment(), **given, **settings}
    reading, writing = os.pipe()
    try:
        process = Forked(["serve", *map(str, arguments)], environment, writing)
    finally:
        os.close(writing)
    lines: list[dict[str, Any]] = []
    seen: queue.Queue[dict[str, Any] | None] = queue.Queue()

    def read() -> None:
        with os.fdopen(reading) as said:
            for line in said:
                structured = line.startswith("{")
                logged = json.loads(line) if structured else {"event": "plain", "line": line}
                lines.append(logged)
                seen.put(logged)
        seen.put(None)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        found, deadline = "", time.monotonic() + WITHIN
        while True:
            line = seen.get(timeout=max(0.01, deadline - time.monotonic()))
            assert line is not None, lines
            if line["event"] == "serving the API":
                found = f"http://127.0.0.1:{line['port']}/"
            if line["event"] == "ready":
                break
        user = psycopg.conninfo.conninfo_to_dict(url)["user"]
        yield Served(found, database, process, lines, user=str(user))
    finally:
        process.stop(WITHIN)
        reader.join(WITHIN)


def until(condition: Any, within: float = WITHIN) -> Any:
    """What the condition returns, once it is true."""
    deadline = time.monotonic() + within
    while not (found := condition()):
        assert time.monotonic() < deadline, "the condition did not become true"
        time.sleep(0.02)
    return found
