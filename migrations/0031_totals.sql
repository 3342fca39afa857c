-- What /metrics tells, kept while it happens: asked every few seconds, it must not read all that was ever made.
-- A total is not made less where history is forgotten, because what Prometheus counts only grows.
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

-- What each attempt that has ended adds to them. Whoever changes a bound counts its metric anew.
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

INSERT INTO totals (metric, label, stage, bucket, number, sum)
SELECT metric, label, stage, bucket, count(*), sum(value) FROM attempt_values GROUP BY 1, 2, 3, 4;
INSERT INTO totals (metric, label, number)
SELECT 'renders', state, count(*) FROM renders WHERE state IN ('done', 'failed', 'cancelled') GROUP BY state;
