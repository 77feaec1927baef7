"""The first release as it was: its source is kept beside this file, its wheel is built from that.

``release-0001.tar.xz`` is ``git archive --prefix=release-0001/ 0a96e91 cdc sql pyproject.toml
README.md | xz -9e``. A wheel would be binary, and as large.
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from cdc.sandbox.process import bare_environment

ARCHIVE = Path(__file__).with_name("release-0001.tar.xz")


@dataclass(frozen=True, slots=True)
class Release:
    """An installed wheel of the first release. site: the folder it is installed in."""

    site: Path

    def __call__(self, url: str, *arguments: str) -> str:
        """Runs its ``cdc``; returns what it prints."""
        env = bare_environment()
        env |= {"PYTHONPATH": str(self.site), "CDC_DATABASE_URL": url}
        done = subprocess.run(
            [sys.executable, "-m", "cdc", *arguments],
            cwd=self.site,
            env=env,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


def build(folder: Path) -> Release:
    """Builds the wheel in this folder and unpacks it as pip would."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder / "dist"],
        cwd=folder / "release-0001",
        check=True,
        capture_output=True,
    )
    (wheel,) = (folder / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(folder / "site")
    return Release(folder / "site")
