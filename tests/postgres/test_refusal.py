"""What is wrong with an address, and why a server refuses it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NoReturn

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from cdc.postgres import refusal
from cdc.sandbox.embedded import EmbeddedPostgres

HERE = "postgresql://a:secret@db.example/suite"


@pytest.mark.parametrize(
    ("address", "said"),
    [
        (f"{HERE}?sslmode=verify_full", "verify-ca or verify-full"),
        (f"{HERE}?target_session_attrs=master", "primary"),
        (f"{HERE}?gssencmode=maybe", "gssencmode"),
        (f"{HERE}?sslmode=verify-full&sslrootcert=/nowhere/ca.pem", "/nowhere/ca.pem"),
        (f"{HERE}?connect_timeout=soon", "soon"),
        ("host=db.example port=54321x", "54321x"),
        ("host=db.example port=0", "65535"),
        ("host=a,b port=1,2,3", "3 port numbers to 2 hosts"),
    ],
)
def test_what_no_server_can_make_right(address: str, said: str) -> None:
    why = refusal.invalid(address)
    assert why is not None
    assert said in why
    assert "secret" not in why


@pytest.mark.parametrize(
    "address",
    [
        "",
        HERE,
        f"{HERE}?sslmode=verify-full&sslrootcert=system",
        f"{HERE}?target_session_attrs=read-write&connect_timeout=3",
        "host=a,b port=1,2 target_session_attrs=primary",
        "host=/run/postgresql",
        "hostaddr=192.0.2.1 port=5433",
        "service=somewhere",
    ],
)
def test_what_may_be_right(address: str) -> None:
    assert refusal.invalid(address) is None


def test_the_environment_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGSSLMODE", "verify_full")
    assert "verify_full" in (refusal.invalid(HERE) or "")


@pytest.fixture
def barred(postgres: EmbeddedPostgres, admin: psycopg.Connection) -> Iterator[str]:
    """An account that may have no connection."""
    admin.execute("create role barred login password 'guess' connection limit 0")
    yield make_conninfo(postgres.url(), user="barred", password="guess")
    admin.execute("drop role barred")


def test_the_code_of_a_refusal(postgres: EmbeddedPostgres, barred: str) -> None:
    def code(**changed: str | int | None) -> list[str]:
        return refusal.sqlstates(make_conninfo(postgres.url(), **changed))

    assert code(password="wrong") == ["28P01"]
    assert code(password="") == ["28P01"]
    assert code(dbname="nowhere") == ["3D000"]
    assert code(options="-c nothing=1") == ["42704"]
    assert code(port=1) == []
    assert code() == []
    assert refusal.sqlstates(barred) == [refusal.TOO_MANY_CONNECTIONS]
    ports = f"1,{postgres.port}"
    assert code(host="127.0.0.1,127.0.0.1", port=ports, dbname="nowhere") == ["3D000"]


def test_which_of_them_waiting_does_not_mend() -> None:
    assert all(refusal.hopeless([code]) for code in ("28P01", "28000", "3D000", "42501"))
    assert not any(refusal.hopeless([code]) for code in ("53300", "57P03", "55000", "08P01"))
    assert not refusal.hopeless([])


def test_an_account_without_a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container that runs under any uid."""

    def unknown(_: int) -> NoReturn:
        raise KeyError

    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", unknown)
    message = refusal.invalid(f"{HERE}?sslmode=verify-full") or ""
    assert "~/.postgresql/root.crt" in message
