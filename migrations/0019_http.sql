-- no-transaction
-- Jobs come over HTTP, by the daemon's own API or by those that other programs speak, and may have a key of their sender.
--
-- SQLite changes a CHECK only by building the table anew: see 0006 for how this is done, and for a death in between.
PRAGMA foreign_keys = OFF;
PRAGMA legacy_alter_table = ON;
BEGIN IMMEDIATE;

CREATE TABLE jobs_new (
    -- AUTOINCREMENT: the id of a job that was deleted is never given to another one.
    id             INTEGER PRIMARY KEY AUTOINCREMENT,
    -- 'http' is the daemon's own API, 'openai' and 'sdapi' are those of other programs.
    origin         TEXT NOT NULL CHECK (origin IN ('drop', 'request', 'retry', 'http', 'openai', 'sdapi')),
    -- The dropped file's name, without folder; a request's own name; a retry has that of the job it repeats.
    file_name      TEXT NOT NULL,
    -- What was in it; later edits of the file mean nothing.
    text           TEXT NOT NULL,
    -- Which drop of a file it is: a random number in hexadecimal digits, which the file bears in its name from before
    -- this row until it has left jobs/. A crash in between must not take it in twice.
    drop_id        TEXT UNIQUE CHECK (length(drop_id) = 32),
    -- What earlier versions knew a drop by.
    file_device    INTEGER,
    file_inode     INTEGER,
    file_mtime_ns  INTEGER,
    file_sha256    TEXT NOT NULL,
    priority       INTEGER NOT NULL,
    not_before_ms  INTEGER,
    tags           TEXT NOT NULL CHECK (json_valid(tags) AND json_type(tags) = 'array'),
    -- The job whose failed renders this one renders again. Its row may have been removed.
    retry_of       INTEGER,
    accepted_at_ms INTEGER NOT NULL,
    not_after_ms   INTEGER,
    -- Local time, like 22:00-07:00.
    open_hours     TEXT,
    -- What a sender calls its request, so that the same one, sent again, is the same job.
    request_key    TEXT UNIQUE,
    CHECK ((origin = 'drop') = (drop_id IS NOT NULL OR file_device IS NOT NULL)),
    CHECK ((origin = 'retry') = (retry_of IS NOT NULL)),
    CHECK ((file_device IS NULL) = (file_inode IS NULL) AND (file_device IS NULL) = (file_mtime_ns IS NULL)),
    CHECK (request_key IS NULL OR origin IN ('http', 'openai', 'sdapi'))
) STRICT;

INSERT INTO jobs_new (id, origin, file_name, text, drop_id, file_device, file_inode, file_mtime_ns, file_sha256, priority,
    not_before_ms, tags, retry_of, accepted_at_ms, not_after_ms, open_hours)
SELECT id, origin, file_name, text, drop_id, file_device, file_inode, file_mtime_ns, file_sha256, priority,
    not_before_ms, tags, retry_of, accepted_at_ms, not_after_ms, open_hours
FROM jobs;

-- No id that was ever used is used again, whatever a hand has deleted.
DELETE FROM sqlite_sequence WHERE name = 'jobs_new';
INSERT INTO sqlite_sequence (name, seq)
SELECT 'jobs_new', max(
    coalesce((SELECT max(id) FROM jobs), 0),
    coalesce((SELECT max(job_id) FROM renders), 0),
    coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'jobs'), 0));

DROP TABLE jobs;
ALTER TABLE jobs_new RENAME TO jobs;
CREATE INDEX jobs_by_file_name ON jobs (file_name);
CREATE INDEX jobs_of_earlier_versions ON jobs (file_inode) WHERE drop_id IS NULL AND file_inode IS NOT NULL;
-- The same request, sent again without a key.
CREATE INDEX jobs_by_request ON jobs (file_sha256) WHERE origin IN ('http', 'openai', 'sdapi');

CREATE TRIGGER jobs_deleted AFTER DELETE ON jobs BEGIN
    DELETE FROM renders WHERE job_id = OLD.id AND state IN ('done', 'failed', 'cancelled');
END;

COMMIT;
PRAGMA legacy_alter_table = OFF;
PRAGMA foreign_keys = ON;
