"""Many tenants in one database: row-level security, composite keys, partitions, several schemas."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator

import psycopg
import pytest

from tests.schemas.kit import Place, expected

ONE, TWO = "10000000-0000-4000-8000-000000000001", "20000000-0000-4000-8000-000000000001"


@pytest.fixture
def roles(admin: psycopg.Connection, empty_database: str) -> Iterator[None]:
    """Roles belong to the server."""
    yield
    with psycopg.connect(empty_database, autocommit=True) as conn:
        conn.execute("drop owned by tenants_app")
    admin.execute("drop role tenants_app")


@pytest.mark.usefixtures("roles")
async def test_tenants(place: Callable[[str], Awaitable[Place]]) -> None:
    suite = await place("tenants")
    # The plan names what is in the way, and what to do about it.
    refused = suite.cdc.refused("triggers", "plan")
    assert "row-level security of ats.application, ats.job may hide" in refused
    for line in refused.splitlines():
        if line.strip().startswith("create policy"):
            suite.run(line)
    refused = suite.cdc.refused("triggers", "plan")
    assert 'resources.job.key: no index of ats.job begins with "id"' in refused
    todo = 'create unique index concurrently on "ats"."job" ("id")'
    assert todo in refused
    suite.run(todo)
    suite.install()
    (merge,) = [
        said for said in suite.cdc.json("triggers", "plan")["not_captured"] if "message" in said
    ]
    assert merge.startswith("ats.message is partitioned: a MERGE that moves a row to another")
    suite.run(
        "insert into core.tenant (slug, api_host) values ('one', null), ('two', 'two.example')"
    )
    for company in ("1", "2"):
        await suite.register(company, "job_changed", "application_changed", "message_changed")
    suite.run("set session authorization tenants_app")
    async with suite.delivering():
        # Each request of the program: a transaction with its tenant.
        for tenant, key in ((1, ONE), (2, TWO)):
            suite.run(
                f"""begin; set local app.tenant = '{tenant}';
                    insert into ats.job (tenant_id, id, title) values ({tenant}, {tenant}, 'Baker');
                    insert into ats.application (tenant_id, id, job_id)
                      values ({tenant}, '{key}', {tenant}) returning id;
                    insert into ats.message (tenant_id, id, application_id, channel)
                      values ({tenant}, 70, '{key}', 'mail'), ({tenant}, 71, '{key}', 'sms');
                    commit"""
            )
            suite.run("begin")
            suite.run(f"set local app.tenant = '{tenant}'")
            made = suite.one(
                "insert into ats.job (tenant_id, id, title) values (%s, default, 'Nurse')"
                " returning id",
                tenant,
            )
            assert suite.one("select lastval()") == made
            suite.run("rollback")
        # A tenant sees and changes its own rows alone; a message moves to another partition.
        suite.run(
            """begin; set local app.tenant = '2';
               update ats.job set title = 'Cook';
               insert into ats.application (tenant_id, id, job_id, stage)
                 select tenant_id, id, job_id, 'hired' from ats.application
                 on conflict (tenant_id, id) do update set stage = excluded.stage;
               update ats.message m set channel = 'mail' from ats.application a
                where a.id = m.application_id and m.id = 71; commit"""
        )
    own = """
        {{"endpoint": "<endpoint>", "time": "<time>", "event": "job_changed", "data":
        {{"action": "created", "job": "{tenant}jobs/{job}/"}}}}

        {{"endpoint": "<endpoint>", "time": "<time>", "event": "application_changed", "data":
        {{"action": "created", "job": "{tenant}jobs/{job}/", "application":
        "{tenant}jobs/{job}/applications/{key}/"}}}}

        {{"endpoint": "<endpoint>", "time": "<time>", "event": "message_changed", "data":
        {{"action": "created", "job": "{tenant}jobs/{job}/", "application":
        "{tenant}jobs/{job}/applications/{key}/", "message":
        "{tenant}jobs/{job}/applications/{key}/messages/70/"}}}}

        {{"endpoint": "<endpoint>", "time": "<time>", "event": "message_changed", "data":
        {{"action": "created", "job": "{tenant}jobs/{job}/", "application":
        "{tenant}jobs/{job}/applications/{key}/", "message":
        "{tenant}jobs/{job}/applications/{key}/messages/71/"}}}}
        """
    changed = """
        {{"endpoint": "<endpoint>", "time": "<time>", "event": "job_changed", "data":
        {{"action": "modified", "job": "{tenant}jobs/{job}/"}}}}

        {{"endpoint": "<endpoint>", "time": "<time>", "event": "application_changed", "data":
        {{"action": "modified", "job": "{tenant}jobs/{job}/", "application":
        "{tenant}jobs/{job}/applications/{key}/"}}}}

        {{"endpoint": "<endpoint>", "time": "<time>", "event": "message_changed", "data":
        {{"action": "modified", "job": "{tenant}jobs/{job}/", "application":
        "{tenant}jobs/{job}/applications/{key}/", "message":
        "{tenant}jobs/{job}/applications/{key}/messages/71/"}}}}
        """
    first = {"tenant": "https://api.hire.example/v1/tenants/1/", "job": "1", "key": ONE}
    second = {"tenant": "https://two.example/v1/tenants/2/", "job": "2", "key": TWO}
    assert suite.posts("1") == expected(own.format(**first))
    assert suite.posts("2") == expected((own + changed).format(**second))
    suite.run("reset session authorization")
    suite.run("drop index ats.job_id_idx")  # the suite's own, made above
    assert suite.left_behind() == []
