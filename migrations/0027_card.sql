-- What an attempt took of the card, as the driver's management library tells it; NULL where it does not, and without a card.
ALTER TABLE attempts ADD COLUMN energy_mj INTEGER CHECK (energy_mj >= 0);
ALTER TABLE attempts ADD COLUMN power_mean_mw INTEGER CHECK (power_mean_mw >= 0);
ALTER TABLE attempts ADD COLUMN power_peak_mw INTEGER CHECK (power_peak_mw >= 0);
ALTER TABLE attempts ADD COLUMN temperature_max_celsius INTEGER;
-- Of the multiprocessors, on average.
ALTER TABLE attempts ADD COLUMN clock_mhz INTEGER CHECK (clock_mhz >= 0);
-- What kept the clocks low, in words; empty where nothing did.
ALTER TABLE attempts ADD COLUMN slowed_by TEXT;

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
LEFT JOIN workers w ON w.id = a.worker_id;

DROP VIEW throughput;
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
