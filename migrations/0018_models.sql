-- Several models, by the names that daemon.toml has for them; the one of [model] has none. Renders from before are its own.
ALTER TABLE renders ADD COLUMN model TEXT NOT NULL DEFAULT '' CHECK (length(model) <= 64);
ALTER TABLE workers ADD COLUMN model_key TEXT NOT NULL DEFAULT '';
-- What the weights of each part are and where they come from, as JSON; parts and hashes that are not known yet are missing.
ALTER TABLE workers ADD COLUMN parts TEXT NOT NULL DEFAULT '[]' CHECK (json_valid(parts) AND json_type(parts) = 'array');

-- The claim looks up the first render of each model: those of a model that cannot be used are never walked through.
DROP INDEX renders_to_claim;
CREATE INDEX renders_to_claim ON renders (model, priority DESC, id) WHERE state = 'queued' AND timed = 0;
-- How long a render takes depends on its model, too.
DROP INDEX renders_to_do;
CREATE INDEX renders_to_do ON renders (priority, run_after_ms, run_until_ms, width, height, steps, guidance,
    guidance_truncation, model, job_id, state) WHERE state IN ('queued', 'running');

-- By which weights each picture was made, a row for each part of the model: what the file's SHA-256 is (of several files,
-- that of their list as sha256sum prints it), and for what was fetched, from where.
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
