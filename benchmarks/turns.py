"""Sides that take turns in short slices, so that a machine whose speed wavers is fair to all.

On a shared machine the speed of a side can halve for some seconds. So every side labels one
slice of its messages in its turn, which takes about a second, and then the next side has its
turn. The slices come round several times, and the median of each is what counts.
"""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

WIDE = 0.2  # a spread above this share is said


@dataclass
class Side:
    """One way to label messages.

    ``run`` labels the slice of this number; it returns the seconds that it took, and the labels
    or None. ``messages`` has how many messages each slice has.
    """

    name: str
    messages: Sequence[int]
    run: Callable[[int], tuple[float, list[str] | None]]
    seconds: list[list[float]] = field(default_factory=list)  # by slice
    labels: dict[int, list[str] | None] = field(default_factory=dict)  # by slice


def slices(items: list, count: int) -> list[list]:
    """``count`` slices of nearly the same length: every ``count``-th item is in the same one."""
    return [items[number::count] for number in range(count)]


def take_turns(sides: Sequence[Side], repeats: int) -> None:
    """Run each slice of every side ``repeats`` times, after one turn to warm up."""
    for side in sides:
        side.run(0)
        side.seconds = [[] for _ in side.messages]
    for _ in range(repeats):
        for number in range(len(sides[0].messages)):
            for side in sides:
                taken, side.labels[number] = side.run(number)
                side.seconds[number].append(taken)


def rate(side: Side) -> float:
    """Messages a second: all messages, by the sum of the medians of their slices."""
    return sum(side.messages) / sum(statistics.median(taken) for taken in side.seconds)


def speeds(side: Side) -> np.ndarray:
    """Speed of each turn, in order, as a multiple of the median one of its slice."""
    seconds = np.array(side.seconds)
    return (np.median(seconds, axis=1, keepdims=True) / seconds).T.ravel()


def summary(side: Side, base: Side) -> dict:
    """Messages a second, median and fastest tenth, and how many times those of ``base``.

    The ratio has the range of eight turns of ten, each with the base's turn beside it.
    """
    own, theirs = speeds(side), speeds(base)
    times = rate(side) / rate(base)
    slow, fast = np.quantile(own, [0.1, 0.9])
    low, high = times * np.quantile(own / theirs, [0.1, 0.9])
    return {
        "name": side.name, "messages_per_second": rate(side), "low": rate(side) * float(slow),
        "fastest_tenth": rate(side) * float(fast), "spread": float(fast - slow),
        "times_a": times, "times_a_low": float(low), "times_a_high": float(high),
    }  # fmt: skip


def table(rows: Sequence[dict]) -> list[str]:
    """A Markdown table, and a line for each side whose spread is wide."""
    lines = [
        "| side | messages a second | fastest tenth | times (a) | in eight turns of ten |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for row in rows:
        digits = 0 if row["messages_per_second"] >= 1000 else 1
        lines.append(
            f"| {row['name']} | {row['messages_per_second']:,.{digits}f} | "
            f"{row['fastest_tenth']:,.{digits}f} | {row['times_a']:,.1f} | "
            f"{row['times_a_low']:,.1f} to {row['times_a_high']:,.1f} |"
        )
    for row in rows:
        if row["spread"] > WIDE:
            lines.append(f"the speed of {row['name']} varied by {row['spread']:.0%} of its median")
    return lines
