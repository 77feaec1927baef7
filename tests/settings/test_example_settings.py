"""`cdc config default`: every key, and defaults that are accepted and change nothing."""

from __future__ import annotations

import re
from pathlib import Path

from cdc.settings import Settings, default_file, describe, load
from tests.cli.command import Command


def test_every_key_is_there_once() -> None:
    assert re.findall(r"^#(\w+) = ", default_file(), re.MULTILINE) == [k.name for k in describe()]
    assert Command()("config", "default").out == default_file()


def test_as_it_is_it_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "cdc.toml"
    file.write_text(default_file())
    assert load(file, need_database=False).model_dump() == Settings().model_dump()


def test_with_all_keys_uncommented_it_says_the_defaults(tmp_path: Path) -> None:
    file = tmp_path / "cdc.toml"
    lines = [line for line in default_file().splitlines() if not line.endswith("# none")]
    text = re.sub(r"^#(?=\w+ = )", "", "\n".join(lines), flags=re.MULTILINE)
    file.write_text(text)
    found = load(file)
    assert found.database_url == "postgresql://user:password@host:5432/database"
    values = found.model_dump(exclude={"database_url"})
    assert values == Settings().model_dump(exclude={"database_url"})
    assert {key for key, source in found.sources.items() if source == "default"} == {
        key for key, value in Settings().model_dump().items() if value is None
    }
