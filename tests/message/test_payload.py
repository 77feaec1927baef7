"""Queue row -> bytes. Pure: no database, no clock."""

from __future__ import annotations

import gc
import json
import tracemalloc
from datetime import UTC, datetime, timedelta, timezone
from urllib.parse import urljoin

import pytest

from cdc.mapping import Mapping, default_mapping, parse_mapping, plan_joins
from cdc.message.payload import Translator, Untranslatable
from cdc.model import UNFIT, Delivery, Layout

TIME = datetime(2015, 3, 16, 15, 32, 34, 174752, tzinfo=UTC)
ENDPOINT = "https://abc.com/project"
SUITE = "https://interview-suite.com/api/v3/"


def delivery(
    event: str, *, mapping: Mapping | None = None, time: datetime = TIME, **refs: str | None
) -> Delivery:
    """A queue row of an event; references that are not given are null."""
    mapping = mapping or default_mapping()
    layout = plan_joins(mapping, mapping.events[event]).layout
    values = tuple(refs.get(field.replace(".", "_")) for field in layout.fields)
    return Delivery(1, 1, 1, "uid", layout, "modified", time, values)


def body(row: Delivery, mapping: Mapping | None = None, base_url: str | None = None) -> str:
    return Translator(mapping or default_mapping(), base_url).body(row, ENDPOINT).decode("ascii")


def url_of(row: Delivery, member: str, base_url: str | None = None) -> str | None:
    found: str | None = json.loads(body(row, base_url=base_url))["data"][member]
    return found


def test_the_body_of_the_documentation() -> None:
    assert body(delivery("project_changed", company="1", project="17")) == (
        '{"endpoint": "https://abc.com/project", "time": "2015-03-16T15:32:34.174752+00:00",'
        ' "event": "project_changed", "data": {"action": "modified", "project":'
        ' "https://interview-suite.com/api/v3/companies/1/projects/17/"}}'
    )


def test_the_same_row_gives_the_same_bytes() -> None:
    row = delivery("project_changed", company="1", project="17")
    assert {body(row), body(row), Translator(default_mapping()).body(row, ENDPOINT).decode()} == {
        body(row)
    }


@pytest.mark.parametrize(
    ("time", "written"),
    [
        (datetime(2015, 3, 16, 15, 32, 34, tzinfo=UTC), "2015-03-16T15:32:34.000000+00:00"),
        (datetime(2015, 3, 16, 15, 32, 34, 5, tzinfo=UTC), "2015-03-16T15:32:34.000005+00:00"),
        (
            datetime(2015, 1, 1, 0, 30, 0, 120000, tzinfo=timezone(timedelta(hours=2))),
            "2014-12-31T22:30:00.120000+00:00",
        ),
        (datetime(999, 1, 1, tzinfo=UTC), "0999-01-01T00:00:00.000000+00:00"),
    ],
)
def test_six_digits_and_utc_always(time: datetime, written: str) -> None:
    row = delivery("project_changed", company="1", project="17", time=time)
    assert f'"time": "{written}"' in body(row)


@pytest.mark.parametrize(
    ("event", "members"),
    [
        ("project_changed", ["action", "project"]),
        ("candidate_changed", ["action", "project", "candidate"]),
        ("answervideo_changed", ["action", "project", "candidate", "question", "answervideo"]),
        ("rating_changed", ["action", "project", "candidate", "rating"]),
        ("note_changed", ["action", "project", "customer", "answervideo", "candidate", "note"]),
    ],
)
def test_the_keys_and_their_order_whatever_is_missing(event: str, members: list[str]) -> None:
    for company in (None, "1"):
        text = body(delivery(event, company=company))
        parsed = json.loads(text)
        assert list(parsed) == ["endpoint", "time", "event", "data"]
        assert list(parsed["data"]) == members
        assert set(list(parsed["data"].values())[1:]) == {None}
        # As a person writes it: a space after each colon and comma.
        assert text == json.dumps(parsed)


def test_an_address_needs_all_of_its_parents() -> None:
    row = delivery("candidate_changed", company="1", candidate="19")
    assert url_of(row, "project") is None
    assert url_of(row, "candidate") is None
    row = delivery("candidate_changed", project="17", candidate="19")
    assert url_of(row, "project") is None


def test_of_several_templates_the_first_that_can_be_filled() -> None:
    row = delivery("rating_changed", company="1", project="17", candidate="19", rating="9")
    assert url_of(row, "rating") == f"{SUITE}companies/1/projects/17/candidates/19/ratings/9/"
    row = delivery("rating_changed", company="1", rating="9")
    assert url_of(row, "rating") == f"{SUITE}companies/1/ratings/9/"
    assert url_of(delivery("rating_changed", rating="9"), "rating") is None


def test_a_parent_seen_from_another_parent() -> None:
    """A question lies below its own project, a candidate below the row's."""
    row = delivery(
        "answervideo_changed",
        company="1", project="17", candidate="19", question="123", question_project="15",
        answervideo="7",
    )  # fmt: skip
    assert url_of(row, "project") == f"{SUITE}companies/1/projects/17/"
    assert url_of(row, "question") == f"{SUITE}companies/1/projects/15/questions/123/"
    assert url_of(row, "candidate") == f"{SUITE}companies/1/projects/17/candidates/19/"


@pytest.mark.parametrize(
    ("base_url", "own", "address"),
    [
        (None, None, "https://interview-suite.com/api/v3/companies/1/projects/17/"),
        (None, "", "https://interview-suite.com/api/v3/companies/1/projects/17/"),
        (
            None,
            "acme-inc.interview-suite.com",
            "https://acme-inc.interview-suite.com/api/v3/companies/1/projects/17/",
        ),
        (None, "localhost:8000", "https://localhost:8000/api/v3/companies/1/projects/17/"),
        (None, "http://acme.test/x", "http://acme.test/x/companies/1/projects/17/"),
        (None, "http://acme.test/x/", "http://acme.test/x/companies/1/projects/17/"),
        ("http://test/v4", None, "http://test/v4/companies/1/projects/17/"),
        ("http://test/v4/", None, "http://test/v4/companies/1/projects/17/"),
        ("http://test/v4/", "acme.test", "http://acme.test/v4/companies/1/projects/17/"),
        ("http://test/v4/", "https://a.test/", "https://a.test/companies/1/projects/17/"),
        ("http://test/v4/", " https://a.test/\n", "https://a.test/companies/1/projects/17/"),
        ("http://test/v4/", "a.test\n", "http://a.test/v4/companies/1/projects/17/"),
        ("http://test/v4/", " \n", "http://test/v4/companies/1/projects/17/"),
    ],
)
def test_where_addresses_begin(base_url: str | None, own: str | None, address: str) -> None:
    row = delivery("project_changed", base=own, company="1", project="17")
    assert url_of(row, "project", base_url) == address


@pytest.mark.parametrize(
    ("key", "segment"),
    [
        ("17", "17"),
        ("-3", "-3"),
        ("3f0b2c1e-1111-4222-8333-444455556666", "3f0b2c1e-1111-4222-8333-444455556666"),
        ("a b/c?d#e%f", "a%20b%2Fc%3Fd%23e%25f"),
        ("größe", "gr%C3%B6%C3%9Fe"),
        ("٣", "%D9%A3"),
        ('"quoted"\\', "%22quoted%22%5C"),
    ],
)
def test_a_key_is_one_segment_of_a_path(key: str, segment: str) -> None:
    row = delivery("project_changed", company="1", project=key)
    assert url_of(row, "project") == f"{SUITE}companies/1/projects/{segment}/"


@pytest.mark.parametrize("key", ["...", ".a", "a.", "-", "~", "%2e%2e"])
def test_dots_within_a_key_lead_nowhere(key: str) -> None:
    row = delivery("rating_changed", company="1", project="17", candidate="19", rating=key)
    address = url_of(row, "rating")
    assert address is not None
    ratings = f"{SUITE}companies/1/projects/17/candidates/19/ratings/"
    assert urljoin(ratings, address) == address
    assert address.startswith(ratings)


@pytest.mark.parametrize("key", [".", ".."])
@pytest.mark.parametrize("part", ["company", "project", "candidate", "rating"])
def test_a_key_that_would_lead_to_another_resource_is_refused(part: str, key: str) -> None:
    """Percent-encoded too it would be taken for a step up, by browsers and others."""
    translator = Translator(default_mapping())
    good = delivery("rating_changed", company="1", project="17", candidate="19", rating="9")
    translator.body(good, ENDPOINT)
    bad = delivery("rating_changed", company="1", project="17", candidate="19", rating="9")
    place = bad.layout.fields.index(part)
    bad.refs = (*bad.refs[:place], key, *bad.refs[place + 1 :])
    for _ in range(2):
        with pytest.raises(Untranslatable, match="lead to another resource"):
            translator.body(bad, ENDPOINT)
    assert b"ratings/9/" in translator.body(good, ENDPOINT)


@pytest.mark.parametrize(
    "endpoint",
    ['https://abc.com/"x"', "https://abc.com/ü", "https://abc.com/\\", "https://a/\u2028"],
)
def test_the_endpoint_is_json_whatever_it_holds(endpoint: str) -> None:
    row = delivery("project_changed", company="1", project="17")
    made = Translator(default_mapping()).body(row, endpoint)
    assert json.loads(made)["endpoint"] == endpoint
    assert made.isascii()


def test_long_keys_are_not_kept_in_memory() -> None:
    """What is kept of payloads saves work, and must not fill the memory where keys are long."""
    translator = Translator(default_mapping())

    def below(project: str) -> Delivery:
        return delivery("rating_changed", company="1", project=project, candidate="19", rating="9")

    translator.body(below("17"), ENDPOINT)
    tracemalloc.start()
    try:
        for n in range(300):
            translator.body(below(f"{n:02000}"), ENDPOINT)
        gc.collect()  # of the mapping that each row of these tests reads, not of the translator's
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 300_000


def test_keys_that_were_not_brought() -> None:
    row = delivery("project_changed", company="1", project="17")
    row.layout, row.refs = Layout(UNFIT, "project_changed", ()), ("unfit", "uid")
    with pytest.raises(Untranslatable, match="exceed the daemon's limit"):
        body(row)


def test_an_event_that_the_mapping_no_longer_has() -> None:
    row = delivery("project_changed", company="1", project="17")
    row.layout = Layout(5, "project_deleted", row.layout.fields)
    with pytest.raises(Untranslatable) as caught:
        body(row)
    assert "no event 'project_deleted'" in caught.value.message
    assert "Put the event back" in caught.value.hint


def test_a_row_of_an_older_layout() -> None:
    """It says what it holds; what it does not hold is null."""
    layout = Layout(5, "rating_changed", ("base", "company", "candidate", "rating"))
    row = Delivery(1, 1, 1, "uid", layout, "created", TIME, (None, "1", "19", "9"))
    assert json.loads(body(row))["data"] == {
        "action": "created",
        "project": None,
        "candidate": None,
        "rating": f"{SUITE}companies/1/ratings/9/",
    }


def test_more_hosts_than_are_remembered() -> None:
    translator = Translator(default_mapping())
    row = delivery("project_changed", company="1", project="17")
    for number in (*range(10_050), 10_049, 3):
        row.refs = (f"c{number}.test", "1", "17")
        assert f"https://c{number}.test/api/v3/".encode() in translator.body(row, ENDPOINT)


def test_addresses_above_addresses() -> None:
    """A grandparent seen from a parent of its own, at every step."""
    mapping = parse_mapping(
        """
        base_url = "https://x.test/"
        [company]
        table = "company"
        key = "id"
        url = "{company}/"
        [resources.region]
        table = "region"
        key = "id"
        parents = { company = "company_id" }
        url = "{company}r/{region}/"
        [resources.shop]
        table = "shop"
        key = "id"
        parents = { region = "region_id" }
        url = "{region}s/{shop}/"
        [resources.seller]
        table = "seller"
        key = "id"
        parents = { shop = "shop_id" }
        url = "{shop}e/{seller}/"
        [resources.ware]
        table = "ware"
        key = "id"
        parents = { shop = "shop_id" }
        url = "{shop}w/{ware}/"
        [resources.sale]
        table = "sale"
        key = "id"
        parents = { seller = "seller_id", ware = "ware_id" }
        url = "{seller}sales/{sale}/"
        event = "sold"
        data = ["sale", "ware", "shop", "region"]
        """,
        "shops.toml",
    )
    row = delivery(
        "sold", mapping=mapping, company="c", region="r1", shop="s1", seller="e", ware="w",
        ware_shop="s2", ware_shop_region="r2", sale="1",
    )  # fmt: skip
    assert json.loads(body(row, mapping))["data"] == {
        "action": "modified",
        "sale": "https://x.test/c/r/r1/s/s1/e/e/sales/1/",
        "ware": "https://x.test/c/r/r2/s/s2/w/w/",
        "shop": "https://x.test/c/r/r1/s/s1/",
        "region": "https://x.test/c/r/r1/",
    }


def test_a_row_is_read_by_its_own_layout() -> None:
    """Equal references mean something else in another layout, or for another event: of what is kept
    of one payload nothing may get into the other."""
    translator = Translator(default_mapping())
    layouts = [
        Layout(5, "candidate_changed", ("base", "company", "project", "candidate")),
        Layout(6, "candidate_changed", ("base", "project", "company", "candidate")),
        Layout(7, "rating_changed", ("base", "company", "candidate", "rating")),
        Layout(8, "rating_changed", ("base", "note", "company", "rating")),
    ]
    rows = [
        Delivery(1, 1, 1, "uid", layout, "modified", TIME, (None, "1", "2", key))
        for layout in layouts
        for key in ("3", "4")
    ]
    alone = [Translator(default_mapping()).body(row, ENDPOINT) for row in rows]
    assert len(set(alone)) == len(rows)
    for _ in range(2):
        assert [translator.body(row, ENDPOINT) for row in rows] == alone
    assert b"companies/1/projects/2/candidates/3/" in alone[0]
    assert b"companies/2/projects/1/candidates/3/" in alone[2]
