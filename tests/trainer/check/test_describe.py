"""What check says of classes, copies, lengths and scripts."""

import pandas as pd

from trainer.check.describe import class_lines, copy_lines, length_lines, script_lines


def rows(*pairs: tuple[str, str], files: int = 1) -> pd.DataFrame:
    frame = pd.DataFrame(pairs, columns=["label", "text"])
    return frame.assign(file=[n % files for n in range(len(frame))], line=range(2, len(frame) + 2))


def test_classes():
    found = class_lines(rows(("a", "x"), ("b", "y"), ("b", "z")))
    assert found == ["classes:", "  'b': 2 messages, 66.7 %", "  'a': 1 message, 33.3 %"]
    many = class_lines(rows(*((str(number), "x") for number in range(22))))
    assert (len(many), many[-1]) == (22, "  and 2 more")


def test_copies_by_line():
    found = copy_lines(
        rows(("a", "same"), ("a", "same"), ("b", "same"), ("a", "WIN 12!"), ("b", "win 77"),
             ("a", " "), ("a", "alone")), ["data.csv"],
    )  # fmt: skip
    assert found == [
        "repeated: 2 messages with the text of an earlier one: lines 3, 4",
        "two labels: 3 messages whose text also has another label: lines 2, 3, 4",
        "near copies with two labels: 2 more messages, if case, digits and punctuation do not "
        "count: lines 5, 6",
        "empty: 1 message: line 7",
    ]


def test_places_in_several_files_and_no_more_than_five():
    found = copy_lines(rows(*[("a", "same")] * 7, files=2), ["x.csv", "y.csv"])
    assert found[0] == (
        "repeated: 6 messages with the text of an earlier one: y.csv line 3, x.csv line 4, "
        "y.csv line 5, x.csv line 6, y.csv line 7, ..."
    )
    assert found[1] == "two labels: 0 messages whose text also has another label"


def test_lengths(tokenizer):
    data = rows(("a", "ok"), ("a", "ok ok"), ("a", "ok " * 40))
    assert length_lines(data, ["x"], tokenizer, 30) == [
        "lengths: half have at most 2 tokens, 95 % at most 41; 1 message longer than 30: line 4"
    ]
    assert length_lines(data, ["x"], None, 30) == [
        "lengths: half have at most 5 characters, 95 % at most 120, the longest 120; tokens were "
        "not counted, because there is no tokenizer here; give --bpe"
    ]


def test_scripts():
    assert script_lines(["abc", "Жx 12!"]) == [
        "scripts of the letters: Latin 80.00 %, Cyrillic 20.00 %"
    ]
    assert script_lines(["12"]) == ["scripts of the letters: there are none"]
