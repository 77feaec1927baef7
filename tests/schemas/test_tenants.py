"""Many tenants in one database: row-level security, composite keys, partitions, several schemas."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator

import psycopg
import pytest

from tests.schemas.kit import Place, expected

ONE = "10000000-0000-4000-8000-000000000001"
"""Each tenant has an application of this id, and a job 5."""


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
        for tenant, key in ((1, ONE), (2, ONE)):
            suite.run(
                f"""begin; set local app.tenant = '{tenant}';
                    insert into ats.job (tenant_id, id, title) values ({tenant}, 5, 'Baker');
                    insert into ats.application (tenant_id, id, job_id)
                      values ({tenant}, '{key}', 5) returning id;
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
        "{tenant}jobs/{job}/applications/{key}/messages/mail-70/"}}}}

        {{"endpoint": "<endpoint>", "time": "<time>", "event": "message_changed", "data":
        {{"action": "created", "job": "{tenant}jobs/{job}/", "application":
        "{tenant}jobs/{job}/applications/{key}/", "message":
        "{tenant}jobs/{job}/applications/{key}/messages/sms-71/"}}}}
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
        "{tenant}jobs/{job}/applications/{key}/messages/mail-71/"}}}}
        """
    first = {"tenant": "https://api.hire.example/v1/tenants/1/", "job": "5", "key": ONE}
    second = {"tenant": "https://two.example/v1/tenants/2/", "job": "5", "key": ONE}
    assert suite.posts("1") == expected(own.format(**first))
    assert suite.posts("2") == expected((own + changed).format(**second))
    await _by_whole_keys(suite)
    suite.run("reset session authorization")
    assert suite.left_behind() == []


async def _by_whole_keys(suite: Place) -> None:
    """Of the first tenant: filters, changed keys, deletes with what they cascade to, a replay, a
    backfill, and what `cdc explain` says. The second one's rows have the same numbers."""
    suite.run("reset session authorization")
    actions = tuple(f"--action={action}" for action in ("created", "modified", "deleted"))
    jobs = await suite.register(
        "1", "job_changed", path="jobs", options=("--when", "title", *actions)
    )
    below_jobs = await suite.register(
        "1", "application_changed", "message_changed", path="below", options=actions
    )
    suite.run("set session authorization tenants_app")
    async with suite.delivering():
        suite.run(
            """begin; set local app.tenant = '1';
               update ats.job set title = title;
               insert into ats.job (tenant_id, id, title) values (1, 6, 'Smith');
               update ats.job set id = 7 where id = 6;
               commit"""
        )
        suite.run(
            f"""begin; set local app.tenant = '1';
                delete from ats.application where id = '{ONE}'; delete from ats.job where id = 7;
                commit"""
        )
    tenant = "https://api.hire.example/v1/tenants/1/"
    job = """
        {{"endpoint": "<endpoint>", "time": "<time>", "event": "job_changed", "data": {{"action":
        "{action}", "job": "{tenant}jobs/{job}/"}}}}
        """
    sent = [
        body
        for action, id_ in (("created", 6), ("modified", 7), ("deleted", 7))
        for body in expected(job.format(action=action, job=id_, tenant=tenant))
    ]
    assert suite.posts("jobs") == sorted(sent)
    below = """
        {{"endpoint": "<endpoint>", "time": "<time>", "event": "application_changed", "data":
        {{"action": "deleted", "job": "{tenant}jobs/5/", "application":
        "{tenant}jobs/5/applications/{ONE}/"}}}}

        {{"endpoint": "<endpoint>", "time": "<time>", "event": "message_changed", "data":
        {{"action": "deleted", "job": "{tenant}jobs/5/", "application":
        "{tenant}jobs/5/applications/{ONE}/", "message":
        "{tenant}jobs/5/applications/{ONE}/messages/mail-70/"}}}}

        {{"endpoint": "<endpoint>", "time": "<time>", "event": "message_changed", "data":
        {{"action": "deleted", "job": "{tenant}jobs/5/", "application":
        "{tenant}jobs/5/applications/{ONE}/", "message":
        "{tenant}jobs/5/applications/{ONE}/messages/sms-71/"}}}}
        """
    assert suite.posts("below") == expected(below.format(tenant=tenant, ONE=ONE))
    command = suite.cdc
    command.good("delivery", "replay", "--webhook", jobs, "--outcome", "delivered", "--yes")
    command.good(
        *("backfill", "start", "--webhook", jobs, "--event", "job_changed", "--as", "created")
    )
    # Capture does not read messages: no row has one as its parent, so there is no policy for that.
    message = ("--webhook", below_jobs, "--event", "message_changed", "--as", "created")
    refused = command.refused("backfill", "start", *message)
    assert "row-level security of ats.message may hide rows" in refused
    assert 'create policy cdc_capture on "ats"."message" for select to cdc_capture' in refused
    async with suite.delivering():
        pass
    sent = 2 * sent + expected(job.format(action="created", job=5, tenant=tenant))
    assert suite.posts("jobs") == sorted(sent)
    await asyncio.to_thread(command.good, "webhook", "test", jobs)
    (tested,) = {*suite.posts("jobs")} - {*sent}
    assert [tested] == expected(job.format(action="test", job=0, tenant=tenant))
    found = command.json("explain", "job", "1/7")
    assert [(one["key"], one["action"]) for one in found["deliveries"]][:1] == [("1/7", "d")]
    assert "invalid key '7'" in command.refused("explain", "job", "7", code=2)
