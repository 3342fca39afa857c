-- What the end of an attempt says of its worker: whether it died at it, and where it was when it
-- was lost and nobody saw why (with `stage`), because the daemon died as well.
ALTER TABLE attempts ADD COLUMN worker_died INTEGER NOT NULL DEFAULT 0 CHECK (worker_died IN (0, 1));
ALTER TABLE attempts ADD COLUMN lost_step INTEGER CHECK (lost_step >= 0);
