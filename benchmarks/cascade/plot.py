"""Draw the curves of cascades: how much is asked of the slow model, how much then differs.

python benchmarks/cascade/plot.py build/cascade/cascade build/cascade/wide-cascade
"""

import argparse
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from batch.model.bundle import open_bundle


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, default=Path("docs/cascade.png"))
    args = parser.parse_args()
    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    for folder in args.folders:
        proof = open_bundle(folder).proof
        if proof is None:
            raise SystemExit(f"{folder} is no cascade")
        asked, left = zip(*proof.curve, strict=True)
        slow = open_bundle(folder / "slow").manifest
        (line,) = axes.plot(
            [100 * share for share in asked], [100 * share for share in left], "o-",
            label=f"{len(slow.labels)} classes, {proof.proving['messages']:,} messages",
        )  # fmt: skip
        axes.plot(
            100 * proof.proving["asked"] / proof.proving["messages"], 100 * proof.bound, "v",
            color=line.get_color(),
            label=f"proved: at most {proof.bound:.3%} (promised {proof.promised:.1%})",
        )  # fmt: skip
    axes.set_xlabel("asked of the slow model, % of the messages")
    axes.set_ylabel("labels that differ, %")
    axes.set_yscale("symlog", linthresh=0.05)
    axes.set_yticks(
        [0, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2], ["0", "0.02", "0.05", "0.1", "0.2", "0.5", "1", "2"]
    )
    axes.set_ylim(0, 3)
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(args.out, dpi=120)


if __name__ == "__main__":
    main()
