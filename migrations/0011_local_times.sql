-- Views are read by people, so their times are in the time zone of whoever asks, as the command line's are; columns that
-- end in _ms stay UTC. Means and sums are rounded.
DROP VIEW jobs_state;
DROP VIEW history;
DROP VIEW oom;
DROP VIEW throughput;
DROP VIEW memory;

-- A job's state is what its renders say, never stored. Counted job by job, so that a page of the newest jobs does not
-- count the whole history.
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
    j.origin,
    datetime(j.accepted_at_ms / 1000.0, 'unixepoch', 'localtime') AS accepted_at
FROM jobs j;

-- A row a picture asked for, with its last attempt.
CREATE VIEW history AS
SELECT
    r.job_id AS job,
    r.position AS picture,
    r.state,
    r.degraded,
    r.prompt,
    r.negative_prompt,
    r.seed,
    r.guidance,
    r.guidance_normalization,
    r.guidance_truncation,
    r.width AS asked_width,
    r.height AS asked_height,
    r.steps AS asked_steps,
    a.width,
    a.height,
    a.steps,
    a.rung_text AS rung,
    (SELECT count(*) FROM attempts n WHERE n.render_id = r.id AND n.outcome <> 'interrupted') AS attempts,
    (SELECT n.queued_ms FROM attempts n WHERE n.render_id = r.id AND n.number = 1) / 1000.0 AS queued_s,
    a.text_encode_ms / 1000.0 AS text_encode_s,
    a.denoise_ms / 1000.0 AS denoise_s,
    a.vae_decode_ms / 1000.0 AS vae_decode_s,
    a.picture_encode_ms / 1000.0 AS picture_encode_s,
    a.total_ms / 1000.0 AS total_s,
    max(a.text_encode_bytes, a.denoise_bytes, a.vae_decode_bytes) AS peak_bytes,
    CASE WHEN a.outcome = 'done' THEN a.path END AS path,
    a.bytes,
    a.sha256,
    a.prompt_cut,
    r.error_code,
    r.error,
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
LEFT JOIN workers w ON w.id = a.worker_id;

-- The history in columns that fit a terminal.
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

-- Every attempt that ran out of memory, and what came after it.
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

-- Pictures and seconds by day, model and size.
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
    round(3600000.0 * count(*) / sum(max(a.total_ms, 1)), 1) AS pictures_per_busy_hour
FROM attempts a
JOIN renders r ON r.id = a.render_id
LEFT JOIN workers w ON w.id = a.worker_id
WHERE a.outcome = 'done'
GROUP BY day, w.model_name, w.device, size, a.steps;

-- Predicted and measured memory of every attempt that was planned.
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
