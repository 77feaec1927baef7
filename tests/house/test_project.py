"""Rules for what surrounds the code: settings page, versions, warnings, the built wheel."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

from cdc.settings import default_file, describe
from tests.house.files import TOP, files, name
from tests.house.guide_tables import EXAMPLE, TABLES, current


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return tomllib.loads((TOP / "pyproject.toml").read_text("utf-8"))


@pytest.fixture(scope="module")
def constraints() -> list[str]:
    lines = (TOP / "constraints.txt").read_text("utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def normalized(requirement: str) -> str:
    found = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert found, requirement
    return re.sub(r"[-_.]+", "-", found[0]).lower()


@pytest.mark.parametrize("path", TABLES, ids=name)
def test_the_tables_of_the_guides_are_current(path: Path) -> None:
    assert path.read_text("utf-8") == current(path), "run: make docs"


def test_every_setting_has_a_row() -> None:
    page = (TOP / "docs/configuration.md").read_text("utf-8")
    assert all(f"| `{key.env}` |" in page for key in describe())


def test_the_example_of_a_settings_file_is_current() -> None:
    assert EXAMPLE.read_text("utf-8") == default_file(), "run: make docs"


def test_every_requirement_is_pinned(project: dict[str, Any], constraints: list[str]) -> None:
    wanted = [*project["build-system"]["requires"], *project["project"]["dependencies"]]
    for extra in project["project"]["optional-dependencies"].values():
        wanted += extra
    pinned = {normalized(line) for line in constraints}
    assert not {normalized(requirement) for requirement in wanted} - pinned


def test_constraints_are_names_and_versions_only(constraints: list[str]) -> None:
    assert not [line for line in constraints if not re.fullmatch(r"[a-z0-9-]+==[0-9a-z.+]+", line)]
    assert constraints == sorted(set(constraints))


def test_warnings_are_errors(project: dict[str, Any]) -> None:
    assert project["tool"]["pytest"]["ini_options"]["filterwarnings"][0] == "error"
    assert project["tool"]["mypy"]["strict"] is True


def test_a_busy_machine_fails_no_property() -> None:
    used = hypothesis_settings()
    assert used.deadline is None
    assert HealthCheck.too_slow in used.suppress_health_check


def test_the_wheel_holds_all_that_a_daemon_needs(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path],
        cwd=TOP,
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    held = set(zipfile.ZipFile(wheel).namelist())
    wanted = {
        f"cdc/{file}" if file.startswith(("sql/", "docs/")) else file
        for file in map(name, files())
        if file.startswith(("cdc/", "sql/", "docs/"))
    }
    assert not wanted - held
    assert not [file for file in held - wanted if ".dist-info/" not in file]
