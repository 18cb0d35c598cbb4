"""Which column is the text: the values decide, and a sentence never shows one."""

import pytest

from batch.errors import InputError
from batch.formats.text_choice import KINDS, find_text_column, look_at

MESSAGES = ["see you at seven then", "You WON a prize! Call 0900 555 now", "ok", "明天七点见"]


def choose(columns: dict[str, list[str]]):
    names = list(columns)
    return find_text_column("in.csv", names, None, lambda number: columns[names[number]])


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("numbers", ["9001", "+44 7700 900123", "12.5 %".replace(" ", ""), "-3", "1,000.50"]),
        (
            "dates",
            ["2026-11-28", "28/11/26 07:00", "2026-11-28T07:00:00Z", "Sat, 28 Nov 2026 07:00"],
        ),
        ("times", ["07:00", "7:05 pm", "23:59:59"]),
        ("addresses", ["a@b.example", "Bob <bob@mail.example>", "https://example.com/x?y=1"]),
        ("MIME types", ["text/plain", "text/html; charset=utf-8", "image/png"]),
        (
            "identifiers",
            ["T-1029", "msg_9f", "<1a2b@mail>", "3f2504e0-4f89-11d3-9a0c-0305e82c3301"],
        ),
        ("true or false", ["True", "no", "NULL"]),
        (None, MESSAGES),
        (None, ["😀", "👍"]),
        (None, ["Your code is 123456", "4471", "ok then"]),
        (None, []),
    ],
)
def test_what_values_are(kind, values) -> None:
    assert look_at(0, "x", values).kind == kind


def test_one_odd_value_in_ten_does_not_matter() -> None:
    assert look_at(0, "x", ["12"] * 9 + ["twelve or so"]).kind == "numbers"
    assert look_at(0, "x", ["12"] * 8 + ["twelve or so"] * 2).kind is None


def test_the_one_name_that_fits() -> None:
    assert choose({"id": ["1"], "Message ": MESSAGES}) == (choose({"id": ["1"], "Message ": []}))
    assert choose({"id": ["1"], "Message ": MESSAGES}).column == 1
    assert choose({"text": ["1", "2"]}).column == 0  # a few messages may be numbers


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "true or false"])
def test_a_column_of_no_messages_is_refused_unless_it_is_named(kind) -> None:
    value = {"numbers": "9001", "dates": "2026-11-28", "times": "07:00", "addresses": "a@b.example",
             "MIME types": "text/plain", "identifiers": "T-1029"}[kind]  # fmt: skip
    with pytest.raises(InputError) as caught:
        choose({"id": ["1"] * 10, "message": [value] * 10})
    assert str(caught.value) == (
        f"in.csv: the column 'message' holds {kind}, not messages; name the text with "
        "--text-column (--text-column message takes it as it is)"
    )


def test_the_values_decide_between_several_with_a_warning() -> None:
    found = choose({"message": ["9001", "9002"], "sms": ["0", "1"], "body": MESSAGES})
    assert found.column == 2
    assert found.warnings == (
        "the text column was chosen by its values: 'body', of 'message' (0.0 words a value, "
        "100% distinct, numbers), 'sms' (0.0 words a value, 100% distinct, numbers), 'body' "
        "(3.6 words a value, 100% distinct); to be sure, name it with --text-column",
    )
    assert choose({"content": ["text/plain"] * 4, "msg": MESSAGES}).column == 1
    assert choose({"text": [""] * 4, "body": MESSAGES}).column == 1
    assert choose({"text": ["hello there"] * 4, "body": MESSAGES}).column == 1  # all the same


def test_where_they_do_not_decide_the_run_stops() -> None:
    with pytest.raises(InputError) as caught:
        choose({"text": MESSAGES, "body": MESSAGES[::-1]})
    assert str(caught.value) == (
        "in.csv: more than one column could be the text: 'text' (3.6 words a value, 100% "
        "distinct), 'body' (3.6 words a value, 100% distinct); name one, for example: "
        "--text-column text"
    )
    with pytest.raises(InputError) as caught:
        choose({"text": ["1"], "text ": ["2"]})
    assert "'text ' (0.0 words a value, 100% distinct, numbers)" in str(caught.value)
    assert str(caught.value).endswith("; name one, for example: --text-column text")
    with pytest.raises(InputError) as caught:  # a name that is there twice has a number only
        find_text_column("in.csv", ["id", "text", "text"], None, lambda _: ["see you"])
    assert str(caught.value).endswith("; name one, for example: --text-column 2")
    assert choose({"text": [], "body": []}).column == 0  # a header alone


def test_no_name_fits() -> None:
    with pytest.raises(InputError) as caught:
        choose({"id": ["1"], "remark": MESSAGES})
    assert str(caught.value) == (
        "in.csv: no text column found; columns: 'id', 'remark'; name it with --text-column"
    )
