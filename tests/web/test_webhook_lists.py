"""Lists of webhooks over the API: of a company, and of all."""

from __future__ import annotations

import pytest

from tests.web.kit import Client, Served
from tests.web.test_webhooks import add


@pytest.fixture(scope="module")
def operator(served: Served) -> Client:
    return served.client("operator")


@pytest.mark.parametrize("path", ["/v1/companies/5/webhooks", "/v1/webhooks"])
def test_pages_end_where_the_next_begins(operator: Client, path: str) -> None:
    made = [add(operator, "5")["id"] for _ in range(5)]
    everything = operator.good("GET", f"{path}?limit=200")["items"]
    wanted = [one["id"] for one in everything]
    assert wanted[-5:] == made
    seen: list[int] = []
    path += "?limit=2"
    cursor = ""
    while True:
        page = operator.good("GET", path + cursor)
        seen += [one["id"] for one in page["items"]]
        if page["next"] is None:
            break
        cursor = f"&after={page['next']}"
    assert seen == sorted(wanted)
    for bad in ("x", "bnVsbA", "WyJhIl0"):
        assert operator.refused("GET", f"{path}&after={bad}") == (400, "invalid_cursor")


def test_the_list_of_all_companies_is_narrowed_as_that_of_one(operator: Client) -> None:
    def numbers(query: str) -> list[int]:
        return [one["id"] for one in operator.good("GET", f"/v1/webhooks?{query}")["items"]]

    one, other = (add(operator, company, ref="of-both")["id"] for company in ("8", "9"))
    asked = add(operator, "9", events=["note_changed"])["id"]
    assert numbers("ref=of-both") == [one, other]
    assert numbers("ref=of-both&company=9") == [other]
    assert numbers("event=note_changed") == [asked]
    assert numbers("event=note_changed&company=8") == []
    assert numbers("company=no-such") == []
    operator.good("POST", f"/v1/webhooks/{one}/pause", {})
    assert numbers("ref=of-both&state=paused") == [one]
    assert operator("DELETE", f"/v1/webhooks/{one}").status == 204
    assert numbers("ref=of-both") == [other]
    assert numbers("ref=of-both&state=removed") == [one]


def test_pages_are_stable_while_webhooks_come_and_go(operator: Client) -> None:
    """Each that is there all the time comes once, whatever is before or behind the place."""
    stay = [add(operator, company)["id"] for company in ("6", "4", "6", "4")]
    page = operator.good("GET", "/v1/webhooks?limit=200")
    place = [one["id"] for one in page["items"]].index(stay[1]) + 1
    first = operator.good("GET", f"/v1/webhooks?limit={place}")
    assert [one["id"] for one in first["items"]][-2:] == stay[:2]
    # The last of the page, at which the cursor stands, and one of the next.
    for number in stay[1:3]:
        assert operator("DELETE", f"/v1/webhooks/{number}").status == 204
    added = add(operator, "1")["id"]
    following = operator.good("GET", f"/v1/webhooks?limit=200&after={first['next']}")
    assert [one["id"] for one in following["items"]] == [stay[3], added]
    assert following["next"] is None
