"""Finetunes as jobs: queued, worked out in a process of their own beside serving, resumed after any interruption, ended by a report card.

    desk.py       Finetunes: takes requests, runs one job at a time, says how far it is (event loop)
    jobs.py       a job's folder and its numbered events on disk
    processes.py  a job's process, from the engine's side
    worker.py     that process: python -m engine.finetunes.worker FOLDER
    steps.py      what it does: prepare, forecast, train, report, serve
    forecasting.py, clips.py, reporting.py, picture.py    shared with ``python -m engine finetune``

Not here: HTTP (engine/server.py), the training loop and the gate (engine/training), distances (engine/evaluation).
"""
