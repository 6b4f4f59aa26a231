"""Stage `text`: the tokenizer. Every word and number of our captions is a piece, every letter too, so that any other word is spelt.

A trained unigram model was tried first and cut 'dark' into letters: captions from templates repeat so much that hardly any piece pays.
The text encoder that reads the numbers is trained together with the language model (lm_training.py).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from engine.pocket.data import stored_tracks
from engine.pocket.log import FigureLog
from engine.pocket.synth import MANNERS, caption

LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789-_.,!?'&/#+"
# Words that people type and our captions lack; pieces of their own, so that a finetune has something to hold on to.
EXTRA_WORDS = (
    "house", "trance", "electronic", "music", "track", "loop", "beat", "drums", "kick", "bassline", "synth", "groove", "club", "rave",
    "berlin", "heavy", "slow", "melody", "percussion", "claps", "ambient", "breakbeat", "alice", "hash", "style", "of", "with", "a", "and",
    "the", "very", "like", "in", "at", "from", "no", "more", "less", "set", "dj", "night", "floor",
)  # fmt: skip


def split_words() -> Tokenizer:
    """Case folded; words, numbers and signs apart. No pieces yet."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation(), pre_tokenizers.Digits(individual_digits=False)]
    )
    return tokenizer


def corpus(out: Path, seed: int, captions_a_track: int = 12) -> Iterator[str]:
    """Captions of the training tracks, and all manners' words, so that a held-out manner is spelt in whole words too."""
    rng = np.random.default_rng([seed, 3])
    tracks = stored_tracks(out / "data" / "train")
    if not tracks:
        raise FileNotFoundError(f"no tracks under {out / 'data'}: run the stage `data` first")
    for track in tracks:
        for _ in range(captions_a_track):
            yield track.caption(rng)
    for manner in MANNERS.values():
        for _ in range(100):
            yield caption(manner.name, 3000 / int(rng.choice(manner.beat_frames)), "A minor", manner.moods, rng)
    yield from EXTRA_WORDS
    yield from map(str, range(100, 181))


def train(out: Path, *, seed: int = 0) -> Any:
    """Makes and saves the tokenizer to OUT/tokenizer, unless it is there. Returns it."""
    folder = out / "tokenizer"
    if (folder / "tokenizer.json").exists():
        return PreTrainedTokenizerFast.from_pretrained(folder)
    tokenizer, counts = split_words(), Counter[str]()
    lines = 0
    for line in corpus(out, seed):
        lines += 1
        normal = tokenizer.normalizer.normalize_str(line)
        counts.update(word for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(normal))
    total = sum(counts.values())
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    pieces += [(word, math.log(n / total)) for word, n in sorted(counts.items(), key=lambda item: (-item[1], item[0]))]
    pieces += [(letter, -15.0) for letter in LETTERS if letter not in counts]
    tokenizer.model = models.Unigram(pieces, unk_id=2)
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    # Not transformers' T5Tokenizer: when it loads a folder it puts its own splitting in place of the file's, and case folding is lost.
    names = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=512, **names)
    temporary = folder.with_name("tokenizer.tmp")
    wrapped.save_pretrained(temporary)
    temporary.rename(folder)
    example = "dark acid techno, 130 bpm, A minor, wobbly"
    FigureLog(out / "text.jsonl").write(stage="text", captions=lines, pieces=len(wrapped), example=wrapped.tokenize(example), done=True)
    return wrapped
