"""The embedded PostgreSQL: it starts, survives a crash, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from cdc.errors import DatabaseError
from cdc.sandbox.embedded import EmbeddedPostgres, binaries, find_binaries
from cdc.sandbox.embedded.binaries import programs_for
from cdc.sandbox.embedded.folder import PrivateFolder, temp_root
from cdc.sandbox.embedded.user import RunUser, run_user

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root runs PostgreSQL as another user")


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedPostgres]:
    with EmbeddedPostgres(settings={"work_mem": "5MB", "cluster_name": r"it's a \ test"}) as server:
        yield server


def ask(url: str, question: str) -> object:
    with psycopg.connect(url) as connection:
        row = connection.execute(question).fetchone()
        return row and row[0]


def test_answers_by_tcp_and_by_socket(server: EmbeddedPostgres) -> None:
    for url in (server.url(), server.socket_url()):
        assert ask(url, "select current_user") == "postgres"
    assert str(ask(server.url(), "show server_version")).split()[0] == server.version


def test_settings_reach_the_server_unchanged(server: EmbeddedPostgres) -> None:
    assert ask(server.url(), "show work_mem") == "5MB"
    assert ask(server.url(), "show cluster_name") == r"it's a \ test"
    assert ask(server.url(), "show fsync") == "off"


def test_tcp_asks_for_the_password(server: EmbeddedPostgres) -> None:
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(f"postgresql://postgres:guess@127.0.0.1:{server.port}/postgres")
    kept = str(ask(server.url(), "select rolpassword from pg_authid where rolname = 'postgres'"))
    assert kept.startswith("SCRAM-SHA-256$1:")


def test_survives_an_immediate_stop_on_the_same_port() -> None:
    with EmbeddedPostgres() as server:
        port = server.port
        with psycopg.connect(server.url()) as connection:
            connection.execute("create table kept as select 17 as value")
        server.stop("immediate")
        assert server.pid is None
        server.start()
        assert server.port == port
        assert ask(server.url(), "select value from kept") == 17
        assert "was not properly shut down" in server.log_tail()


def test_close_removes_everything() -> None:
    server = EmbeddedPostgres()
    server.start()
    pid, folder = server.pid, server.log_path.parent
    server.close()
    server.close()
    assert pid is not None
    assert not psutil.pid_exists(pid)
    assert not folder.exists()


def test_a_failing_start_says_why_and_leaves_nothing() -> None:
    server = EmbeddedPostgres(settings={"shared_buffers": "plenty"})
    with pytest.raises(DatabaseError) as failure, server:
        pytest.fail("started with a wrong setting")
    assert "shared_buffers" in failure.value.hint
    with pytest.raises(DatabaseError, match="not started"):
        _ = server.log_path


def test_lives_on_when_the_thread_that_started_it_ends() -> None:
    server = EmbeddedPostgres()
    starter = threading.Thread(target=server.start)
    starter.start()
    starter.join()
    try:
        assert ask(server.url(), "select 1") == 1
    finally:
        server.close()


def test_a_killed_owner_leaves_neither_server_nor_folder() -> None:
    code = """
from cdc.sandbox.embedded import EmbeddedPostgres
server = EmbeddedPostgres()
server.start()
print(server.pid, server.log_path.parent, flush=True)
input()
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdout is not None
        pid, folder = owner.stdout.readline().split()
        orphan = psutil.Process(int(pid))
        owner.send_signal(signal.SIGKILL)
        orphan.wait(timeout=20)
    with PrivateFolder(run_user()):  # making one clears away what others left
        assert not Path(folder).exists()


def test_a_folder_in_use_is_not_swept() -> None:
    with PrivateFolder(run_user()) as one, PrivateFolder(run_user()) as other:
        assert one.path.is_dir()
        assert other.path.is_dir()


def test_a_wrong_bin_folder_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CDC_TEST_PG_BIN", str(tmp_path))
    with pytest.raises(DatabaseError, match=f"CDC_TEST_PG_BIN: {tmp_path}"):
        find_binaries()


def test_a_long_temporary_folder_is_avoided(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    long = tmp_path / ("x" * 90)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    assert len(str(temp_root(run_user()))) < 90


class TestPrivateCopy:
    """Root, and programs that the ordinary user cannot reach: a clone in a private home."""

    pytestmark = as_root

    @pytest.fixture
    def user(self) -> RunUser:
        user = run_user()
        assert user is not None
        return user

    @pytest.fixture
    def room(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
        """A stand-in for /tmp, so that the real copy stays as it is."""
        with tempfile.TemporaryDirectory() as name:
            room = Path(name)
            room.chmod(0o755)
            monkeypatch.setattr(binaries, "temp_root", lambda user: room)
            yield room

    @pytest.fixture
    def hidden(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
        """The wheel's bin folder, by a way that is closed to others."""
        monkeypatch.delenv("CDC_TEST_PG_BIN", raising=False)
        bin_dir = find_binaries()
        package = bin_dir.parents[1]
        tmp_path.chmod(0o700)
        for name in (package.name, f"{package.name}.libs"):
            (tmp_path / name).symlink_to(package.parent / name)
        return tmp_path / package.name / bin_dir.parent.name / "bin"

    def test_runs_from_a_copy_that_only_root_can_write(
        self, hidden: Path, room: Path, user: RunUser
    ) -> None:
        programs = programs_for(hidden, user)
        assert room in programs.bin_dir.parents
        for path in room.rglob("*"):
            assert path.lstat().st_uid == 0
            assert not path.lstat().st_mode & (stat.S_IWGRP | stat.S_IWOTH)
        with EmbeddedPostgres(bin_dir=hidden) as server:
            assert ask(server.url(), "select 1") == 1
            assert psutil.Process(server.pid).username() == user.name
        assert stat.S_IMODE(hidden.parents[2].stat().st_mode) == 0o700

    def test_is_made_once_and_mended(self, hidden: Path, room: Path, user: RunUser) -> None:
        copied = programs_for(hidden, user).bin_dir / "initdb"
        inode = copied.stat().st_ino
        assert programs_for(hidden, user).bin_dir / "initdb" == copied
        assert copied.stat().st_ino == inode
        copied.unlink()  # as cleaners of old temporary files do
        assert programs_for(hidden, user).bin_dir / "initdb" == copied
        assert copied.is_file()

    def test_is_refused_where_another_user_could_have_written_it(
        self, hidden: Path, room: Path, user: RunUser
    ) -> None:
        copy = programs_for(hidden, user).bin_dir.parents[2]
        copy.chmod(0o777)
        with pytest.raises(DatabaseError, match="belongs to another user"):
            programs_for(hidden, user)
