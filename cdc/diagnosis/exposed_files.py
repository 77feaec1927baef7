"""Files that hold secrets, and who else may read them: the one place that decides it.

The rule is the one that PostgreSQL's client has for its keys: only the owner may read or change
such a file. A group may read a file of root's, or no ordinary account could be given it. Folders
above do not count: files get copied and moved.
"""

from __future__ import annotations

import grp
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from cdc.deliver.trust import Trust
from cdc.errors import CdcError
from cdc.settings import Settings, secrets_in_file


class Exposed(NamedTuple):
    """A file with something secret in it that others than its owner get at.

    holds: what is secret in it. how: who may do what.
    """

    path: Path
    holds: str
    how: str

    @property
    def message(self) -> str:
        return f"{self.path}, which holds {self.holds}, may be {self.how}"

    @property
    def hint(self) -> str:
        return (
            f"`chmod 600 {self.path}`; or let root own it, with a group that the daemon's account "
            "is in, and `chmod 640`. Replace what others may have read meanwhile."
        )


def exposed(settings: Settings) -> list[Exposed]:
    """Those of the files that these settings name, and of the settings' own."""
    found = []
    for path, holds in _secret(settings):
        try:
            info = path.stat()
        except OSError:
            continue  # the code that reads it reports that it cannot be read
        how = others(info)
        if how is not None:
            found.append(Exposed(path, holds, how))
    return found


def others(info: os.stat_result) -> str | None:
    """What others than the owner may do with a file, in words; None: nothing."""
    mode = stat.S_IMODE(info.st_mode)
    allowed = stat.S_IRGRP if info.st_uid == 0 else 0
    too_much = mode & 0o066 & ~allowed
    if not too_much:
        return None
    verb = "changed" if too_much & 0o022 else "read"
    who = "all accounts" if too_much & 0o006 else f"group {_group(info.st_gid)}"
    return f"{verb} by {who} (mode {mode:04o})"


def _secret(settings: Settings) -> Iterator[tuple[Path, str]]:
    names = secrets_in_file(settings)
    if settings.config_path is not None and names:
        yield settings.config_path, ", ".join(names)
    trust = Trust.of(settings)
    try:
        profiles = trust.names()
    except CdcError:
        profiles = []
    for path in trust.keys([None, *profiles]):
        yield path, "a private key"


def _group(number: int) -> str:
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)
