"""Draw the newest result of benchmarks/throughput.py into docs/bench.png.

python benchmarks/plot.py
"""

import argparse
import json
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--out", type=Path, default=Path("docs/bench.png"))
    args = parser.parse_args()
    found = sorted(args.results.glob("throughput-*.json"))
    if not found:
        raise SystemExit(f"no result in {args.results}; run: make bench")
    result = json.loads(found[-1].read_text(encoding="utf-8"))
    sides = result["sides"]
    rates = [side["messages_per_second"] for side in sides]
    errors = [
        [rate - side["low"] for rate, side in zip(rates, sides, strict=True)],
        [side["fastest_tenth"] - rate for rate, side in zip(rates, sides, strict=True)],
    ]
    colours = ["#2b6cb0" if "ours" in side["name"] else "#a0aec0" for side in sides]
    figure, axes = plt.subplots(figsize=(9, 5), layout="constrained")
    bars = axes.barh([side["name"] for side in sides], rates, xerr=errors, color=colours)
    axes.bar_label(bars, fmt="{:,.0f}", padding=6)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlabel("messages a second (median, and eight turns of ten)")
    figure.suptitle(
        f"{result['size']}, {result['messages']} messages, {result['machine']['cpu']}, "
        f"{result['threads']} threads, {result['date']}",
        fontsize=10,
    )
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(args.out, dpi=120)


if __name__ == "__main__":
    main()
