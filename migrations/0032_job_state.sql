-- A job is running while a render of it is, and not while its other renders wait: for their turn, the end of a pause or
-- the next night.
DROP VIEW jobs_state;

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
        WHEN EXISTS (SELECT 1 FROM renders r WHERE r.job_id = j.id AND r.state = 'queued') THEN 'queued'
        WHEN EXISTS (SELECT 1 FROM renders r WHERE r.job_id = j.id AND r.state = 'failed') THEN 'failed'
        WHEN EXISTS (SELECT 1 FROM renders r WHERE r.job_id = j.id AND r.state = 'cancelled') THEN 'cancelled'
        ELSE 'done'
    END AS state,
    j.origin,
    datetime(j.accepted_at_ms / 1000.0, 'unixepoch', 'localtime') AS accepted_at
FROM jobs j;
