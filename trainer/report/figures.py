"""The report's figures as inline SVG.

No SVG has the user's own words, such as a label, because the font may lack their script.
Those words are in the HTML around the figure.
"""

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from trainer.report.html import escape

if TYPE_CHECKING:  # matplotlib is slow to import
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TRAIN, VALIDATION, MARK, INK, GRID = "#8a93a6", "#2457c5", "#d9480f", "#1f2430", "#e6e8ee"
BINS = 10  # of the reliability diagram, of equal width
SETTINGS: dict[Any, Any] = {  # of matplotlib
    "svg.fonttype": "path", "svg.hashsalt": "report",  # the same run gives the same bytes
    "font.size": 9, "font.family": "DejaVu Sans", "legend.frameon": False,
    "text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": TRAIN,
    "xtick.color": INK, "ytick.color": INK, "axes.grid": True, "grid.color": GRID,
    "axes.spines.top": False, "axes.spines.right": False, "axes.axisbelow": True,
    "lines.linewidth": 1.6, "lines.markersize": 4.5,
}  # fmt: skip


def plot_history(
    name: str, title: str, unit: str, at: Sequence[float], train: Sequence[float],
    validation: Sequence[float],
) -> str:  # fmt: skip
    """Training and validation values over steps or epochs (``unit``)."""
    with _drawing() as figure:
        axis = figure.subplots()
        style: dict[str, Any] = {"marker": "o", "markersize": 3} if len(at) < 40 else {}
        axis.plot(at, train, color=TRAIN, label="training", **style)
        axis.plot(at, validation, color=VALIDATION, label="validation", **style)
        axis.set(xlabel=unit, ylabel=name)
        _place_legend(axis)
        return _to_svg(figure, name, title)


def precision_recall(positive: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Precision and recall with every distinct score as the threshold, from the highest down.

    >>> precision, recall = precision_recall(np.array([1, 0, 1]), np.array([0.9, 0.5, 0.5]))
    >>> precision.round(2).tolist(), recall.tolist()
    ([1.0, 0.67], [0.5, 1.0])
    """
    order = np.argsort(-scores, kind="stable")
    last_of_value = np.append(np.diff(scores[order]) != 0, True)
    hits = np.cumsum(positive[order].astype(bool))[last_of_value]
    taken = np.flatnonzero(last_of_value) + 1
    return hits / taken, hits / hits[-1]


def plot_precision_recall(
    curves: dict[str, tuple[np.ndarray, np.ndarray]], marked: tuple[float, float] | None
) -> str:
    """A curve for each set, and a mark at the threshold's (recall, precision) on the test set."""
    title = "Precision over recall, with the threshold marked"
    with _drawing() as figure:
        axis = figure.subplots()
        colors = {"test": VALIDATION, "validation": TRAIN}
        for name, (precision, recall) in curves.items():
            axis.plot(
                np.append(0, recall), np.append(precision[:1], precision), color=colors[name],
                drawstyle="steps-pre", label=name,
            )  # fmt: skip
        if marked:
            axis.plot(*marked, "o", color=MARK, markersize=8, label="threshold", clip_on=False)
        lowest = min(precision.min() for precision, _ in curves.values())
        axis.set(xlabel="recall", ylabel="precision", xlim=(0, 1.02))
        axis.set_ylim(max(0.0, lowest - 0.05), 1.02)
        _place_legend(axis)
        return _to_svg(figure, "precision-recall", title)


def plot_reliability(happened: np.ndarray, scores: np.ndarray) -> str:
    """The share that came true over the probability given, above the messages in each bin."""
    bins = np.minimum((scores * BINS).astype(int), BINS - 1)
    counts = np.bincount(bins, minlength=BINS)
    used = counts > 0
    given = np.bincount(bins, scores, BINS)[used] / counts[used]
    observed = np.bincount(bins, happened, BINS)[used] / counts[used]
    title = "Reliability: how often a probability came true, and how often it was given"
    with _drawing() as figure:
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        upper.plot([0, 1], [0, 1], "--", color=TRAIN, linewidth=1, label="perfect")
        upper.plot(given, observed, color=VALIDATION, linewidth=1, label="test")
        area = 10 + 90 * counts[used] / counts.max()
        upper.scatter(given, observed, area, color=VALIDATION, clip_on=False, zorder=3)
        upper.set(ylabel="share that came true", xlim=(0, 1), ylim=(0, 1))
        _place_legend(upper)
        edges = np.arange(BINS) / BINS
        lower.bar(edges, counts, width=0.92 / BINS, align="edge", color=VALIDATION)
        lower.set(xlabel="probability given", ylabel="messages", yscale="log")
        lower.set_ylim(0.7, 2 * counts.max())
        return _to_svg(figure, "calibration", title)


def plot_lengths(sets: dict[str, np.ndarray], max_length: int) -> str:
    """Histogram of message lengths in tokens, the sets stacked, with ``max_length`` marked."""
    title = f"Length of the messages in tokens; the longest kept is {max_length}"
    with _drawing() as figure:
        axis = figure.subplots()
        longest = max(max_length, *(int(lengths.max()) for lengths in sets.values()))
        step = max(1, -(-longest // 40))
        colors = {"train": "#c3c9d6", "validation": TRAIN, "test": VALIDATION}
        axis.hist(
            list(sets.values()), bins=np.arange(0, longest + 2 * step, step), stacked=True,
            color=[colors[name] for name in sets], label=list(sets),
        )  # fmt: skip
        axis.axvline(max_length, color=MARK, label=f"max_length {max_length}")
        axis.set(xlabel="tokens", ylabel="messages")
        _place_legend(axis)
        return _to_svg(figure, "lengths", title)


def plot_asked(asked: Sequence[float], left: Sequence[float]) -> str:
    """Disagreement with the teacher that is left, over the share that is asked again."""
    title = "Disagreement left over the share that is asked again"
    with _drawing() as figure:
        axis = figure.subplots()
        percents = [[100 * share for share in shares] for shares in (asked, left)]
        axis.plot(*percents, color=VALIDATION, marker="o", markersize=3, label="test")
        axis.set_xscale("symlog", linthresh=0.25)
        axis.set_xticks(
            [0, 0.5, 1, 2, 5, 10, 20, 50], ["0", "0.5", "1", "2", "5", "10", "20", "50"]
        )
        axis.minorticks_off()
        axis.set(xlabel="asked again, % of messages", ylabel="disagreement left, %")
        axis.set_xlim(left=0)
        axis.set_ylim(bottom=0)
        _place_legend(axis)
        return _to_svg(figure, "asked-again", title)


@contextmanager
def _drawing() -> "Iterator[Figure]":
    """A figure in our style, without pyplot, so without a display and global state."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(SETTINGS):
        yield Figure(figsize=(4.4, 3.1), layout="constrained")


def _place_legend(axis: "Axes") -> None:
    """Put the legend above the axes, where it hides nothing."""
    axis.legend(
        loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=4, columnspacing=1.0, handlelength=1.2
    )


def _to_svg(figure: "Figure", name: str, title: str) -> str:
    """The figure as an SVG element that can be in one page with others."""
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(buffer, format="svg", metadata=nothing, transparent=True)
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :].strip()
    # Ids are unique only within a figure, but must be unique in the page.
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", svg)
    label = escape(title)
    svg = svg.replace("<svg", f'<svg id="{name}" role="img" aria-label="{label}"', 1)
    return svg.replace(">", f">\n<title>{label}</title>", 1)
