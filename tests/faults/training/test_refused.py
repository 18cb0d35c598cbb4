"""Labelled files as people have them: what ``fit`` refuses or warns of, and its advice."""

import json
import shlex
from pathlib import Path

import pytest

HAM = [f"ham,see you at {n} for dinner" for n in range(30)]
SPAM = [f"spam,win a prize {n} now" for n in range(30)]
NAMES = [f"{first}{second}l" for first in "bdfhjklmnp" for second in "aeiou"]
ROWS = ["label,text", *(row for pair in zip(HAM, SPAM, strict=True) for row in pair)]


def join(*rows: str) -> str:
    return "".join(f"{row}\n" for row in rows)


TABLE = join(*ROWS)


# Content, exit status, message, options that the message advises, records that are then kept.
REFUSED = {
    "repeated-header": (
        join(*ROWS, *ROWS), 65,
        "in.csv: line 62 repeats the header (1 such line), as when files are joined with cat; give "
        "the files one by one, each with its own --data, or remove the line", None, 0,
    ),
    "null": (
        join(*ROWS, "NULL,a", "NULL,b"), 65,
        "in.csv: line 62: the label is 'NULL', which stands for no label (2 such records); label "
        "them, or leave them out by naming the classes: --labels ham,spam",
        ["--labels", "ham,spam"], 60,
    ),
    "empty": (
        join(*ROWS, ",a"), 65,
        "in.csv: line 62: the label is empty (1 such record); label them, or leave them out by "
        "naming the classes: --labels ham,spam", ["--labels", "ham,spam"], 60,
    ),
    "postgres": (
        join(*ROWS, "\\N,a"), 65,
        "in.csv: line 62: the label is '\\\\N', which stands for no label (1 such record); label "
        "them, or leave them out by naming the classes: --labels ham,spam",
        ["--labels", "ham,spam"], 60,
    ),
    "mistyped": (
        join(*ROWS, "sapm,a"), 65,
        "in.csv: 1 message labelled 'sapm', fewer than the 10 that a class needs to be in each set "
        "(mistyped?); label more; or leave it out: --labels ham,spam; or keep it as it is: "
        "--min-class 1", ["--labels", "ham,spam"], 60,
    ),
    "one-class": (
        join("label,text", *HAM), 65,
        "in.csv: every label is 'ham'; two classes are needed", None, 0,
    ),
    "case": (
        join(*ROWS, "Spam,a"), 65,
        "in.csv: the labels 'Spam' (1) and 'spam' (30) differ in case only; make them one; 'Spam' "
        "stands first on line 62", None, 0,
    ),
    "message-as-label": (
        join("text,label", *(f"{'word ' * 20}{n},spam" for n in range(5))), 65,
        "in.csv: line 2: the label has 101 characters (5 labels of more than 64); is the label "
        "column the right one? name it with --label-column", ["--label-column", "label"], None,
    ),
    "too-few-fields": (
        join(*ROWS, "bye"), 65,
        "in.csv: line 62, byte offset 1581: has 1 field, expected 2; to set bad records aside, "
        "type --max-rejects 10, or 1%", ["--max-rejects", "10"], 60,
    ),
    "utf-16": (
        TABLE.encode("utf-16"), 65, "in.csv: looks like utf-16; type: --encoding utf-16",
        ["--encoding", "utf-16"], 60,
    ),
    "unclosed-quote": (
        join(*ROWS[:31], 'ham,"hello', *ROWS[31:]), 65,
        "in.csv: line 32, byte offset 786: quote opened at byte 5 of line 32 is never closed; "
        "if quotes are text, type: --no-quote", ["--no-quote"], 61,
    ),
    "backslashes": (
        TABLE.replace("dinner", "dinner, love").replace("ham,", 'ham,"\\"see\\" ').replace(
            "love", 'love"'), 65, None, ["--escape", "\\"], 60,
    ),
    "semicolons": (
        TABLE.replace(",", ";"), 65,
        "in.csv: no text column found; the delimiter ';' fits; type: --delimiter ';'",
        ["--delimiter", ";"], 60,
    ),
}  # fmt: skip


@pytest.mark.quick
@pytest.mark.parametrize("name", REFUSED)
def test_refused_and_the_advice_works(fit, name: str) -> None:
    data, status, message, advised, kept = REFUSED[name]
    if name == "message-as-label":
        advised_data, message_args = data, ["--label-column", "text", "--text-column", "label"]
        code, said, config = fit({"in.csv": advised_data}, *message_args)
        assert (code, said) == (status, f"spam-train: error: {message}\n")
        return
    code, said, config = fit({"in.csv": data})
    assert (code, config) == (status, None)
    if message is not None:
        assert said == f"spam-train: error: {message}\n"
    if advised is not None:
        assert shlex.join(advised) in said
        code, said, config = fit({"in.csv": data}, *advised)
        assert code == 0, said
        assert config["data"]["kept"] == kept


@pytest.mark.quick
@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            join(*ROWS[:51], *(row.replace("ham,", "ham\u200b,") for row in ROWS[51:])),
            "in.csv: the labels 'ham' (25) and 'ham\\u200b' (5) differ in what cannot be seen "
            "only; make them one; 'ham\\u200b' stands first on line 52",
        ),
        (
            TABLE.replace("ham,", "re\u0301,").replace("win a prize 1", "x")
            + join(*(f"r\u00e9,{n}" for n in range(3))),
            "in.csv: the labels 're\\u0301' (30) and 'r\\xe9' (3) differ in what cannot be seen "
            "only; make them one; 'r\\xe9' stands first on line 62",
        ),
        (
            TABLE.replace("ham,", "['ham'],").replace("spam,", "['spam'],"),
            "in.csv: line 2: the labels are lists (60 such records), such as \"['ham']\"; write "
            "one label a record, without brackets",
        ),
        (
            TABLE.replace("label,text", "text,label").replace("text,label", "label,text,label")
            .replace("dinner", "dinner,x").replace(" now", ",x"),
            "in.csv: the columns 1 and 3 are called 'label'; choose one, for example: "
            "--label-column 1",
        ),
        (
            TABLE.replace("spam,", "win $$,").replace("ham,", "it's,") + join(",x"),
            "in.csv: line 62: the label is empty (1 such record); label them, or leave them out by "
            "naming the classes: --labels 'it'\"'\"'s,win $$'",
        ),
        (
            TABLE.replace("ham,", "none,"),
            "in.csv: line 2: the label is 'none', which stands for no label (30 such records); "
            "label them, or leave them out by naming the classes: --labels none,spam",
        ),
    ],
)  # fmt: skip
def test_labels_that_are_a_slip(fit, data: str, message: str) -> None:
    code, said, _ = fit({"in.csv": data})
    assert (code, said) == (65, f"spam-train: error: {message}\n")


@pytest.mark.quick
def test_balancing_that_leaves_most_out_is_told_and_the_advice_uses_all(fit) -> None:
    files = {"in.csv": TABLE + join(*(f"ham,home by {n}" for n in range(700)))}
    code, said, _ = fit(files, "--balance")
    assert (code, said) == (
        0, "WARNING: balancing uses only 60 of 760 messages, because there are only 30 labelled "
        "'spam'; --no-balance uses all\n",
    )  # fmt: skip
    for advised in (["--no-balance"], []):
        code, said, _ = fit(files, *advised)
        assert (code, said) == (0, "")
        metrics = json.loads(Path("run/metrics.json").read_bytes())
        assert sum(metrics["messages"].values()) == 760


@pytest.mark.quick
def test_near_copies_alone_are_refused_and_the_advice_works(fit) -> None:
    code, said, _ = fit({"in.csv": TABLE}, "--split", "grouped")
    assert (code, said) == (
        65, "spam-train: error: 2 different messages (case, digits and punctuation aside) are too "
        "few: the validation set would be empty; give more data, or type --split book to split at "
        "random\n",
    )  # fmt: skip
    assert fit({"in.csv": TABLE}, "--split", "book")[:2] == (0, "")


@pytest.mark.quick
def test_a_label_of_near_copies_is_told_and_the_advice_works(fit) -> None:
    table = join("label,text", *(f"ham,see you at {name}'s" for name in NAMES), *SPAM)
    code, said, config = fit({"in.csv": table}, "--split", "grouped")
    assert (code, said) == (
        0, "".join(
            f"WARNING: no {name} message is labelled 'spam', whose messages are few or near copies "
            "of each other; give more data, or type --split book to split at random\n"
            for name in ("validation", "test")
        ),
    )  # fmt: skip
    assert config["recipe"]["split"] == "grouped"
    assert fit({"in.csv": table}, "--split", "book")[:2] == (0, "")


@pytest.mark.quick
@pytest.mark.parametrize(
    ("ham", "spam", "missing"),
    [(43, 7, []), (40, 3, ["validation"]), (20, 1, ["validation", "test"])],
)
def test_a_handful_of_one_label_trains_as_advised(fit, ham: int, spam: int, missing) -> None:
    table = join(
        "label,text",
        *(f"ham,see you at {name}'s" for name in NAMES[:ham]),
        *(f"spam,win a prize of {name} now" for name in NAMES[:spam]),
    )
    grouped = ["--split", "grouped"]
    code, said, _ = fit({"in.csv": table}, *grouped)
    messages = "1 message" if spam == 1 else f"{spam} messages"
    assert (code, said) == (
        65, f"spam-train: error: in.csv: {messages} labelled 'spam', fewer than the 10 that a "
        "class needs to be in each set (mistyped?); label more, or type --min-class 1 to train on "
        "it as it is\n",
    )  # fmt: skip
    code, said, _ = fit({"in.csv": table}, *grouped, "--min-class", 1)
    assert code == 0, said
    told = "WARNING: no {} message is labelled 'spam', whose messages are few or near copies"
    assert [line.split(" of each")[0] for line in said.splitlines()] == list(
        map(told.format, missing)
    )
    metrics = json.loads(Path("run/metrics.json").read_bytes())
    assert sum(metrics["messages"].values()) == ham + spam
    assert metrics["threshold"]["value"] == 0.5


@pytest.mark.quick
def test_a_class_called_none_is_kept_if_it_is_named(fit) -> None:
    code, said, config = fit({"in.csv": TABLE.replace("ham,", "none,")}, "--labels", "none,spam")
    assert (code, said, config["data"]["labels"]) == (0, "", {"none": 30, "spam": 30})


@pytest.mark.quick
def test_suggested_labels_are_typed_as_a_shell_takes_them(fit) -> None:
    data = TABLE.replace("spam,", "win $$,").replace("ham,", "it's,") + join(",x")
    _, said, _ = fit({"in.csv": data})
    advised = shlex.split(said[said.index("--labels") :])
    code, _, config = fit({"in.csv": data}, *advised)
    assert (code, config["data"]["labels"]) == (0, {"it's": 30, "win $$": 30})
