"""The ordinary user that PostgreSQL runs as when we are root: it refuses to run as root."""

from __future__ import annotations

import os
import pwd
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from cdc.errors import DatabaseError


class RunUser(NamedTuple):
    """An ordinary user; it has an entry in passwd, because initdb asks for its name."""

    name: str
    uid: int
    gid: int


def run_user() -> RunUser | None:
    """The user PostgreSQL has to run as, None where we are an ordinary one ourselves.

    Raises DatabaseError where root finds no ordinary user.
    """
    if os.geteuid() != 0:
        return None
    users = [RunUser(p.pw_name, p.pw_uid, p.pw_gid) for p in pwd.getpwall() if p.pw_uid != 0]
    if not users:
        raise DatabaseError(
            "PostgreSQL does not run as root, and this system has no other user",
            "Run the command as an ordinary user.",
        )
    # nobody owns nothing, so it is the one to prefer.
    return min(users, key=lambda user: (user.name != "nobody", user.name != "daemon"))


def run_as(
    user: RunUser | None, command: Sequence[str | Path], env: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end as ``user`` (None: as ourselves), in no group but its own.

    Raises what ``subprocess.run`` raises; a failing program is not an error here.
    """
    return subprocess.run(
        command,
        user=None if user is None else user.uid,
        group=None if user is None else user.gid,
        extra_groups=None if user is None else [],
        # A folder of ours may be closed to the user, and PostgreSQL looks where it stands.
        cwd="/",
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=120,
        check=False,
        # Ctrl-C in a terminal is for us; it takes a moment only.
        start_new_session=True,
    )
