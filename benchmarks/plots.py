"""A plot for each group: GFLOP/s with the top of the axis at the FMA peak, or GB/s at copy."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.machine import peak_of
from benchmarks.report import LOST
from benchmarks.results import COMPILED, CaseResult, Run

#: Groups that compute nothing worth counting; memory bounds them.
MEMORY_BOUND = ("transpose", "reduction", "broadcast")
_MARKERS = {
    "einloom": ("D", "black"),
    "einloom-call": ("d", "dimgray"),
    "numpy": ("o", "tab:blue"),
    "numpy-out": ("p", "deepskyblue"),
    "numpy-plain": (".", "tab:cyan"),
    "numpy-matmul": ("s", "navy"),
    "opt_einsum": ("^", "tab:green"),
    "sesum": ("v", "tab:olive"),
    "torch": ("P", "tab:red"),
    "jax": ("X", "tab:purple"),
    "tensorflow": ("h", "tab:orange"),
    "xla": ("*", "goldenrod"),
    "numba-loops": ("+", "tab:brown"),
}


#: Groups that stay below this share of the peak get a logarithmic axis.
_LOW = 0.25


def plot_groups(run: Run, folder: Path) -> list[str]:
    """Write ``<group>.png`` for each group; return the groups' names.

    The vertical axis is the share of the limit, since dtypes of one group have different peaks;
    its top is the limit. The names of cases that einloom loses are red, with a triangle.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    for group, cases in run.groups.items():
        figure, axes = pyplot.subplots(
            figsize=(max(7.0, 2.4 + 0.6 * len(cases)), 4.2), layout="constrained"
        )
        is_bandwidth = group in MEMORY_BOUND
        for peer, (marker, color) in _MARKERS.items():
            points = [
                (place, share)
                for place, case in enumerate(cases)
                if (share := _share(run, case, peer, is_bandwidth)) is not None
            ]
            if points:
                size = 60 if peer == COMPILED else 34
                style: dict[str, Any] = {"marker": marker, "color": color, "s": size, "label": peer}
                axes.scatter(*zip(*points, strict=True), **style, zorder=3 if size == 60 else 2)
        _label(run, axes, cases, is_bandwidth)
        axes.set_title(f"{group}: {run.machine['cpu']}, {run.machine['threads']} threads")
        _save(figure, folder / f"{group}.png")
        pyplot.close(figure)
    return list(run.groups)


def _share(run: Run, case: CaseResult, peer: str, is_bandwidth: bool) -> float | None:
    found = case.of(peer)
    if found is None:
        return None
    if is_bandwidth:
        return float(case.n_bytes / found.minimum / run.machine["copy"]["all"])
    return case.flops / found.minimum / peak_of(dict(run.machine), case.dtype)


def _label(run: Run, axes: Any, cases: Sequence[CaseResult], is_bandwidth: bool) -> None:
    lost = [case.ratio() < LOST for case in cases]
    names = [f"▼ {c.name}" if is_lost else c.name for c, is_lost in zip(cases, lost, strict=True)]
    axes.set_xticks(range(len(cases)), names, rotation=40, ha="right", fontsize=8)
    for tick, is_lost in zip(axes.get_xticklabels(), lost, strict=True):
        tick.set_color("tab:red" if is_lost else "black")
    if is_bandwidth:
        limit = run.machine["copy"]["all"] / 1e9
        axes.set_ylabel(f"share of the copy bandwidth, {limit:.0f} GB/s")
        axes.set_ylim(0, max(1.0, axes.get_ylim()[1]))
        axes.axhline(1.0, color="gray", linewidth=1, linestyle="--")
    else:
        peaks = {dtype: rates["all"] / 1e9 for dtype, rates in run.machine["fma"].items()}
        text = ", ".join(f"{peak:.0f} GFLOP/s {dtype}" for dtype, peak in peaks.items())
        axes.set_ylabel(f"share of the FMA peak\n({text})", fontsize=8)
        if _highest(axes) < _LOW:
            # Calls of a microsecond: on a linear axis all of them would lie on the ground.
            axes.set_yscale("log")
            axes.set_ylim(top=1.0)
        else:
            axes.set_ylim(0, 1.0)
    axes.grid(axis="y", alpha=0.3)
    axes.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1.0, 1.0))


def _highest(axes: Any) -> float:
    """Return the highest point drawn."""
    heights = [point[1] for drawn in axes.collections for point in drawn.get_offsets()]
    return float(max(heights, default=0.0))


def _save(figure: Any, path: Path) -> None:
    """Write a PNG of few colours, which is a third of the size."""
    from PIL import Image

    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=72)
    Image.open(buffer).convert("RGB").quantize(255).save(path, optimize=True)
