"""A real PostgreSQL for the tests: a server per worker, a fresh database per test."""

from __future__ import annotations

import faulthandler
import gc
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec
from itertools import count
from pathlib import Path

import psycopg
import pytest
from hypothesis import HealthCheck, settings
from psycopg import sql

from cdc.sandbox.embedded import EmbeddedPostgres
from tests.support import odd
from tests.support.examples import TIMES

# Settings and a database that happen to be in the environment are none of our business.
for name in list(os.environ):
    if name.startswith(("CDC_", "PG")) and not name.startswith("CDC_TEST_"):
        del os.environ[name]

# To read the 144 authorities of the system takes each client, daemon and doctor 20 ms of CPU, and
# no public server is called.
os.environ["SSL_CERT_FILE"] = str(Path(__file__).with_name("support") / "authority.pem")


def in_memory() -> str | None:
    """A temporary folder in memory, with room for the servers of some workers, if there is one.

    A database is some 300 files: to copy one takes 0.02 s of CPU there, and 0.3 s on ext4.
    """
    with suppress(OSError):
        found = os.statvfs("/dev/shm")
        if found.f_bavail * found.f_frsize > ROOM and not found.f_flag & os.ST_NOEXEC:
            return "/dev/shm"
    return None


ROOM = 6 << 30
if "TMPDIR" not in os.environ and (folder := in_memory()):
    os.environ["TMPDIR"] = tempfile.tempdir = folder

# Hypothesis allows 0.2 s an example and 1 s for drawing the first ten. The first text drawn in a
# fresh clone builds a table of all characters: 1.4 s on an idle machine. pytest-timeout ends what
# hangs.
# Examples of one test share its database on purpose.
settings.register_profile(
    "suite",
    deadline=None,
    max_examples=40 * TIMES,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("suite")

if odd.ODD:
    odd.spare_tests()

_numbers = count(1)

TEARDOWN_WITHIN_S = 300


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown() -> Iterator[None]:
    """A loop that closes waits in C for a server that a failed test has left open, and nothing
    interrupts it: this ends the process (of a worker: the run goes on with another), so that the
    failure is reported and no run hangs."""
    assert sys.__stderr__ is not None
    faulthandler.dump_traceback_later(TEARDOWN_WITHIN_S, exit=True, file=sys.__stderr__)
    try:
        return (yield)
    finally:
        faulthandler.cancel_dump_traceback_later()


@pytest.fixture(scope="session")
def postgres() -> Iterator[EmbeddedPostgres]:
    """A server for the tests of this worker. A test that stops it takes one of its own."""
    with EmbeddedPostgres(
        settings={"max_connections": "100", "max_prepared_transactions": "0"}
        | (odd.SETTINGS if odd.ODD else {})
    ) as server:
        yield server


@pytest.fixture(scope="session")
def admin(postgres: EmbeddedPostgres) -> Iterator[psycopg.Connection]:
    """A connection to make and drop databases with."""
    with psycopg.connect(postgres.url(), autocommit=True) as connection:
        yield connection


@pytest.fixture(scope="session")
def template_db(postgres: EmbeddedPostgres, admin: psycopg.Connection) -> str:
    """Name of the database that ``database`` copies, filled by ``prepare_template``."""
    admin.execute("create database template_cdc")
    if find_spec("tests.support.installation"):
        import_module("tests.support.installation").prepare_template(postgres.url("template_cdc"))
    return "template_cdc"


@pytest.fixture
def empty_database(postgres: EmbeddedPostgres, admin: psycopg.Connection) -> Iterator[str]:
    """Address of a fresh database with nothing in it."""
    yield from fresh_database(postgres, admin, "template0")


@pytest.fixture
def database(
    postgres: EmbeddedPostgres, admin: psycopg.Connection, template_db: str
) -> Iterator[str]:
    """Address of a fresh copy of the prepared database."""
    yield from fresh_database(postgres, admin, template_db)


def fresh_database(
    postgres: EmbeddedPostgres, admin: psycopg.Connection, template: str
) -> Iterator[str]:
    name = f"test_{next(_numbers)}"
    # Files are copied in half of the time that pages through the write-ahead log take.
    create = sql.SQL("create database {} template {} strategy file_copy")
    admin.execute(create.format(sql.Identifier(name), sql.Identifier(template)))
    yield postgres.url(name)
    admin.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


# A worker that begins one of these when the others have nothing left keeps all waiting.
LONGEST = (
    *(
        "writers/test_conformance",
        "docs/test_first_steps",
        "cli/test_verdicts",
        "demo/test_command",
        "web/test_browser",
    ),
    *("cli/test_doctor", "upgrade/test_under_load", "daemon/test_connection", "faults/test_faults"),
    *("daemon/test_supervisor", "writers/test_locks", "daemon/test_fleet", "daemon/test_pooler"),
    *("cli/test_status_screen", "cli/test_triggers", "bench/test_run", "daemon/test_start"),
    *("web/test_document", "web/test_company_browser", "cli/test_doctor_server"),
    *("writers/test_daemons", "writers/test_broken", "writers/test_own_locks"),
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest modules first; xdist deals them out in this order."""
    place = {f"tests/{name}.py": number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.nodeid.partition("::")[0], len(place)))


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Of the 400,000 objects that are made next to none is garbage; and they stay, so that no
    collection of garbage looks through them."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What tests report beyond that they passed: their property ``summary``."""
    for report in terminalreporter.getreports(""):
        for name, value in getattr(report, "user_properties", ()):
            if name == "summary" and report.when == "call":
                terminalreporter.line(str(value))
