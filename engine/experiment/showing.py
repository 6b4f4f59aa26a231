"""An experiment's figures as a table, as sentences and as a picture."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from engine.experiment.figures import Cell, Nearer, Result
from engine.experiment.plan import BASE

EXPECTED = "In the experiment of 2023, by ear, D won, then C, A, B: the finetune was worse than none."
_BACKGROUND, _PANEL, _INK, _FAINT, _LINE = "#15161b", "#0d0e12", "#f2f3f5", "#b5bac1", "#5b6273"
_COLOURS = {BASE: "#8b93a3", "alice-2023": "#ff8a5b", "lora": "#1fb6a6", "full": "#8f7bff"}
_NAMES = {BASE: "base", "alice-2023": "recipe alice-2023", "lora": "recipe lora", "full": "recipe full"}


def table(result: Result) -> str:
    """Markdown: a row each category of each model, and what real tracks of hers reach."""
    plan, seeds = result.plan, len(result.plan["seeds"])
    lines = [
        "| model | prompt | loss on unseen tracks | FAD | KAD (95 % interval) | KL of tags | near-copies | recited | silent or stuck |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for cell in result.cells:
        prompt = f"{plan['token']} techno" if cell.category in "AB" else "techno"
        lines.append(_row(f"{cell.category}: {_NAMES.get(cell.model, cell.model)}", prompt, _loss(result, cell.model), cell))
    real = result.real
    shares = " | ".join(_share(value) for value in (real["near_copies"], real["recited"], real["silent"] + real["collapsed"]))
    lines.append(f"| her unseen tracks, half against half | | | {_distances_of(real)} | {shares} |")
    lines.append(f"| her unseen tracks through the codec | | | {_distances_of(real['coded'])} | | | |")
    about = (
        f"{plan['clips']} clips of {plan['clip_s']:g} s a category and seed, {seeds} seed{'s' * (seeds > 1)}; ± is the standard "
        f"deviation between seeds, intervals are of all seeds' clips together. {plan['tracks']} tracks learned, {plan['unseen']} "
        f"further ones unseen, manner: {plan['manner']}. "
        "Clips are sampled as the checkpoint says. Loss in nats a code, asked for with A's words."
    )
    return "\n".join([*lines, "", about, "", *(f"- {sentence}" for sentence in sentences(result))]) + "\n"


def sentences(result: Result) -> list[str]:
    """What came out, in words; nothing here knows what was hoped for."""
    found = [EXPECTED]
    for recipe, outcomes in result.finetunes.items():
        kept = _mean([one["unseen"]["kept"] for one in outcomes])
        base = _mean([one["unseen"]["base"] for one in outcomes])
        lowest = [min(curve, key=lambda point: point[1]) for curve in result.curves[recipe]]
        text = f"{recipe}: loss on unseen tracks {base:.3f} → {kept:.3f} ({kept / base - 1:+.1%})"
        risen = kept - _mean([nats for _step, nats in lowest])
        steps, last = _mean([step for step, _nats in lowest]), _mean([one["steps"] for one in outcomes])
        if risen > 0.005 and steps < last:
            text += f"; its lowest was {kept - risen:.3f} at step {steps:.0f} of {last:.0f}: it then overfitted"
        found.append(_typeset(text) + ".")
    found += [_said(one) for one in result.nearer]
    for recipe, gates in result.gates.items():
        passed = sum(gate["passed"] for gate in gates)
        why = next((gate["words"] for gate in gates if not gate["passed"]), "")
        found.append(f"{recipe}: the gate lets {passed} of {len(gates)} through." + (f" {why}" if why else ""))
    return found


def draw(result: Result) -> bytes:
    """PNG, 1500 × 560 px: loss on unseen tracks over training, distance by category, what is wrong with clips."""
    figure = Figure(figsize=(15, 5.6), dpi=100, facecolor=_BACKGROUND)
    FigureCanvasAgg(figure)
    losses, distance, faults = (
        figure.add_axes(place, facecolor=_PANEL)
        for place in ((0.05, 0.13, 0.34, 0.68), (0.45, 0.13, 0.29, 0.68), (0.80, 0.13, 0.185, 0.68))
    )
    for axes in (losses, distance, faults):
        axes.tick_params(colors=_FAINT, labelsize=12.5)
        axes.grid(color=_FAINT, alpha=0.13, axis="y")
        for spine in axes.spines.values():
            spine.set_color(_LINE)
    _losses(losses, result)
    _distances(distance, result)
    _faults(faults, result)
    figure.text(0.012, 0.925, "The experiment of 2023 again, beside today's recipe", color=_INK, fontsize=21, fontweight="bold")
    out = io.BytesIO()
    figure.savefig(out, format="png", facecolor=_BACKGROUND)
    return out.getvalue()


def _losses(axes: Axes, result: Result) -> None:
    base = _mean([one["unseen"]["base"] for outcomes in result.finetunes.values() for one in outcomes])
    axes.axhline(base, color=_COLOURS[BASE], linewidth=1.6, linestyle=(0, (4, 4)), label="base")
    for recipe, curves in result.curves.items():
        colour = _COLOURS.get(recipe, _INK)
        for number, curve in enumerate(curves):
            axes.plot(*zip(*curve, strict=True), color=colour, linewidth=2.2, alpha=0.9, label=_NAMES.get(recipe) if number == 0 else None)
            outcome = result.finetunes[recipe][number]
            axes.plot(outcome["kept_step"], outcome["unseen"]["kept"], "o", color=colour, markersize=9, markeredgecolor=_INK)
    _title(axes, "Loss on tracks it has not seen", "training step", "nats a code")
    axes.legend(facecolor=_PANEL, edgecolor=_LINE, labelcolor=_INK, fontsize=12.5, loc="best")


def _distances(axes: Axes, result: Result) -> None:
    """Base first, then each recipe; A and C side by side."""
    ticks = []
    for place, cell in enumerate(result.cells):
        x = place + 0.5 * (place // 2)
        low, high = (abs(cell.pooled[name] - cell.pooled["kad"]) for name in ("kad_low", "kad_high"))
        colour = _COLOURS.get(cell.model, _INK)
        axes.errorbar(x, cell.pooled["kad"], yerr=[[low], [high]], color=colour, fmt="o", markersize=11, linewidth=2.6, capsize=6)
        axes.plot([x] * len(cell.by_seed), [one["kad"] for one in cell.by_seed], "_", color=_INK, markersize=13, alpha=0.7)
        ticks.append((x, cell.category))
    axes.set_xticks([x for x, _name in ticks], [name for _x, name in ticks], fontsize=15, color=_INK)
    axes.set_xlim(ticks[0][0] - 0.6, ticks[-1][0] + 0.6)
    axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
    _title(axes, "Distance to her unseen tracks", "A, B: with the token   C, D: techno", "KAD, 95 % interval")


def _faults(axes: Axes, result: Result) -> None:
    """Recited clips in the model's colour, silent or stuck ones beside them in grey."""
    places = [place + 0.5 * (place // 2) for place in range(len(result.cells))]
    for x, cell in zip(places, result.cells, strict=True):
        named = "silent or stuck" if x == places[0] else None
        axes.bar(x - 0.2, 100 * (cell.pooled["recited"] or 0.0), 0.38, color=_COLOURS.get(cell.model, _INK))
        axes.bar(x + 0.2, 100 * (cell.pooled["silent"] + cell.pooled["collapsed"]), 0.38, color=_INK, alpha=0.75, label=named)
    axes.axhline(100 * (result.real["recited"] or 0.0), color=_INK, linewidth=1.6, linestyle=(0, (4, 4)), label="recited by real ones")
    axes.set_xticks(places, [cell.category for cell in result.cells], fontsize=15, color=_INK)
    axes.set_ylim(0, 135)  # room for the legend
    axes.set_yticks(range(0, 101, 20))
    axes.legend(facecolor=_PANEL, edgecolor=_LINE, labelcolor=_INK, fontsize=10.5, loc="upper left")
    _title(axes, "Recited, silent or stuck", "", "% of clips")


def _title(axes: Axes, title: str, below: str, beside: str) -> None:
    axes.set_title(title, color=_INK, fontsize=15, loc="left", pad=9)
    axes.set_xlabel(below, color=_FAINT, fontsize=12.5)
    axes.set_ylabel(beside, color=_FAINT, fontsize=12.5)


def _row(model: str, prompt: str, loss: str, cell: Cell) -> str:
    pooled, spread = cell.pooled, cell.spread
    fad = f"{_mean([one['fad'] for one in cell.by_seed]):.1f}{_plus(spread['fad'], 1)}"
    kad, kl = f"{_interval(pooled)}{_plus(spread['kad'], 1)}", f"{pooled['kl']:.3f}{_plus(spread['kl'], 3)}"
    shares = " | ".join(_share(value) for value in (pooled["near_copies"], pooled["recited"], pooled["silent"] + pooled["collapsed"]))
    return f"| {model} | {prompt} | {loss} | {fad} | {kad} | {kl} | {shares} |"


def _loss(result: Result, model: str) -> str:
    if model == BASE:
        return f"{_mean([one['unseen']['base'] for outcomes in result.finetunes.values() for one in outcomes]):.3f}"
    kept = [one["unseen"]["kept"] for one in result.finetunes[model]]
    spread = max(kept) - min(kept) if len(kept) > 1 else None
    return f"{_mean(kept):.3f}" + (f" ({_typeset(f'{min(kept):.3f}')} to {max(kept):.3f})" if spread else "")


def _said(one: Nearer) -> str:
    apart = sum(interval.high < 0 or interval.low > 0 for interval in one.by_seed)
    verdict = "nearer" if one.pooled.high < 0 else "farther" if one.pooled.low > 0 else "neither nearer nor farther"
    return _typeset(
        f"{one.model}: {one.one} is {verdict} than {one.other} to her unseen tracks: KAD {one.pooled.value:+.1f} "
        f"({one.pooled.low:+.1f} to {one.pooled.high:+.1f}); beyond its interval in {apart} of {len(one.by_seed)} seeds."
    )


def _distances_of(figures: dict[str, Any]) -> str:
    return f"{figures['fad']:.1f} | {_interval(figures)} | {figures['kl']:.3f}"


def _interval(figures: dict[str, Any]) -> str:
    return _typeset(f"{figures['kad']:.1f} ({figures['kad_low']:.1f} to {figures['kad_high']:.1f})")


def _plus(spread: float | None, digits: int) -> str:
    return "" if spread is None else f" ± {spread:.{digits}f}"


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.0%}".replace("%", " %")


def _typeset(text: str) -> str:
    """A minus sign for numbers; hyphens in words stay."""
    return "".join(
        "−" if letter == "-" and text[index + 1 : index + 2].isdigit() and not text[index - 1 : index].isalnum() else letter
        for index, letter in enumerate(text)
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
