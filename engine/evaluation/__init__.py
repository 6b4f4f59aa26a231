"""How near generated clips are to real ones, in figures that can be trusted or are not given at all.

    embeddings.py    audio → windows → vectors: `Embedder`, and `Musicnn`, the default, which also names 50 tags
    musicnn.py       its network; tensor_bundle.py reads its weights
    vggish.py clap.py  the other two embedders, whose weights are fetched when somebody chooses them
    distances.py     sets of vectors → FAD, KAD with an interval, KL of tags
    copies.py        is a clip a copy of a training track? by neighbour and by n-grams of codes
    checks.py        silence, clipping, loop collapse; tempo and key kept in a continuation
    report.py        two or three folders → one report, or an error that names the file it is about
    desk.py          requests over HTTP → reports, each made in a process of its own (worker.py)

Not here: whether a finetune may ship on such figures (the gate is training's), listening tests (the bot's).
"""
