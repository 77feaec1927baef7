"""Each command's help has examples that it accepts; shells complete commands and options."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest

from cdc.cli import COMMANDS, load
from cdc.cli.examples import EXAMPLES
from tests.cli.command import Command
from tests.docs.test_commands import accepted


def leaves(command: Any, path: str) -> Iterator[str]:
    below = getattr(command, "commands", None)
    if below is None:
        yield path
        return
    for name, one in below.items():
        yield from leaves(one, f"{path} {name}")


ALL = {path for name in COMMANDS for path in leaves(load(name), name)}


def test_every_command_has_some() -> None:
    assert EXAMPLES.keys() == ALL


@pytest.mark.parametrize("path", sorted(ALL))
def test_they_are_shown_and_accepted(path: str) -> None:
    out = Command()(*path.split(), "--help").out
    assert "Examples:" in out
    for line in EXAMPLES[path]:
        assert f"\n {line}\n" in re.sub(r" +\n", "\n", out)
        words = shlex.split(re.split(r" [|>] ", line)[0])
        assert words[0] == "cdc"
        assert path in " ".join(words)
        accepted(words[1:])


@pytest.mark.parametrize("path", ["", "run", "triggers", "triggers plan", "webhook update"])
def test_help_is_for_people(path: str) -> None:
    """No type beside what takes no value, and no sentence broken in the middle of a line."""
    out = Command({"COLUMNS": "80"})(*path.split(), "--help").out
    assert "<bool>" not in out
    before = out.partition("Options")[0]
    for line, after in pairwise(line.strip() for line in before.splitlines()):
        room = 78 - len(line)
        assert not (line and after) or len(after.split()[0]) >= room, f"{line!r} has room"


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        ("cdc st", "status"),
        ("cdc webhook rot", "rotate-secret"),
        ("cdc status --wat", "--watch"),
        ("cdc explain --comp", "--company"),
    ],
)
def test_shells_complete(words: str, completed: str) -> None:
    env = {
        "_CDC_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split()) - 1),
    }
    # As installed: the name of the program is part of the protocol.
    main = "import sys; sys.argv[0] = 'cdc'; from cdc.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", main], env={**os.environ, **env}, capture_output=True, text=True
    )
    assert done.stdout.split() == [completed]
