"""The example inbox is what its page says, and the benchmark compares its second column."""

import csv
import importlib.util
import re
import sys
from collections import Counter
from pathlib import Path

import pytest


@pytest.fixture
def inbox(root: Path, monkeypatch):
    """The module ``benchmarks/inbox.py``."""
    monkeypatch.setattr(sys, "path", [str(root / "benchmarks"), *sys.path])
    spec = importlib.util.spec_from_file_location("inbox", root / "benchmarks" / "inbox.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_example(root: Path) -> None:
    data = (root / "examples" / "inbox.csv").read_bytes()
    assert b"\r" not in data
    header, *rows = csv.reader(data.decode().splitlines(keepends=True))
    assert header == ["id", "expected", "text"]
    assert [row[0] for row in rows] == [str(number) for number in range(1, 151)]
    assert Counter(row[1] for row in rows) == {"ham": 131, "spam": 19}
    texts = [row[2] for row in rows]
    assert len(set(texts)) == 150
    # Addresses and telephone numbers are among those that nobody has.
    for text in texts:
        assert re.findall(r"\w+\.(?:com|org|net|co)\b", text) == text.count(".com") * [
            "example.com"
        ]
        for number in re.findall(r"\b0\d{4} \d{6}\b|\b\d{3}-\d{4}\b", text):
            assert number.startswith(("07700 900", "01632 960", "555-01")), number


def test_lines_labels_and_counts(inbox, tmp_path: Path) -> None:
    path = tmp_path / "labeled.csv"
    path.write_text(
        "id,expected,text,label,score\n"
        "1,ham,ok,ham,0.010000\n"
        '2,ham,"two\nlines",spam,0.910000\n'
        "3,spam,win,ham,0.220000\n"
        "4,spam,prize,spam,0.990000\n",
        encoding="utf-8",
    )
    assert inbox.report_lines(inbox.read_labelled(path)) == [
        "4 messages: 2 ham, 2 spam",
        "right: 2 of 4, 50.0 %",
        "ham called spam: 1",
        "spam called ham: 1",
        "line 3: ham called spam, 0.910000",
        "line 5: spam called ham, 0.220000",
    ]
