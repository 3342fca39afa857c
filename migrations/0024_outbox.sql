-- What is told of renders that have ended: to a program of the user's, or to a webhook. A row is written in the very
-- transaction that ends the render, and stays until it was told or given up, so that a death in between tells it after
-- the next start. Its id is never given again: with the database's own it names the event.

-- What daemon.toml wants told, as of the daemon's last start.
CREATE TABLE hook_wishes (
    channel TEXT NOT NULL CHECK (channel IN ('program', 'webhook')),
    event   TEXT NOT NULL CHECK (event IN ('done', 'failed')),
    PRIMARY KEY (channel, event)
) STRICT;

CREATE TABLE outbox (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    channel     TEXT NOT NULL CHECK (channel IN ('program', 'webhook')),
    event       TEXT NOT NULL CHECK (event IN ('done', 'failed')),
    -- No foreign key: what was told of a render outlives its row.
    job_id      INTEGER NOT NULL,
    picture     INTEGER NOT NULL,
    at_ms       INTEGER NOT NULL,
    state       TEXT NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'told', 'given_up')),
    tries       INTEGER NOT NULL DEFAULT 0 CHECK (tries >= 0),
    -- Not tried before.
    next_at_ms  INTEGER NOT NULL,
    ended_at_ms INTEGER,
    -- What came of the last try.
    message     TEXT NOT NULL DEFAULT '',
    CHECK ((ended_at_ms IS NULL) = (state = 'waiting'))
) STRICT;

CREATE INDEX outbox_waiting ON outbox (channel, next_at_ms, id) WHERE state = 'waiting';

CREATE TRIGGER renders_told AFTER UPDATE OF state ON renders
WHEN NEW.state IN ('done', 'failed') AND OLD.state <> NEW.state BEGIN
    INSERT INTO outbox (channel, event, job_id, picture, at_ms, next_at_ms)
    SELECT channel, event, NEW.job_id, NEW.position, NEW.finished_at_ms, NEW.finished_at_ms
    FROM hook_wishes WHERE event = NEW.state;
END;
