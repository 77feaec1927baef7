"""ARCHITECTURE.md names packages, modules and objects that are there. Its paths: test_links.py."""

from __future__ import annotations

import ast
import re

import pytest

from tests.docs.pages import codes, page, table
from tests.house.files import TOP, files, name

TEXT = page("ARCHITECTURE.md")
PACKAGES = table(TEXT, "package", "what happens there")
CLASSES = {
    node.name
    for path in files(".py")
    if name(path).startswith("cdc/")
    for node in ast.parse(path.read_text("utf-8")).body
    if isinstance(node, ast.ClassDef)
}


def test_its_objects_are_classes() -> None:
    objects = table(TEXT, "object", "made by", "owns", "calls")
    assert len(objects) > 10
    named = {one for row in objects for cell in row.values() for one in codes(cell)}
    assert not {one for one in named if one[0].isupper()} - CLASSES


@pytest.mark.parametrize("row", PACKAGES, ids=lambda row: row["package"])
def test_a_package_has_the_modules_that_are_named(row: dict[str, str]) -> None:
    folders = [TOP / base / one for one in codes(row["package"]) for base in ("cdc", ".")]
    folders = [folder for folder in folders if folder.is_dir()]
    for one in codes(row["what happens there"]):
        if not re.fullmatch(r"[a-z_]+/?", one) or one in {"cdc", "status", "doctor", "explain"}:
            continue
        there = [folder / one.rstrip("/") for folder in folders]
        assert any(path.is_dir() or path.with_suffix(".py").is_file() for path in there), one


def test_every_package_is_named() -> None:
    there = {path.parent.name for path in (TOP / "cdc").glob("*/__init__.py")}
    named = {one.rstrip("/") for row in PACKAGES for one in codes(row["package"])}
    assert not there - named


def test_each_invariant_has_a_test() -> None:
    rows = table(TEXT, "invariant", "held by")
    assert len(rows) > 10
    assert all("tests/" in row["held by"] for row in rows)
