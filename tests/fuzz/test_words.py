"""Random words on the command line, in settings and in mapping files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import tomli_w
from hypothesis import example, given
from hypothesis import strategies as st

from cdc.cli import COMMANDS, load
from cdc.errors import CdcError, ConfigError
from cdc.mapping import default_mapping, load_mapping
from cdc.settings import Settings, describe, values
from cdc.settings import load as load_settings
from tests.cli.command import Command
from tests.support.examples import examples

# No time limit for a single one: the machine may be busy. As many as are done in seconds.
FUZZ = examples(20)

# -- the command line -----------------------------------------------------------------------------


def commands() -> dict[tuple[str, ...], list[str]]:
    """All commands with the names of their options."""
    found: dict[tuple[str, ...], list[str]] = {}
    for name in COMMANDS:
        command = load(name)
        for words, one in [
            ((name,), command),
            *(((name, sub), one) for sub, one in getattr(command, "commands", {}).items()),
        ]:
            found[words] = [o for p in one.params for o in p.opts if o.startswith("--")]
    return found


ALL = commands()
# These go on until they are stopped, or for many minutes.
LASTING = {("run",), ("serve",), ("receive",), ("demo",), ("bench",)}
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)
ODD = st.sampled_from(
    ["", "-", "--", "0", "-1", "99999999999999999999", "nan", "1e999", "whsec_", "https://", "/",
     "https://[::1", "http://127.0.0.1:9/", "2025-13-45", "7d", "null", "%s", "{}", "\u202e"]
)  # fmt: skip
WORDS = st.one_of(TEXT, ODD)


@st.composite
def command_lines(draw: st.DrawFn) -> list[str]:
    words = draw(st.sampled_from(sorted(ALL)))
    options = st.sampled_from([*ALL[words], "--help"])
    line = [*words, *draw(st.lists(st.one_of(options, WORDS, WORDS), max_size=8))]
    if words in LASTING:
        # Twice, since an option before it takes the first for its value.
        line += ["--no-such-option"] * 2
    return line


@FUZZ
@given(line=command_lines(), stdin=st.text(max_size=50))
@example(line=["webhook", "show", "99999999999999999999"], stdin="")
@example(line=["webhook", "add", "--secret", "-"], stdin="")
@example(line=["--config", "\u202e", "status"], stdin="")
@example(line=["bench", "--report", "--no-such-option", "--no-such-option"], stdin="")
def test_the_command_line(line: list[str], stdin: str, tmp_path: Path) -> None:
    """No server answers at this address, so nothing is done: it only has to be said well."""
    command = Command({"CDC_DATABASE_URL": "postgresql://me:marked@127.0.0.1:1/x"})
    with elsewhere(tmp_path):
        done = command(*line, stdin=stdin)
    assert done.code in (0, 1, 2)
    assert "Traceback" not in done.err + done.out
    assert "marked" not in done.err + done.out


@contextmanager
def elsewhere(folder: Path) -> Iterator[None]:
    """A word may be taken for a file to write."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


# -- settings -------------------------------------------------------------------------------------

KEYS = [key.env for key in describe()]
TOML = st.recursive(
    st.one_of(st.booleans(), st.integers(-(2**62), 2**62), st.floats(), TEXT, st.dates()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXT, inner, max_size=3)),
    max_leaves=6,
)


@FUZZ
@given(st.dictionaries(st.sampled_from(KEYS), WORDS, max_size=4))
def test_settings_in_the_environment(given: dict[str, str]) -> None:
    with patch.dict(os.environ, given):
        settled(None)


@FUZZ
@given(
    content=st.dictionaries(
        st.one_of(st.sampled_from([key.name for key in describe()]), TEXT), TOML, max_size=4
    )
)
def test_settings_in_a_file(content: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "cdc.toml"
    path.write_text(tomli_w.dumps(content), encoding="utf-8")
    settled(path)


@FUZZ
@given(content=st.binary(max_size=200))
def test_a_settings_file_of_anything(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "cdc.toml"
    path.write_bytes(content)
    settled(path)


def settled(path: Path | None) -> None:
    """Settings, or an error that names what is wrong."""
    try:
        found = load_settings(path, need_database=False)
    except CdcError as error:
        assert_explained(error)
    else:
        assert isinstance(found, Settings)
        assert values(found)


def assert_explained(error: CdcError) -> None:
    assert error.message
    assert error.hint or not isinstance(error, ConfigError)


# -- mapping files --------------------------------------------------------------------------------

DEFAULT = default_mapping().source


@st.composite
def nearly_right(draw: st.DrawFn) -> str:
    """The default mapping with some of its lines changed, doubled, taken away or moved."""
    lines = DEFAULT.splitlines()
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(lines) - 1))
        match draw(st.sampled_from(["drop", "double", "move", "value", "text", "part"])):
            case "drop":
                del lines[at]
            case "double":
                lines.insert(at, lines[at])
            case "move":
                lines.insert(draw(st.integers(0, len(lines) - 1)), lines.pop(at))
            case "value":
                name = lines[at].partition("=")[0]
                value = tomli_w.dumps({"x": draw(TOML)}).partition("=")[2]
                lines[at] = f"{name}={value}"
            case "text":
                lines[at] = draw(TEXT)
            case "part":
                lines[at] = lines[at][: draw(st.integers(0, len(lines[at])))]
    return "\n".join(lines)


@FUZZ
@given(text=st.one_of(nearly_right(), TEXT))
def test_mapping_files(text: str, tmp_path: Path) -> None:
    path = tmp_path / "mapping.toml"
    path.write_text(text, encoding="utf-8")
    try:
        found = load_mapping(path)
    except CdcError as error:
        assert_explained(error)
    else:
        assert found.fingerprint
        assert found.events


@FUZZ
@given(content=st.dictionaries(st.sampled_from(["company", "resources", "api", "x"]), TOML))
def test_mapping_files_of_any_structure(content: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "mapping.toml"
    path.write_text(tomli_w.dumps(content), encoding="utf-8")
    try:
        load_mapping(path)
    except CdcError as error:
        assert_explained(error)
