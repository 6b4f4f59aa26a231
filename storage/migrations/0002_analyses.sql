-- What was heard in the tracks of each crate, and which of them the engine is still to forget.
--
--   tracks ── analyses        (gone with their track)
--      ╰┄ deleted ┄▶ engine_forgets

CREATE TABLE analyses (
    track_id    INTEGER PRIMARY KEY REFERENCES tracks (track_id) ON DELETE CASCADE,
    version     INTEGER NOT NULL,  -- of the engine's analysis
    bpm         REAL CHECK (bpm > 0),  -- NULL: no beat was found
    bpm_source  TEXT,
    steady      INTEGER CHECK (steady IN (0, 1)),
    key_name    TEXT,  -- as 'A minor'; NULL: no clear key
    camelot     TEXT,
    key_source  TEXT,
    lufs        REAL,
    analysed_at TEXT NOT NULL,
    CHECK ((bpm IS NULL) = (bpm_source IS NULL) AND (bpm IS NULL) = (steady IS NULL)),
    CHECK ((key_name IS NULL) = (camelot IS NULL) AND (key_name IS NULL) = (key_source IS NULL))
) STRICT;

-- The engine keeps bytes, picture, fingerprint and embedding by the track's hash, for all guilds together. When the last crate has let
-- go of a track, its hash waits here until the engine has heard of it: it may be off just then.
CREATE TABLE engine_forgets (
    sha256 TEXT PRIMARY KEY CHECK (length(sha256) = 64 AND sha256 NOT GLOB '*[^0-9a-f]*')
) STRICT, WITHOUT ROWID;

CREATE INDEX tracks_by_sha256 ON tracks (sha256);

CREATE TRIGGER tracks_gone AFTER DELETE ON tracks
WHEN NOT EXISTS (SELECT 1 FROM tracks WHERE sha256 = OLD.sha256)
BEGIN
    INSERT INTO engine_forgets (sha256) VALUES (OLD.sha256) ON CONFLICT DO NOTHING;
END;

CREATE TRIGGER tracks_back AFTER INSERT ON tracks
BEGIN
    DELETE FROM engine_forgets WHERE sha256 = NEW.sha256;
END;
