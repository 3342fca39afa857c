-- What an attempt was planned with: its predicted peak, for people; and for the next plan, as JSON by stage, the
-- prediction before and after correction. Set beside what was measured they correct what comes.
ALTER TABLE attempts ADD COLUMN predicted_bytes INTEGER CHECK (predicted_bytes > 0);
ALTER TABLE attempts ADD COLUMN predicted TEXT CHECK (json_valid(predicted));
ALTER TABLE attempts ADD COLUMN corrected TEXT CHECK (json_valid(corrected));

CREATE INDEX attempts_predicted ON attempts (id) WHERE predicted_bytes IS NOT NULL;

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
    datetime(a.started_at_ms / 1000.0, 'unixepoch') AS at
FROM attempts a
JOIN renders r ON r.id = a.render_id
LEFT JOIN workers w ON w.id = a.worker_id
WHERE a.predicted_bytes IS NOT NULL;
