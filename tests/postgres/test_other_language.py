"""A server that speaks another language: what is concluded from its errors is concluded by code."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from cdc.daemon.app import App
from cdc.errors import DatabaseError
from cdc.sandbox.embedded import EmbeddedPostgres
from tests.cli.command import Command
from tests.daemon.running import settings
from tests.support import installation

GERMAN = "de_DE.UTF-8"


def _programs() -> Path | None:
    """Debian's PostgreSQL, the newest: it has messages in many languages, the wheel's has none."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    return found[-1].parent if found else None


def _locale() -> bool:
    try:
        said = subprocess.run(["locale", "-a"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return False
    return "de_DE.utf8" in said.split()


pytestmark = [
    pytest.mark.skipif(_programs() is None, reason="Debian's PostgreSQL is not installed"),
    pytest.mark.skipif(not _locale(), reason=f"no locale {GERMAN} (Debian: locales, locale-gen)"),
]


@pytest.fixture(scope="module")
def german() -> Iterator[EmbeddedPostgres]:
    with EmbeddedPostgres(bin_dir=_programs(), settings={"lc_messages": GERMAN}) as server:
        installation.prepare_template(server.url())
        installation.adopt(server.url())
        yield server


def test_it_is_german(german: EmbeddedPostgres) -> None:
    with pytest.raises(psycopg.OperationalError, match="Passwort-Authentifizierung"):
        psycopg.connect(make_conninfo(german.url(), password="wrong"))


@pytest.mark.parametrize(
    ("changed", "hint"),
    [
        ({"password": "wrong"}, "the account or the password"),
        ({"user": "nobody"}, "the account or the password"),
        ({"dbname": "nowhere"}, "a database that this server does not have"),
    ],
)
async def test_a_daemon_ends_at_once(
    german: EmbeddedPostgres, changed: dict[str, str], hint: str
) -> None:
    """It used to wait for ever: only English words were known."""
    url = make_conninfo(german.url(), **changed)
    with pytest.raises(DatabaseError) as raised:
        await App(settings(url)).run()
    assert hint in raised.value.hint
    assert hint in Command({"CDC_DATABASE_URL": url}).refused("status")


def test_all_connections_are_taken(german: EmbeddedPostgres) -> None:
    with psycopg.connect(german.url(), autocommit=True) as conn:
        conn.execute("create role barred login password 'guess' connection limit 0")
        url = make_conninfo(german.url(), user="barred", password="guess")
        said = Command({"CDC_DATABASE_URL": url}).refused("status")
        conn.execute("drop role barred")
    assert "are taken" in said


def test_a_standby(german: EmbeddedPostgres) -> None:
    with psycopg.connect(german.url()) as conn:
        (data,) = conn.execute("show data_directory").fetchall()[0]
    cdc = Command({"CDC_DATABASE_URL": german.url()})
    german.stop()
    signal = Path(data) / "standby.signal"
    signal.touch()
    german.start()
    for words in (("status",), ("webhook", "pause", 1)):
        assert "accepts no writes: it is a standby" in cdc.refused(*words)
    german.stop()
    signal.unlink()
    german.start()
