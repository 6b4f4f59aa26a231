"""``checkpoints``: what can be asked for here, for a person or a machine. Reads headers only; no model is loaded."""

from __future__ import annotations

import argparse
import json

from engine.checkpoints import Catalogue, describe
from engine.settings import EngineSettings


def checkpoints(arguments: argparse.Namespace) -> int:
    """Raises EngineError, SettingsError."""
    settings = EngineSettings.read(checkpoint=arguments.checkpoint, data=arguments.data)
    catalogue = Catalogue(settings.checkpoint, settings.data / "checkpoints")
    sources = [(source, describe(source, None, default=source.id == catalogue.default_id)) for source in catalogue.sources()]
    if arguments.json:
        print(json.dumps({"checkpoints": [info.model_dump() for _source, info in sources if info is not None]}, ensure_ascii=False))
        return 0
    width = max(len(source.id) for source, _info in sources)
    for source, info in sources:
        if info is None:
            print(f"{source.id:<{width}}  {source.problem or 'not here yet: it is downloaded at the first take'}")
            continue
        facts = [info.kind + (f" of {info.parent}" if info.parent else ""), f"{info.parameters / 1e6:.1f} M parameters"]
        facts += [
            f"{info.sample_rate / 1000:g} kHz {'mono' if info.channels == 1 else 'stereo'}",
            f"hears {info.window_s:g} s",
            info.licence,
        ]
        facts += [f"token {info.token}"] if info.token else []
        facts += ["adapter"] if info.adapter else []
        facts += [f"gate {info.gate}"] if info.gate else []
        print(f"{source.id:<{width}}  {' · '.join(facts)}{'  ← default' if info.default else ''}")
    return 0
