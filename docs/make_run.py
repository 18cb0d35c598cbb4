"""Draw docs/run.svg: what a run in the terminal really prints.

The messages are those of the SMS Spam Collection, without their labels: a file that looks like
the training data, so that no drift is logged.

    .venv/bin/python docs/make_run.py --bundle models/spam --data data/SMSSpamCollection.tsv
"""

import argparse
import csv
import html
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = ROOT / ".venv" / "bin"
COMMANDS = (
    "spam-batch classify sms.csv --out labeled.csv",
    "head -n 4 labeled.csv",
    'spam-batch text "You are a winner, call now to claim your prize"',
)
COLUMNS, TAIL = 104, 30  # characters; of a longer line the middle is left out
CHARACTER, LINE, MARGIN, BAR = 7.85, 20, 20, 34  # pixels
BACK, INK, SOFT, PROMPT = "#16191f", "#d8dee9", "#8b95a7", "#8fd18a"


def write_messages(data: Path, path: Path) -> None:
    """The data's messages as CSV with the columns ``id`` and ``text``."""
    with open(data, encoding="utf-8", newline="\n") as file:
        texts = [line.rstrip("\n").split("\t", 1)[1] for line in file]
    with open(path, "w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerows([("id", "text"), *enumerate(texts, 1)])


def run_commands(bundle: Path, data: Path, command: str) -> list[tuple[str, bool]]:
    """Each line that is typed or printed, and whether it is typed."""
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(bundle, Path(folder) / "models" / "spam")
        write_messages(data, Path(folder) / "sms.csv")
        for typed in COMMANDS:
            words = shlex.split(typed)
            if words[0] == "spam-batch":
                words[0] = command
            done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=True)
            printed = (done.stderr + done.stdout).splitlines()
            lines += [(typed, True), *((line, False) for line in printed), ("", False)]
    return lines[:-1]


def draw(lines: list[tuple[str, bool]]) -> str:
    width, height = COLUMNS * CHARACTER + 2 * MARGIN, BAR + len(lines) * LINE + MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height}" '
        f'font-family="ui-monospace, Menlo, Consolas, DejaVu Sans Mono, monospace" font-size="13">',
        "<title>A run of spam-batch in the terminal</title>",
        f'<rect width="100%" height="100%" rx="9" fill="{BACK}"/>',
        *(
            f'<circle cx="{MARGIN + 18 * dot}" cy="17" r="5.5" fill="{color}"/>'
            for dot, color in enumerate(("#ff6058", "#ffbd2e", "#27c840"))
        ),
    ]
    for number, (line, is_typed) in enumerate(lines, 1):
        text = f"$ {line}" if is_typed else line
        if len(text) > COLUMNS:
            text = f"{text[: COLUMNS - TAIL - 3]} … {text[-TAIL:]}"
        text = html.escape(text.replace("\t", "    "))
        color = INK if is_typed else SOFT
        if is_typed:
            text = f'<tspan fill="{PROMPT}">$</tspan>{text[1:]}'
        y = BAR + number * LINE - 4
        parts.append(
            f'<text x="{MARGIN}" y="{y}" fill="{color}" xml:space="preserve">{text}</text>'
        )
    return "\n".join([*parts, "</svg>"]) + "\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, default=ROOT / "models" / "spam")
    parser.add_argument("--data", type=Path, default=ROOT / "data" / "SMSSpamCollection.tsv")
    parser.add_argument("--command", default=str(BIN / "spam-batch"))
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "run.svg")
    options = parser.parse_args()
    lines = run_commands(options.bundle, options.data, options.command)
    options.out.write_text(draw(lines), encoding="utf-8")
