"""README.md: its lines are typed as they stand, in a fresh clone and where only the wheel is, and
a change arrives, verified."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from cdc.sandbox.embedded import EmbeddedPostgres
from cdc.sandbox.embedded.server import free_port
from tests.docs.pages import blocks, page
from tests.house.files import TOP, files

SECTION = page("README.md").partition("## Install it")[2].partition("## What arrives")[0]
SAMPLE, INSTALLING, TRYING = [
    re.findall(r"^\$ (.*)$", block.text.replace("\\\n", " "), re.MULTILINE)
    for block in blocks(SECTION, "console")
]
RIGHTS = re.findall(r"`((?:alter role|grant) [^`]+)`", SECTION)
(PGPASS,) = blocks(SECTION, "text pgpass")
OLDEST = Path("/usr/lib/postgresql/15/bin")
LIMIT = 60.0  # seconds for a line

# Reads lines, runs each as typed, and reports its exit code; stdin is left to the commands.
SHELL = 'while IFS= read -r line <&{}; do eval "$line"; echo $? >&{}; done'


class Shell:
    """A shell in which a test types line by line. Stands for a terminal: one session, one
    environment, commands that stay in the background."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        typed, self._type = os.pipe()
        self._codes, written = os.pipe()
        self._process = subprocess.Popen(
            ["bash", "--norc", "-mc", SHELL.format(typed, written)],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=(typed, written),
            start_new_session=True,  # without a terminal programs ask for a password on stdin
            text=True,
        )
        os.close(typed)
        os.close(written)
        self._seen = ""
        self._news = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._news:
                self._seen += line
                self._news.notify_all()

    def type(self, line: str, answers: str = "") -> None:
        """Types a line, and what its command asks for; returns when it is done."""
        assert self._process.stdin is not None
        self._process.stdin.write(answers)
        self._process.stdin.flush()
        os.write(self._type, line.encode() + b"\n")
        code = os.read(self._codes, 10).decode().strip()
        assert code == "0", f"{line}: {code or 'the shell has ended'}\n{self._seen}"

    def shows(self, text: str) -> str:
        """Waits until it has printed a line with this text; returns the line."""
        with self._news:
            assert self._news.wait_for(lambda: text in self._seen, LIMIT), self._seen
            return next(line for line in self._seen.splitlines() if text in line)

    def close(self) -> None:
        """Ends it, and all that it has left running."""
        os.write(self._type, b"kill $(jobs -p) 2>&1; wait\n")
        os.close(self._type)
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(LIMIT)
        self._reader.join(LIMIT)
        assert self._process.stdout is not None
        self._process.stdout.close()
        os.close(self._codes)


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with python3 as a system has it: none of a virtual environment, and without cdc."""
    folder = tmp_path_factory.mktemp("programs")
    (folder / "python3").symlink_to(Path(sys.base_prefix) / "bin" / "python3")
    return folder


def environment(programs: Path, home: Path, **more: str) -> dict[str, str]:
    """No index is asked for the dependencies: they are those of this environment."""
    return {
        "HOME": str(home),
        "PATH": f"{programs}:/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "PYTHONPATH": sysconfig.get_path("platlib"),
        "PIP_NO_DEPS": "1",
        "PIP_NO_INDEX": "1",
        **more,
    }


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory, programs: Path) -> Path:
    """A fresh clone with a wheel that make built; it finds an environment there: ours."""
    top = tmp_path_factory.mktemp("home") / "clone"
    for path in files():
        target = top / path.relative_to(TOP)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    made = top / ".venv"
    made.mkdir()
    for path in Path(sys.prefix).iterdir():
        if path.name != ".installed":
            (made / path.name).symlink_to(path)
    (made / ".installed").write_text(f"{top}\n")
    shell = Shell(top, environment(programs, top.parent))
    try:
        shell.type(INSTALLING[0])
    finally:
        shell.close()
    return top


@contextmanager
def suite(bin_dir: Path | None) -> Iterator[EmbeddedPostgres]:
    """A server with an empty database, and an account that has what README asks for."""
    with EmbeddedPostgres(bin_dir=bin_dir) as server:
        with psycopg.connect(server.url(), autocommit=True) as conn:
            conn.execute("create role suite_owner login password 'its-password'")
            conn.execute("create database suite")
            for line in RIGHTS:
                conn.execute(line.encode())
        yield server


@contextmanager
def may_make_tables(server: EmbeddedPostgres) -> Iterator[None]:
    """The owner of the suite's tables need not own the database, nor schema public."""
    with psycopg.connect(server.url("suite"), autocommit=True) as conn:
        conn.execute("grant create on schema public to suite_owner")
        yield
        conn.execute("revoke create on schema public from suite_owner")


def test_from_nothing_to_the_first_post(clone: Path, programs: Path, tmp_path: Path) -> None:
    """With nothing but the wheel that was built in the clone, beside the oldest PostgreSQL; all
    other tests are beside the newest."""
    folder, bin_dir = tmp_path / "empty", OLDEST if OLDEST.exists() else None
    shutil.copytree(clone / "dist", folder / "dist")
    (tmp_path / ".pgpass").touch(0o600)
    (tmp_path / ".pgpass").write_text(PGPASS.text)
    port = str(free_port())
    with suite(bin_dir) as server:
        assert server.version.startswith("15." if bin_dir else "1")
        shell = Shell(
            folder,
            environment(
                Path(f"{programs}:{server.bin_dir}"),
                tmp_path,
                # Where db.example.com is.
                PGHOSTADDR="127.0.0.1",
                PGPORT=str(server.port),
            ),
        )
        try:
            with may_make_tables(server):
                shell.type(f"(cd {clone} && {SAMPLE[0]})")
            for line in INSTALLING[1:]:
                shell.type(line, "a-new-one\n" * 2 if r"\password" in line else "")
            for line in TRYING:
                # Another process may have the port.
                shell.type(line.replace("8081", port))
                # What is pasted waits for nothing, so this looks after the last line but one.
                if line.startswith("until"):
                    assert "verified  200" in shell.shows("candidate_changed modified")
                    assert "verified  200" in shell.shows("candidate_changed test")
            # Guides are named as files that are there.
            as_daemon = "CDC_DATABASE_URL=postgresql://suite_daemon@db.example.com/suite"
            shell.type(f"! {as_daemon} cdc webhook rotate-secret 1")
            guide = shell.shows("lists the rights that each command needs").split()[0]
            assert Path(guide).read_text("utf-8") == page("docs/dba.md")
        finally:
            shell.close()
        with psycopg.connect(server.url("suite")) as conn:
            sent = conn.execute("select outcome, status from cdc.attempt").fetchall()
        assert sent == [("delivered", 200)]
