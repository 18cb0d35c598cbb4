"""How long ``spam-batch --help`` and ``text`` take from the shell and back, and their peak memory.

Nearly all of ``text`` is start-up: the bundle is hashed, loaded and replayed before one message
is labelled. Files are in the system's cache after the first run, which is not counted. Without a
bundle only the help is measured.

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


def measure(arguments: list[str], repeats: int) -> str:
    """Median wall seconds of ``spam-batch`` with their range, and the peak MiB."""
    runs = [run(arguments) for _ in range(repeats + 1)][1:]
    seconds, peaks = zip(*runs, strict=True)
    return (
        f"{statistics.median(seconds):.2f} s ({min(seconds):.2f} to {max(seconds):.2f}, "
        f"{repeats} runs), peak {max(peaks):,.0f} MiB"
    )


def run(arguments: list[str]) -> tuple[float, float]:
    """Wall seconds and peak MiB of one process."""
    program = Path(sys.executable).with_name("spam-batch")
    start = time.perf_counter()
    process = subprocess.Popen([str(program), *arguments], stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    if os.waitstatus_to_exitcode(status):
        raise SystemExit(f"{shutil.which(program)} ended with {status}")
    return seconds, used.ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bundle", type=Path, default=Path("models/spam"))
    parser.add_argument("--repeats", type=int, default=15)
    args = parser.parse_args()
    for arguments in (["--help"], ["classify", "--help"]):
        print(f"spam-batch {' '.join(arguments)}: {measure(arguments, args.repeats)}")
    if args.bundle.is_dir():
        size = sum(entry.size for entry in open_bundle(args.bundle).manifest.files.values()) / 2**20
        text = ["text", "Do you have time", "--bundle", str(args.bundle)]
        print(f"spam-batch text, {args.bundle} ({size:,.0f} MiB): {measure(text, args.repeats)}")


if __name__ == "__main__":
    main()
