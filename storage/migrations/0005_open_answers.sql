-- Answers to commands that take a while, for as long as they take: what a killed bot left in the middle is told so at the next start.

CREATE TABLE open_answers (
    interaction_id INTEGER PRIMARY KEY,
    channel_id     INTEGER NOT NULL,
    message_id     INTEGER NOT NULL,
    began_at       TEXT NOT NULL
) STRICT;
