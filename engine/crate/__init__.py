"""A DJ's crate on this machine's disk, and the dataset that is made of it.

::

    folder, USB stick, rekordbox.xml ──importing──▶ crates/alice/crate.json ──preparing──▶ segments, codes, manifest, report
                                         │                                       │
                                     findings/  (by SHA-256 of the file)     codes/  (by track, codec and crop)

``store`` keeps crates, ``findings`` what was heard in each file, ``windows``, ``groups``, ``splits`` and ``captions`` decide (pure, no
disk), ``preparing`` does it, ``report`` tells the DJ. Not here: hearing (``engine.music.analysis``), reading a DJ's software
(``engine.music.rekordbox``), training. Nothing in this package writes beside the DJ's own files.
"""
