-- no-transaction
-- The database is not ours alone: people delete rows, and put backups back.
--
-- Ids are never used again (AUTOINCREMENT), whatever rows are deleted: files in accepted/, kept latents and pictures are
-- known by them. They go on behind every id that some row still mentions. What belongs to a deleted row is deleted with
-- it, also in programs where foreign keys are off. And renders that wait for a time stand in an index of their own.
--
-- Built as 0006 is, and safe to run again for the same reason: it reads only columns from before it.
PRAGMA foreign_keys = OFF;
PRAGMA legacy_alter_table = ON;
BEGIN IMMEDIATE;

CREATE TABLE jobs_new (
    id             INTEGER PRIMARY KEY AUTOINCREMENT,
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
    -- The job whose failed renders this one renders again. Its row may have been removed.
    retry_of       INTEGER,
    accepted_at_ms INTEGER NOT NULL,
    CHECK ((origin = 'drop') = (file_device IS NOT NULL)),
    CHECK ((origin = 'retry') = (retry_of IS NOT NULL)),
    CHECK ((file_device IS NULL) = (file_inode IS NULL) AND (file_device IS NULL) = (file_mtime_ns IS NULL)),
    UNIQUE (file_device, file_inode, file_mtime_ns, file_sha256)
) STRICT;

INSERT INTO jobs_new (id, origin, file_name, text, file_device, file_inode, file_mtime_ns, file_sha256, priority,
    not_before_ms, tags, retry_of, accepted_at_ms)
SELECT id, origin, file_name, text, file_device, file_inode, file_mtime_ns, file_sha256, priority, not_before_ms, tags,
    retry_of, accepted_at_ms
FROM jobs;

CREATE TABLE renders_new (
    id              INTEGER PRIMARY KEY AUTOINCREMENT,
    job_id          INTEGER NOT NULL REFERENCES jobs (id),
    -- Position in the job, from 1.
    position        INTEGER NOT NULL CHECK (position > 0),
    state           TEXT NOT NULL CHECK (state IN ('queued', 'running', 'done', 'failed', 'cancelled')),
    priority        INTEGER NOT NULL,
    -- Not claimed before this time.
    run_after_ms    INTEGER NOT NULL,
    -- The user wants it cancelled; the dispatcher acts on it at the next step.
    cancel_wanted   INTEGER NOT NULL DEFAULT 0 CHECK (cancel_wanted IN (0, 1)),
    -- What was asked.
    prompt          TEXT NOT NULL,
    negative_prompt TEXT NOT NULL,
    width           INTEGER NOT NULL CHECK (width > 0),
    height          INTEGER NOT NULL CHECK (height > 0),
    steps           INTEGER NOT NULL CHECK (steps > 0),
    guidance        REAL NOT NULL,
    seed            INTEGER NOT NULL CHECK (seed >= 0),
    on_oom          TEXT NOT NULL CHECK (on_oom IN ('fail', 'offload', 'downgrade')),
    min_side        INTEGER NOT NULL CHECK (min_side >= 0),
    min_steps       INTEGER NOT NULL CHECK (min_steps >= 0),
    output          TEXT NOT NULL,
    format          TEXT NOT NULL CHECK (format IN ('png', 'jpeg', 'webp')),
    -- How it ended.
    finished_at_ms  INTEGER,
    error_code      TEXT,
    error           TEXT,
    degraded        INTEGER NOT NULL DEFAULT 0 CHECK (degraded IN (0, 1)),
    -- How guidance is held back. Renders from before have the values that turn both off.
    guidance_normalization REAL NOT NULL DEFAULT 0.0 CHECK (guidance_normalization >= 0),
    guidance_truncation    REAL NOT NULL DEFAULT 1.0 CHECK (guidance_truncation BETWEEN 0 AND 1),
    -- Whether it was still before run_after_ms when the claim last looked. Triggers set it, the claim clears it.
    timed           INTEGER NOT NULL DEFAULT 0 CHECK (timed IN (0, 1)),
    UNIQUE (job_id, position),
    CHECK ((finished_at_ms IS NOT NULL) = (state IN ('done', 'failed', 'cancelled'))),
    CHECK ((error_code IS NOT NULL) = (state = 'failed') AND (error IS NOT NULL) = (state = 'failed')),
    CHECK (degraded = 0 OR state = 'done')
) STRICT;

INSERT INTO renders_new (id, job_id, position, state, priority, run_after_ms, cancel_wanted, prompt, negative_prompt,
    width, height, steps, guidance, seed, on_oom, min_side, min_steps, output, format, finished_at_ms, error_code, error,
    degraded, guidance_normalization, guidance_truncation, timed)
SELECT id, job_id, position, state, priority, run_after_ms, cancel_wanted, prompt, negative_prompt, width, height, steps,
    guidance, seed, on_oom, min_side, min_steps, output, format, finished_at_ms, error_code, error, degraded,
    guidance_normalization, guidance_truncation, run_after_ms > 0
FROM renders;

CREATE TABLE workers_new (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    loaded_at_ms INTEGER NOT NULL,
    version      TEXT NOT NULL,
    device       TEXT NOT NULL,
    model_name   TEXT NOT NULL,
    model_hash   TEXT NOT NULL,
    load_ms      INTEGER NOT NULL,
    -- Device memory with the model loaded and nothing running.
    idle_bytes   INTEGER NOT NULL,
    total_bytes  INTEGER NOT NULL
) STRICT;

INSERT INTO workers_new (id, loaded_at_ms, version, device, model_name, model_hash, load_ms, idle_bytes, total_bytes)
SELECT id, loaded_at_ms, version, device, model_name, model_hash, load_ms, idle_bytes, total_bytes FROM workers;

CREATE TABLE attempts_new (
    id                  INTEGER PRIMARY KEY AUTOINCREMENT,
    render_id           INTEGER NOT NULL REFERENCES renders (id),
    -- From 1, in the order of the tries.
    number              INTEGER NOT NULL CHECK (number > 0),
    worker_id           INTEGER REFERENCES workers (id),
    outcome             TEXT NOT NULL CHECK (outcome IN
        ('running', 'done', 'out_of_memory', 'crashed', 'interrupted', 'cancelled', 'failed')),
    -- How it was tried: for programs as JSON, for people as text, and what was made.
    rung                TEXT NOT NULL CHECK (json_valid(rung)),
    rung_text           TEXT NOT NULL,
    width               INTEGER NOT NULL CHECK (width > 0),
    height              INTEGER NOT NULL CHECK (height > 0),
    steps               INTEGER NOT NULL CHECK (steps > 0),
    -- The picture's final name, relative to the output folder; recorded before the picture has it.
    path                TEXT NOT NULL,
    queued_ms           INTEGER NOT NULL CHECK (queued_ms >= 0),
    started_at_ms       INTEGER NOT NULL,
    ended_at_ms         INTEGER,
    -- Where and why it ended without a picture.
    stage               TEXT CHECK (stage IN ('load', 'text_encode', 'denoise', 'vae_decode', 'picture_encode')),
    message             TEXT,
    requested_bytes     INTEGER CHECK (requested_bytes >= 0),
    -- Seconds and bytes by stage.
    text_encode_ms      INTEGER NOT NULL DEFAULT 0,
    denoise_ms          INTEGER NOT NULL DEFAULT 0,
    step_ms             TEXT NOT NULL DEFAULT '[]' CHECK (json_valid(step_ms)),
    vae_decode_ms       INTEGER NOT NULL DEFAULT 0,
    picture_encode_ms   INTEGER NOT NULL DEFAULT 0,
    total_ms            INTEGER NOT NULL DEFAULT 0,
    text_encode_bytes   INTEGER NOT NULL DEFAULT 0,
    denoise_bytes       INTEGER NOT NULL DEFAULT 0,
    vae_decode_bytes    INTEGER NOT NULL DEFAULT 0,
    after_release_bytes INTEGER NOT NULL DEFAULT 0,
    -- The picture.
    bytes               INTEGER,
    sha256              TEXT,
    prompt_cut          INTEGER NOT NULL DEFAULT 0 CHECK (prompt_cut IN (0, 1)),
    -- What it was planned with: its predicted peak, for people; and for the next plan, as JSON by stage, the prediction
    -- before and after correction.
    predicted_bytes     INTEGER CHECK (predicted_bytes > 0),
    predicted           TEXT CHECK (json_valid(predicted)),
    corrected           TEXT CHECK (json_valid(corrected)),
    UNIQUE (render_id, number),
    CHECK ((ended_at_ms IS NOT NULL) = (outcome <> 'running')),
    CHECK ((sha256 IS NOT NULL) = (outcome = 'done'))
) STRICT;

INSERT INTO attempts_new (id, render_id, number, worker_id, outcome, rung, rung_text, width, height, steps, path,
    queued_ms, started_at_ms, ended_at_ms, stage, message, requested_bytes, text_encode_ms, denoise_ms, step_ms,
    vae_decode_ms, picture_encode_ms, total_ms, text_encode_bytes, denoise_bytes, vae_decode_bytes, after_release_bytes,
    bytes, sha256, prompt_cut, predicted_bytes, predicted, corrected)
SELECT id, render_id, number, worker_id, outcome, rung, rung_text, width, height, steps, path, queued_ms, started_at_ms,
    ended_at_ms, stage, message, requested_bytes, text_encode_ms, denoise_ms, step_ms, vae_decode_ms, picture_encode_ms,
    total_ms, text_encode_bytes, denoise_bytes, vae_decode_bytes, after_release_bytes, bytes, sha256, prompt_cut,
    predicted_bytes, predicted, corrected
FROM attempts;

-- An audit trail, written with what it tells of.
CREATE TABLE events_new (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    at_ms      INTEGER NOT NULL,
    kind       TEXT NOT NULL,
    job_id     INTEGER,
    render_id  INTEGER,
    attempt_id INTEGER,
    detail     TEXT NOT NULL DEFAULT ''
) STRICT;

INSERT INTO events_new (id, at_ms, kind, job_id, render_id, attempt_id, detail)
SELECT id, at_ms, kind, job_id, render_id, attempt_id, detail FROM events;

DROP TABLE events;
DROP TABLE attempts;
DROP TABLE workers;
DROP TABLE renders;
DROP TABLE jobs;
ALTER TABLE jobs_new RENAME TO jobs;
ALTER TABLE renders_new RENAME TO renders;
ALTER TABLE workers_new RENAME TO workers;
ALTER TABLE attempts_new RENAME TO attempts;
ALTER TABLE events_new RENAME TO events;

-- The last id of each: that of a row, or one that another row still names.
DELETE FROM sqlite_sequence WHERE name IN ('jobs', 'renders', 'workers', 'attempts');
INSERT INTO sqlite_sequence (name, seq)
SELECT 'jobs', max(coalesce((SELECT max(id) FROM jobs), 0), coalesce((SELECT max(job_id) FROM renders), 0),
    coalesce((SELECT max(job_id) FROM events), 0), coalesce((SELECT max(retry_of) FROM jobs), 0))
UNION ALL
SELECT 'renders', max(coalesce((SELECT max(id) FROM renders), 0), coalesce((SELECT max(render_id) FROM attempts), 0),
    coalesce((SELECT max(render_id) FROM events), 0))
UNION ALL
SELECT 'workers', max(coalesce((SELECT max(id) FROM workers), 0), coalesce((SELECT max(worker_id) FROM attempts), 0))
UNION ALL
SELECT 'attempts', max(coalesce((SELECT max(id) FROM attempts), 0), coalesce((SELECT max(attempt_id) FROM events), 0));

CREATE INDEX jobs_by_file_name ON jobs (file_name);
-- The claim: by priority, then order of arrival. Holds what may be claimed at once, and nothing else.
CREATE INDEX renders_to_claim ON renders (priority DESC, id) WHERE state = 'queued' AND timed = 0;
-- What waits for its time, the earliest first.
CREATE INDEX renders_by_time ON renders (run_after_ms) WHERE state = 'queued' AND timed = 1;
-- What is still to be done, with all that an estimate of it reads: the rows themselves are not read.
CREATE INDEX renders_to_do ON renders (run_after_ms, width, height, steps, guidance, state)
    WHERE state IN ('queued', 'running');
CREATE INDEX renders_by_state ON renders (state, finished_at_ms);
CREATE INDEX renders_by_job ON renders (job_id, state, degraded);
CREATE UNIQUE INDEX attempts_running ON attempts (render_id) WHERE outcome = 'running';
CREATE INDEX attempts_out_of_memory ON attempts (id) WHERE outcome = 'out_of_memory';
CREATE INDEX events_by_job ON events (job_id);
CREATE INDEX attempts_predicted ON attempts (id) WHERE predicted_bytes IS NOT NULL;

CREATE TRIGGER renders_accepted AFTER INSERT ON renders WHEN NEW.run_after_ms > 0 BEGIN
    UPDATE renders SET timed = 1 WHERE id = NEW.id;
END;

CREATE TRIGGER renders_timed AFTER UPDATE OF run_after_ms ON renders BEGIN
    UPDATE renders SET timed = NEW.run_after_ms > 0 WHERE id = NEW.id;
END;

-- What waits or runs stays, and the daemon tells of it.
CREATE TRIGGER jobs_deleted AFTER DELETE ON jobs BEGIN
    DELETE FROM renders WHERE job_id = OLD.id AND state IN ('done', 'failed', 'cancelled');
END;

CREATE TRIGGER renders_deleted AFTER DELETE ON renders BEGIN
    DELETE FROM attempts WHERE render_id = OLD.id;
END;

-- Without it its render would run for ever.
CREATE TRIGGER attempts_running_kept BEFORE DELETE ON attempts
WHEN OLD.outcome = 'running' AND EXISTS (SELECT 1 FROM renders WHERE id = OLD.render_id) BEGIN
    SELECT RAISE(ABORT, 'this attempt is running; stop it with: zimaged cancel');
END;

COMMIT;
PRAGMA legacy_alter_table = OFF;
PRAGMA foreign_keys = ON;
