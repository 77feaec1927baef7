"""Prisma: quoted names in camel case, cuids in text, statements as its client writes them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from tests.schemas.kit import Place, expected

COMPANY = "clh3x0000000008l5company1"


async def test_prisma(place: Callable[[str], Awaitable[Place]]) -> None:
    suite = await place("prisma")
    suite.install()
    suite.run(f"""INSERT INTO "Company" ("id", "name") VALUES ('{COMPANY}', 'Acme')""")
    await suite.register(COMPANY, "job_posting_changed", "candidate_changed", "note_changed")
    async with suite.delivering():
        # A nested create: one transaction, each row with its key from the client.
        suite.run(
            f"""BEGIN;
                INSERT INTO "public"."JobPosting" ("id", "title", "companyId")
                  VALUES ('clj0', 'Baker', '{COMPANY}') RETURNING "public"."JobPosting"."id";
                INSERT INTO "public"."Candidate" ("id", "email", "jobPostingId", "tags", "answers")
                  VALUES ('clc0', 'a@example.org', 'clj0', '{{x,y}}', '{{"a": [1]}}')
                  RETURNING "public"."Candidate"."id";
                SELECT "public"."JobPosting"."id" FROM "public"."JobPosting" WHERE
                  ("public"."JobPosting"."id" = 'clj0' AND 1=1) LIMIT 1 OFFSET 0;
                COMMIT"""
        )
        # A native upsert, as a prepared statement; createMany({skipDuplicates: true}).
        upsert = """
            INSERT INTO "public"."Candidate" ("id", "email", "name", "jobPostingId")
              VALUES (%s, %s, %s, 'clj0') ON CONFLICT ("email") DO UPDATE SET "name" = %s
              WHERE ("public"."Candidate"."email" = %s AND 1=1)
              RETURNING "public"."Candidate"."id", "public"."Candidate"."name" """
        for key, email in (("clc8", "a@example.org"), ("clc1", "b@example.org")):
            suite.app.execute(upsert.encode(), (key, email, "A", "A", email), prepare=True)
        suite.run(
            """INSERT INTO "public"."candidate_notes" ("id", "body", "candidate_id")
                 VALUES ('cln0', 'x', 'clc0'), ('cln1', 'y', 'clc1') ON CONFLICT DO NOTHING;
               INSERT INTO "public"."candidate_notes" ("id", "body", "candidate_id")
                 VALUES ('cln0', 'z', 'clc0') ON CONFLICT DO NOTHING"""
        )
        # updateMany, in an interactive transaction that is serializable; one that is rolled back.
        suite.run(
            """BEGIN; SET TRANSACTION ISOLATION LEVEL SERIALIZABLE;
               UPDATE "public"."Candidate" SET "status" = CAST('REVIEWED'::text AS
                 "public"."CandidateStatus") WHERE ("public"."Candidate"."id") IN ('clc0', 'clc1');
               COMMIT;
               BEGIN; UPDATE "public"."JobPosting" SET "title" = 'Never' WHERE 1=1; ROLLBACK"""
        )
        # A key that changes cascades (@relation(onUpdate: Cascade)).
        suite.run("""UPDATE "public"."Candidate" SET "id" = 'clc2' WHERE "id" = 'clc1'""")
    company = f"https://hire.example/api/companies/{COMPANY}/"
    text = """
        {"endpoint": "<endpoint>", "time": "<time>", "event": "job_posting_changed", "data":
        {"action": "created", "job_posting": "<company>jobs/clj0/"}}

        {"endpoint": "<endpoint>", "time": "<time>", "event": "candidate_changed", "data":
        {"action": "created", "job_posting": "<company>jobs/clj0/", "candidate":
        "<company>jobs/clj0/candidates/clc0/"}}

        {"endpoint": "<endpoint>", "time": "<time>", "event": "candidate_changed", "data":
        {"action": "modified", "job_posting": "<company>jobs/clj0/", "candidate":
        "<company>jobs/clj0/candidates/clc0/"}}

        {"endpoint": "<endpoint>", "time": "<time>", "event": "candidate_changed", "data":
        {"action": "created", "job_posting": "<company>jobs/clj0/", "candidate":
        "<company>jobs/clj0/candidates/clc1/"}}

        {"endpoint": "<endpoint>", "time": "<time>", "event": "note_changed", "data":
        {"action": "created", "candidate": "<company>jobs/clj0/candidates/clc0/", "note":
        "<company>jobs/clj0/candidates/clc0/notes/cln0/"}}

        {"endpoint": "<endpoint>", "time": "<time>", "event": "note_changed", "data":
        {"action": "created", "candidate": "<company>jobs/clj0/candidates/clc1/", "note":
        "<company>jobs/clj0/candidates/clc1/notes/cln1/"}}

        {"endpoint": "<endpoint>", "time": "<time>", "event": "candidate_changed", "data":
        {"action": "modified", "job_posting": "<company>jobs/clj0/", "candidate":
        "<company>jobs/clj0/candidates/clc0/"}}

        {"endpoint": "<endpoint>", "time": "<time>", "event": "candidate_changed", "data":
        {"action": "modified", "job_posting": "<company>jobs/clj0/", "candidate":
        "<company>jobs/clj0/candidates/clc1/"}}

        {"endpoint": "<endpoint>", "time": "<time>", "event": "candidate_changed", "data":
        {"action": "modified", "job_posting": "<company>jobs/clj0/", "candidate":
        "<company>jobs/clj0/candidates/clc2/"}}

        {"endpoint": "<endpoint>", "time": "<time>", "event": "note_changed", "data":
        {"action": "modified", "candidate": "<company>jobs/clj0/candidates/clc2/", "note":
        "<company>jobs/clj0/candidates/clc2/notes/cln1/"}}
        """
    assert suite.posts(COMPANY) == expected(text.replace("<company>", company))
    assert suite.left_behind() == []
