"""How long ``spam-batch text`` takes from the shell and back, and its peak memory.

Nearly all of it is start-up: the bundle is hashed, loaded and replayed before one message is
labelled. Its files are in the system's cache after the first run, which is not counted.

    python benchmarks/startup.py --bundle models/spam
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

from batch.model.bundle import open_bundle


def run_text(bundle: Path) -> tuple[float, float]:
    """Wall seconds and peak MiB of one process."""
    program = Path(sys.executable).with_name("spam-batch")
    command = [str(program), "text", "Do you have time", "--bundle", str(bundle)]
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    if os.waitstatus_to_exitcode(status):
        raise SystemExit(f"{shutil.which(program)} ended with {status}")
    return seconds, used.ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bundle", type=Path, default=Path("models/spam"))
    parser.add_argument("--repeats", type=int, default=7)
    args = parser.parse_args()
    runs = [run_text(args.bundle) for _ in range(args.repeats + 1)][1:]
    seconds, peaks = zip(*runs, strict=True)
    size = sum(entry.size for entry in open_bundle(args.bundle).manifest.files.values()) / 2**20
    print(
        f"{args.bundle} ({size:,.0f} MiB): {statistics.median(seconds):.2f} s "
        f"({min(seconds):.2f} to {max(seconds):.2f}), peak {max(peaks):,.0f} MiB"
    )


if __name__ == "__main__":
    main()
