"""The starter's figures in one run: accuracy by protocol, training time, rows a second.

Trains --seeds times on the book split, and --splits times on splits of their own, grouped
and with near copies on one side, the linear SVM beside each; then trains, exports and
verifies once more and labels --rows messages of the data, drawn with seed 0, through
`spam-batch classify`.

    python benchmarks/starter.py --data data/SMSSpamCollection.tsv
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

from scratch import scratch_folder

from trainer.data.notebook import read_as_notebook
from trainer.protocols import ScoreOptions, format_protocols, score_protocols


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--bpe", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--splits", type=int, default=5)
    parser.add_argument("--rows", type=int, default=50_000)
    args = parser.parse_args()
    for protocols, count, new_splits in (
        (("book",), args.seeds, False),
        (("grouped", "natural"), args.splits, True),
    ):
        options = ScoreOptions(
            protocols, count, new_splits, weights="random", data=(args.data,), bpe=args.bpe,
            progress=False,
        )  # fmt: skip
        print(*format_protocols(score_protocols(options)), sep="\n", flush=True)
    with scratch_folder() as folder:
        label_rows(folder, args)


def label_rows(folder: Path, args: argparse.Namespace) -> None:
    """Train, export, label; prints the seconds of each and the runner's own summary."""
    inbox = folder / "inbox.csv"
    frame = read_as_notebook(args.data)
    frame["text"].sample(args.rows, replace=True, random_state=0).to_csv(inbox, index=False)
    bpe = ["--bpe", args.bpe] if args.bpe else []
    fit = ["fit", "--data", args.data, "--weights", "random", "--out", folder / "run", *bpe]
    for module, arguments in (
        ("trainer", fit),
        ("exporter", ["bundle", "--run", folder / "run", "--out", folder / "bundle"]),
        ("batch", ["classify", inbox, "--out", folder / "out.csv", "--bundle", folder / "bundle"]),
    ):
        start = time.monotonic()
        command = [sys.executable, "-m", module, *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(done.stderr.strip().splitlines()[-1])
        print(f"{module} {arguments[0]}: {time.monotonic() - start:.0f} s from start to end")
        if module == "batch":
            print("\n".join(line for line in done.stderr.splitlines() if "rows a second" in line))


if __name__ == "__main__":
    main()
