"""What a benchmark found, as a Markdown table and as a plot. Not here: measuring."""

from __future__ import annotations

from pathlib import Path
from typing import Any


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
        rows += ["| ratio | |", "|---|---:|"]
        rows += [f"| {name.replace('_', ' ')} | {value if value is not None else 'not here'} |" for name, value in result["ratios"].items()]
    bandwidth = result["bandwidth_gb_per_s"]
    about = (
        f"{result['weights']} weights, guidance 3, greedy, {result['frames']} frames a take, median of {result['rounds']} rounds in turn, "
    )
    about += f"{result['threads']} threads, {result['machine']['cpu']}, torch {result['versions']['torch']}."
    if bandwidth is not None:
        about += f" Memory was read at {bandwidth} GB/s in the same run; a step reads {result['int8_weight_mb']} MB of int8 weights."
    return "\n".join([*rows, "", about, ""])


def plot(result: dict[str, Any], path: Path) -> None:
    """Frames a second against takes, as SVG or PNG by the path's ending."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for name, speeds in result["frames_per_s"].items():
        sizes = [int(size) for size in speeds]
        axes.plot(sizes, list(speeds.values()), marker="o", label=name, linewidth=2 if name.startswith("this") else 1)
    axes.axhline(50, color="grey", linewidth=0.8, linestyle="--")
    axes.annotate("one take in real time", (1, 50), xytext=(2, 3), textcoords="offset points", fontsize=8, color="grey")
    axes.set_xscale("log", base=2)
    axes.set_xticks(result["batch_sizes"], [str(size) for size in result["batch_sizes"]])
    axes.set_ylim(bottom=0)
    axes.set_xlabel("takes at once")
    axes.set_ylabel("frames a second, in sum")
    axes.set_title(f"{result['weights']} weights, {result['threads']} threads", fontsize=10)
    axes.legend(fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path)


def plot_growth(found: dict[str, Any], path: Path) -> None:
    """A step's milliseconds against takes, and against position."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot([int(count) for count in found["ms_by_takes"]], list(found["ms_by_takes"].values()), marker="o")
    left.set_xscale("log", base=2)
    left.set_xlabel("takes at once, 5 s in")
    for count, by_position in found["ms_by_position"].items():
        label = f"{count} take" + ("s" if count != "1" else "")
        right.plot([int(at) / 50 for at in by_position], list(by_position.values()), marker="o", label=label)
    right.set_xlabel("seconds into the window")
    right.legend(fontsize=8)
    for axes in (left, right):
        axes.set_ylabel(f"ms a step, {found['precision']}")
        axes.set_ylim(bottom=0)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path)
