-- no-transaction
-- A job says where it comes from: a dropped file, a request, which has no file, or a retry.
--
-- SQLite changes a CHECK only by building the table anew, and dropping the old one must not count as deleting rows that
-- others refer to. That check can be turned off only outside of a transaction, so this file begins its own. A death
-- between its COMMIT and sqlx's note of it makes the next start run it again, which is safe: it reads only columns that
-- the table has before and after, and no request is taken in before the note is written.
PRAGMA foreign_keys = OFF;
-- Else the new table's renaming would look for the old one in every view.
PRAGMA legacy_alter_table = ON;
BEGIN IMMEDIATE;

CREATE TABLE jobs_new (
    id             INTEGER PRIMARY KEY,
    origin         TEXT NOT NULL CHECK (origin IN ('drop', 'request', 'retry')),
    -- The dropped file's name, without folder; a request's own name; a retry has that of the job it repeats.
    file_name      TEXT NOT NULL,
    -- What was in it; later edits of the file mean nothing.
    text           TEXT NOT NULL,
    -- What makes one drop of one file: a crash between commit and move must not take it in twice.
    file_device    INTEGER,
    file_inode     INTEGER,
    file_mtime_ns  INTEGER,
    file_sha256    TEXT NOT NULL,
    priority       INTEGER NOT NULL,
    not_before_ms  INTEGER,
    tags           TEXT NOT NULL CHECK (json_valid(tags) AND json_type(tags) = 'array'),
    -- The job whose failed renders this one renders again.
    retry_of       INTEGER REFERENCES jobs (id),
    accepted_at_ms INTEGER NOT NULL,
    CHECK ((origin = 'drop') = (file_device IS NOT NULL)),
    CHECK ((origin = 'retry') = (retry_of IS NOT NULL)),
    CHECK ((file_device IS NULL) = (file_inode IS NULL) AND (file_device IS NULL) = (file_mtime_ns IS NULL)),
    UNIQUE (file_device, file_inode, file_mtime_ns, file_sha256)
) STRICT;

INSERT INTO jobs_new (id, origin, file_name, text, file_device, file_inode, file_mtime_ns, file_sha256, priority,
    not_before_ms, tags, retry_of, accepted_at_ms)
SELECT id, CASE WHEN retry_of IS NULL THEN 'drop' ELSE 'retry' END, file_name, text, file_device, file_inode,
    file_mtime_ns, file_sha256, priority, not_before_ms, tags, retry_of, accepted_at_ms
FROM jobs;

DROP TABLE jobs;
ALTER TABLE jobs_new RENAME TO jobs;
CREATE INDEX jobs_by_file_name ON jobs (file_name);

-- As before, and with the origin.
DROP VIEW jobs_state;
CREATE VIEW jobs_state AS
SELECT
    j.id AS job, j.file_name, j.tags, j.priority, j.retry_of, j.accepted_at_ms,
    (SELECT count(*) FROM renders r WHERE r.job_id = j.id) AS renders,
    (SELECT count(*) FROM renders r WHERE r.job_id = j.id AND r.state = 'queued') AS queued,
    (SELECT count(*) FROM renders r WHERE r.job_id = j.id AND r.state = 'running') AS running,
    (SELECT count(*) FROM renders r WHERE r.job_id = j.id AND r.state = 'done') AS done,
    (SELECT count(*) FROM renders r WHERE r.job_id = j.id AND r.state = 'failed') AS failed,
    (SELECT count(*) FROM renders r WHERE r.job_id = j.id AND r.state = 'cancelled') AS cancelled,
    (SELECT count(*) FROM renders r WHERE r.job_id = j.id AND r.state = 'done' AND r.degraded = 1) AS degraded,
    CASE
        WHEN EXISTS (SELECT 1 FROM renders r WHERE r.job_id = j.id AND r.state = 'running') THEN 'running'
        WHEN NOT EXISTS (SELECT 1 FROM renders r WHERE r.job_id = j.id AND r.state <> 'queued' AND r.state <> 'cancelled')
            AND EXISTS (SELECT 1 FROM renders r WHERE r.job_id = j.id AND r.state = 'queued') THEN 'queued'
        WHEN EXISTS (SELECT 1 FROM renders r WHERE r.job_id = j.id AND r.state = 'queued') THEN 'running'
        WHEN EXISTS (SELECT 1 FROM renders r WHERE r.job_id = j.id AND r.state = 'failed') THEN 'failed'
        WHEN EXISTS (SELECT 1 FROM renders r WHERE r.job_id = j.id AND r.state = 'cancelled') THEN 'cancelled'
        ELSE 'done'
    END AS state,
    j.origin
FROM jobs j;

-- A row that refers to nothing undoes all of this.
CREATE TEMP TABLE dangling (rows INTEGER CHECK (rows = 0));
INSERT INTO dangling SELECT count(*) FROM pragma_foreign_key_check;
DROP TABLE dangling;

COMMIT;
PRAGMA legacy_alter_table = OFF;
PRAGMA foreign_keys = ON;
