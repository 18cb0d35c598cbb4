"""The published table: its rows, and a run of all of them over tiny shapes."""

import json
import re
from pathlib import Path

import pytest

from batch.errors import UsageError
from trainer import published_table
from trainer.cli import main
from trainer.data.reading import DEFAULT_OPTIONS
from trainer.published_table import EXPERIMENTS, KEYS, format_table, parse_rows, run_table

# Test accuracies as published, rows 1 to 19.
PUBLISHED = [
    95.00, 75.00, 72.00, 98.33, 96.67, 84.67, 96.67, 98.33, 98.67, 93.67,
    96.67, 98.33, 78.33, 98.00, 98.33, 98.33, 95.33, 95.00, 96.33,
]  # fmt: skip


def test_rows_are_the_published_ones() -> None:
    assert [row.published for row in EXPERIMENTS.values()] == PUBLISHED
    assert list(EXPERIMENTS) == list(range(1, 20))


def test_parse_rows() -> None:
    assert [row.number for row in parse_rows("1,16")] == [1, 16]
    assert [row.number for row in parse_rows("3-5, 19")] == [3, 4, 5, 19]
    assert len(parse_rows("all")) == 19


@pytest.mark.parametrize("text", ["0", "20", "x", "1,,2", ""])
def test_no_such_row(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_rows(text)
    bad = next(part for part in text.split(",") if part not in ("1", "2"))
    assert str(caught.value) == f"--rows: {bad!r} is not a row; rows are 1 to 19"


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    shape = {"emb_dim": 8, "layers": 2, "heads": 2, "context_length": 64}
    monkeypatch.setattr(published_table, "SCALED", dict.fromkeys(published_table.SCALED, shape))


def test_every_row_runs(tiny, messages_csv: Path, bpe_file: Path, tmp_path: Path) -> None:
    result = run_table(parse_rows("all"), "starter", 1, [messages_csv], DEFAULT_OPTIONS, bpe_file,
                       tmp_path, "cpu", progress=False)  # fmt: skip
    assert [row["row"] for row in result["rows"]] == list(range(1, 20))
    assert all(0 <= row["mean"] <= 100 for row in result["rows"])
    lengths = {row["row"]: row["lengths"] for row in result["rows"]}
    longest = lengths[1]
    assert lengths[13] == "64"  # the context
    tied = {row for row, valid in lengths.items() if "to" not in valid}
    assert tied == set(range(1, 20)) - {2, 14, 15, 16}
    assert lengths[16] == f"1 to {longest}"
    text = "\n".join(format_table(result))
    assert len(re.findall(r"^\| \d+ \|", text, re.M)) == 19
    assert "say nothing about pretrained GPT-2" in text


def test_command(tiny, invoke, messages_csv: Path, bpe_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "table.json"
    result = invoke(
        main, "table", "--rows", "1,16", "--seeds", 2, "--shape", "starter", "--data",
        messages_csv, "--bpe", bpe_file, "--cache", tmp_path, "--json", out, "--quiet",
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    values = json.loads(out.read_bytes())
    assert tuple(values) == KEYS
    assert values["seeds"] == [123, 124]
    assert [len(row["ours"]) for row in values["rows"]] == [2, 2]
    assert result.stdout.count("\n| ") == 3
    assert "| 16 | last real token | 98.33 | " in result.stdout


@pytest.mark.parametrize("command", ["table", "scores"])
def test_another_file_is_not_replaced_by_the_json(invoke, tmp_path: Path, command: str) -> None:
    (tmp_path / "data.csv").write_text("mine")
    result = invoke(main, command, "--json", tmp_path / "data.csv", "--cache", tmp_path / "none")
    assert (result.exit_code, result.stdout) == (73, "")
    assert result.stderr == (
        f"spam-train: error: {tmp_path / 'data.csv'} is not a result of this command; it was left "
        "as it is; give another --json\n"
    )
    assert (tmp_path / "data.csv").read_text() == "mine"
    assert not (tmp_path / "none").exists()
