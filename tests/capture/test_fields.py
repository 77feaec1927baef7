"""Declared fields are checked against the table."""

from __future__ import annotations

import pytest

from cdc.capture import check
from cdc.errors import MappingError
from cdc.mapping import parse_mapping
from tests.capture.kit import Suite
from tests.mapping.test_fields import declared


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (
            'fields = ["nam"]',
            'fields: table public.candidate has no column "nam", did you mean name?',
        ),
        ('changed_at = "at"', 'changed_at: table public.candidate has no column "at"'),
        (
            'changed_at = "name"',
            'changed_at: column "name" of public.candidate is of type text; expected a timestamp',
        ),
    ],
)
def test_the_columns_have_to_be_there(own_suite: Suite, line: str, says: str) -> None:
    with pytest.raises(MappingError) as caught:
        check.check(own_suite.conn, parse_mapping(declared(line), "x"))
    assert caught.value.message == f"resources.candidate.{says}"


def test_columns_that_are_there_are_accepted(own_suite: Suite) -> None:
    own_suite.run("alter table candidate add modified_at timestamptz, add changed timestamp(3)")
    for column in ("modified_at", "changed"):
        text = declared('fields = ["name", "id"]', "deleted = true", f'changed_at = "{column}"')
        assert check.check(own_suite.conn, parse_mapping(text, "x"))
