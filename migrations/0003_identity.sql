-- One row: tells this database's pictures and temporary files from those of another one that uses the same output
-- folder. A copy keeps it.
CREATE TABLE identity (
    id TEXT NOT NULL CHECK (length(id) = 16)
) STRICT;

INSERT INTO identity (id) VALUES (lower(hex(randomblob(8))));
