"""The experiment of 2023 again, beside today's recipe, whole on a CPU: ``python -m engine experiment``.

A DJ's tracks were learned with all weights, one caption, no held-out tracks and no stopping. Clips were made in four categories, and
listeners liked the base model with a plain prompt best: D, then C, A, B. Here 'Alice' is a manner of synthesised techno that the embedded
model has never heard, and the old recipe runs beside the new one on the same tracks::

                                  finetuned     base
    "Alice_hash techno"               A          B
    "techno"                          C          D

    tracks ─▶ crate prepare ─▶ finetune (recipe × seed) ─▶ clips A, C ─┐
                                                 base   ─▶ clips B, D ─┴▶ figures against Alice's unseen tracks ─▶ table, plot

    plan.py      what is asked for, and where its parts lie
    alice.py     her tracks and datasets
    work.py      the parts that take time, each a job that is done once: finetunes, clips, listening
    conduct.py   all of it in order, over processes; progress and forecast are read from the disk
    figures.py   from clips to figures
    showing.py   table and plot

Not here: how a recipe trains (engine.training), what the figures mean (engine.evaluation).
"""
