"""Texts of a mapping break out of nothing that is made of them."""

from __future__ import annotations

from cdc.capture import script
from cdc.mapping import default_mapping
from cdc.mapping.load import parse_mapping
from tests.capture.kit import Suite


def test_a_comment_of_the_mapping_stays_text(own_suite: Suite) -> None:
    """In a session where a backslash begins an escape."""
    text = default_mapping().source + "\n# \\'; select set_config('cdc.taken', 'yes', false); --\n"
    mapping = parse_mapping(text, "it")
    last = script.offline(mapping).rpartition("update cdc.installation")
    own_suite.run("set standard_conforming_strings = off; set escape_string_warning = off")
    own_suite.run(f"update cdc.installation{last[2]}")
    own_suite.run("reset standard_conforming_strings")
    assert own_suite.one("select mapping_source from cdc.installation") == text
    assert own_suite.one("select current_setting('cdc.taken', true)") in (None, "")
