"""A base of spam-train pretrain goes through fit, export, verify and labelling, in int8, too."""

import csv
import json
import string
from pathlib import Path

import pytest

pytest.importorskip("torch")

pytestmark = pytest.mark.computes


def write_csv(path: Path, header: list[str], rows: list[tuple]) -> Path:
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
    return path


@pytest.fixture(scope="module")
def folder(run_cli, bpe_file, tmp_path_factory) -> Path:
    """A base, a run from it and its bundle with fp32 and int8, made on the command line."""
    folder = tmp_path_factory.mktemp("base")
    # Different in more than digits, or all would be near copies.
    names = [f"{a}{b}" for a in ("An", "Be", "Co", "Di", "El") for b in string.ascii_lowercase]
    ham = [f"see you at {name}'s for dinner, ok?" for name in names]
    spam = [f"WINNER {name}! Call 0900-{n} now" for n, name in enumerate(names)]
    write_csv(folder / "text.csv", ["text"], [(text,) for text in (*ham, *spam)])
    rows = [("ham", text) for text in ham[:60]] + [("spam", text) for text in spam[:60]]
    write_csv(folder / "labelled.csv", ["label", "text"], rows)
    write_csv(folder / "inbox.csv", ["text"], [(ham[120],), (spam[120],), ("",)])
    for module, *arguments in (
        ("trainer", "pretrain", "--text", folder / "text.csv", "--out", folder / "base",
         "--tokens", 12_000, "--blocks", 2, "--channels", 32, "--vocab", 300, "--context", 32,
         "--batch-size", 4, "--bpe", bpe_file, "--threads", 1),
        ("trainer", "fit", "--data", folder / "labelled.csv", "--weights", folder / "base",
         "--bpe", bpe_file, "--out", folder / "run", "--device", "cpu"),
        ("exporter", "bundle", "--run", folder / "run", "--out", folder / "bundle",
         "--precision", "fp32,int8", "--device", "cpu"),
        ("exporter", "verify", folder / "bundle", "--run", folder / "run", "--device", "cpu"),
    ):  # fmt: skip
        done = run_cli(module, *arguments, "--quiet")
        assert done.returncode == 0, done.stderr.decode()
    return folder


def test_every_step_names_the_base(folder: Path) -> None:
    config = json.loads((folder / "run" / "config.json").read_text())
    manifest = json.loads((folder / "bundle" / "bundle.json").read_text())
    statement = config["weights"]["statement"]
    assert statement.startswith("gpt2-mini, a small GPT-2 pretrained with spam-train pretrain on ")
    assert statement.endswith(" tokens, finetuned on this data; not OpenAI's GPT-2.")
    assert manifest["weights"] == statement
    assert config["weights"]["kind"] == "base"
    assert (config["model"]["size"], config["model"]["second"]["size"]) == ("gpt2-mini", "starter")
    assert list(config["weights"]["sha256"]) == ["base.safetensors"]


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_it_labels(folder: Path, run_cli, precision: str) -> None:
    out = folder / f"{precision}.csv"
    done = run_cli(
        "batch", "classify", folder / "inbox.csv", "--out", out, "--bundle", folder / "bundle",
        "--precision", precision,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()
    with open(out, encoding="utf-8", newline="") as file:
        labels = [row["label"] for row in csv.DictReader(file)]
    assert labels[:2] == ["ham", "spam"]


def test_the_run_is_repeated_from_its_config(folder: Path, run_cli, bpe_file) -> None:
    done = run_cli(
        "trainer", "fit", "--config", folder / "run" / "config.json", "--out", folder / "again",
        "--bpe", bpe_file, "--quiet",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()
    first, again = ((folder / name / "model.safetensors").read_bytes() for name in ("run", "again"))
    assert first == again
