"""README.md: what it tells to type is typed, on a real database, and a webhook arrives."""

from __future__ import annotations

import json

import psycopg

from cdc.embedded.server import free_port
from cdc.mapping import default_mapping
from cdc.suite import tables_sql
from tests.docs.pages import blocks, console, page
from tests.docs.running import Terminal, line_with

SECTION = page("README.md").partition("## Install it")[2].partition("## What arrives")[0]


async def test_install_it_and_try_it(empty_database: str) -> None:
    with psycopg.connect(empty_database, autocommit=True) as conn:
        conn.execute(tables_sql(default_mapping()).encode())
    port = str(free_port())
    here = Terminal(
        empty_database,
        stands_for={"8081": port, "https://hooks.example.com": f"http://127.0.0.1:{port}"},
    )
    installing, trying = blocks(SECTION, "console")
    exports = [line for line in trying.text.splitlines() if line.startswith("$ export")]
    for assignment in exports[0].split()[2:]:
        name, _, value = assignment.partition("=")
        here.environment[name] = value

    lines = [words for words in console(SECTION) if words[0] == "cdc"]
    (serve,) = [here.words(words) for words in lines if words[1] == "receive"]
    told = [here.words(words) for words in lines if words[1] not in ("receive", "run")]
    assert [words[0] for words in told] == [
        *("migrate", "triggers", "triggers", "webhook"),
        *("status", "webhook", "webhook"),
    ]
    assert installing.text.count("$ cdc run") == trying.text.count("$ cdc run") == 1
    test = told.pop()
    status = told.pop(4)
    for words in told:
        await here.run_beside(*words)

    async with here.running(*serve, "--json", ready="Listening on") as receiver:
        assert receiver.stdout is not None
        await here.run_beside(*test)
        got = json.loads(await line_with(receiver.stdout, '"test'))
        assert got["verified"] is True
        async with here.running("run", ready='"connected"'):
            with psycopg.connect(empty_database, autocommit=True) as conn:
                conn.execute("insert into company default values")
                conn.execute("insert into project (company_id) values (1)")
                conn.execute("insert into candidate (project_id) values (1)")
            got = json.loads(await line_with(receiver.stdout, "candidate_changed"))
            assert got["verified"] is True
            assert json.loads(got["body"])["data"] == {
                "action": "created",
                "project": "https://interview-suite.com/api/v3/companies/1/projects/1/",
                "candidate": (
                    "https://interview-suite.com/api/v3/companies/1/projects/1/candidates/1/"
                ),
            }
            await here.run_beside(*status)
