"""The private temporary folder that a server lives in."""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Self

from cdc.errors import DatabaseError
from cdc.sandbox.embedded.user import RunUser

_PREFIX = "cdc-pg-"

# A Unix socket's path may have 107 bytes on Linux and 103 elsewhere, its closing null excluded.
_SOCKET_PATH_LIMIT = 103
_LONGEST_NAME = f"/{_PREFIX}12345678/socket/.s.PGSQL.65535"


def temp_root(user: RunUser | None) -> Path:
    """The folder for temporary files, one that ``user`` may enter and no other user may change.

    Raises DatabaseError where there is none.
    """
    for name in (tempfile.gettempdir(), "/tmp", "/var/tmp"):  # noqa: S108 - mkdtemp below it
        path = Path(name).resolve()
        if len(os.fsencode(path)) + len(_LONGEST_NAME) > _SOCKET_PATH_LIMIT or not path.is_dir():
            continue
        if user is None or all(_safe_for_root(folder) for folder in (path, *path.parents)):
            return path
    raise DatabaseError(
        f"no temporary folder fits an embedded PostgreSQL: {tempfile.gettempdir()} is too long, "
        "or other users can rename what lies in it, or an ordinary user may not enter it",
        "Set TMPDIR to a short path such as /tmp.",
    )


def tail(log: Path, lines: int) -> str:
    """The last lines of a log, empty when there is none."""
    with suppress(OSError), log.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - 500 * lines))
        return "\n".join(file.read().decode(errors="replace").splitlines()[-lines:])
    return ""


def _safe_for_root(folder: Path) -> bool:
    """Whether all may pass through, and only root may replace what is inside."""
    info = folder.stat()
    swappable = info.st_mode & 0o022 and not info.st_mode & stat.S_ISVTX
    return info.st_uid == 0 and bool(info.st_mode & stat.S_IXOTH) and not swappable


class PrivateFolder:
    """A fresh folder (0700) that is removed by ``close``.

    A folder whose owner was killed is removed by the next one that is made: its owner held a lock
    on it, which the kernel gave back.
    """

    def __init__(self, user: RunUser | None) -> None:
        self._root = temp_root(user)
        self._user = user
        self.path, self._lock = self._make()
        self._sweep()

    def _make(self) -> tuple[Path, int]:
        while True:
            path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=self._root))
            lock = _try_lock(path)
            # Taken for a leftover by a sweep in the moment between making and locking: try again.
            if lock is not None and os.fstat(lock).st_nlink > 0:
                return path, lock
            if lock is not None:
                os.close(lock)

    def make_room(self, name: str) -> Path:
        """A folder inside that PostgreSQL's user owns, and only root may enter besides.

        What is next to it stays ours: root must never write where an ordinary user could put a
        link in its way.
        """
        path = self.path / name
        path.mkdir(mode=0o700)
        if self._user is not None:
            self.path.chmod(0o711)
            os.chown(path, self._user.uid, self._user.gid)
        return path

    def write(self, name: str, text: str) -> Path:
        """Put a file there, readable for PostgreSQL's user only, in place of an older one."""
        path = self.path / name
        path.unlink(missing_ok=True)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            if self._user is not None:
                os.fchown(file.fileno(), self._user.uid, self._user.gid)
            file.write(text)
        return path

    def _sweep(self) -> None:
        for path in self._root.glob(f"{_PREFIX}*"):
            with suppress(OSError):
                info = path.lstat()
                if not stat.S_ISDIR(info.st_mode) or info.st_uid != os.geteuid():
                    continue
                lock = _try_lock(path)
                if lock is not None:
                    shutil.rmtree(path, ignore_errors=True)
                    os.close(lock)

    def close(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _try_lock(path: Path) -> int | None:
    """An open and locked folder, None when another process holds or has removed it."""
    try:
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(folder)
        return None
    return folder
