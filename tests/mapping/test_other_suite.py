"""An installation whose every name differs from the default's, from mapping file to bytes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cdc.capture import catalog, install, plan
from cdc.mapping import Mapping, default_mapping, load_mapping
from cdc.schema import migrations
from tests.capture.kit import Suite, bodies

HERE = Path(__file__).parent
VACANCY = '"Talent Core"."Job ""Posting"""'
REMARK = """"Talent Core"."Notiz $cdc$ $many$ %s 'x' \\d\""""


@pytest.fixture(scope="module")
def mapping() -> Mapping:
    return load_mapping(HERE / "other_suite.toml")


@pytest.fixture
def other(empty_database: str, mapping: Mapping) -> Iterator[Suite]:
    migrations.upgrade(empty_database)
    made = Suite(empty_database, mapping)
    made.run((HERE / "other_suite.sql").read_text())
    made.install()
    made.run((HERE / "other_rows.sql").read_text())
    for company in ("acme/ü 1", "beta", "c", "d"):
        made.register(company, endpoint="https://crm.example/in")
    yield made
    made.close()


def test_no_name_is_the_defaults(mapping: Mapping) -> None:
    def names(of: Mapping) -> set[str]:
        found = {of.company.table.name, of.company.key}
        for resource in of.resources.values():
            found |= {resource.name, resource.table.name, resource.event or "", *resource.columns}
        return found - {""}

    assert not names(mapping) & names(default_mapping())


def test_a_longer_road_and_a_host_of_its_own(other: Suite) -> None:
    other.run(f"update {VACANCY} set titel = 'x' where slug = 'baker'")
    assert other.posts() == bodies(
        """
        {"endpoint": "https://crm.example/in", "time": "<time>", "event": "vacancy_written", "data":
        {"action": "modified", "division":
        "https://acme.talent.example/api/tenants/acme%2F%C3%BC%201/d/00000000-0000-0000-0000-0000000000a1/",
        "vacancy":
        "https://acme.talent.example/api/tenants/acme%2F%C3%BC%201/d/00000000-0000-0000-0000-0000000000a1/vacancies/baker/"}}
        """
    )


def test_a_base_url_without_end_is_cut(other: Suite) -> None:
    """Each queued row has it: a writer of the suite could fill the memory of the daemon of all."""
    other.run("""update "Talent Core"."Mandant" set "Eigene URL" = repeat('x', 1000000)""")
    other.run(f"update {VACANCY} set titel = 'x' where slug = 'baker'")
    other.run(
        f"""insert into {VACANCY} select slug || n, "Bereich"
              from {VACANCY}, generate_series(1, 99) n where slug = 'baker'"""
    )
    assert other.all("select distinct length(refs[1]) from cdc.queue") == [(2048,)]
    assert len(other.queued()) == 100


def test_a_whole_base_url_of_its_own_and_none(other: Suite) -> None:
    other.run(f"update {VACANCY} set titel = 'x' where slug in ('b', 'c', 'd')")
    assert sorted(other.posts()) == bodies(
        """
        {"endpoint": "https://crm.example/in", "time": "<time>", "event": "vacancy_written", "data":
        {"action": "modified", "division":
        "https://beta.example:8443/rest/tenants/beta/d/00000000-0000-0000-0000-0000000000b1/",
        "vacancy":
        "https://beta.example:8443/rest/tenants/beta/d/00000000-0000-0000-0000-0000000000b1/vacancies/b/"}}

        {"endpoint": "https://crm.example/in", "time": "<time>", "event": "vacancy_written", "data":
        {"action": "modified", "division":
        "https://talent.example/api/tenants/c/d/00000000-0000-0000-0000-0000000000c1/", "vacancy":
        "https://talent.example/api/tenants/c/d/00000000-0000-0000-0000-0000000000c1/vacancies/c/"}}

        {"endpoint": "https://crm.example/in", "time": "<time>", "event": "vacancy_written", "data":
        {"action": "modified", "division":
        "https://talent.example/api/tenants/d/d/00000000-0000-0000-0000-0000000000d1/", "vacancy":
        "https://talent.example/api/tenants/d/d/00000000-0000-0000-0000-0000000000d1/vacancies/d/"}}
        """
    )


def test_other_addresses_and_the_company_among_the_data(other: Suite) -> None:
    other.run(
        """insert into "Talent Core"."Bewerbung" values
             ('00000000-0000-0000-0000-00000000a002', '50%? &c')"""
    )
    assert other.posts() == bodies(
        """
        {"endpoint": "https://crm.example/in", "time": "<time>", "event": "person_written", "data":
        {"action": "created", "company":
        "https://acme.talent.example/api/tenants/acme%2F%C3%BC%201/", "vacancy":
        "https://acme.talent.example/api/tenants/acme%2F%C3%BC%201/d/00000000-0000-0000-0000-0000000000a2/vacancies/50%25%3F%20%26c/",
        "person":
        "https://acme.talent.example/api/people/00000000-0000-0000-0000-00000000a002/profile-of-00000000-0000-0000-0000-00000000a002"}}
        """
    )


def test_a_topic_of_another_vacancy_in_another_division(other: Suite) -> None:
    """Its address is made from its own parents, at every step upwards."""
    other.run(
        """
        insert into extras."Clip" values
          ('00000000-0000-0000-0000-00000000c002', '00000000-0000-0000-0000-00000000a001', 2)
        """
    )
    assert other.posts() == bodies(
        """
        {"endpoint": "https://crm.example/in", "time": "<time>", "event": "clip_recorded", "data":
        {"action": "created", "clip":
        "https://acme.talent.example/api/tenants/acme%2F%C3%BC%201/d/00000000-0000-0000-0000-0000000000a2/vacancies/50%25%3F%20%26c/topics/2.json/clips/00000000-0000-0000-0000-00000000c002/",
        "person":
        "https://acme.talent.example/api/people/00000000-0000-0000-0000-00000000a001/profile-of-00000000-0000-0000-0000-00000000a001",
        "topic":
        "https://acme.talent.example/api/tenants/acme%2F%C3%BC%201/d/00000000-0000-0000-0000-0000000000a2/vacancies/50%25%3F%20%26c/topics/2.json",
        "vacancy":
        "https://acme.talent.example/api/tenants/acme%2F%C3%BC%201/d/00000000-0000-0000-0000-0000000000a2/vacancies/50%25%3F%20%26c/",
        "division":
        "https://acme.talent.example/api/tenants/acme%2F%C3%BC%201/d/00000000-0000-0000-0000-0000000000a2/"}}
        """
    )


def test_a_shorter_road(other: Suite) -> None:
    other.run(
        """
        insert into extras.score (uid, tenant, person_uid) values
          ('00000000-0000-0000-0000-00000000e001', 'beta', null),
          ('00000000-0000-0000-0000-00000000e002', 'c', '00000000-0000-0000-0000-00000000a001')
        """
    )
    assert other.posts() == bodies(
        """
        {"endpoint": "https://crm.example/in", "time": "<time>", "event": "score_given", "data":
        {"action": "created", "score":
        "https://beta.example:8443/rest/tenants/beta/scores/00000000-0000-0000-0000-00000000e001/",
        "person": null}}

        {"endpoint": "https://crm.example/in", "time": "<time>", "event": "score_given", "data":
        {"action": "created", "score":
        "https://talent.example/api/tenants/c/scores/00000000-0000-0000-0000-00000000e002/",
        "person":
        "https://talent.example/api/people/00000000-0000-0000-0000-00000000a001/profile-of-00000000-0000-0000-0000-00000000a001"}}
        """
    )


def test_odd_column_names(other: Suite) -> None:
    other.run(f'update {REMARK} set "Nr. %(a)s" = 8')
    (post,) = other.posts()
    assert post.endswith(
        '/vacancies/baker/topics/1.json/clips/00000000-0000-0000-0000-00000000c001/remarks/8/"}}'
    )


def test_many_rows(other: Suite) -> None:
    other.run(
        """insert into extras."Clip" select gen_random_uuid(),
             '00000000-0000-0000-0000-00000000a001', 1 + g % 2 from generate_series(1, 200) g"""
    )
    assert len(other.queued()) == 200
    assert len({p for p in other.posts() if "/topics/2.json/clips/" in p}) == 100


def test_broken_and_mended(other: Suite) -> None:
    """Also where cdc_owner may use no schema but those it reads from."""
    other.run('alter table extras.topic rename column number to "Nummer"')
    other.run('update extras."Clip" set "Topic" = 1')
    other.run(f'update {REMARK} set "Nr. %(a)s" = 8')
    other.run(f'alter table {REMARK} rename "Nr. %(a)s" to "N"')
    other.run(f'update {REMARK} set "N" = 9')
    assert len(other.unresolved()) == 3
    other.run('alter table extras.topic rename column "Nummer" to number')
    other.run(f'alter table {REMARK} rename "N" to "Nr. %(a)s"')
    assert other.resolve() == 3
    assert [row.key for row in other.queued()] == [
        "00000000-0000-0000-0000-00000000c001", "8", "9"
    ]  # fmt: skip


def test_installed_twice_and_removed(other: Suite, mapping: Mapping) -> None:
    assert other.install() == []
    assert set(other.states().values()) == {"installed"}
    install.carry_out(other.command, plan.removal(other.conn), lambda _: None)
    assert catalog.triggers(other.conn) == []
    assert catalog.functions(other.conn) == {}
    assert catalog.granted(other.conn) == {}
    assert catalog.schemas_granted(other.conn) == []


def test_no_more_is_granted_than_the_roads_need(other: Suite) -> None:
    """Of captured tables, too: a backfill reads them."""
    assert {t.name: columns for t, columns in catalog.granted(other.conn).items()} == {
        "Mandant": ("Kennung", "Eigene URL"),
        "Geschäftsbereich": ("UID", "Mandant"),
        'Job "Posting"': ("slug", "Bereich"),
        "Bewerbung": ("UID", "Stelle"),
        "Clip": ("uid", "Person", "Topic"),
        "topic": ("number", "vacancy_slug"),
        "score": ("uid", "tenant", "person_uid"),
        "Notiz $cdc$ $many$ %s 'x' \\d": ("Nr. %(a)s", "$1 {clip}"),
    }
