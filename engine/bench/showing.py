"""What a benchmark found, as Markdown tables and as plots. Not here: measuring."""

from __future__ import annotations

from pathlib import Path
from typing import Any

_STYLES: dict[str, dict[str, Any]] = {"ours": {"linewidth": 2.2, "marker": "o"}, "peer": {"linewidth": 1.2, "marker": "s"}}


def table(result: dict[str, Any]) -> str:
    """Markdown: frames a second in sum, by contender and number of takes; ratios below."""
    sizes = [str(size) for size in result["batch_sizes"]]
    rows = [f"| frames a second, in sum | {' | '.join(f'{size} take' + ('s' if size != '1' else '') for size in sizes)} |"]
    rows.append(f"|---|{'---:|' * len(sizes)}")
    for name, speeds in result["frames_per_s"].items():
        rows.append(f"| {name} | {' | '.join(f'{speeds[size]:.1f}' if size in speeds else '' for size in sizes)} |")
    rows.append("")
    if result["ratios"] is None:
        rows.append("No ratios: the greedy codes differ, so these did not do the same work.")
    else:
        every = result["ratios"] | (result.get("half_ratios") or {})
        rows += ["| ratio | |", "|---|---:|"]
        rows += [f"| {name.replace('_', ' ')} | {value if value is not None else 'not here'} |" for name, value in every.items()]
    bandwidth = result["bandwidth_gb_per_s"]
    machine = result["machine"]
    about = f"{result['weights']}, guidance 3, greedy, {result['frames']} frames a take, medians of {result['rounds']} rounds in turn, "
    about += f"{result['threads']} threads, {machine.get('gpu') or machine['cpu']}, torch {result['versions']['torch']}. "
    about += "The language model alone: every contender has the text's states beforehand, and the codec is left out."
    if bandwidth is not None:
        about += (
            f" Memory was read at {bandwidth} GB/s in the same rounds; a step of the smallest reads {result['weight_mb']} MB of weights."
        )
    return "\n".join([*rows, "", about, ""])


def overhead_table(found: dict[str, Any]) -> str:
    """Markdown: where a take's time goes, and the parts of what is not the model's."""
    kinds = list(found["takes"])
    rows = [f"| a take of {found['seconds']:.0f} s, ms | {' | '.join(kinds)} |", f"|---|{'---:|' * len(kinds)}"]
    for name, words in (("waited_ms", "the client waits"), ("model_ms", "of it in the model"), ("rest_ms", "the rest")):
        rows.append(f"| {words} | {' | '.join(str(found['takes'][kind][name]) for kind in kinds)} |")
    for name, words in (("rest_of_take", "the rest, of the take's length"), ("rest_of_wait", "the rest, of the wait")):
        rows.append(f"| {words} | {' | '.join(format(found['takes'][kind][name], '.1%') for kind in kinds)} |")
    parts = list(dict.fromkeys(part for kind in kinds for part in found["takes"][kind]["parts_ms"]))
    for part in parts:
        rows.append(f"| {part} | {' | '.join(str(found['takes'][kind]['parts_ms'].get(part, '')) for kind in kinds)} |")
    return "\n".join(rows)


def quality_table(found: dict[str, Any]) -> str:
    """Markdown: what each precision costs."""
    sound = found.get("sound", {})
    rows = ["| | KL from fp32, nats | likeliest code the same |", "|---|---:|---:|"]
    if sound:
        rows = ["| | KL from fp32, nats | likeliest code the same | FAD | KAD (95 % interval) |", "|---|---:|---:|---:|---:|"]
    for name in dict.fromkeys([*sound, *found["precisions"]]):
        codes = found["precisions"].get(name)
        cells = ["", ""] if codes is None else [f"{codes['kl_nats']:.4f} ± {codes['kl_error']:.4f}", f"{codes['top1_agreement']:.1%}"]
        if sound:
            far = sound.get(name)
            cells += (
                ["", ""] if far is None else [f"{far['fad']:.1f}", f"{far['kad']:.1f} ({far['kad_95'][0]:.1f} to {far['kad_95'][1]:.1f})"]
            )
        rows.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(rows)


def plot(result: dict[str, Any], path: Path) -> None:
    """Frames a second against takes, as SVG or PNG by the path's ending."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullLocator

    figure = Figure(figsize=(7.5, 4.2), layout="constrained")
    axes = figure.subplots()
    for name, speeds in result["frames_per_s"].items():
        style = _STYLES["ours" if name.startswith("this") else "peer"]
        axes.plot([int(size) for size in speeds], list(speeds.values()), label=name, markersize=4, **style)
    axes.axhline(50, color="grey", linewidth=0.8, linestyle="--")
    axes.text(max(result["batch_sizes"]), 47, "one take in real time", fontsize=8, color="grey", ha="right", va="top")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(result["batch_sizes"], [str(size) for size in result["batch_sizes"]])
    axes.xaxis.set_minor_locator(NullLocator())
    marks = [mark for mark in (2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000) if _within(mark, result)]
    axes.set_yticks(marks, [f"{mark:,}" for mark in marks])
    axes.yaxis.set_minor_locator(NullLocator())
    axes.grid(axis="y", color="#e5e5e5", linewidth=0.6)
    axes.set_xlabel("takes at once")
    axes.set_ylabel("frames a second, in sum")
    axes.set_title(f"{result['weights']}, {result['threads']} thread{'s' if result['threads'] > 1 else ''}", fontsize=10)
    axes.legend(fontsize=8, frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else {})


def _within(mark: float, result: dict[str, Any]) -> bool:
    speeds = [speed for by_takes in result["frames_per_s"].values() for speed in by_takes.values()]
    return bool(min(speeds) / 2 <= mark <= 2 * max(speeds))


def plot_growth(found: dict[str, Any], path: Path) -> None:
    """A step's milliseconds against takes and against position, and the memory that its rows take."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullLocator

    figure = Figure(figsize=(10, 5.6), layout="constrained")
    (ms_by_takes, ms_by_position), (memory_by_takes, memory_by_position) = figure.subplots(2, 2)
    takes = [int(count) for count in found["ms_by_takes"]]
    ms_by_takes.plot(takes, list(found["ms_by_takes"].values()), marker="o", markersize=4, label="measured")
    alone = found["ms_by_takes"][str(takes[0])] / takes[0]
    ms_by_takes.plot(takes, [alone * count for count in takes], color="grey", linewidth=0.8, linestyle="--", label="one after the other")
    ms_by_takes.set_ylim(0, 2.2 * max(found["ms_by_takes"].values()))
    kept = found["memory_by_takes"]
    memory_by_takes.plot([int(count) for count in kept], [size / 2**20 for size in kept.values()], marker="o", markersize=4)
    for axes, words in ((ms_by_takes, f"ms a step, {found['precision']}"), (memory_by_takes, "MiB of keys and values")):
        axes.set_xscale("log", base=2)
        axes.set_xticks(takes, [str(count) for count in takes])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlabel("takes at once, 5 s in")
        axes.set_ylabel(words)
    for axes, kind, scale in ((ms_by_position, "ms_by_position", 1), (memory_by_position, "memory_by_position", 2**20)):
        for count, points in found[kind].items():
            label = f"{count} take" + ("s" if count != "1" else "")
            axes.plot([int(at) / 50 for at in points], [value / scale for value in points.values()], marker="o", markersize=4, label=label)
        axes.set_xlabel("seconds into the window")
        axes.set_ylabel(f"ms a step, {found['precision']}" if scale == 1 else "MiB of keys and values")
    for axes in (ms_by_takes, ms_by_position, memory_by_position):
        axes.legend(fontsize=8, frameon=False)
    for axes in figure.axes:
        axes.set_ylim(bottom=0)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else {})
