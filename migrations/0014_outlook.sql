-- All that says when a render is started and how long it takes, so that the outlook of a long queue reads no table.
DROP INDEX renders_to_do;
CREATE INDEX renders_to_do ON renders (priority, run_after_ms, run_until_ms, width, height, steps, guidance,
    guidance_truncation, job_id, state) WHERE state IN ('queued', 'running');
