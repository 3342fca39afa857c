-- The LoRAs that a render is made with, a list in JSON: the name of each, its weight, the SHA-256 of its file's content, and
-- what it takes.
ALTER TABLE renders ADD COLUMN lora TEXT NOT NULL DEFAULT '[]' CHECK (json_type(lora) = 'array');

DROP VIEW history;
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
LEFT JOIN workers w ON w.id = a.worker_id;
