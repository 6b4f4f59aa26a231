"""Sound that is not techno, so that the codec's decoder hears more than one synthesiser: instruments, voices, kits and noises at random.

    piece = 1…5 layers (instrument × figure, drum kit, texture) ─▶ room ─▶ tilt, saturation, compression, level

Nothing here has to sound good; it has to be unlike the tracks and unlike itself. All is computed, and the same for the same seed.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d
from scipy.signal import lfilter

from engine.pocket.synth import drums, effects
from engine.pocket.synth.voices import SAMPLE_RATE, Signal, envelope, fixed_filter, hz, moving_lowpass, oscillator

Instrument = Callable[[float, int], Signal]  # (Hz, samples) → the note; what it sounds like was drawn before
SCALES = ((0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10), (0, 2, 3, 5, 7, 9, 10), (0, 2, 4, 7, 9), (0, 3, 5, 6, 7, 10), (0, 2, 4, 6, 8, 10))
VOWELS = ((730, 1090, 2440), (270, 2290, 3010), (300, 870, 2240), (530, 1840, 2480), (570, 840, 2410), (660, 1720, 2410))  # Hz, a man's
MODES = (
    (1, 2.76, 5.4, 8.93, 13.3),
    (0.5, 1, 1.2, 1.5, 2, 2.66, 3.3),
    (1, 3.98, 9.2),
    (1, 1.59, 2.14, 2.3, 2.65, 2.92),
    (1, 2, 3, 4.02, 5.05),
)


def plucked(rng: np.random.Generator) -> Instrument:
    """A string by Karplus and Strong (1983): a burst of noise that goes round a delay line and gets darker."""
    bright, loss, dirt, seed = (
        rng.uniform(800, 9000),
        rng.uniform(0.985, 0.9995),
        rng.uniform(2, 12) * (rng.random() < 0.3),
        rng.integers(99),
    )

    def play(f: float, n: int) -> Signal:
        period = SAMPLE_RATE / f
        whole = int(period - 0.5)
        line = np.zeros(whole + 3)
        line[0], part = 1.0, period - whole
        low = 0.75 - part / 2  # three weights, a low-pass, whose mean delay is the period's fraction
        line[whole : whole + 3] = -loss * np.array([low, 0.5, 0.5 - low])
        x = np.zeros(n)
        burst = fixed_filter(np.random.default_rng(seed).uniform(-1, 1, max(2, int(period))), min(bright, 15_000), "low", 1)
        x[: len(burst)] = burst[:n]
        y = lfilter([1.0], line, x) * envelope(n, 0.001, 9.0, 0.5, 0.02)
        return np.tanh(dirt * y) if dirt else y

    return play


def struck(rng: np.random.Generator) -> Instrument:
    """Bars, bells, plates, skins, pianos: decaying modes in one of several families, the high ones shorter."""
    stiff = rng.uniform(0, 6e-4)
    modes = np.array(MODES[rng.integers(len(MODES))]) if rng.random() < 0.6 else (k := np.arange(1, 16)) * np.sqrt(1 + stiff * k**2)
    gains, ring, damping = rng.uniform(0.2, 1, len(modes)) / modes ** rng.uniform(0.2, 1.5), rng.uniform(0.08, 2.5), rng.uniform(0.1, 0.9)

    def play(f: float, n: int) -> Signal:
        t, y = np.arange(n) / SAMPLE_RATE, np.zeros(n)
        for m, g in zip(modes, gains, strict=True):
            if m * f < 15_000:
                y += g * np.sin(2 * np.pi * m * f * t) * np.exp(-t * m**damping / ring)
        return y * envelope(n, 0.001, 9, 1, 0.02)

    return play


def modulated(rng: np.random.Generator) -> Instrument:
    """Two operators of frequency modulation (Chowning 1973): electric pianos, brass, bells, basses."""
    ratio = float(rng.choice([0.5, 1, 1, 2, 3, 3.5, 7, rng.uniform(0.3, 9)]))
    depth, fall, attack = rng.uniform(0.5, 7), rng.uniform(0.05, 1.5), rng.choice([0.002, 0.05, 0.2])

    def play(f: float, n: int) -> Signal:
        p, e = 2 * np.pi * f * np.arange(n) / SAMPLE_RATE, envelope(n, attack, fall, 0.3, 0.03)
        return np.sin(p + depth * min(1.0, 900 / f) * e * np.sin(ratio * p)) * e

    return play


def sustained(rng: np.random.Generator) -> Instrument:
    """Organs, brass, strings, reeds, flutes and whistles: steady tones with vibrato, breath and a filter that opens."""
    drawbars = rng.uniform(0, 1, 9) * (rng.random(9) < 0.6)
    kind = str(rng.choice(["organ", "saw", "square", "triangle", "sine"]))
    rate, width, breath = rng.uniform(4, 7.5), rng.uniform(0, 0.012), rng.uniform(0, 0.25) * (rng.random() < 0.4)
    attack, cutoff, sweep, detune = (
        rng.choice([0.005, 0.03, 0.12, 0.4]),
        rng.uniform(500, 6000),
        rng.uniform(0, 3),
        rng.choice([0, 0, 0.004, 0.009]),
    )
    noise = np.random.default_rng(rng.integers(1 << 30)).standard_normal(6 * SAMPLE_RATE)

    def play(f: float, n: int) -> Signal:
        t = np.arange(n) / SAMPLE_RATE
        curve = f * (1 + width * np.minimum(1, 2 * t) * np.sin(2 * np.pi * rate * t))
        if kind == "organ":
            phase = 2 * np.pi * np.cumsum(curve) / SAMPLE_RATE
            harmonics = (0.5, 1.5, 1, 2, 3, 4, 5, 6, 8)
            x = sum((g * np.sin(phase * h) for g, h in zip(drawbars, harmonics, strict=True) if g and h * f < 15_000), np.zeros(n)) / 3
        else:
            x = oscillator(curve, n, kind) + (oscillator(curve * (1 + detune), n, kind, 0.4) if detune else 0)
            x = moving_lowpass(x, cutoff * (1 + sweep * (1 - np.exp(-t / 0.1))), 0.9, stages=1, block=256)
        if breath:
            x = x + breath * fixed_filter(np.resize(noise, n), [0.8 * min(f, 9000), 1.6 * min(f, 9000)], "band", 1)
        return x * envelope(n, attack, 9, 0.9, 0.05)

    return play


def sung(rng: np.random.Generator) -> Instrument:
    """A voice: pulses through three formants that go from one vowel to another, now and then behind a consonant's hiss."""
    size, rate, width, whisper = rng.uniform(0.9, 1.25), rng.uniform(4.5, 6.5), rng.uniform(0, 0.015), rng.random() < 0.15
    inner = np.random.default_rng(rng.integers(1 << 30))

    def formed(x: Signal, vowel: tuple[int, ...]) -> Signal:
        y = np.zeros_like(x)
        for centre, gain, bandwidth in zip(vowel, (1.0, 0.5, 0.25), (80, 100, 140), strict=True):
            r, w = np.exp(-np.pi * bandwidth / SAMPLE_RATE), 2 * np.pi * size * centre / SAMPLE_RATE
            y += gain * lfilter([1 - r], [1, -2 * r * np.cos(w), r * r], x)
        return y

    def play(f: float, n: int) -> Signal:
        t = np.arange(n) / SAMPLE_RATE
        hiss = inner.standard_normal(n)
        glide = 2 ** (inner.uniform(-0.15, 0.05) * np.exp(-t / 0.06))
        pulses = hiss * 0.3 if whisper else oscillator(f * glide * (1 + width * np.sin(2 * np.pi * rate * t)), n) + 0.02 * hiss
        a, b = (VOWELS[i] for i in inner.integers(len(VOWELS), size=2))
        turn = 1 / (1 + np.exp(-(t - t[-1] / 2) / inner.uniform(0.02, 0.2)))
        y = (formed(pulses, a) * (1 - turn) + formed(pulses, b) * turn) * envelope(n, inner.uniform(0.01, 0.08), 9, 0.8, 0.06)
        k = min(n, int(inner.uniform(0.03, 0.12) * SAMPLE_RATE))
        if inner.random() < 0.5:
            y[:k] += 0.15 * fixed_filter(hiss[:k], inner.uniform(1500, 6000), "high") * np.hanning(k)
        return y

    return play


def phrase(rng: np.random.Generator, n: int, beat: float) -> Signal:
    """One instrument playing one figure: a tune, an arpeggio, chords, a walking bass or a drone."""
    makers = (plucked, struck, modulated, sustained, sung)
    play = makers[int(rng.choice(5, p=[0.24, 0.2, 0.14, 0.24, 0.18]))](rng)
    figure, scale = str(rng.choice(["tune", "tune", "arpeggio", "chords", "walk", "drone"])), SCALES[rng.integers(len(SCALES))]
    low = rng.uniform(28, 40) if figure == "walk" else rng.uniform(38, 76)  # any tuning: roots are no whole notes
    step = {"arpeggio": rng.choice([0.25, 1 / 3, 0.5]), "chords": rng.choice([1, 2, 4]), "drone": 8.0}.get(figure, 1.0) * beat
    overlap, human, rests, strum = rng.uniform(0.5, 2.2), rng.uniform(0, 0.02), rng.uniform(0, 0.35), rng.uniform(0, 0.03)
    y, at, place, known = np.zeros(n + 12 * SAMPLE_RATE), 0.0, 0, dict[tuple[float, int], Signal]()
    while at * SAMPLE_RATE < n:
        length = step * (float(rng.choice([0.5, 0.5, 1, 1.5])) if figure == "tune" else 1.0)
        place = int(np.clip(place + rng.integers(-3, 4), -4, 11)) if figure != "arpeggio" else (place + 2) % 9
        notes = [place, place + 2, place + 4, place + 6][: rng.integers(2, 5)] if figure in ("chords", "drone") else [place]
        for i, degree in enumerate(notes if rng.random() >= rests else []):
            f = hz(low + scale[degree % len(scale)] + 12 * (degree // len(scale)))
            key = f, min(int((length * overlap + 0.03) * SAMPLE_RATE), 6 * SAMPLE_RATE)
            note = known.setdefault(key, known[key] if key in known else play(*key))
            start = int(max(0.0, at + strum * i + human * rng.standard_normal()) * SAMPLE_RATE)
            y[start : start + len(note)] += note * rng.uniform(0.5, 1)
        at += length
    return y[:n]


def kit(rng: np.random.Generator, n: int, beat: float) -> Signal:
    """A drummer in any metre: random hits of a random kit on a random, slightly uneven grid, with fills of toms."""
    steps, grid = int(rng.choice([6, 8, 10, 12, 14, 16])), beat / float(rng.choice([2, 3, 4]))
    kick = drums.kick(
        rng, floor_hz=rng.uniform(40, 90), drop_hz=rng.uniform(20, 200), decay_s=rng.uniform(0.08, 0.3), drive=rng.uniform(0.5, 3)
    )
    snare = drums.snare(rng, tone_hz=rng.uniform(140, 330), decay_s=rng.uniform(0.06, 0.25))
    shots = [kick, snare, drums.rim(tone_hz=rng.uniform(500, 3000)), drums.clap(rng), drums.scrap(rng, drive=rng.uniform(0.5, 3))]
    shots += [drums.tom(tone_hz=f, decay_s=rng.uniform(0.08, 0.3)) for f in rng.uniform(70, 300, 2)]
    shots += [
        drums.hat(rng, decay_s=d, highpass_hz=rng.uniform(3000, 8000), metal=rng.uniform(0, 1.4)) for d in (0.03, rng.uniform(0.1, 0.4))
    ]
    chances = rng.uniform(0, 0.8, (len(shots), steps)) ** rng.uniform(2, 5)
    human, y = rng.uniform(0, 0.012), np.zeros(n + SAMPLE_RATE)
    for i in range(int(n / SAMPLE_RATE / grid) + 1):
        for shot in (shots[j] for j in np.flatnonzero(rng.random(len(shots)) < chances[:, i % steps])):
            start = int(max(0.0, i * grid + human * rng.standard_normal()) * SAMPLE_RATE)
            y[start : start + len(shot)] += rng.uniform(0.2, 1) * shot[: len(y) - start]
    return y[:n]


def texture(rng: np.random.Generator, n: int, _: float) -> Signal:
    """Wind, rain, a crowd's murmur, or a sweep: noise and glides that follow no beat."""
    slow = np.interp(np.arange(n), np.linspace(0, n, 12), rng.uniform(0, 1, 12))
    kind = rng.integers(4)
    if kind == 0:
        return moving_lowpass(rng.standard_normal(n), 150 * 2 ** (5.5 * slow), rng.uniform(0.7, 6), stages=1, block=256) * (0.2 + slow)
    if kind == 1:
        drops = rng.standard_normal(n) * (rng.random(n) < 10 ** rng.uniform(-3.5, -1))
        return fixed_filter(drops, rng.uniform(800, 9000), "high", 1) * 3 + 0.02 * rng.standard_normal(n)
    if kind == 2:
        voice = sung(rng)
        return sum(
            (np.roll(np.resize(voice(hz(rng.uniform(40, 62)), SAMPLE_RATE), n), int(rng.integers(n))) for _ in range(9)), np.zeros(n)
        )
    return oscillator(hz(30) * 2 ** (6.5 * slow), n, str(rng.choice(["sine", "saw", "square"]))) * (0.3 + slow[::-1])


def render_piece(seed: int, *, seconds: float) -> NDArray[np.float32]:
    """`[seconds × 32,000]` within ±1, from its seed alone."""
    rng, n = np.random.default_rng([seed, 7]), int(seconds * SAMPLE_RATE)
    beat, mix = 60 / rng.uniform(50, 190), np.zeros(n)
    for _ in range(int(rng.integers(1, 6))):
        layer = (phrase, kit, texture)[int(rng.choice(3, p=[0.72, 0.16, 0.12]))](rng, n, beat)
        mix += layer / max(float(np.sqrt((layer**2).mean())), 1e-6) * 10 ** (rng.uniform(-14, 0) / 20)
    if rng.random() < 0.75:
        t60, dark = 10 ** rng.uniform(-0.8, 0.6), rng.uniform(1500, 12_000)
        mix += effects.reverb(mix, rng, t60_s=t60, lowpass_hz=dark, highpass_hz=rng.uniform(60, 400)) * rng.uniform(0.05, 0.8)
    spectrum, f = np.fft.rfft(mix), np.maximum(np.fft.rfftfreq(n, 1 / SAMPLE_RATE), 40)
    mix = np.fft.irfft(spectrum * (f / 1000) ** rng.uniform(-0.5, 0.4), n)
    mix /= np.abs(mix).max() + 1e-9
    if rng.random() < 0.5:  # compression: the louder half a tenth of a second, the softer
        # Its running sum leaves silence a little below zero.
        loud = np.sqrt(np.maximum(0, uniform_filter1d(mix**2, SAMPLE_RATE // 10))) + 0.02
        mix = mix * loud ** -rng.uniform(0.2, 0.8)
        mix /= np.abs(mix).max() + 1e-9
    if rng.random() < 0.4:
        mix = effects.saturate(mix, rng.uniform(1, 6))
    return (mix * 10 ** (rng.uniform(-12, -0.1) / 20)).astype(np.float32)
