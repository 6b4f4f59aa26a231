-- What a take was asked for beside words, what was heard in its clip, and how a loop was cut. And the name of what it continues: after a
-- restart only the row knows it.
--
--   takes  + asked: bpm, key_name, bars, loop     clips  + track_*: of what is continued, heard_*: of the new audio, loop_*: of the cut

ALTER TABLE takes ADD COLUMN bpm REAL CHECK (bpm > 0);  -- NULL: by no option; the prompt may name one
ALTER TABLE takes ADD COLUMN key_name TEXT;  -- as 'A minor'
ALTER TABLE takes ADD COLUMN bars INTEGER CHECK (bars > 0);  -- where it is set, seconds is only what they come to at the asked or a usual tempo
ALTER TABLE takes ADD COLUMN loop INTEGER NOT NULL DEFAULT 0 CHECK (loop IN (0, 1));
ALTER TABLE takes ADD COLUMN track_name TEXT;

ALTER TABLE clips ADD COLUMN track_bpm REAL CHECK (track_bpm > 0);
ALTER TABLE clips ADD COLUMN track_key TEXT;
ALTER TABLE clips ADD COLUMN heard_bpm REAL CHECK (heard_bpm > 0);  -- NULL: no steady beat
ALTER TABLE clips ADD COLUMN heard_key TEXT;  -- NULL: not to be told
ALTER TABLE clips ADD COLUMN loop_bars INTEGER CHECK (loop_bars > 0);
ALTER TABLE clips ADD COLUMN loop_bpm REAL CHECK (loop_bpm > 0);  -- exactly what it repeats at
ALTER TABLE clips ADD COLUMN loop_own_bpm REAL CHECK (loop_own_bpm > 0);  -- before stretching
