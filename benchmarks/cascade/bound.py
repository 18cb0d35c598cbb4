"""Is a cascade's bound kept? Random splits of real text, whose labels by both models are known.

Each split takes a part of the messages, chooses a band on one half of it and proves the bound on
the other, as spam-export cascade does. The messages of no half say how many labels truly differ.
At most 5 % of the splits may prove a bound that these messages break. The same splits are tried
with leanings that are not weighed by length: what that saves is the share of tokens asked.

    python benchmarks/cascade/bound.py --fast models/student --slow models/spam \
        --max-disagreement 0.005 --text held-out.csv
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from batch.cli.options import make_input
from batch.model.cascade.proof import POWERS
from batch.model.decision import Decision
from batch.writing.rejects import NO_REJECTS
from exporter.cascade.bound import count_allowed, find_needed, upper_bound
from exporter.cascade.measure import Outcome, choose_band_and_power, load_stages, run_both
from exporter.cascade.texts import read_texts
from trainer.evaluation.calibration import fit_temperature_to

LAYOUT = {
    "text_column": None, "delimiter": None, "quote": '"', "no_quote": False, "escape": None,
    "trust_quotes": False, "encoding": "utf-8", "format_": None, "no_header": False,
    "overwrite_columns": False, "max_record_bytes": 64 << 20,
}  # fmt: skip


def try_splits(
    found: Outcome,
    decision: Decision,
    powers: Sequence[float],
    promised: float,
    splits: int,
    size: int,
) -> dict:
    """How often the bound is proved, and how often the other messages break it.

    Args:
        powers: of the length, from which each split chooses.
        size: messages of both halves together.
    """
    random, differs = np.random.default_rng(0), found.differs(decision)
    leanings = {power: found.leanings(decision, power) for power in powers}
    half, proved, broken, asked, read = size // 2, 0, 0, [], []
    for _ in range(splits):
        order = random.permutation(len(differs))
        tuning, proving, rest = order[:half], order[half:size], order[size:]
        allowed = count_allowed(len(proving), promised)
        band, power = choose_band_and_power(
            found.take(tuning), decision, allowed, len(proving), powers
        )
        is_asked = band.asks(leanings[power])
        wrong = differs & ~is_asked
        if upper_bound(int(wrong[proving].sum()), len(proving)) <= promised:
            proved += 1
            broken += bool(wrong[rest].mean() > promised)
            asked.append(float(is_asked[rest].mean()))
            tokens = found.tokens[rest]
            read.append(float(tokens[is_asked[rest]].sum() / tokens.sum()))
    return {
        "messages": len(differs), "in_a_split": size, "promised": promised, "splits": splits,
        "fast_alone_differs": float(differs.mean()), "proved": proved, "broken": broken,
        "median_share_asked": float(np.median(asked)) if asked else None,
        "median_share_of_tokens": float(np.median(read)) if read else None,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--fast", type=Path, required=True)
    parser.add_argument("--slow", type=Path, required=True)
    parser.add_argument("--text", nargs="+", required=True, help="CSV with a column text")
    parser.add_argument(
        "--max-disagreement", type=float, required=True, help="share, such as 0.001"
    )
    parser.add_argument("--splits", type=int, default=200)
    options = parser.parse_args()
    text = read_texts([make_input(name, **LAYOUT) for name in options.text], NO_REJECTS)
    fast, slow = load_stages(options.fast, options.slow, "auto", ("auto", "auto"))
    found = run_both(fast, slow, [*text.tuning, *text.proving], "labelling", True)
    decision = replace(
        fast.decision, temperature=fit_temperature_to(found.logits, found.probabilities)
    )
    size = 2 * len(found.labels) // 3  # the rest tells the true share
    needed = 2 * find_needed(options.max_disagreement)
    if size < needed:
        parser.error(f"a split has {size:,} messages, and {needed:,} are needed")
    for powers in (POWERS, POWERS[:1]):
        result = try_splits(found, decision, powers, options.max_disagreement, options.splits, size)
        print(json.dumps({"length_powers": powers, **result}, indent=1))


if __name__ == "__main__":
    main()
