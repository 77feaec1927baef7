"""Rails: uuid keys, an enum, single table inheritance, statements as Active Record writes them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from tests.schemas.kit import Place, expected

ACME = "a0000000-0000-4000-8000-000000000001"
TEMPLATES = """
PREPARE a1 (varchar, varchar, uuid) AS
  INSERT INTO "people" ("id", "type", "account_id", "name", "created_at", "updated_at")
  VALUES ($3, $1, 'a0000000-0000-4000-8000-000000000001', $2, now(), now()) RETURNING "id";
"""


async def test_rails(place: Callable[[str], Awaitable[Place]]) -> None:
    suite = await place("rails")
    suite.install()
    suite.run(
        f"""INSERT INTO "accounts" ("id", "name", "host", "created_at", "updated_at")
              VALUES ('{ACME}', 'Acme', 'acme.hire.example', now(), now())"""
    )
    await suite.register(ACME, "person_changed", "job_changed", "application_changed")
    suite.run(TEMPLATES)
    async with suite.delivering():
        # Single table inheritance, by prepared statements; the keys come from the program.
        suite.run(
            """EXECUTE a1 ('Recruiter', 'Rea', 'b0000000-0000-4000-8000-000000000001');
               EXECUTE a1 ('Applicant', 'Ann', 'b0000000-0000-4000-8000-000000000002')"""
        )
        # create!: the key comes from the database, inside a transaction with savepoints
        # (requires_new), the counter cache and touch: true.
        job = suite.one(
            """INSERT INTO "jobs" ("account_id", "title", "created_at", "updated_at")
                 VALUES (%s, %s, now(), now()) RETURNING "id" """,
            ACME,
            "Baker",
        )
        application = "c0000000-0000-4000-8000-000000000001"
        suite.run(
            f"""BEGIN; SAVEPOINT active_record_1;
                INSERT INTO "applications" ("id", "job_id", "person_id", "created_at", "updated_at")
                  VALUES ('{application}', '{job}', 'b0000000-0000-4000-8000-000000000002', now(),
                    now()) RETURNING "id";
                RELEASE SAVEPOINT active_record_1;
                UPDATE "jobs" SET "applications_count" = COALESCE("applications_count", 0) + 1,
                  "updated_at" = now() WHERE "jobs"."id" = '{job}'; COMMIT"""
        )
        # upsert_all, then insert_all, of what is there.
        suite.run(
            f"""INSERT INTO "applications" ("job_id", "person_id", "status", "created_at",
                    "updated_at")
                  VALUES ('{job}', 'b0000000-0000-4000-8000-000000000002', 'screening', now(),
                    now())
                ON CONFLICT ("job_id", "person_id") DO UPDATE SET "updated_at" = (CASE WHEN
                  ("applications"."status" IS NOT DISTINCT FROM excluded."status") THEN
                  "applications".updated_at ELSE CURRENT_TIMESTAMP END),
                  "status" = excluded."status" RETURNING "id";
                INSERT INTO "applications" ("job_id", "person_id", "created_at", "updated_at")
                  VALUES ('{job}', 'b0000000-0000-4000-8000-000000000002', now(), now())
                ON CONFLICT DO NOTHING RETURNING "id";"""
        )
        # Optimistic locking that finds nothing, and a rescued error inside requires_new.
        suite.run(
            f"""UPDATE "jobs" SET "title" = 'Never', "lock_version" = 10
                 WHERE "jobs"."id" = '{job}' AND "jobs"."lock_version" = 9;
                BEGIN; SAVEPOINT active_record_1;
                UPDATE "people" SET "name" = 'Never' WHERE "people"."type" = 'Recruiter';
                ROLLBACK TO SAVEPOINT active_record_1; COMMIT"""
        )
        # update_all with a join.
        suite.run(
            """UPDATE "people" SET "name" = 'Anna' FROM "applications" INNER JOIN "jobs" ON
                 "jobs"."id" = "applications"."job_id" WHERE "applications"."person_id" =
                 "people"."id" AND "people"."type" = 'Applicant' AND
                 "applications"."status" = 'screening'"""
        )
    text = """
        {"endpoint": "<endpoint>", "time": "<time>", "event": "person_changed", "data":
        {"action": "created", "person":
        "https://acme.hire.example/api/v1/people/b0000000-0000-4000-8000-000000000001/"}}

        {"endpoint": "<endpoint>", "time": "<time>", "event": "person_changed", "data":
        {"action": "created", "person":
        "https://acme.hire.example/api/v1/people/b0000000-0000-4000-8000-000000000002/"}}

        {"endpoint": "<endpoint>", "time": "<time>", "event": "job_changed", "data":
        {"action": "created", "job": "https://acme.hire.example/api/v1/jobs/<job>/"}}

        {"endpoint": "<endpoint>", "time": "<time>", "event": "application_changed", "data":
        {"action": "created", "job": "https://acme.hire.example/api/v1/jobs/<job>/", "person":
        "https://acme.hire.example/api/v1/people/b0000000-0000-4000-8000-000000000002/",
        "application":
        "https://acme.hire.example/api/v1/jobs/<job>/applications/c0000000-0000-4000-8000-000000000001/"}}

        {"endpoint": "<endpoint>", "time": "<time>", "event": "job_changed", "data":
        {"action": "modified", "job": "https://acme.hire.example/api/v1/jobs/<job>/"}}

        {"endpoint": "<endpoint>", "time": "<time>", "event": "application_changed", "data":
        {"action": "modified", "job": "https://acme.hire.example/api/v1/jobs/<job>/", "person":
        "https://acme.hire.example/api/v1/people/b0000000-0000-4000-8000-000000000002/",
        "application":
        "https://acme.hire.example/api/v1/jobs/<job>/applications/c0000000-0000-4000-8000-000000000001/"}}

        {"endpoint": "<endpoint>", "time": "<time>", "event": "person_changed", "data":
        {"action": "modified", "person":
        "https://acme.hire.example/api/v1/people/b0000000-0000-4000-8000-000000000002/"}}
        """
    assert suite.posts(ACME) == expected(text.replace("<job>", str(job)))
    assert suite.left_behind() == []
