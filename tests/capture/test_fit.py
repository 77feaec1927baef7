"""The default mapping on a suite whose tables lack columns of it; a file of one's own is strict."""

from __future__ import annotations

import pytest

from cdc.capture import check
from cdc.errors import MappingError
from cdc.mapping import default_mapping, parse_mapping
from tests.capture.kit import Suite
from tests.cli.command import Command

API = "https://interview-suite.com/api/v3/companies/1/"
VIDEO = "alter table rating add answervideo_id bigint references answervideo"
WITHOUT_PARENT = f"{VIDEO}; alter table rating drop column candidate_id"
OVER_VIDEO = (
    "insert into answervideo values (8, 19, 123);"
    " insert into rating (id, answervideo_id) values (30, 8)"
)


def post(suite: Suite) -> str:
    """The data of the one delivery there is."""
    [body] = suite.posts()
    return body.split('"data": ', 1)[1].removesuffix("}")


CANDIDATE = f"{API}projects/17/candidates/19/"
OWN = (
    f'{{"action": "created", "project": "{API}projects/17/", "candidate": "{CANDIDATE}", '
    f'"rating": "{CANDIDATE}ratings/30/"}}'
)


@pytest.mark.parametrize(
    ("tables", "change", "data"),
    [
        (VIDEO, OVER_VIDEO, OWN),
        (VIDEO, "insert into rating (id, candidate_id) values (30, 19)", OWN),
        (WITHOUT_PARENT, OVER_VIDEO, OWN),
    ],
)
def test_the_paths_are_those_of_the_columns_there(
    own_suite: Suite, tables: str, change: str, data: str
) -> None:
    own_suite.run(tables)
    own_suite.install()
    own_suite.register("1", "rating_changed")
    own_suite.run(change)
    assert not own_suite.unresolved()
    assert post(own_suite) == data
    assert own_suite.install() == []
    assert set(own_suite.states().values()) == {"installed"}


def test_it_is_the_mapping_that_daemons_know(own_suite: Suite) -> None:
    """What is noted as installed is the declaration, whatever the tables lack."""
    own_suite.run(WITHOUT_PARENT)
    cdc = Command({"CDC_DATABASE_URL": own_suite.url})
    assert cdc.json("triggers", "plan")["not_captured"] == [
        "public.rating has no column candidate_id: the path from rating to candidate is left out."
    ]
    cdc.good("triggers", "install")
    assert own_suite.one("select mapping from cdc.installation") == default_mapping().fingerprint
    assert cdc.json("triggers", "status")["ok"]
    own_suite.run(OVER_VIDEO)
    assert "Company 1 has no webhook" in cdc("explain", "rating", "30").out
    cdc.good("triggers", "off")
    cdc.good("triggers", "on")
    assert set(own_suite.states().values()) == {"installed"}


def test_one_path_has_to_lead_to_the_company(own_suite: Suite) -> None:
    own_suite.run("alter table rating drop column candidate_id")
    with pytest.raises(
        MappingError, match=r'rating.parents.candidate: .* no column "candidate_id"'
    ):
        check.check(own_suite.conn, own_suite.mapping)


def test_the_default_is_as_it_was_where_there_is_no_more(own_suite: Suite) -> None:
    """Adding a column changes nothing until the next installation."""
    assert own_suite.install() == []
    own_suite.run(VIDEO)
    assert own_suite.states()["public.rating"] == "outdated"
    assert [step.why for step in own_suite.install()][-1:] != []
    assert set(own_suite.states().values()) == {"installed"}


def test_a_file_is_strict(own_suite: Suite) -> None:
    own_suite.run(WITHOUT_PARENT)
    own = parse_mapping(default_mapping().source, "own.toml")
    with pytest.raises(MappingError, match='no column "candidate_id"'):
        check.check(own_suite.conn, own)
