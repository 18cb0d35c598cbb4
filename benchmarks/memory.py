"""Peak memory of ``spam-batch classify`` at 250,000 rows and at four times as many.

The command is the real one, with a stub for the model, in a process of its own; what is
measured is its peak resident memory. Fails if the larger file costs 5 % more.

    python benchmarks/memory.py
"""

import argparse
import os
import random
import subprocess
import sys
from pathlib import Path

from scratch import scratch_folder

ROOT = Path(__file__).resolve().parent.parent
STUB = ROOT / "tests" / "faults" / "stub_cli.py"
ALLOWED = 1.05


def write_table(path: Path, rows: int, seed: int = 123) -> None:
    """Messages of 1 to 60 words, a long one now and then, one bad record in 10,000."""
    numbers = random.Random(seed)
    words = [f"word{number}" for number in range(500)]
    with open(path, "w", encoding="utf-8") as file:
        file.write("id,text\n")
        for row in range(rows):
            count = 3000 if row % 9999 == 5000 else numbers.randint(1, 60)
            file.write(f"{row},{' '.join(numbers.choices(words, k=count))}\n")
            if row % 10_000 == 0:
                file.write(f"{row}\n")


def measure(folder: Path, rows: int) -> int:
    """Peak resident memory of one run, in KiB."""
    write_table(folder / "in.csv", rows)
    command = [sys.executable, str(STUB), "classify", "in.csv", "--out", "out.csv"]
    command += ["--bundle", "bundle", "--max-rejects", "1%", "--quiet"]
    process = subprocess.Popen(command, cwd=folder)
    _, status, used = os.wait4(process.pid, 0)
    if os.waitstatus_to_exitcode(status) != 3:
        raise SystemExit(f"the run over {rows:,} rows ended with {status}")
    with open(folder / "out.csv", "rb") as file:
        found = sum(1 for _ in file) - 1
    if found != rows:
        raise SystemExit(f"{found:,} rows came out of {rows:,}")
    return used.ru_maxrss


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    rows = parser.parse_args().rows
    with scratch_folder() as folder:
        make = f"import sys; sys.path.insert(0, {str(STUB.parent)!r}); import stub_cli, pathlib; "
        make += "pathlib.Path('bundle').mkdir(); stub_cli.write_bundle(pathlib.Path('bundle'))"
        subprocess.run([sys.executable, "-c", make], cwd=folder, check=True)
        few, many = measure(folder, rows // 4), measure(folder, rows)
    print(f"{rows // 4:,} rows: {few / 1024:.1f} MiB at the peak")
    print(f"{rows:,} rows: {many / 1024:.1f} MiB, {many / few - 1:+.1%}")
    if many > ALLOWED * few:
        raise SystemExit("memory grows with the input")


if __name__ == "__main__":
    main()
