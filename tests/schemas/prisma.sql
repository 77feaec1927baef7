-- As `prisma migrate deploy` makes it: names in camel and Pascal case, or lower case by @@map and @map;
-- keys are cuids in text; timestamps of three digits; relations many-to-many in tables of their own.
CREATE TABLE "_prisma_migrations" (
    "id" VARCHAR(36) NOT NULL PRIMARY KEY, "checksum" VARCHAR(64) NOT NULL, "finished_at" TIMESTAMPTZ,
    "migration_name" VARCHAR(255) NOT NULL, "logs" TEXT, "rolled_back_at" TIMESTAMPTZ,
    "started_at" TIMESTAMPTZ NOT NULL DEFAULT now(), "applied_steps_count" INTEGER NOT NULL DEFAULT 0);

CREATE TYPE "CandidateStatus" AS ENUM ('NEW', 'REVIEWED');
CREATE TABLE "Company" (
    "id" TEXT NOT NULL, "name" TEXT NOT NULL, "createdAt" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    CONSTRAINT "Company_pkey" PRIMARY KEY ("id"));
CREATE TABLE "JobPosting" (
    "id" TEXT NOT NULL, "title" TEXT NOT NULL, "companyId" TEXT NOT NULL,
    "updatedAt" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP, CONSTRAINT "JobPosting_pkey" PRIMARY KEY ("id"));
CREATE TABLE "Candidate" (
    "id" TEXT NOT NULL, "email" TEXT NOT NULL, "name" TEXT, "status" "CandidateStatus" NOT NULL DEFAULT 'NEW',
    "jobPostingId" TEXT NOT NULL, "tags" TEXT[], "answers" JSONB, CONSTRAINT "Candidate_pkey" PRIMARY KEY ("id"));
CREATE TABLE "candidate_notes" (
    "id" TEXT NOT NULL, "body" TEXT NOT NULL, "candidate_id" TEXT NOT NULL,
    CONSTRAINT "candidate_notes_pkey" PRIMARY KEY ("id"));
CREATE TABLE "_JobPostingToSkill" ("A" TEXT NOT NULL, "B" TEXT NOT NULL);

CREATE UNIQUE INDEX "Candidate_email_key" ON "Candidate"("email");
CREATE UNIQUE INDEX "_JobPostingToSkill_AB_unique" ON "_JobPostingToSkill"("A", "B");
ALTER TABLE "JobPosting" ADD CONSTRAINT "JobPosting_companyId_fkey" FOREIGN KEY ("companyId")
    REFERENCES "Company"("id") ON DELETE RESTRICT ON UPDATE CASCADE;
ALTER TABLE "Candidate" ADD CONSTRAINT "Candidate_jobPostingId_fkey" FOREIGN KEY ("jobPostingId")
    REFERENCES "JobPosting"("id") ON DELETE RESTRICT ON UPDATE CASCADE;
ALTER TABLE "candidate_notes" ADD CONSTRAINT "candidate_notes_candidate_id_fkey" FOREIGN KEY ("candidate_id")
    REFERENCES "Candidate"("id") ON DELETE CASCADE ON UPDATE CASCADE;
