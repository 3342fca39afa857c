CREATE INDEX attempts_out_of_memory ON attempts (id) WHERE outcome = 'out_of_memory';

CREATE INDEX attempts_predicted ON attempts (id) WHERE predicted_bytes IS NOT NULL;

CREATE UNIQUE INDEX attempts_running ON attempts (render_id) WHERE outcome = 'running';

CREATE INDEX events_by_job ON events (job_id);

CREATE INDEX jobs_by_file_name ON jobs (file_name);

CREATE INDEX jobs_by_request ON jobs (file_sha256) WHERE origin IN ('http', 'openai', 'sdapi');

CREATE INDEX jobs_of_earlier_versions ON jobs (file_inode) WHERE drop_id IS NULL AND file_inode IS NOT NULL;

CREATE INDEX outbox_waiting ON outbox (channel, next_at_ms, id) WHERE state = 'waiting';

CREATE INDEX renders_by_end ON renders (run_until_ms) WHERE state = 'queued' AND run_until_ms IS NOT NULL;

CREATE INDEX renders_by_init_image ON renders (init_image) WHERE init_image <> '';

CREATE INDEX renders_by_job ON renders (job_id, state, degraded);

CREATE INDEX renders_by_mask ON renders (mask) WHERE mask <> '';

CREATE INDEX renders_by_state ON renders (state, finished_at_ms);

CREATE INDEX renders_by_time ON renders (run_after_ms) WHERE state = 'queued' AND timed = 1;

CREATE INDEX renders_newest ON renders (state, job_id, position);

CREATE INDEX renders_starred ON renders (job_id, position) WHERE starred = 1;

CREATE INDEX renders_to_claim ON renders (model, priority DESC, id) WHERE state = 'queued' AND timed = 0;

CREATE INDEX renders_to_do ON renders (priority, run_after_ms, run_until_ms, width, height, steps, guidance,
    guidance_truncation, model, job_id, state) WHERE state IN ('queued', 'running');

CREATE TABLE "attempts" (
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
    corrected           TEXT CHECK (json_valid(corrected)), worker_died INTEGER NOT NULL DEFAULT 0 CHECK (worker_died IN (0, 1)), lost_step INTEGER CHECK (lost_step >= 0), energy_mj INTEGER CHECK (energy_mj >= 0), power_mean_mw INTEGER CHECK (power_mean_mw >= 0), power_peak_mw INTEGER CHECK (power_peak_mw >= 0), temperature_max_celsius INTEGER, clock_mhz INTEGER CHECK (clock_mhz >= 0), slowed_by TEXT,
    UNIQUE (render_id, number),
    CHECK ((ended_at_ms IS NOT NULL) = (outcome <> 'running')),
    CHECK ((sha256 IS NOT NULL) = (outcome = 'done'))
) STRICT;

CREATE TABLE "events" (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    at_ms      INTEGER NOT NULL,
    kind       TEXT NOT NULL,
    job_id     INTEGER,
    render_id  INTEGER,
    attempt_id INTEGER,
    detail     TEXT NOT NULL DEFAULT ''
) STRICT;

CREATE TABLE hook_wishes (
    channel TEXT NOT NULL CHECK (channel IN ('program', 'webhook')),
    event   TEXT NOT NULL CHECK (event IN ('done', 'failed')),
    PRIMARY KEY (channel, event)
) STRICT;

CREATE TABLE identity (
    id TEXT NOT NULL CHECK (length(id) = 16)
) STRICT;

CREATE TABLE "jobs" (
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

CREATE TABLE outbox (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    channel     TEXT NOT NULL CHECK (channel IN ('program', 'webhook')),
    event       TEXT NOT NULL CHECK (event IN ('done', 'failed')),
    -- No foreign key: what was told of a render outlives its row.
    job_id      INTEGER NOT NULL,
    picture     INTEGER NOT NULL,
    at_ms       INTEGER NOT NULL,
    state       TEXT NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'told', 'given_up')),
    tries       INTEGER NOT NULL DEFAULT 0 CHECK (tries >= 0),
    -- Not tried before.
    next_at_ms  INTEGER NOT NULL,
    ended_at_ms INTEGER,
    -- What came of the last try.
    message     TEXT NOT NULL DEFAULT '',
    CHECK ((ended_at_ms IS NULL) = (state = 'waiting'))
) STRICT;

CREATE TABLE pause (
    id       INTEGER PRIMARY KEY CHECK (id = 1),
    since_ms INTEGER NOT NULL,
    reason   TEXT NOT NULL
) STRICT;

CREATE TABLE "rejections" (
    id             INTEGER PRIMARY KEY,
    at_ms          INTEGER NOT NULL,
    file_name      TEXT NOT NULL,
    -- NULL in rows of earlier versions.
    drop_id        TEXT UNIQUE CHECK (length(drop_id) = 32),
    file_sha256    TEXT NOT NULL,
    reason         TEXT NOT NULL
) STRICT;

CREATE TABLE "renders" (
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
    timed           INTEGER NOT NULL DEFAULT 0 CHECK (timed IN (0, 1)), run_until_ms INTEGER, cancel_reason TEXT CHECK (cancel_reason IS NULL OR state = 'cancelled'), sampler TEXT NOT NULL DEFAULT 'euler' CHECK (sampler IN ('euler', 'res_multistep')), init_image TEXT NOT NULL DEFAULT '' CHECK (length(init_image) IN (0, 64)), mask TEXT NOT NULL DEFAULT ''
    CHECK (length(mask) IN (0, 64) AND (mask = '' OR init_image <> '')), strength REAL NOT NULL DEFAULT 1.0 CHECK (strength > 0 AND strength <= 1), asked_prompt TEXT, lora TEXT NOT NULL DEFAULT '[]' CHECK (json_type(lora) = 'array'), model TEXT NOT NULL DEFAULT '' CHECK (length(model) <= 64), starred INTEGER NOT NULL DEFAULT 0 CHECK (starred = 0 OR starred = 1 AND state = 'done'), precision TEXT NOT NULL DEFAULT 'full' CHECK (precision IN ('full', 'int8')),
    UNIQUE (job_id, position),
    CHECK ((finished_at_ms IS NOT NULL) = (state IN ('done', 'failed', 'cancelled'))),
    CHECK ((error_code IS NOT NULL) = (state = 'failed') AND (error IS NOT NULL) = (state = 'failed')),
    CHECK (degraded = 0 OR state = 'done')
) STRICT;

CREATE TABLE sqlite_sequence(name,seq);

CREATE TABLE totals (
    metric TEXT NOT NULL CHECK (metric IN ('renders', 'attempts', 'render_ms', 'stage_ms', 'predicted_ratio')),
    -- The state of renders, the outcome of attempts, the longer side of a picture rounded up to a power of two.
    label  TEXT NOT NULL DEFAULT '',
    stage  TEXT NOT NULL DEFAULT '',
    -- How many of the metric's bounds, which go upwards, the value is above.
    bucket INTEGER NOT NULL DEFAULT 0,
    number INTEGER NOT NULL CHECK (number > 0),
    -- Of the values.
    sum    REAL NOT NULL DEFAULT 0,
    PRIMARY KEY (metric, label, stage, bucket)
) STRICT, WITHOUT ROWID;

CREATE TABLE "workers" (
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
, model_key TEXT NOT NULL DEFAULT '', parts TEXT NOT NULL DEFAULT '[]' CHECK (json_valid(parts) AND json_type(parts) = 'array'), load_parts TEXT NOT NULL DEFAULT '[]'
    CHECK (json_valid(load_parts) AND json_type(load_parts) = 'array')) STRICT;

CREATE TRIGGER attempts_running_kept BEFORE DELETE ON attempts
WHEN OLD.outcome = 'running' AND EXISTS (SELECT 1 FROM renders WHERE id = OLD.render_id) BEGIN
    SELECT RAISE(ABORT, 'this attempt is running; stop it with: zimaged cancel');
END;

CREATE TRIGGER jobs_deleted AFTER DELETE ON jobs BEGIN
    DELETE FROM renders WHERE job_id = OLD.id AND state IN ('done', 'failed', 'cancelled');
END;

CREATE TRIGGER renders_accepted AFTER INSERT ON renders WHEN NEW.run_after_ms > 0 BEGIN
    UPDATE renders SET timed = 1 WHERE id = NEW.id;
END;

CREATE TRIGGER renders_deleted AFTER DELETE ON renders BEGIN
    DELETE FROM attempts WHERE render_id = OLD.id;
END;

CREATE TRIGGER renders_timed AFTER UPDATE OF run_after_ms ON renders BEGIN
    UPDATE renders SET timed = NEW.run_after_ms > 0 WHERE id = NEW.id;
END;

CREATE TRIGGER renders_told AFTER UPDATE OF state ON renders
WHEN NEW.state IN ('done', 'failed') AND OLD.state <> NEW.state BEGIN
    INSERT INTO outbox (channel, event, job_id, picture, at_ms, next_at_ms)
    SELECT channel, event, NEW.job_id, NEW.position, NEW.finished_at_ms, NEW.finished_at_ms
    FROM hook_wishes WHERE event = NEW.state;
END;

CREATE VIEW attempt_values AS
SELECT id AS attempt_id, 'attempts' AS metric, outcome AS label, coalesce(stage, 'none') AS stage, 0 AS bucket,
    0.0 AS value
FROM attempts WHERE outcome <> 'running'
UNION ALL
SELECT id, 'render_ms',
    CASE WHEN max(width, height) <= 256 THEN '256' WHEN max(width, height) <= 512 THEN '512'
        WHEN max(width, height) <= 1024 THEN '1024' WHEN max(width, height) <= 2048 THEN '2048' ELSE '4096' END,
    '',
    (total_ms > 250) + (total_ms > 1000) + (total_ms > 2500) + (total_ms > 5000) + (total_ms > 10000)
        + (total_ms > 30000) + (total_ms > 60000) + (total_ms > 300000) + (total_ms > 1800000) + (total_ms > 7200000),
    total_ms
FROM attempts WHERE outcome = 'done'
UNION ALL
SELECT attempt_id, 'stage_ms', '', stage,
    (ms > 10) + (ms > 50) + (ms > 250) + (ms > 1000) + (ms > 2500) + (ms > 5000) + (ms > 10000) + (ms > 30000)
        + (ms > 120000) + (ms > 1800000),
    ms
FROM (
    SELECT id AS attempt_id, 'text_encode' AS stage, text_encode_ms AS ms FROM attempts WHERE outcome = 'done'
    UNION ALL SELECT id, 'denoise', denoise_ms FROM attempts WHERE outcome = 'done'
    UNION ALL SELECT id, 'vae_decode', vae_decode_ms FROM attempts WHERE outcome = 'done'
    UNION ALL SELECT id, 'picture_encode', picture_encode_ms FROM attempts WHERE outcome = 'done'
)
UNION ALL
SELECT attempt_id, 'predicted_ratio', '', '',
    (ratio > 0.25) + (ratio > 0.5) + (ratio > 0.75) + (ratio > 0.9) + (ratio > 0.97) + (ratio > 1.0) + (ratio > 1.1),
    ratio
FROM (
    SELECT id AS attempt_id, 1.0 * max(text_encode_bytes, denoise_bytes, vae_decode_bytes) / predicted_bytes AS ratio
    FROM attempts WHERE outcome = 'done' AND predicted_bytes IS NOT NULL
);

CREATE VIEW history AS
SELECT
    r.job_id AS job,
    r.position AS picture,
    r.state,
    r.degraded,
    r.prompt,
    -- Before the choices in it were made; NULL where there were none.
    r.asked_prompt,
    r.negative_prompt,
    r.seed,
    r.guidance,
    r.guidance_normalization,
    r.guidance_truncation,
    -- A list in JSON: name, weight and the SHA-256 of the file's content, each.
    r.lora,
    r.width AS asked_width,
    r.height AS asked_height,
    r.steps AS asked_steps,
    a.width,
    a.height,
    a.steps,
    a.rung_text AS rung,
    (SELECT count(*) FROM attempts n WHERE n.render_id = r.id AND n.outcome <> 'interrupted') AS attempts,
    (SELECT n.queued_ms FROM attempts n WHERE n.render_id = r.id AND n.number = 1) / 1000.0 AS queued_s,
    m.text_encode_ms / 1000.0 AS text_encode_s,
    m.denoise_ms / 1000.0 AS denoise_s,
    m.vae_decode_ms / 1000.0 AS vae_decode_s,
    m.picture_encode_ms / 1000.0 AS picture_encode_s,
    m.total_ms / 1000.0 AS total_s,
    max(m.text_encode_bytes, m.denoise_bytes, m.vae_decode_bytes) AS peak_bytes,
    -- Of the card, by all programs together while the last attempt ran; NULL without one.
    round(a.energy_mj / 1000.0, 1) AS joules,
    round(a.power_mean_mw / 1000.0, 1) AS mean_watts,
    round(a.power_peak_mw / 1000.0, 1) AS peak_watts,
    a.temperature_max_celsius,
    a.clock_mhz,
    a.slowed_by,
    CASE WHEN a.outcome = 'done' THEN a.path END AS path,
    a.bytes,
    a.sha256,
    a.prompt_cut,
    r.error_code,
    r.error,
    -- Where that was not the user's word.
    r.cancel_reason,
    w.device,
    w.model_name AS model,
    -- Of the weights' content; NULL until it is known.
    CASE WHEN w.model_hash NOT LIKE 'unhashed:%' THEN w.model_hash END AS model_hash,
    datetime(j.accepted_at_ms / 1000.0, 'unixepoch', 'localtime') AS accepted_at,
    datetime(r.finished_at_ms / 1000.0, 'unixepoch', 'localtime') AS finished_at
FROM renders r
JOIN jobs j ON j.id = r.job_id
LEFT JOIN attempts a ON a.render_id = r.id
    AND a.number = (SELECT max(n.number) FROM attempts n WHERE n.render_id = r.id)
-- The same attempt where it was measured. Whoever dies tells no seconds and no bytes: they are NULL, not 0.
LEFT JOIN attempts m ON m.id = a.id AND (m.total_ms > 0 OR m.outcome = 'done')
LEFT JOIN workers w ON w.id = a.worker_id;

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
        WHEN EXISTS (SELECT 1 FROM renders r WHERE r.job_id = j.id AND r.state = 'queued') THEN 'queued'
        WHEN EXISTS (SELECT 1 FROM renders r WHERE r.job_id = j.id AND r.state = 'failed') THEN 'failed'
        WHEN EXISTS (SELECT 1 FROM renders r WHERE r.job_id = j.id AND r.state = 'cancelled') THEN 'cancelled'
        ELSE 'done'
    END AS state,
    j.origin,
    datetime(j.accepted_at_ms / 1000.0, 'unixepoch', 'localtime') AS accepted_at
FROM jobs j;

CREATE VIEW memory AS
SELECT
    r.job_id AS job,
    r.position AS picture,
    a.number AS attempt,
    a.rung_text AS rung,
    a.outcome,
    a.predicted_bytes,
    max(a.text_encode_bytes, a.denoise_bytes, a.vae_decode_bytes) AS measured_bytes,
    round(1.0 * max(a.text_encode_bytes, a.denoise_bytes, a.vae_decode_bytes) / a.predicted_bytes, 3) AS ratio,
    a.text_encode_bytes,
    a.denoise_bytes,
    a.vae_decode_bytes,
    w.device,
    w.model_name AS model,
    datetime(a.started_at_ms / 1000.0, 'unixepoch', 'localtime') AS at
FROM attempts a
JOIN renders r ON r.id = a.render_id
LEFT JOIN workers w ON w.id = a.worker_id
WHERE a.predicted_bytes IS NOT NULL;

CREATE VIEW oom AS
SELECT
    r.job_id AS job,
    r.position AS picture,
    a.number AS attempt,
    a.rung_text AS rung,
    a.stage,
    a.requested_bytes,
    max(a.text_encode_bytes, a.denoise_bytes, a.vae_decode_bytes) AS peak_bytes,
    a.after_release_bytes,
    a.total_ms / 1000.0 AS lost_s,
    n.rung_text AS next_rung,
    n.outcome AS next_outcome,
    r.state,
    a.message,
    datetime(a.started_at_ms / 1000.0, 'unixepoch', 'localtime') AS at
FROM attempts a
JOIN renders r ON r.id = a.render_id
LEFT JOIN attempts n ON n.render_id = a.render_id AND n.number = a.number + 1
WHERE a.outcome = 'out_of_memory';

CREATE VIEW pictures AS
SELECT
    job || '.' || picture AS render,
    CASE WHEN degraded THEN 'degraded' ELSE state END AS state,
    coalesce(width, asked_width) || 'x' || coalesce(height, asked_height) || '/' || coalesce(steps, asked_steps) AS size,
    seed,
    round(total_s, 1) AS s,
    peak_bytes >> 20 AS peak_mib,
    finished_at AS ended,
    coalesce(path, error_code) AS picture,
    substr(replace(prompt, char(10), ' '), 1, 30) AS prompt
FROM history;

CREATE VIEW throughput AS
SELECT
    date(a.ended_at_ms / 1000.0, 'unixepoch', 'localtime') AS day,
    w.model_name AS model,
    w.device,
    a.width || 'x' || a.height AS size,
    a.steps,
    count(*) AS pictures,
    sum(r.degraded) AS degraded,
    round(sum(a.total_ms) / 1000.0, 1) AS busy_s,
    round(avg(a.total_ms) / 1000.0, 2) AS mean_s,
    round(3600000.0 * count(*) / sum(max(a.total_ms, 1)), 1) AS pictures_per_busy_hour,
    -- Of the card, NULL without one: all pictures together, each on average, and how many were slowed.
    round(sum(a.energy_mj) / 3600000.0, 2) AS watt_hours,
    round(avg(a.energy_mj) / 1000.0, 1) AS joules_per_picture,
    round(avg(a.power_mean_mw) / 1000.0, 1) AS mean_watts,
    max(a.temperature_max_celsius) AS temperature_max_celsius,
    CAST(round(avg(a.clock_mhz)) AS INTEGER) AS clock_mhz,
    sum(a.slowed_by <> '') AS slowed
FROM attempts a
JOIN renders r ON r.id = a.render_id
LEFT JOIN workers w ON w.id = a.worker_id
WHERE a.outcome = 'done'
GROUP BY day, w.model_name, w.device, size, a.steps;

CREATE VIEW weights AS
SELECT
    r.job_id AS job,
    r.position AS picture,
    CASE WHEN a.outcome = 'done' THEN a.path END AS path,
    r.model AS model_key,
    w.model_name AS model,
    p.value ->> 'part' AS part,
    p.value ->> 'sha256' AS sha256,
    p.value ->> '$.source.hub' AS hub,
    p.value ->> '$.source.repository' AS repository,
    p.value ->> '$.source.revision' AS revision
FROM renders r
JOIN attempts a ON a.render_id = r.id
    AND a.number = (SELECT max(n.number) FROM attempts n WHERE n.render_id = r.id)
JOIN workers w ON w.id = a.worker_id
JOIN json_each(w.parts) p;

