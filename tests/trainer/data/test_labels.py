"""Labels that are labels: what is mended, what is refused, and that its advice works."""

import re
import shlex

import pandas as pd
import pytest

from batch.errors import InputError, UsageError
from trainer.data.labels import (
    DEFAULT_RULES,
    LabelRules,
    check_classes,
    clean_labels,
    default_positive_label,
    find_positive_label,
    parse_labels,
)


def clean(labels, rules=DEFAULT_RULES, texts=None):
    rows = pd.DataFrame(
        {
            "label": pd.Series(labels, dtype=object),
            "text": texts or [f"text {number}" for number in range(len(labels))],
            "file": 0,
            "line": range(2, 2 + len(labels)),
        }
    )
    found, dropped = clean_labels(rows, ["in.csv"], rules)
    return found["label"].tolist(), dropped


def advised_rules(message: str) -> LabelRules:
    """What the message says to type."""
    words = shlex.split(re.search(r"--labels .*", message)[0].split(";")[0])
    return LabelRules(parse_labels(words[1]))


def test_spaces_around_labels_go_and_the_log_counts_them(caplog) -> None:
    with caplog.at_level("INFO", "trainer"):
        assert clean([" ham", "spam\t", "ham"]) == (["ham", "spam", "ham"], {})
    assert caplog.messages == ["spaces around 2 labels were removed"]


def test_equal_numbers_are_one_class(caplog) -> None:
    with caplog.at_level("INFO", "trainer"):
        assert clean(["0", "1.0", "0.0", "1", "01"])[0] == ["0", "1", "0", "1", "1"]
    assert caplog.messages == [
        "the labels 0, 0.0 are equal numbers; all became 0",
        "the labels 1, 01, 1.0 are equal numbers; all became 1",
    ]


@pytest.mark.parametrize(
    ("value", "what"),
    [
        ("NULL", "the label is 'NULL', which stands for no label"),
        ("nan", "the label is 'nan', which stands for no label"),
        ("None", "the label is 'None', which stands for no label"),
        (r"\N", r"the label is '\\N', which stands for no label"),
        ("N/A", "the label is 'N/A', which stands for no label"),
        ("", "the label is empty"),
        ("  ", "the label is empty"),
        (None, "the label is empty"),
    ],
)
def test_a_value_that_stands_for_no_label(value, what) -> None:
    labels = ["ham", value, "spam", value]
    with pytest.raises(InputError) as caught:
        clean(labels)
    assert str(caught.value) == (
        f"in.csv: line 3: {what} (2 such records); label them, or leave them out by naming the "
        "classes: --labels ham,spam"
    )
    rules = advised_rules(str(caught.value))
    assert clean(labels, rules) == (["ham", "spam"], {"not among --labels": 2})


def test_a_class_may_be_called_none_if_it_is_named() -> None:
    assert clean(["none", "spam"], LabelRules(("none", "spam"))) == (["none", "spam"], {})


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (
            ["ham", "Ham", "ham", "spam"],
            "in.csv: the labels 'Ham' (1) and 'ham' (2) differ in case only; make them one; "
            "'Ham' stands first on line 3",
        ),
        (
            ["ham", "x" * 65, "spam"],
            "in.csv: line 3: the label has 65 characters (1 label of more than 64); is the label "
            "column the right one? name it with --label-column",
        ),
        (
            [f"n{number}" for number in range(1001)],
            "in.csv: 1,001 different labels; is the label column the right one? name it with "
            "--label-column",
        ),
    ],
)
def test_what_cannot_be_classes(labels, message) -> None:
    with pytest.raises(InputError) as caught:
        clean(labels)
    assert str(caught.value) == message


def test_a_message_is_never_shown_as_a_label() -> None:
    secret = "my pin is 4471, do not tell it to anyone, not even to the man from the bank"
    for labels in (["ham", secret, "spam"], [secret, None, "ham"], ["ham", secret, secret.upper()]):
        with pytest.raises(InputError) as caught:
            clean(labels)
        assert "4471" not in str(caught.value)


def test_a_label_that_is_asked_for_and_not_there() -> None:
    with pytest.raises(UsageError) as caught:
        clean(["ham", "spam"], LabelRules(("ham", "junk")))
    assert str(caught.value) == "--labels: no record is labelled 'junk'; labels: 'ham', 'spam'"


@pytest.mark.parametrize("value", ["ham", "ham,", "ham,ham", ""])
def test_labels_option(value) -> None:
    with pytest.raises(UsageError) as caught:
        parse_labels(value)
    assert str(caught.value) == (
        f"--labels {value!r} must name two or more different classes; "
        "type for example: --labels ham,spam"
    )
    assert parse_labels(" ham, not spam ") == ("ham", "not spam")


def test_a_rare_class_is_refused_by_name() -> None:
    labels = pd.Series(["ham"] * 30 + ["spam"] * 30 + ["sapm"])
    with pytest.raises(InputError) as caught:
        check_classes(labels, 10, "in.csv")
    assert str(caught.value) == (
        "in.csv: 1 message labelled 'sapm', fewer than the 10 that a class needs to be in each "
        "set (mistyped?); label more; or leave it out: --labels ham,spam; or keep it as it is: "
        "--min-class 1"
    )
    check_classes(labels, 1, "in.csv")
    check_classes(labels[labels.isin(advised_rules(str(caught.value)).only)], 10, "in.csv")
    with pytest.raises(InputError) as caught:  # of two rare classes, the rarer one
        check_classes(pd.Series([*"a" * 30, *"b" * 30, *"c" * 9, *"d" * 2]), 10, "in.csv")
    assert str(caught.value) == (
        "in.csv: 2 messages labelled 'd', fewer than the 10 that a class needs to be in each set "
        "(mistyped?); label more; or leave it out: --labels a,b; or keep it as it is: --min-class 2"
    )
    with pytest.raises(InputError) as caught:
        check_classes(pd.Series(["ham"] * 30 + ["spam"] * 9), 10, "in.csv")
    assert str(caught.value) == (
        "in.csv: 9 messages labelled 'spam', fewer than the 10 that a class needs to be in each "
        "set (mistyped?); label more, or type --min-class 1 to train on it as it is"
    )
    with pytest.raises(InputError) as caught:
        check_classes(pd.Series(["ham"] * 30), 1, "in.csv")
    assert str(caught.value) == "in.csv: every label is 'ham'; two classes are needed"


@pytest.mark.parametrize(
    ("labels", "positive"),
    [
        (["ham", "spam"], "spam"),
        (["Spam", "ham"], "Spam"),
        (["SPAM", "not spam"], "SPAM"),
        (["Junk", "inbox"], "Junk"),
        (["0", "1"], "1"),
        (["False", "True"], "True"),
        (["no", "yes"], "yes"),
        (["ham", "phishing", "spam"], "spam"),
        (["a", "b", "c"], None),
    ],
)
def test_the_usual_positive_label(labels, positive, caplog) -> None:
    with caplog.at_level("INFO", "trainer"):
        assert find_positive_label(None, labels) == positive
    assert caplog.messages == []


def test_the_alphabet_decides_with_a_warning(caplog) -> None:
    with caplog.at_level("INFO", "trainer"):
        assert default_positive_label(["billing", "tech"]) == "tech"
    assert caplog.messages == [
        "WARNING: neither 'billing' nor 'tech' is a usual name of the positive class; taken is "
        "'tech', the second in alphabetical order; to choose, type --positive-label"
    ]


def test_the_positive_label_in_any_case() -> None:
    assert find_positive_label("SPAM", ["Spam", "ham"]) == "Spam"
    assert find_positive_label("ham", ["Spam", "ham"]) == "ham"
    with pytest.raises(UsageError) as caught:
        find_positive_label("junk", ["Spam", "ham"])
    assert str(caught.value) == ("--positive-label 'junk' is not among the labels: 'Spam', 'ham'")
