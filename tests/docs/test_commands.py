"""Every command that a page, a message or a container file names is one that the program has."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.main import get_command

from cdc.capture.rights import AGAIN
from cdc.causes import cause_of
from cdc.cli import COMMANDS, app
from cdc.diagnosis.doctor.check import fail
from cdc.guides import located
from tests.docs.pages import console, mentioned, page, pages
from tests.house.files import TOP, files, name


def accepted(words: list[str]) -> None:
    """Raises what the command line raises for arguments that it does not take."""
    command: Any = get_command(app)
    context = command.make_context("cdc", list(words))
    while hasattr(command, "resolve_command"):
        rest = [*context._protected_args, *context.args]
        found, command, rest = command.resolve_command(context, rest)
        context = command.make_context(found, rest, parent=context)


def known(words: list[str]) -> bool:
    """Whether a command and the options that are named exist; arguments may be left out."""
    command: Any = get_command(app)
    context = command.make_context("cdc", [], resilient_parsing=True)
    options = set(_options(command))
    for word in words:
        if word.startswith("--"):
            if word.split("=")[0] not in options:
                return False
        elif hasattr(command, "resolve_command") and re.fullmatch(r"[a-z-]+", word):
            _, command, _ = command.resolve_command(context, [word])
            if command is None:
                return False
            context = command.make_context(word, [], parent=context, resilient_parsing=True)
            options = set(_options(command))
    return True


def _options(command: Any) -> list[str]:
    return ["--help", *(option for param in command.params for option in param.opts)]


@pytest.mark.parametrize("path", pages(), ids=name)
def test_commands_to_type_are_accepted(path: Path) -> None:
    for words in console(path.read_text("utf-8")):
        if words[0].rpartition("/")[2] == "cdc":
            try:
                accepted(words[1:])
            except typer.Exit:  # --version and --help are done at once
                continue
            except Exception as error:
                raise AssertionError(f"{' '.join(words)}: {error}") from error


def test_commands_that_are_mentioned_exist() -> None:
    """In the guides, and in messages, hints and comments."""
    unknown = {
        f"{name(path)}: {' '.join(words)}"
        for path in (*pages(), *files(".py", ".sql", ".toml", ".yml"))
        for words in mentioned(path.read_text("utf-8"))
        if not known(words)
    }
    assert not unknown


@pytest.mark.parametrize("path", pages(), ids=name)
def test_files_given_to_psql_are_there(path: Path) -> None:
    lines = [words for words in console(path.read_text("utf-8")) if words[0] == "psql"]
    named = [words[words.index("-f") + 1] for words in lines if "-f" in words]
    assert not [file for file in named if not (TOP / file).exists()]


def test_files_that_messages_name_are_found_also_where_only_the_wheel_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """By one way of naming them, which ``located`` knows."""
    monkeypatch.chdir(tmp_path)
    named = {
        word
        for path in files(".py")
        if path.relative_to(TOP).parts[0] == "cdc"
        for sentence in sentences(path)
        for word in re.findall(r"(?<![\w/])(?:\w+/[\w/]+|\d\d_\w+)\.(?:md|sql)\b", sentence)
    }
    assert {"docs/dba.md", "sql/schema/90_grants.sql"} <= named
    assert not [word for word in named if not Path(located(word)).is_file()]


def sentences(path: Path) -> Iterator[str]:
    """What a module says: its texts with a blank in them, but for docstrings and SQL's comments."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        parts = ast.iter_child_nodes(node) if not isinstance(node, ast.Expr) else ()
        found = [part.value for part in parts if isinstance(part, ast.Constant)]
        for text in found:
            if isinstance(text, str) and " " in text and not re.search(r"(?m)^\s*--", text):
                yield text


def test_remedies_are_located_wherever_they_are_shown(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    guide, grants = str(TOP / "docs/protocol.md"), str(TOP / "sql/schema/90_grants.sql")
    assert guide in cause_of("status", 400, "").todo_for(1)
    assert grants in fail("a right is lacking", AGAIN).todo
    assert located(located(AGAIN)) == located(AGAIN)


def test_the_check_would_notice() -> None:
    assert known(["webhook", "add", "--event"])
    assert not known(["webhook", "invent"])
    assert not known(["webhook", "add", "--invented"])
    with pytest.raises(Exception, match="No such option"):
        accepted(["status", "--invented"])
    with pytest.raises(Exception, match="Missing"):
        accepted(["webhook", "add", "--company", "1"])


def test_every_command_is_documented() -> None:
    everything = "\n".join(page.read_text("utf-8") for page in pages())
    assert not [command for command in COMMANDS if f"cdc {command}" not in everything]


def test_make_targets_exist() -> None:
    makefile = page("Makefile")
    named = {target for path in pages() for target in _made(path.read_text("utf-8"))}
    assert named
    assert not [target for target in named if f"\n.PHONY: {target}\n" not in makefile]


def _made(text: str) -> list[str]:
    return re.findall(r"(?:`|\$ )make ([a-z]+)", text)
