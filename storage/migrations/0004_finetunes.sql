-- Finetunes, who may ask for them, and how strongly a take's clip is made by one.
--
--   guilds ─┬─ guild_settings  + finetune_by, finetune_role_id
--           └─ finetunes ── finetune_tracks (gone at its end)      takes  + strength

ALTER TABLE guild_settings ADD COLUMN finetune_by TEXT NOT NULL DEFAULT 'moderators' CHECK (finetune_by IN ('moderators', 'role', 'everyone'));
ALTER TABLE guild_settings ADD COLUMN finetune_role_id INTEGER CHECK ((finetune_by = 'role') = (finetune_role_id IS NOT NULL));

ALTER TABLE takes ADD COLUMN strength REAL CHECK (strength BETWEEN 0 AND 1.5);  -- NULL: the adapter's own, or no adapter

CREATE TABLE finetunes (
    finetune_id TEXT PRIMARY KEY CHECK (length(finetune_id) BETWEEN 1 AND 64),  -- also the engine's name for the job
    guild_id    INTEGER NOT NULL REFERENCES guilds (guild_id),
    channel_id  INTEGER NOT NULL,
    member_id   INTEGER NOT NULL,
    message_id  INTEGER UNIQUE,
    name        TEXT NOT NULL CHECK (length(trim(name)) BETWEEN 1 AND 80),
    name_key    TEXT NOT NULL,  -- casefolded: SQLite's own folds ASCII only
    recipe      TEXT NOT NULL,
    base        TEXT,  -- checkpoint id; NULL: the engine's default
    token       TEXT NOT NULL CHECK (length(trim(token)) BETWEEN 1 AND 100),
    tracks      INTEGER NOT NULL CHECK (tracks > 0),
    request     TEXT,  -- JSON, to be asked again after a restart; it names tracks, so it goes when the finetune ends
    forecast    TEXT,  -- JSON
    state       TEXT NOT NULL DEFAULT 'queued' CHECK (state IN ('queued', 'running', 'done', 'failed', 'cancelled')),
    cancel_by   INTEGER,  -- the member who wants it ended; the engine may still have to be told
    error       TEXT,
    checkpoint  TEXT CHECK (length(checkpoint) BETWEEN 1 AND 200),
    gate        TEXT CHECK (gate IN ('passed', 'failed')),  -- NULL when it is done: too little was held out to judge by
    verdict     TEXT,
    report      TEXT,  -- JSON, without pictures and clips
    created_at  TEXT NOT NULL,
    started_at  TEXT,
    finished_at TEXT,
    CHECK ((state IN ('done', 'failed', 'cancelled')) = (finished_at IS NOT NULL)),
    CHECK ((state IN ('queued', 'running')) = (request IS NOT NULL)),
    CHECK ((state = 'failed') = (error IS NOT NULL)),
    CHECK ((state = 'done') = (checkpoint IS NOT NULL) AND (state = 'done') = (verdict IS NOT NULL)),
    CHECK (gate IS NULL OR state = 'done')
) STRICT;

CREATE INDEX finetunes_by_guild ON finetunes (guild_id, created_at);
CREATE UNIQUE INDEX finetunes_under_way ON finetunes (guild_id) WHERE state IN ('queued', 'running');
CREATE INDEX finetunes_by_checkpoint ON finetunes (guild_id, checkpoint) WHERE checkpoint IS NOT NULL;
-- A name that can be chosen, or will be, means one finetune.
CREATE UNIQUE INDEX finetunes_by_name ON finetunes (guild_id, name_key) WHERE state IN ('queued', 'running', 'done');

-- What a finetune under way learns from: kept, here and in the engine, even if it is taken out of the crate meanwhile.
CREATE TABLE finetune_tracks (
    finetune_id TEXT NOT NULL REFERENCES finetunes (finetune_id),
    sha256      TEXT NOT NULL CHECK (length(sha256) = 64 AND sha256 NOT GLOB '*[^0-9a-f]*'),
    PRIMARY KEY (finetune_id, sha256)
) STRICT, WITHOUT ROWID;

CREATE INDEX finetune_tracks_by_sha256 ON finetune_tracks (sha256);

-- A finetune moves as a take does:
--     queued ──▶ running ──▶ done
--        └──────────┴──▶ failed | cancelled
CREATE TRIGGER finetunes_begin BEFORE INSERT ON finetunes
WHEN NEW.state <> 'queued'
BEGIN
    SELECT RAISE(ABORT, 'a finetune begins as queued');
END;

CREATE TRIGGER finetunes_move BEFORE UPDATE OF state ON finetunes
WHEN NOT (
    (OLD.state = 'queued' AND NEW.state IN ('running', 'failed', 'cancelled'))
    OR (OLD.state = 'running' AND NEW.state IN ('done', 'failed', 'cancelled'))
)
BEGIN
    SELECT RAISE(ABORT, 'illegal transition of a finetune');
END;

CREATE TRIGGER finetunes_end AFTER UPDATE OF state ON finetunes
WHEN NEW.state IN ('done', 'failed', 'cancelled')
BEGIN
    DELETE FROM finetune_tracks WHERE finetune_id = NEW.finetune_id;
END;

DROP VIEW blob_names;
CREATE VIEW blob_names (sha256, named_by) AS
    SELECT sha256, 'track ' || track_id FROM tracks
    UNION ALL
    SELECT c.sha256, 'clip of take ' || c.take_id FROM clips c JOIN live_takes l USING (take_id)
    UNION ALL
    SELECT c.delivery_sha256, 'delivery of take ' || c.take_id FROM clips c JOIN live_takes l USING (take_id)
    UNION ALL
    SELECT c.picture_sha256, 'picture of take ' || c.take_id FROM clips c JOIN live_takes l USING (take_id)
    UNION ALL
    SELECT t.track_sha256, 'track of take ' || t.take_id FROM takes t JOIN live_takes l USING (take_id)
    WHERE t.track_sha256 IS NOT NULL AND (t.track_forgotten = 0 OR t.state IN ('queued', 'running'))
    UNION ALL
    SELECT sha256, 'track of finetune ' || finetune_id FROM finetune_tracks;
