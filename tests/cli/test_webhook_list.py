"""`cdc webhook list` where there are many."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from cdc.mapping import default_mapping, load_mapping
from tests.cli.command import Command


def test_a_long_list_is_cut_and_says_so(cdc: Command, db: psycopg.Connection) -> None:
    db.execute(
        "insert into cdc.webhook (company, endpoint)"
        " select '1', 'http://127.0.0.1:9/' || n from generate_series(1, 250) n"
    )
    done = cdc.good("webhook", "list")
    assert done.out.count("http://") == 200
    assert "more than 200 webhooks" in done.err
    assert cdc.good("webhook", "list", "--limit", 3).out.count("http://") == 3
    done = cdc.good("webhook", "list", "--limit", 250)
    assert (done.out.count("http://"), done.err) == (250, "")
    assert len(cdc.json("webhook", "list")) == 250


def test_it_is_of_all_companies_and_narrowed_as_the_api_narrows(
    cdc: Command, db: psycopg.Connection
) -> None:
    db.execute(
        "insert into cdc.webhook (company, endpoint, ref) values ('1', 'http://127.0.0.1:9/', 'a'),"
        " ('2', 'http://127.0.0.1:9/', 'a'), ('2', 'http://127.0.0.1:9/', 'b')"
    )

    def refs(*options: str) -> list[tuple[str, str]]:
        return [(o["company"], o["ref"]) for o in cdc.json("webhook", "list", *options)]

    assert refs() == [("1", "a"), ("2", "a"), ("2", "b")]
    assert refs("--ref", "a") == [("1", "a"), ("2", "a")]
    assert refs("--ref", "a", "--company", "2") == [("2", "a")]
    assert "No such webhooks." in cdc.good("webhook", "list", "--ref", "c").err


class TestCompanyNames:
    @pytest.fixture
    def cdc(self, cdc: Command, db: psycopg.Connection, tmp_path: Path) -> Command:
        """With a mapping that knows where names are; of three companies two have the same."""
        path = tmp_path / "mapping.toml"
        source = default_mapping().source
        path.write_text(source.replace('# name = "name"', 'name = "name"'))
        assert load_mapping(path).fingerprint == default_mapping().fingerprint
        db.execute("insert into company values (3, '3'), (17, 'Acme'), (18, 'Beta'), (19, 'Beta')")
        cdc.env["CDC_MAPPING"] = str(path)
        return cdc

    def test_are_shown_beside_the_keys(self, cdc: Command) -> None:
        number = cdc.add(company="17")["id"]
        cdc.add(company="4711")
        listed = cdc.json("webhook", "list")
        assert [one["company_name"] for one in listed] == ["Acme", None]
        assert "17 (Acme)" in cdc.good("webhook", "list").out
        assert "17 (Acme)" in cdc.good("webhook", "show", number).out
        assert cdc.json("webhook", "show", number)["company_name"] == "Acme"

    def test_are_accepted_for_the_keys(self, cdc: Command, db: psycopg.Connection) -> None:
        number = cdc.add(company="Acme")["id"]
        assert cdc.json("webhook", "show", number)["company"] == "17"
        cdc.add(company="3")
        db.execute("insert into project (company_id) values (17)")
        assert [one["id"] for one in cdc.json("webhook", "list", "--company", "Acme")] == [number]
        assert len(cdc.json("delivery", "list", "--company", "Acme")) == 1
        assert len(cdc.json("delivery", "list", "--company", "3")) == 0
        status = cdc("status", "--company", "Acme", "--json").json
        assert [one["webhook_id"] for one in status["webhooks"]] == [number]
        uid = cdc.json("delivery", "list")[0]["webhook_id"]
        replay = ("delivery", "replay", uid, "--dry-run", "--company")
        assert cdc.json(*replay, "Acme")["skipped"]["waiting"] == 1
        assert "not found" in cdc.refused(*replay, "3")
        assert cdc.json("explain", "project", 1, "--company", "Acme")["deliveries"]

    def test_that_several_have_are_refused(self, cdc: Command) -> None:
        said = cdc.refused("webhook", "list", "--company", "Beta", code=2)
        assert "several companies are named 'Beta': 18, 19" in said
        assert "--company 18" in said

    def test_without_the_right_to_read_them(
        self, cdc: Command, as_role: Callable[[str], Command]
    ) -> None:
        """The key does; that it could not be checked is said."""
        admin = as_role("cdc_admin")
        admin.env["CDC_MAPPING"] = cdc.env["CDC_MAPPING"]
        options = ("--event", "note_changed", "--url", "http://127.0.0.1:9/")
        said = admin.good("webhook", "add", "--company", "4711", *options).err
        assert "whether public.company has a company 4711 cannot be checked" in said
        assert admin.json("webhook", "list")[0]["company_name"] is None
        said = admin.refused("webhook", "add", "--company", "Acme", *options, code=2)
        assert (
            "invalid company 'Acme': expected a value of public.company.id, of type bigint" in said
        )
        assert "where this account can read it" in said
        del admin.env["CDC_MAPPING"]
        said = admin.refused("webhook", "add", "--company", "Acme", *options, code=2)
        assert "`name` in the mapping's [company]" in said
