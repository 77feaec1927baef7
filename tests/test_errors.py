"""What libpq says, on one line and without its guesses; a server that says nothing."""

from __future__ import annotations

import socket

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from cdc.errors import DatabaseError, words
from cdc.postgres import connections
from tests.cli.command import Command


def test_of_several_hosts_each_has_its_reason_once(database: str) -> None:
    made = conninfo_to_dict(database)
    host, port = made["host"], made["port"]
    several = make_conninfo(database, host=f"127.0.0.1,/nowhere,{host}", port=f"1,2,{port}")
    with pytest.raises(psycopg.OperationalError) as raised:
        psycopg.connect(several, target_session_attrs="read-only")
    assert words(raised.value) == (
        "127.0.0.1 port 1: Connection refused; /nowhere port 2: No such file or directory; "
        f"{host} port {port}: session is not read-only"
    )


def test_one_host_and_other_errors_are_left_as_they_are() -> None:
    with pytest.raises(psycopg.OperationalError) as raised:
        psycopg.connect("host=127.0.0.1 port=1")
    assert words(raised.value) == (
        'connection failed: connection to server at "127.0.0.1", port 1 failed: Connection refused'
    )
    assert words(ValueError("two\n lines")) == "two lines"
    assert words(ValueError()) == "ValueError"


def test_only_standbys_among_the_hosts() -> None:
    error = connections.unreachable(psycopg.OperationalError("port 2 failed: session is read-only"))
    assert "promoted" in error.hint


def test_no_connection_left() -> None:
    error = psycopg.OperationalError("words in any language")
    assert "pg_stat_activity" in connections.unreachable(error, ["53300"]).hint


def test_a_server_that_takes_the_connection_and_hangs_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`cdc status` of a database that hangs used to say nothing, for ever."""
    monkeypatch.setattr(connections, "CONNECT_WITHIN", 2)  # the least that libpq takes
    with socket.socket() as hung:
        hung.bind(("127.0.0.1", 0))
        hung.listen()
        cdc = Command({"CDC_DATABASE_URL": f"postgresql://x@127.0.0.1:{hung.getsockname()[1]}/x"})
        said = cdc.refused("status")
    assert "timeout" in said
    assert "does not answer" in said


@pytest.mark.parametrize("given", ["connect_timeout=3", ""])
def test_a_patience_of_ones_own_holds(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    if not given:
        monkeypatch.setenv("PGCONNECT_TIMEOUT", "3")
    seen: dict[str, object] = {}

    def connect(_: str, **options: object) -> None:
        seen.update(options)
        raise psycopg.OperationalError("enough")

    monkeypatch.setattr(connections.Connection, "connect", connect)
    with pytest.raises(DatabaseError):
        connections.connect(f"host=127.0.0.1 {given}")
    assert "connect_timeout" not in seen
