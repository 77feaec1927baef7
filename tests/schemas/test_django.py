"""Django: deferred foreign keys, identity and serial keys, statements as its ORM writes them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from tests.schemas.kit import Place, expected


async def test_django(place: Callable[[str], Awaitable[Place]]) -> None:
    suite = await place("django")
    suite.install()
    # Companies from before; bulk_create.
    suite.run(
        """INSERT INTO "accounts_company" ("name") VALUES ('Acme'), ('Other');
           INSERT INTO "auth_user" ("password", "is_superuser", "username", "date_joined")
             VALUES ('!', false, 'ann', now())"""
    )
    await suite.register("1", "project_changed", "candidate_changed", "rating_changed")
    async with suite.delivering():
        # Model.save(): its key comes back with the row.
        project = suite.one(
            'INSERT INTO "recruiting_project" ("title", "company_id") VALUES (%s, %s)'
            ' RETURNING "recruiting_project"."id"',
            "Baker",
            1,
        )
        assert project == 1
        # How the key was asked for before RETURNING.
        assert suite.one("SELECT lastval()") == project
        serial = """SELECT CURRVAL(pg_get_serial_sequence('"recruiting_project"', 'id'))"""
        assert suite.one(serial) == project
        suite.run(
            # bulk_create(update_conflicts=True): one row is new, one is not.
            """INSERT INTO "recruiting_candidate" ("email", "name", "project_id") VALUES
                 ('a@example.org', 'A', 1) RETURNING "recruiting_candidate"."id";
               INSERT INTO "recruiting_candidate" ("email", "name", "project_id") VALUES
                 ('a@example.org', 'Ann', 1), ('b@example.org', 'Bob', 1)
               ON CONFLICT ("email") DO UPDATE SET "name" = EXCLUDED."name"
               RETURNING "recruiting_candidate"."id";
               INSERT INTO "recruiting_candidate" ("email", "name", "project_id") VALUES
                 ('b@example.org', 'Nobody', 1) ON CONFLICT DO NOTHING"""
        )
        # A candidate of the talent pool has no company: not sent, until there is a project.
        suite.run(
            """INSERT INTO "recruiting_candidate" ("id", "email", "name", "project_id") VALUES
                 (50, 'pool@example.org', 'Pia', NULL);
               UPDATE "recruiting_candidate" SET "name" = 'Pi' WHERE "id" = 50"""
        )
        suite.run('UPDATE "recruiting_candidate" SET "project_id" = 1 WHERE "id" = 50')
        # Nested atomic(): what is rolled back to its savepoint is never sent.
        suite.run(
            """BEGIN; SAVEPOINT "s140_x1";
               UPDATE "recruiting_project" SET "title" = 'Never' WHERE "id" = 1;
               ROLLBACK TO SAVEPOINT "s140_x1"; SAVEPOINT "s140_x2";
               UPDATE "recruiting_project" SET "title" = 'Cook' WHERE "id" = 1;
               RELEASE SAVEPOINT "s140_x2"; COMMIT"""
        )
        # loaddata: the child first, its parents at the end of the transaction.
        suite.run(
            """BEGIN;
               INSERT INTO "recruiting_rating" ("id", "stars", "author_id", "candidate_id")
                 VALUES (70, 5, 1, 80);
               INSERT INTO "recruiting_candidate" ("id", "email", "name", "project_id")
                 VALUES (80, 'c@example.org', 'Cid', 90);
               INSERT INTO "recruiting_project" ("id", "title", "company_id")
                 VALUES (90, 'Nurse', 1);
               SET CONSTRAINTS ALL IMMEDIATE; COMMIT"""
        )
        # QuerySet.update() over a join, and what belongs to another company.
        suite.run(
            """UPDATE "recruiting_rating" SET "stars" = 4 WHERE "recruiting_rating"."id" IN
                 (SELECT U0."id" FROM "recruiting_rating" U0 INNER JOIN "recruiting_candidate" U1
                    ON (U0."candidate_id" = U1."id") WHERE U1."project_id" = 90);
               INSERT INTO "recruiting_project" ("title", "company_id") VALUES ('Else', 2)"""
        )
    assert suite.posts("1") == expected(
        """
        {"endpoint": "<endpoint>", "time": "<time>", "event": "project_changed", "data":
        {"action": "created", "project": "https://hire.example/api/companies/1/projects/1/"}}

        {"endpoint": "<endpoint>", "time": "<time>", "event": "candidate_changed", "data":
        {"action": "created", "project": "https://hire.example/api/companies/1/projects/1/",
        "candidate": "https://hire.example/api/companies/1/projects/1/candidates/1/"}}

        {"endpoint": "<endpoint>", "time": "<time>", "event": "candidate_changed", "data":
        {"action": "modified", "project": "https://hire.example/api/companies/1/projects/1/",
        "candidate": "https://hire.example/api/companies/1/projects/1/candidates/1/"}}

        {"endpoint": "<endpoint>", "time": "<time>", "event": "candidate_changed", "data":
        {"action": "created", "project": "https://hire.example/api/companies/1/projects/1/",
        "candidate": "https://hire.example/api/companies/1/projects/1/candidates/3/"}}

        {"endpoint": "<endpoint>", "time": "<time>", "event": "candidate_changed", "data":
        {"action": "modified", "project": "https://hire.example/api/companies/1/projects/1/",
        "candidate": "https://hire.example/api/companies/1/projects/1/candidates/50/"}}

        {"endpoint": "<endpoint>", "time": "<time>", "event": "project_changed", "data":
        {"action": "modified", "project": "https://hire.example/api/companies/1/projects/1/"}}

        {"endpoint": "<endpoint>", "time": "<time>", "event": "project_changed", "data":
        {"action": "created", "project": "https://hire.example/api/companies/1/projects/90/"}}

        {"endpoint": "<endpoint>", "time": "<time>", "event": "candidate_changed", "data":
        {"action": "created", "project": "https://hire.example/api/companies/1/projects/90/",
        "candidate": "https://hire.example/api/companies/1/projects/90/candidates/80/"}}

        {"endpoint": "<endpoint>", "time": "<time>", "event": "rating_changed", "data":
        {"action": "created", "project": "https://hire.example/api/companies/1/projects/90/",
        "candidate": "https://hire.example/api/companies/1/projects/90/candidates/80/", "rating":
        "https://hire.example/api/companies/1/projects/90/candidates/80/ratings/70/"}}

        {"endpoint": "<endpoint>", "time": "<time>", "event": "rating_changed", "data":
        {"action": "modified", "project": "https://hire.example/api/companies/1/projects/90/",
        "candidate": "https://hire.example/api/companies/1/projects/90/candidates/80/", "rating":
        "https://hire.example/api/companies/1/projects/90/candidates/80/ratings/70/"}}
        """
    )
    assert suite.left_behind() == []
