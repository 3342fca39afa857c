-- Pictures that somebody wants to find again, and that no clearing of the history takes with it unless it is told to.
ALTER TABLE renders ADD COLUMN starred INTEGER NOT NULL DEFAULT 0 CHECK (starred = 0 OR starred = 1 AND state = 'done');
CREATE INDEX renders_starred ON renders (job_id, position) WHERE starred = 1;
