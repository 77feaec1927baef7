"""Values that a webhook includes: members at the end of ``data``. Pure."""

from __future__ import annotations

import json

import pytest

from tests.message.test_payload import body, delivery


@pytest.mark.parametrize(
    ("included", "end"),
    [
        (None, '/candidates/19/"}}'),
        ('{"changed": [], "fields": {}}', '/candidates/19/", "changed": [], "fields": {}}}'),
        (
            '{"changed": ["a"], "fields": '
            '{"a": 1.50, "b": "\u00e9\u2028\U0001f600", "\u00e9": null}}',
            '/candidates/19/", "changed": ["a"], "fields": '
            '{"a": 1.50, "b": "\\u00e9\\u2028\\ud83d\\ude00", "\\u00e9": null}}}',
        ),
        (
            ' {"fields":{"n": 12345678901234567890.10, "k":"\\ud800\\u0000"}}\n',
            '/candidates/19/", "fields":{"n": 12345678901234567890.10, "k":"\\ud800\\u0000"}}}',
        ),
        # Not written by capture: what is JSON, and no object of members.
        ("{}", '/candidates/19/"}}'),
        ("[1]", '/candidates/19/"}}'),
        ('"{}"', '/candidates/19/"}}'),
        ("null", '/candidates/19/"}}'),
    ],
)
def test_included_values_are_at_the_end(included: str | None, end: str) -> None:
    """As the database has written them, in ASCII."""
    row = delivery("candidate_changed", company="1", project="17", candidate="19")
    row.included = included
    made = body(row)
    assert made.endswith(end), made
    json.loads(made)
