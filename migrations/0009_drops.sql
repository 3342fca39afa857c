-- no-transaction
-- A drop has an identity of its own. What the filesystem says of a file (device, inode, time) is only a label: a copy that
-- keeps its time gets the inode of a file that is gone, and a disk that is mounted again gets another device number.
--
-- The unique key over those labels goes, and SQLite changes such a key only by building the table anew: see 0006 for how
-- this is done. Run again after a death between COMMIT and sqlx's note, it finds no drop_id, because nothing is taken in
-- before the note is written. Rows that refer to nothing, which only a hand can have made, stay as they are.
PRAGMA foreign_keys = OFF;
PRAGMA legacy_alter_table = ON;
BEGIN IMMEDIATE;

CREATE TABLE jobs_new (
    -- AUTOINCREMENT: the id of a job that was deleted is never given to another one.
    id             INTEGER PRIMARY KEY AUTOINCREMENT,
    origin         TEXT NOT NULL CHECK (origin IN ('drop', 'request', 'retry')),
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
    CHECK ((origin = 'drop') = (drop_id IS NOT NULL OR file_device IS NOT NULL)),
    CHECK ((origin = 'retry') = (retry_of IS NOT NULL)),
    CHECK ((file_device IS NULL) = (file_inode IS NULL) AND (file_device IS NULL) = (file_mtime_ns IS NULL))
) STRICT;

INSERT INTO jobs_new (id, origin, file_name, text, file_device, file_inode, file_mtime_ns, file_sha256, priority,
    not_before_ms, tags, retry_of, accepted_at_ms)
SELECT id, origin, file_name, text, file_device, file_inode, file_mtime_ns, file_sha256, priority, not_before_ms, tags,
    retry_of, accepted_at_ms
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
-- A file that an earlier version took in and could not move away is found by what that version knew it by.
CREATE INDEX jobs_of_earlier_versions ON jobs (file_inode) WHERE drop_id IS NULL AND file_inode IS NOT NULL;

-- What belongs to a deleted job is deleted with it, as since 0008: the trigger went with the old table.
CREATE TRIGGER jobs_deleted AFTER DELETE ON jobs BEGIN
    DELETE FROM renders WHERE job_id = OLD.id AND state IN ('done', 'failed', 'cancelled');
END;

CREATE TABLE rejections_new (
    id             INTEGER PRIMARY KEY,
    at_ms          INTEGER NOT NULL,
    file_name      TEXT NOT NULL,
    -- NULL in rows of earlier versions.
    drop_id        TEXT UNIQUE CHECK (length(drop_id) = 32),
    file_sha256    TEXT NOT NULL,
    reason         TEXT NOT NULL
) STRICT;

INSERT INTO rejections_new (id, at_ms, file_name, file_sha256, reason)
SELECT id, at_ms, file_name, file_sha256, reason FROM rejections;

DROP TABLE rejections;
ALTER TABLE rejections_new RENAME TO rejections;

COMMIT;
PRAGMA legacy_alter_table = OFF;
PRAGMA foreign_keys = ON;
