"""What a mapping declares beyond addresses: fields, deletes, the time of the last change."""

from __future__ import annotations

import pytest

from cdc.mapping import parse_mapping
from tests.mapping.test_load import refused, small

EVENT = 'event = "candidate_changed"'


def declared(*lines: str) -> str:
    """The small mapping, with more lines for the candidate."""
    return small((EVENT, "\n".join((EVENT, *lines))))


def test_what_is_declared_is_read() -> None:
    lines = (
        'fields = ["status", \'"Evaluation Status"\', "SCORE"]',
        "deleted = true",
        'changed_at = "modified_at"',
    )
    candidate = parse_mapping(declared(*lines), "x").resources["candidate"]
    assert candidate.fields == ("status", "Evaluation Status", "score")
    assert candidate.deleted
    assert candidate.changed_at == "modified_at"


def test_nothing_is_declared_by_default() -> None:
    candidate = parse_mapping(small(), "x").resources["candidate"]
    assert (candidate.fields, candidate.deleted, candidate.changed_at) == (None, False, None)


def test_a_name_that_only_ends_like_a_credential_is_a_field() -> None:
    found = parse_mapping(declared('fields = ["monkey", "keyword"]'), "suite.toml")
    assert found.resources["candidate"].fields == ("monkey", "keyword")


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('fields = "status"', "fields: expected a list (found 'status')"),
        ('fields = ["a b"]', "fields: invalid SQL name 'a b'"),
        ('fields = ["status", "Status"]', "fields: names a column twice"),
        (
            'fields = ["interview_key"]',
            "fields: 'interview_key' holds a credential, by its name (*_key)",
        ),
        ('fields = ["Activation_KEY"]', "(*_key)"),
        ("fields = ['\"API_KEY\"']", "'API_KEY' holds a credential, by its name (*_key)"),
        ("fields = ['\"interviewKey\"']", "'interviewKey' holds a credential, by its name (*_key)"),
        ("fields = ['\"APIKey\"']", "'APIKey' holds a credential, by its name (*_key)"),
        ('fields = ["api_tokens"]', "(*token*)"),
        ('fields = ["password_hash"]', "(*password*)"),
        ('fields = ["clientsecret"]', "(*secret*)"),
        (f"fields = {[f'c{n}' for n in range(61)]}", "has 61 columns; expected at most 60"),
        ('deleted = "yes"', "deleted: expected true or false (found 'yes')"),
        ('changed_at = "a.b"', "changed_at: invalid column 'a.b': expected one name"),
        (
            'parents_if_there = { job = "job_id" }',
            "parents_if_there.job: unknown resource 'job'",
        ),
        ('parents_if_there = { project = "p" }', "parents_if_there.project: is one of its parents"),
        ('parents_if_there = { candidate = "c" }', "parents.candidate: a cycle"),
        ('changd_at = "a"', "changd_at: unknown key, did you mean 'changed_at'?"),
    ],
)
def test_a_wrong_declaration_is_refused_with_its_place(line: str, says: str) -> None:
    message = refused(declared(line))
    assert message.startswith("suite.toml: resources.candidate.")
    assert says in message


@pytest.mark.parametrize("line", ["fields = []", "deleted = true", 'changed_at = "a"'])
def test_it_is_only_of_use_with_an_event(line: str) -> None:
    message = refused(small((EVENT, line), ('data = ["project", "candidate"]', "")))
    assert message.endswith(f".{line.split()[0]}: is only of use with an event")


def test_each_declaration_has_a_fingerprint_of_its_own() -> None:
    texts = [
        declared(),
        declared("fields = []"),
        declared('fields = ["a"]'),
        declared('fields = ["a", "b"]'),
        declared("deleted = true"),
        declared('changed_at = "a"'),
    ]
    assert len({parse_mapping(text, "x").fingerprint for text in texts}) == len(texts)


def test_declaring_nothing_keeps_the_fingerprint() -> None:
    same = declared("deleted = false")
    assert parse_mapping(same, "x").fingerprint == parse_mapping(small(), "x").fingerprint
