-- What nobody has measured is unknown, and not 0: the seconds and bytes of an attempt whose worker or daemon died.
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
