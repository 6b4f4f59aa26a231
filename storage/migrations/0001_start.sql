-- guilds ─┬─ guild_settings
--         ├─ crates ── tracks ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─┐
--         └─ takes ─┬─ messages (the latest is the take's own)     blob_names: every file that a row still names
--                   └─ clips ─┬─ ratings ─ ─ ─ ─ ─ ┘
--                             └─ rating_events (all that ever happened to a rating)
--
-- Ids of guilds, channels, members and messages are Discord's own 64-bit numbers. Times are UTC text, see storage/times.py.

CREATE TABLE guilds (
    guild_id   INTEGER PRIMARY KEY,
    -- Members appear in exports as a hash with this salt: the same person in two guilds can't be matched.
    salt       BLOB NOT NULL DEFAULT (randomblob(16)) CHECK (length(salt) = 16),
    created_at TEXT NOT NULL
) STRICT;

CREATE TABLE guild_settings (
    guild_id   INTEGER PRIMARY KEY REFERENCES guilds (guild_id),
    token      TEXT NOT NULL CHECK (length(trim(token)) BETWEEN 1 AND 100),
    checkpoint TEXT CHECK (length(checkpoint) BETWEEN 1 AND 200),  -- NULL: the engine's default
    updated_at TEXT NOT NULL
) STRICT;

CREATE TABLE crates (
    crate_id   INTEGER PRIMARY KEY,
    guild_id   INTEGER NOT NULL REFERENCES guilds (guild_id),
    name       TEXT NOT NULL CHECK (length(trim(name)) BETWEEN 1 AND 100),
    created_at TEXT NOT NULL,
    UNIQUE (guild_id, name),
    UNIQUE (guild_id, crate_id)
) STRICT;

CREATE TABLE tracks (
    track_id    INTEGER PRIMARY KEY AUTOINCREMENT,  -- never reused: an old button must not point at another track
    guild_id    INTEGER NOT NULL REFERENCES guilds (guild_id),
    crate_id    INTEGER NOT NULL,
    member_id   INTEGER NOT NULL,
    sha256      TEXT NOT NULL CHECK (length(sha256) = 64 AND sha256 NOT GLOB '*[^0-9a-f]*'),
    filename    TEXT NOT NULL,
    title       TEXT,
    artist      TEXT,
    search_text TEXT NOT NULL,  -- artist, title and file name, casefolded: SQLite's LIKE folds ASCII only
    duration_s  REAL NOT NULL CHECK (duration_s > 0),
    sample_rate INTEGER NOT NULL CHECK (sample_rate > 0),
    channels    INTEGER NOT NULL CHECK (channels > 0),
    codec       TEXT NOT NULL,
    size_bytes  INTEGER NOT NULL CHECK (size_bytes > 0),
    added_at    TEXT NOT NULL,
    UNIQUE (guild_id, sha256),
    FOREIGN KEY (guild_id, crate_id) REFERENCES crates (guild_id, crate_id)
) STRICT;

CREATE INDEX tracks_by_guild ON tracks (guild_id);

CREATE TABLE takes (
    take_id         TEXT PRIMARY KEY CHECK (length(take_id) BETWEEN 1 AND 64),
    guild_id        INTEGER NOT NULL REFERENCES guilds (guild_id),
    channel_id      INTEGER NOT NULL,
    member_id       INTEGER NOT NULL,
    kind            TEXT NOT NULL CHECK (kind IN ('text', 'continuation', 'unconditional')),
    prompt          TEXT NOT NULL,
    prompt_kind     TEXT NOT NULL CHECK (prompt_kind IN ('token', 'plain', 'other')),
    seconds         REAL NOT NULL CHECK (seconds > 0),
    seed            INTEGER CHECK (seed >= 0),
    guidance_scale  REAL,  -- NULL: the checkpoint's own
    temperature     REAL,
    checkpoint      TEXT,  -- the asked one until the clip is kept, then the one that made it
    checkpoint_kind TEXT CHECK (checkpoint_kind IN ('base', 'finetuned')),
    category        TEXT CHECK (category IN ('A', 'B', 'C', 'D', 'other')),
    track_sha256    TEXT CHECK (length(track_sha256) = 64 AND track_sha256 NOT GLOB '*[^0-9a-f]*'),
    track_forgotten INTEGER NOT NULL DEFAULT 0 CHECK (track_forgotten IN (0, 1)),
    from_s          REAL CHECK (from_s >= 0),
    prompt_seconds  REAL CHECK (prompt_seconds > 0),
    parent_take_id  TEXT,
    state           TEXT NOT NULL DEFAULT 'queued' CHECK (state IN ('queued', 'running', 'done', 'failed', 'cancelled')),
    error           TEXT,
    message_id      INTEGER UNIQUE REFERENCES messages (message_id),
    created_at      TEXT NOT NULL,
    started_at      TEXT,
    finished_at     TEXT,
    UNIQUE (guild_id, take_id),
    FOREIGN KEY (guild_id, parent_take_id) REFERENCES takes (guild_id, take_id),
    CHECK ((kind = 'continuation') = (track_sha256 IS NOT NULL)),
    CHECK ((state IN ('done', 'failed', 'cancelled')) = (finished_at IS NOT NULL)),
    CHECK ((state = 'failed') = (error IS NOT NULL)),
    CHECK (state <> 'done' OR (message_id IS NOT NULL AND seed IS NOT NULL AND checkpoint IS NOT NULL
                               AND checkpoint_kind IS NOT NULL AND category IS NOT NULL))
) STRICT;

CREATE INDEX takes_waiting ON takes (guild_id, created_at) WHERE state IN ('queued', 'running');
CREATE INDEX takes_by_guild ON takes (guild_id, created_at);
CREATE INDEX takes_by_track ON takes (track_sha256) WHERE track_sha256 IS NOT NULL;
CREATE INDEX takes_by_parent ON takes (guild_id, parent_take_id) WHERE parent_take_id IS NOT NULL;

CREATE TABLE messages (
    message_id  INTEGER PRIMARY KEY,
    take_id     TEXT NOT NULL REFERENCES takes (take_id),
    channel_id  INTEGER NOT NULL,
    attached_at TEXT NOT NULL,
    deleted_at  TEXT
) STRICT;

CREATE INDEX messages_by_take ON messages (take_id);

CREATE TABLE clips (
    take_id            TEXT PRIMARY KEY REFERENCES takes (take_id),
    sha256             TEXT NOT NULL CHECK (length(sha256) = 64 AND sha256 NOT GLOB '*[^0-9a-f]*'),
    extension          TEXT NOT NULL,
    delivery_sha256    TEXT NOT NULL CHECK (length(delivery_sha256) = 64 AND delivery_sha256 NOT GLOB '*[^0-9a-f]*'),
    delivery_extension TEXT NOT NULL,
    picture_sha256     TEXT NOT NULL CHECK (length(picture_sha256) = 64 AND picture_sha256 NOT GLOB '*[^0-9a-f]*'),
    duration_s         REAL NOT NULL CHECK (duration_s > 0),
    seam_s             REAL CHECK (seam_s BETWEEN 0 AND duration_s),
    sample_rate        INTEGER NOT NULL CHECK (sample_rate > 0),
    channels           INTEGER NOT NULL CHECK (channels > 0),
    loudness_lufs      REAL,
    peak_dbfs          REAL,
    generate_s         REAL CHECK (generate_s >= 0),
    kept_at            TEXT NOT NULL
) STRICT;

CREATE TABLE ratings (
    take_id   TEXT NOT NULL REFERENCES clips (take_id),
    member_id INTEGER NOT NULL,
    score     INTEGER NOT NULL CHECK (score BETWEEN 1 AND 5),
    rated_at  TEXT NOT NULL,
    PRIMARY KEY (take_id, member_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE rating_events (
    event_id  INTEGER PRIMARY KEY AUTOINCREMENT,
    take_id   TEXT NOT NULL REFERENCES clips (take_id),
    member_id INTEGER NOT NULL,
    score     INTEGER CHECK (score BETWEEN 1 AND 5),  -- NULL: withdrawn
    source    TEXT NOT NULL CHECK (source IN ('member', 'reconcile')),
    at        TEXT NOT NULL
) STRICT;

CREATE INDEX rating_events_by_take ON rating_events (take_id, event_id);

CREATE TABLE job_runs (
    name   TEXT PRIMARY KEY,
    ran_at TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- A take begins as queued and moves only along these edges:
--     queued ──▶ running ──▶ done
--        └──────────┴──▶ failed | cancelled
CREATE TRIGGER takes_begin BEFORE INSERT ON takes
WHEN NEW.state <> 'queued'
BEGIN
    SELECT RAISE(ABORT, 'a take begins as queued');
END;

CREATE TRIGGER takes_move BEFORE UPDATE OF state ON takes
WHEN NOT (
    (OLD.state = 'queued' AND NEW.state IN ('running', 'failed', 'cancelled'))
    OR (OLD.state = 'running' AND NEW.state IN ('done', 'failed', 'cancelled'))
)
BEGIN
    SELECT RAISE(ABORT, 'illegal transition of a take');
END;

CREATE TRIGGER takes_done BEFORE UPDATE OF state ON takes
WHEN NEW.state = 'done' AND NOT EXISTS (SELECT 1 FROM clips WHERE take_id = NEW.take_id)
BEGIN
    SELECT RAISE(ABORT, 'a take without a clip is not done');
END;

-- What is rated is a fact of the past.
CREATE TRIGGER rating_events_stay BEFORE UPDATE ON rating_events
BEGIN
    SELECT RAISE(ABORT, 'the history of ratings is only added to');
END;

-- Takes whose audio is still wanted: under way, or done with a message that is still there.
CREATE VIEW live_takes (take_id) AS
    SELECT t.take_id FROM takes t LEFT JOIN messages m USING (message_id)
    WHERE t.state IN ('queued', 'running') OR (t.state = 'done' AND m.deleted_at IS NULL);

-- Every file that a row still names, and which row it is: what a sweep keeps, a check looks for and a backup copies.
-- A deleted message lets go of its clip, and with it of the track that it continued; so does a track that was taken out of the crate.
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
    WHERE t.track_sha256 IS NOT NULL AND (t.track_forgotten = 0 OR t.state IN ('queued', 'running'));
