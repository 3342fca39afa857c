-- The newest pictures of a state are the first screen of the pages: found without sorting all that there are.
CREATE INDEX renders_newest ON renders (state, job_id, position);
