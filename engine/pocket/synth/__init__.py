"""Whole techno tracks from numbers: the pocket model's only training data, and ground truth for analysis and finetuning.

Everything that sounds here is computed with numpy and scipy from a seed; no recording of anybody is used. The rooms:

    drums.py        kick, hats, clap … one hit each
    voices.py       oscillators, filters, bass and lead notes, pads
    effects.py      reverb, delay, saturation (linear ones, applied once to a bar)
    lanes.py        lanes that manners share
    driving.py      acid, hard, breakbeat, industrial: which lanes a track has and what they play
    deep.py         minimal, dub, Detroit, melodic, hypnotic
    manners.py      all of them by name, with their tempi and words
    sections.py     intro, main, breakdown, build, drop, outro
    arrangement.py  lanes → sections → automation, side-chain → mix: `render_track`
    captions.py     the words for a track

What is not here: anything that is learned (engine/pocket/codec.py, lm.py) and how data is stored (data.py).
"""

from engine.pocket.synth.arrangement import FRAME_SAMPLES, SAMPLE_RATE, Track, render_track
from engine.pocket.synth.captions import caption
from engine.pocket.synth.manners import HELD_OUT_MANNERS, MANNERS, TRAINING_MANNERS

__all__ = ["FRAME_SAMPLES", "HELD_OUT_MANNERS", "MANNERS", "SAMPLE_RATE", "TRAINING_MANNERS", "Track", "caption", "render_track"]
