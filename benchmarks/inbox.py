"""How many messages of the example inbox a bundle labels right.

Labels the file with `spam-batch classify` and compares the labels with the file's second
column. Prints how many are right, and of each message that is not its line, both labels and
the score; never a text.

    python benchmarks/inbox.py --bundle models/spam
"""

import argparse
import csv
import subprocess
import sys
from collections import Counter
from pathlib import Path

from scratch import scratch_folder

EXPECTED = 1  # number of the column, from 0
ROOT = Path(__file__).resolve().parent.parent


def read_labelled(path: Path) -> list[tuple[int, str, str, str]]:
    """First line, expected label, given label and score of each row of classify's output."""
    rows, line = [], 1
    with open(path, encoding="utf-8", newline="") as file:
        reader = csv.reader(file)
        next(reader)
        for row in reader:
            rows.append((line + 1, row[EXPECTED], row[-2], row[-1]))
            line = reader.line_num
    return rows


def report_lines(rows: list[tuple[int, str, str, str]]) -> list[str]:
    """The counts, and a line for each label that differs from the expected one."""
    wrong = [row for row in rows if row[1] != row[2]]
    expected = Counter(row[1] for row in rows)
    right = len(rows) - len(wrong)
    counts = Counter((row[1], row[2]) for row in wrong)
    return [
        f"{len(rows)} messages: "
        + ", ".join(f"{number} {label}" for label, number in sorted(expected.items())),
        f"right: {right} of {len(rows)}, {100 * right / len(rows):.1f} %",
        *(f"{truth} called {given}: {number}" for (truth, given), number in sorted(counts.items())),
        *(f"line {line}: {truth} called {given}, {score}" for line, truth, given, score in wrong),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bundle", type=Path, default=Path("models/spam"))
    parser.add_argument("--data", type=Path, default=ROOT / "examples" / "inbox.csv")
    args = parser.parse_args()
    with scratch_folder() as folder:
        out = folder / "labeled.csv"
        command = [
            sys.executable, "-m", "batch", "classify", str(args.data), "--out", str(out),
            "--bundle", str(args.bundle), "--columns", "label,score",
        ]  # fmt: skip
        done = subprocess.run(command, stderr=subprocess.PIPE, text=True)
        if done.returncode:
            raise SystemExit(done.stderr.strip().splitlines()[-1])
        print(*report_lines(read_labelled(out)), sep="\n")
        print(*(line for line in done.stderr.splitlines() if "WARNING" in line), sep="\n")


if __name__ == "__main__":
    main()
