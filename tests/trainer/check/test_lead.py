"""spam-train check: what it prints and writes; never a text on the terminal."""

import csv
import re
from pathlib import Path

import numpy as np
import pytest

from batch.errors import OutputError
from trainer.check import lead
from trainer.check.doubts import Doubts
from trainer.check.lead import CheckOptions, check_lines
from trainer.cli import main
from trainer.data.reading import SMS_OPTIONS, read_rows

SECRET = "my pin is 4471"


@pytest.fixture
def cleanlab():
    return pytest.importorskip("cleanlab", reason="cleanlab (the extra check) is not installed")


@pytest.fixture(scope="module")
def labelled(tmp_path_factory) -> Path:
    """60 messages of two classes; line 9, a spam message, is labelled ham."""
    path = tmp_path_factory.mktemp("check") / "data.csv"
    rows = []
    for number in range(30):
        word = "abcdefghijklmnopqrstuvwxyzäöüß"[number]
        rows.append(("spam", f"Free prize {word}! Call now to claim it, {SECRET}"))
        rows.append(("ham", f"See you at lunch {word}, shall we say one?"))
    rows[6] = ("ham", rows[6][1])
    with open(path, "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("label", "text"), *rows])
    return path


def test_finds_the_wrong_label_by_line_and_byte(cleanlab, invoke, labelled, bpe_file, tmp_path):
    out = tmp_path / "doubts.csv"
    result = invoke(
        main, "check", labelled, "--out", out, "--bpe", bpe_file, "--cache", tmp_path / "cache"
    )
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[:4] == [
        "60 records; 60 messages kept: 31 ham, 29 spam",
        "classes:", "  'ham': 31 messages, 51.7 %", "  'spam': 29 messages, 48.3 %",
    ]  # fmt: skip
    doubted = lines.index("doubted labels: 1 row of 60, by cross-validation (5 folds), worst first")
    byte = labelled.read_bytes().splitlines(keepends=True)[:7]
    assert re.fullmatch(
        rf"  line 8, byte {sum(map(len, byte))}: 'ham', probably 'spam' \(its own label has the "
        r"probability 0\.\d{3}\)", lines[doubted + 1],
    )  # fmt: skip
    assert lines[-1] == f"doubted rows: {out}"
    assert SECRET not in result.output
    with open(out, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["line"], row["label"], row["suggested"]) for row in rows] == [("8", "ham", "spam")]
    assert SECRET in rows[0]["text"] and 0 <= float(rows[0]["score"]) < 0.5
    assert (
        invoke(
            main, "check", labelled, "--out", out, "--bpe", bpe_file, "--cache", tmp_path / "cache"
        ).exit_code
        == 0
    )


def test_finds_labels_that_were_flipped_in_the_sms_set(cleanlab, sms_file, seed):
    """8 of 10 flipped labels are among the first 50 rows."""
    from trainer.check.doubts import doubt_by_folds

    rows, _ = read_rows([sms_file], SMS_OPTIONS)
    rows = rows.reset_index(drop=True)
    flipped = np.random.default_rng(1 + seed).choice(len(rows), 10, replace=False)
    other = rows["label"].map({"ham": "spam", "spam": "ham"})
    rows.loc[flipped, "label"] = other[flipped]
    first = doubt_by_folds(rows).rows.index[:50]
    assert len(set(flipped) & set(first)) >= 8


def test_a_run_doubts_too(cleanlab, tiny_model, write_run_folder, labelled, bpe_file, tmp_path):
    run = write_run_folder(tmp_path / "run", tiny_model())
    lines = list(check_lines(CheckOptions((labelled,), run=run, bpe=bpe_file, cache=tmp_path)))
    pattern = rf"doubted labels: \d+ rows? of 60, by the run {re.escape(str(run))}, worst first"
    assert any(re.fullmatch(pattern, line) for line in lines)
    assert any("longer than 16" in line for line in lines)


def test_shows_50_rows_and_says_how_many_more(labelled, bpe_file, monkeypatch, tmp_path):
    def doubt_all(rows) -> Doubts:
        return Doubts(rows.assign(suggested="spam", score=0.25), "doubted labels: all")

    monkeypatch.setattr(lead, "doubt_by_folds", doubt_all)
    lines = list(check_lines(CheckOptions((labelled, labelled), bpe=bpe_file, cache=tmp_path)))
    at = lines.index("doubted labels: all")
    assert len(lines) == at + 1 + 50 + 1
    assert lines[at + 1].startswith(f"  {labelled}: line 2, byte 12: 'spam', probably 'spam' (")
    assert lines[-1] == "  and 70 more"


def test_refuses_to_replace_another_file(labelled, tmp_path):
    (tmp_path / "mine.csv").write_text("mine")
    with pytest.raises(OutputError) as error:
        list(check_lines(CheckOptions((labelled,), out=tmp_path / "mine.csv")))
    assert str(error.value) == (
        f"{tmp_path / 'mine.csv'} is no list of doubted rows; it was left as it is; give another "
        "--out"
    )
    with pytest.raises(OutputError) as error:
        list(check_lines(CheckOptions((labelled,), out=labelled)))
    assert str(error.value) == f"{labelled} is the input {labelled}; give another --out"


def test_lengths_are_characters_where_no_tokenizer_can_be_had(labelled, monkeypatch, tmp_path):
    from batch.errors import UnavailableError

    def refuse(*_: object):
        raise UnavailableError("no network in a test")

    monkeypatch.setattr(lead, "fetch_bpe", refuse)
    monkeypatch.setattr(lead, "doubt_by_folds", lambda rows: Doubts(rows.head(0), "none"))
    lines = list(check_lines(CheckOptions((labelled,), cache=tmp_path)))
    assert any(
        line.endswith("tokens were not counted, because there is no tokenizer here; give --bpe")
        for line in lines
    )


def test_without_cleanlab_the_command_says_what_to_install(
    invoke, labelled, bpe_file, monkeypatch, tmp_path
):
    import sys

    monkeypatch.setitem(sys.modules, "cleanlab", None)
    monkeypatch.delitem(sys.modules, "cleanlab.rank", raising=False)
    result = invoke(main, "check", labelled, "--bpe", bpe_file, "--cache", tmp_path / "cache")
    assert result.exit_code == 78
    assert "'spam-batch[check]'" in result.output
