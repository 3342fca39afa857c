-- In how many bits a render computes.
ALTER TABLE renders ADD COLUMN precision TEXT NOT NULL DEFAULT 'full' CHECK (precision IN ('full', 'int8'));
