"""Make what the benchmarks of a cascade need, with the commands that a user would type.

From a trained run, its bundle and its data, and files of unlabelled text: the held-out text
(a hash of each message says which; near copies stay together), a teacher in gpt2-small's
shape (widen.py), a student of the bundle's labels, and a cascade with each teacher; one more
is proved on the messages that fit into one SMS, which most dumps consist of.

    python benchmarks/cascade/make.py --data data/SMSSpamCollection.tsv --text dumps/*.csv \
        --out build/cascade
"""

import argparse
import csv
import hashlib
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from trainer.data.reading import SMS_OPTIONS, read_labelled
from trainer.data.splits import group_key

HERE = Path(__file__).parent
SHORT = 160  # characters, at most: one SMS


def is_held_out(text: str, share: float) -> bool:
    """Whether the message, and every near copy of it, is held out."""
    digest = hashlib.sha256(b"held-out" + group_key(text).encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64


def read_distinct(data: Path | None, paths: Iterable[Path]) -> dict[str, None]:
    """The distinct texts of labelled ``data``, of a CSV's column ``text``, of a file's lines."""
    labelled = read_labelled([data], SMS_OPTIONS).frame["text"] if data else ()
    found: dict[str, None] = dict.fromkeys(labelled)
    for path in paths:
        with open(path, encoding="utf-8", errors="replace", newline="") as file:
            if path.suffix == ".csv":
                texts = (row["text"] for row in csv.DictReader(file))
            else:
                texts = (line.rstrip("\r\n") for line in file)
            found |= dict.fromkeys(text for text in texts if text.strip())
    return found


def write_texts(path: Path, texts: Iterable[str]) -> None:
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text"])
        writer.writerows([text] for text in texts)


def run(module: str, *arguments: object) -> None:
    """Run one of our commands, and print it with the seconds that it took."""
    words = [sys.executable, *module.split(), *map(str, arguments)]
    print("$", *words[1:], flush=True)
    start = time.monotonic()
    subprocess.run(words, check=True)
    print(f"{time.monotonic() - start:.0f} s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--run", type=Path, default=Path("runs/spam"))
    parser.add_argument("--bundle", type=Path, default=Path("models/spam"))
    parser.add_argument("--data", type=Path, help="labelled messages, whose texts are taken, too")
    parser.add_argument("--text", type=Path, nargs="+", required=True)
    parser.add_argument("--bpe", type=Path)
    parser.add_argument("--held-out", type=float, default=0.33, help="share of the messages")
    parser.add_argument("--max-disagreement", default="0.1%")
    parser.add_argument("--out", type=Path, required=True, help="folder, made anew")
    parser.add_argument(
        "student", nargs="*", help="after --: further options of spam-train distill"
    )
    args = parser.parse_args()
    out = args.out
    out.mkdir(parents=True)
    parts: dict[bool, list[str]] = {True: [], False: []}
    for text in read_distinct(args.data, args.text):
        parts[is_held_out(text, args.held_out)].append(text)
    write_texts(out / "held-out.csv", parts[True])
    write_texts(out / "held-out-short.csv", [text for text in parts[True] if len(text) <= SHORT])
    write_texts(out / "unlabelled.csv", parts[False])
    print(f"{len(parts[False]):,} distinct texts to learn, {len(parts[True]):,} held out")
    bpe = ["--bpe", args.bpe] if args.bpe else []
    run("-m trainer distill", out / "unlabelled.csv", "--teacher", args.bundle,
        "--out", out / "student-run", *bpe, *args.student)  # fmt: skip
    run("-m exporter bundle", "--run", out / "student-run", "--out", out / "student")
    make_cascade(args, args.bundle, "held-out.csv", "cascade")
    run(str(HERE / "widen.py"), "--run", args.run, "--out", out / "wide-run")
    run("-m exporter bundle", "--run", out / "wide-run", "--out", out / "wide")
    make_cascade(args, out / "wide", "held-out-short.csv", "wide-cascade-short")
    make_cascade(args, out / "wide", "held-out.csv", "wide-cascade")


def make_cascade(args: argparse.Namespace, slow: Path, text: str, name: str) -> None:
    run("-m exporter cascade", "--fast", args.out / "student", "--slow", slow,
        "--text", args.out / text, "--max-disagreement", args.max_disagreement,
        "--out", args.out / name)  # fmt: skip


if __name__ == "__main__":
    main()
