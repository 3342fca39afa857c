-- A job may say until when and in which part of each day its renders are started.
ALTER TABLE jobs ADD COLUMN not_after_ms INTEGER;
-- Local time, like 22:00-07:00.
ALTER TABLE jobs ADD COLUMN open_hours TEXT;

-- Not claimed at or after this time: then the window of the day has closed, and run_after_ms and this become those of
-- the next one; or nothing more of the job is to be started, and the render is cancelled.
ALTER TABLE renders ADD COLUMN run_until_ms INTEGER;
-- Why it was cancelled, where that was not the user's word.
ALTER TABLE renders ADD COLUMN cancel_reason TEXT CHECK (cancel_reason IS NULL OR state = 'cancelled');

CREATE INDEX renders_by_end ON renders (run_until_ms) WHERE state = 'queued' AND run_until_ms IS NOT NULL;
