"""Commits have the form that CONTRIBUTING.md asks for."""

from __future__ import annotations

import re
import subprocess

import pytest

from tests.house.files import TOP

BEFORE_THE_RULE = "bae5d41e"
SUBJECT = re.compile(r"[a-z0-9][a-z0-9_./, -]*: \S.*[^.]")
LONGEST_SUBJECT = 72


def wrong(subjects: list[str]) -> list[str]:
    return [s for s in subjects if len(s) > LONGEST_SUBJECT or not SUBJECT.fullmatch(s)]


def test_subjects_are_an_area_and_what_it_does() -> None:
    git = ["git", "-C", str(TOP), "log", "--no-merges", "--format=%s", f"{BEFORE_THE_RULE}..HEAD"]
    done = subprocess.run(git, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("no clone, or one without history")
    assert not wrong(done.stdout.splitlines())


def test_others_are_found() -> None:
    bad = [
        "Fix it",
        "cdc: ends with a stop.",
        "Area: in capitals",
        "area:no space",
        f"a: {'x' * 70}",
    ]
    assert wrong(bad) == bad
    assert not wrong([f"a: {'x' * 69}", "status, explain: the advice is for the cause"])
