"""What the engine hears in uploaded tracks, for cards, crates' reports and tracks that fit: behind three addresses of the API.

    desk.py       Analyses: takes requests, keeps what was heard beside the tracks, says how far it is
    workers.py    processes that do the listening, so that neither the event loop nor the model waits for it
    worker.py     what such a process runs: decoding, engine.music.analysis, engine.evaluation
    kept.py       what was heard, on the disk, by the track's hash
    matching.py   which track goes with which, and why: pure

Not here: HTTP (engine/server.py), how tempo, key and sections are found (engine/music/analysis), crates on this disk (engine/crate).
"""
