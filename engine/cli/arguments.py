"""What can be typed after ``python -m engine``, and the help that teaches it. Standard library only; nothing runs here."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from engine.cli.analyse_arguments import ANALYSE, add_analyse
from engine.cli.crate_arguments import CRATE, add_crate
from engine.cli.evaluate_arguments import EVALUATE, add_evaluate
from engine.cli.experiment_arguments import EXPERIMENT, add_experiment
from engine.cli.finetune_arguments import FINETUNE, PLOT, add_finetune, add_plot

TOP = """\
Techno from text, from a track, or from nothing.

examples:
  python -m engine generate "dark driving techno" --seconds 8 --seed 1 --out clip.wav
  python -m engine continue set.mp3 --from 1:30 --prompt-seconds 4 --seconds 8 --out longer.flac
  python -m engine surprise --out surprise.mp3 --picture surprise.png
  python -m engine serve                                  the engine over HTTP, for the bot
  python -m engine checkpoints                            which models there are here
  python -m engine crate import /media/usb --crate alice  a DJ's tracks, and a dataset of them

The same seed, prompt and options give the same clip again. Every clip says in its tags that it is AI-generated.
Settings come from ENGINE_* in the environment or in .env; options win over them. '… COMMAND --help' says more.
"""

GENERATE = """\
A clip from words.

examples:
  python -m engine generate "techno" --out clip.wav
  python -m engine generate "Alice_hash, techno, 132 bpm" --seconds 16 --seed 7 --guidance 4 --out clip.mp3
  python -m engine generate "acid techno" --bpm 130 --key 8A --bars 8 --loop --out loop.wav
  python -m engine generate "acid" --checkpoint facebook/musicgen-small --json
  python -m engine generate "Alice_hash, techno" --checkpoint alice --strength 0.7         a finetune, and how strongly it is heard
"""

CONTINUE = """\
What comes next in a track. The clip begins with the track's own last seconds before FROM, then the new audio, without a click.

examples:
  python -m engine continue set.mp3 --out next.wav                          from the track's end on
  python -m engine continue set.wav --from 30 --prompt-seconds 4 --seconds 8 --out next.flac
  python -m engine continue set.m4a --from 1:02:30 --prompt "with a breakdown" --picture next.png --out next.mp3
  python -m engine continue set.mp3 --bars 8 --loop --out layer.wav                           the new bars alone, to be looped

It keeps the track's tempo and key unless you name others.

TRACK is any audio that ffmpeg reads: mp3, wav, flac, ogg, opus, m4a, aiff.
"""

SURPRISE = """\
A clip from nothing: what the model plays when nobody asks for anything.

examples:
  python -m engine surprise --seconds 12 --out surprise.ogg
  python -m engine surprise --seed 5 --temperature 1.2 --json
"""

SERVE = """\
The engine over HTTP, for the bot and for whoever has the token. Ends cleanly on Ctrl-C and SIGTERM.

examples:
  python -m engine serve
  python -m engine serve --checkpoint facebook/musicgen-small --device cuda
  ENGINE_TOKEN=… python -m engine serve --host 0.0.0.0      reachable from other machines; refused without a token

GET /healthz says whether it is ready, GET /openapi.json what can be asked for, GET /metrics how it is doing.
"""

CHECKPOINTS = """\
Which models can be asked for here: the default first, then the embedded one, then those in ENGINE_DATA/checkpoints/.

A folder there is a MusicGen folder as transformers saves it, or holds an adapter (adapter/, as PEFT saves it) and the card.json that
says of which checkpoint (parent). The card may also say name, kind (base or finetuned), token, licence, owner, gate.
"""


class _Parser(argparse.ArgumentParser):
    """Mistakes are one line, with where to read more."""

    def error(self, message: str) -> NoReturn:
        print(f"error: {message} (try: {self.prog} --help)", file=sys.stderr)
        sys.exit(2)


def parse(words: Sequence[str]) -> argparse.Namespace:
    """``run`` in the result is the function to call with it. Exits with 2 where the words make no sense."""
    parser = _Parser(prog="python -m engine", description=TOP, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True, parser_class=_Parser)

    def command(name: str, summary: str, text: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=summary, description=text, formatter_class=argparse.RawDescriptionHelpFormatter)

    generate = command("generate", "a clip from words", GENERATE)
    generate.add_argument("prompt", help="what it should sound like")
    generate.set_defaults(run=_make, kind="text", track=None)

    extend = command("continue", "what comes next in a track", CONTINUE)
    extend.add_argument("track", type=Path, metavar="TRACK", help="audio file to continue")
    extend.add_argument("--from", dest="from_s", type=_moment, metavar="TIME", help="seconds, or m:ss; default: the track's end")
    extend.add_argument("--prompt-seconds", type=float, metavar="S", help="how much before TIME is heard (default 4)")
    extend.add_argument("--prompt", default="", help="words, beside the music")
    extend.set_defaults(run=_make, kind="continuation")

    surprise = command("surprise", "a clip from nothing", SURPRISE)
    surprise.set_defaults(run=_make, kind="unconditional", prompt="", track=None)

    for making in (generate, extend):
        _add_music(making, "the track's" if making is extend else "the prompt's, if it names one")
    for making in (generate, extend, surprise):
        _add_making(making)
        _add_engine(making)

    serve = command("serve", "the engine over HTTP", SERVE)
    serve.add_argument("--host", help="address to listen on (ENGINE_HOST, 127.0.0.1)")
    serve.add_argument("--port", type=int, help="port to listen on (ENGINE_PORT, 8060)")
    serve.add_argument("--data", type=Path, metavar="DIR", help="folder for tracks and checkpoints (ENGINE_DATA, var/engine)")
    serve.add_argument("--queue", type=int, metavar="N", help="takes that may wait (ENGINE_QUEUE, 16)")
    serve.add_argument("--batch", type=int, metavar="N", help="takes that run side by side (ENGINE_BATCH, 8)")
    serve.add_argument("--log-level", metavar="LEVEL", help="DEBUG, INFO, WARNING or ERROR (ENGINE_LOG_LEVEL, INFO)")
    _add_engine(serve)
    serve.set_defaults(run=_serve)

    checkpoints = command("checkpoints", "which models there are here", CHECKPOINTS)
    checkpoints.add_argument("--json", action="store_true", help="one JSON object on stdout")
    checkpoints.add_argument("--checkpoint", metavar="NAME", help="the default, if not ENGINE_CHECKPOINT's")
    checkpoints.add_argument("--data", type=Path, metavar="DIR", help="folder for tracks and checkpoints (ENGINE_DATA, var/engine)")
    checkpoints.set_defaults(run=_checkpoints)

    add_crate(command("crate", "a DJ's tracks, and a dataset of them ('crate --help')", CRATE), _crate)

    add_finetune(command("finetune", "learn a prepared crate ('finetune --help')", FINETUNE), _finetune)

    add_plot(command("finetune-plot", "curves of finetunes as a picture", PLOT), _finetune_plot)

    add_evaluate(command("evaluate", "how near clips are to real tracks", EVALUATE), _evaluate)

    add_experiment(command("experiment", "does a finetune beat its base? the whole comparison", EXPERIMENT), _experiment)

    add_analyse(command("analyse", "tempo, bars, key and sections of tracks", ANALYSE), _analyse)

    command("bench", "speed beside transformers and audiocraft ('bench --help')", "See: python -m engine bench --help")
    command("analyse-bench", "how well 'analyse' hears ('analyse-bench --help')", "See: python -m engine analyse-bench --help")
    command("finetune-bench", "a training step beside transformers and PEFT", "See: python -m engine finetune-bench --help")
    command("pocket", "train and measure the embedded model ('pocket --help')", "See: python -m engine pocket --help")
    return parser.parse_args(words)


def _add_music(parser: argparse.ArgumentParser, otherwise: str) -> None:
    music = parser.add_argument_group("tempo, key and bars", "Told to the model, and checked in what comes out.")
    music.add_argument("--bpm", type=float, metavar="BPM", help=f"tempo, 60 to 200 (default: {otherwise})")
    music.add_argument("--key", metavar="KEY", help=f"as a DJ writes it: Am, 'A minor' or 8A (default: {otherwise})")
    music.add_argument("--bars", type=int, metavar="N", help="length in bars of 4/4, in the place of --seconds")
    music.add_argument("--loop", action="store_true", help="cut to whole bars at exactly that tempo, its end meeting its start")


def _add_making(parser: argparse.ArgumentParser) -> None:
    clip = parser.add_argument_group("the clip")
    clip.add_argument("--seconds", type=float, metavar="S", help="length of the new audio, 1 to 240 (default 8)")
    clip.add_argument("--seed", type=int, metavar="N", help="replays exactly; default: drawn, and told")
    clip.add_argument("--temperature", type=float, metavar="T", help="0 is the likeliest code each time (default: the checkpoint's own)")
    clip.add_argument("--top-k", type=int, metavar="K", help="choose among the K likeliest codes; 0: all (default: the checkpoint's own)")
    clip.add_argument("--top-p", type=float, metavar="P", help="nucleus sampling; 0: off (default: the checkpoint's own)")
    clip.add_argument(
        "--guidance", type=float, metavar="G", help="how closely to follow the words, 1 to 10 (default: the checkpoint's own)"
    )
    clip.add_argument(
        "--strength",
        type=float,
        metavar="X",
        help="how strongly an adapter is heard: 0 is its base, 1 as trained (the default), 1.5 the most",
    )
    files = parser.add_argument_group("files")
    files.add_argument("--out", type=Path, metavar="FILE", help="wav, flac, mp3 or ogg, by its ending (default: KIND-SEED.wav)")
    files.add_argument("--picture", type=Path, metavar="FILE", help="also draw waveform and spectrogram, as PNG")
    files.add_argument("--json", action="store_true", help="one JSON object on stdout, no progress bar")


def _add_engine(parser: argparse.ArgumentParser) -> None:
    engine = parser.add_argument_group("the model")
    engine.add_argument(
        "--checkpoint", metavar="NAME", help="pocket, a hub name, a folder, or an id from 'checkpoints' (ENGINE_CHECKPOINT)"
    )
    engine.add_argument("--backend", choices=("native", "audiocraft"), help="this project's model code, or the reference (ENGINE_BACKEND)")
    engine.add_argument("--device", help="auto, cpu, cuda, cuda:1 or mps (ENGINE_DEVICE)")
    engine.add_argument(
        "--precision", choices=("auto", "fp32", "bf16", "int8"), help="of the language model; auto: fp32 if it is small (ENGINE_PRECISION)"
    )
    engine.add_argument("--threads", type=int, metavar="N", help="CPU threads (ENGINE_THREADS)")


def _moment(text: str) -> float:
    """Seconds from '30', '30.5', '1:30' or '1:02:30'."""
    if not re.fullmatch(r"-?(\d+:){0,2}\d+(\.\d+)?", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no moment: write seconds (90) or minutes and seconds (1:30)")
    seconds = 0.0
    for part in text.lstrip("-").split(":"):
        seconds = seconds * 60 + float(part)
    return -seconds if text.startswith("-") else seconds


def _make(arguments: argparse.Namespace) -> int:
    from engine.cli.make import make

    return make(arguments)


def _serve(arguments: argparse.Namespace) -> int:
    from engine.cli.serve import serve

    return serve(arguments)


def _analyse(arguments: argparse.Namespace) -> int:
    from engine.cli.analyse import analyse_files

    return analyse_files(arguments)


def _evaluate(arguments: argparse.Namespace) -> int:
    from engine.cli.evaluate import evaluate

    return evaluate(arguments)


def _finetune(arguments: argparse.Namespace) -> int:
    from engine.cli.finetune import finetune

    return finetune(arguments)


def _finetune_plot(arguments: argparse.Namespace) -> int:
    from engine.cli.finetune_plot import plot

    return plot(arguments)


def _experiment(arguments: argparse.Namespace) -> int:
    from engine.cli.experiment import experiment

    return experiment(arguments)


def _crate(arguments: argparse.Namespace) -> int:
    from engine.cli.crate import crate

    return crate(arguments)


def _checkpoints(arguments: argparse.Namespace) -> int:
    from engine.cli.listing import checkpoints

    return checkpoints(arguments)
