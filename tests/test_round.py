"""A whole round of a model in production, on the command lines and in a browser.

Fit, export, classify, review (a person presses keys), accuracy, fit with the corrections, export,
compare as a gate, promote, classify; and the old bundle back.
"""

import csv
import hashlib
import json
import os
from pathlib import Path

import pytest

from batch.cli.commands import main as batch_main
from exporter.cli import main as export_main
from trainer.cli import main as train_main

CONTROL = "\ue009"
# Texts that differ only in digits would all stand in one set of the split.
NAMES = ["Ana", "Ben", "Cleo", "Dan", "Eve", "Finn", "Gus", "Hal", "Ida", "Jon", "Kim", "Leo"]


@pytest.fixture
def shell(tmp_path, monkeypatch, invoke, bpe_file):
    """Runs a command line in a folder of its own -> what it printed."""
    monkeypatch.chdir(tmp_path)
    mains = {"spam-batch": batch_main, "spam-train": train_main, "spam-export": export_main}

    def shell(line: str, status: int = 0) -> str:
        program, *words = line.split()
        if program == "spam-train":
            words += ["--weights", "random", "--model", "starter", "--bpe", bpe_file]
        result = invoke(mains[program], *words)
        assert result.exit_code == status, result.output
        return result.output

    return shell


def write_csv(name: str, header: str, rows) -> None:
    with open(name, "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header.split(","), *rows])


def promote(bundle: str) -> None:
    """As docs/operations.md does it: one step, and back by the same one."""
    os.symlink(bundle, "models/next")
    os.replace("models/next", "models/current")


def test_round(shell, browser):
    old = [(f"{word} {name}, lunch at noon?", "ham") for name in NAMES for word in ("hello", "ok")]
    old += [(f"{word} {name}, claim your prize now", "spam") for name in NAMES for word in
            ("winner", "dear")]  # fmt: skip
    write_csv("old.csv", "text,label", old)
    # What the model has not seen: a parcel's fee, which a person calls spam.
    inbox = [(f"{name}, your parcel waits, pay the fee", "spam") for name in NAMES[:8]]
    inbox += [(f"{word} {name}, dinner at eight?", "ham") for name in NAMES[:10] for word in
              ("hello", "so")]  # fmt: skip
    inbox += [(f"hurry {name}, claim your prize now", "spam") for name in NAMES]
    write_csv("inbox.csv", "text,truth", inbox)
    truths = dict(inbox)

    shell("spam-train fit --data old.csv --out runs/old")
    shell("spam-export bundle --run runs/old --out models/old --precision fp32")
    promote("old")
    shell("spam-batch classify inbox.csv --out labeled.csv --bundle models/current")

    shell("spam-batch review labeled.csv --out review.html --random 30 --labels ham,spam")
    browser.open(Path("review.html"))
    rows = json.loads(browser.run("return document.getElementById('data').textContent"))["rows"]
    browser.press(*(truths[row["text"]][0] for row in rows))  # h or s
    assert browser.run("return document.getElementById('work').hidden")
    browser.press("s", held=CONTROL)
    Path("corrections.csv").write_bytes(browser.downloaded("corrections.csv"))

    said = shell("spam-batch accuracy labeled.csv --corrections corrections.csv").splitlines()
    sample = sum("random" in row["whys"] for row in rows)
    assert said[0].startswith(f"n = {sample} random rows: ")
    right = sum(row["label"] == truths[row["text"]] for row in read_rows("labeled.csv")) / 40
    low, high = (float(end) / 100 for end in said[1].split("(")[1].replace("%", "").split(";")[0]
                 .split(" to "))  # fmt: skip
    assert low <= right <= high, said[1]

    log = shell("spam-train fit --data old.csv --data corrections.csv --out runs/new")
    assert "WARNING: corrections.csv" not in log and "chosen by its values" not in log
    shell("spam-export bundle --run runs/new --out models/new --precision fp32")
    compare = "spam-batch compare models/current models/new inbox.csv --truth truth"
    changes = shell(f"{compare} --max-changed 100% --out compare.html").splitlines()
    changed = int(changes[0].split(",")[1].split()[0])
    # The gate closes if more labels change than it allows.
    if changed:
        shell(f"{compare} --max-changed {changed - 1}", status=1)

    before = Path("labeled.csv").read_bytes()
    promote("new")
    shell("spam-batch classify inbox.csv --out labeled.csv --bundle models/current")
    assert read_digest() == hashlib.sha256(Path("models/new/bundle.json").read_bytes()).hexdigest()
    now = Path("labeled.csv").read_bytes()
    differ = zip(before.splitlines(), now.splitlines(), strict=True)
    assert sum(one.split(b",")[-2] != two.split(b",")[-2] for one, two in differ) == changed

    promote("old")
    shell("spam-batch classify inbox.csv --out labeled.csv --bundle models/current")
    assert Path("labeled.csv").read_bytes() == before
    assert read_digest() == hashlib.sha256(Path("models/old/bundle.json").read_bytes()).hexdigest()


def read_rows(name: str) -> list[dict]:
    return list(csv.DictReader(Path(name).read_text(encoding="utf-8").splitlines()))


def read_digest() -> str:
    return json.loads(Path("labeled.csv.run.json").read_bytes())["bundle"]["digest"]
