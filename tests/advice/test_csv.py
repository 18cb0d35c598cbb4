"""Delimiters, quotes and backslashes of a CSV file: the option that the message advises."""

from pathlib import Path

import pytest

WON = b"You WON a prize! Call 0900 555, now"
SEEN = b"see you at seven"
CLOSED_BY_TEXT = "where text follows it, expected ',' or the end of the line"
INSIDE = (
    "stands inside a field that does not begin with one, expected the field in quotes and the "
    "quote doubled"
)
NO_COLUMN = "no text column found"

TABLE = b"id,text\n1," + SEEN + b"\n2,b\n"


CASES = {
    # another delimiter
    "semicolons": (
        "in.csv",
        b"id;text\n1;see you, at seven\n2;" + WON + b"\n",
        "",
        f"in.csv: {NO_COLUMN}; the delimiter ';' fits; type: --delimiter ';'",
        2,
    ),
    "tabs": (
        "in.csv",
        b"id\ttext\n1\t" + SEEN + b"\n2\t" + WON + b"\n",
        "",
        f"in.csv: {NO_COLUMN}; the delimiter '\\t' fits; type: --delimiter '\\t'",
        2,
    ),
    "pipes": (
        "in.csv",
        b"id|text\n1|" + SEEN + b"\n2|" + WON + b"\n",
        "",
        f"in.csv: {NO_COLUMN}; the delimiter '|' fits; type: --delimiter '|'",
        2,
    ),
    "commas in a TSV": (
        "in.tsv",
        b'id,text\n1,"' + SEEN + b'"\n2,"' + WON + b'"\n',
        "",
        f"in.tsv: {NO_COLUMN}; the delimiter ',' fits; type: --delimiter ,",
        2,
    ),
    "semicolons, and a comma in the header": (
        "in.csv",
        b"id;text;from, to\n1;" + SEEN + b";amy\n2;" + WON + b";bob\n",
        "",
        f"in.csv: {NO_COLUMN}; the delimiter ';' fits; type: --delimiter ';'",
        2,
    ),
    "semicolons, the column is named": (
        "in.csv",
        b"id;note\n1;" + SEEN + b"\n2;" + WON + b"\n",
        "--text-column note",
        f"in.csv: {NO_COLUMN}; the delimiter ';' fits; type: --delimiter ';'",
        2,
    ),
    "semicolons, names that nobody knows": (
        "in.csv",
        b"id;note\n1;" + SEEN + b"\n2;" + WON + b"\n",
        "",
        f"in.csv: {NO_COLUMN}; the delimiter ';' fits; type: --delimiter ';'",
        0,
        "in.csv: no text column found; columns: 'id', 'note'; name it with --text-column",
    ),
    "semicolons without a header": (
        "in.csv",
        b"1;" + SEEN + b"\n2;" + WON + b"\n",
        "--no-header --text-column 2",
        f"in.csv: {NO_COLUMN}; the delimiter ';' fits; type: --delimiter ';'",
        2,
    ),
    "semicolons, found by a record": (
        "in.csv",
        b"1;you, at seven\n2;see you\n3;bye\n",
        "--no-header --text-column 2",
        "in.csv: line 1 has 2 fields, unlike all of the next 2 records; they have 1; the "
        "delimiter ';' fits; type: --delimiter ';'",
        3,
    ),
    # a line above the header that is for a program
    "a line sep=, and a title": (
        "in.csv",
        b"sep=;\nexport\nid;text\n1;" + SEEN + b"\n2;b\n",
        "",
        f"in.csv: {NO_COLUMN}; line 2 does not name the columns; line 3 does; type: sed 2,2d "
        "in.csv > in.fixed.csv",
        3,
    ),
    "a line sep=, and a header that ends with a delimiter": (
        "in.csv",
        b"sep=;\nid;text;\n1;" + SEEN + b"\n2;b\n",
        "",
        "in.csv: line 2 has 3 fields, unlike all of the next 2 records; they have 2; line 2 ends "
        r"with a delimiter, and the records do not; type: sed '2s/;\(\r*\)$/\1/' in.csv > "
        "in.fixed.csv",
        3,
    ),
    "a line sep=, and stray quotes": (
        "in.csv",
        b'sep=;\nid;text\n1;"' + SEEN + b"\n2;b\n",
        "",
        "in.csv: line 3, byte offset 14: quote opened at byte 3 of line 3 is never closed; if "
        "quotes are text, type: --no-quote",
        3,
    ),
    "a line #TYPE, and semicolons": (
        "in.csv",
        b"#TYPE System.Object\nid;text\n1;" + SEEN + b"\n2;b\n",
        "",
        f"in.csv: {NO_COLUMN}; the delimiter ';' fits; type: --delimiter ';'",
        3,
    ),
    # quotes
    "stray quotes in a TSV": (
        "in.tsv",
        b'id\ttext\n1\t"' + SEEN + b"\n2\ta\n3\tb\n",
        "",
        "in.tsv: line 2, byte offset 8: quote opened at byte 3 of line 2 is never closed; if "
        "quotes are text, type: --no-quote",
        3,
    ),
    "a stray quote behind the first lines": (
        "in.tsv",
        b"id\ttext\n" + (b"1\t" + b"a b " * 24 + b"\n") * 1000 + b'1\t"a\n1\tb\n',
        "",
        "in.tsv: line 1002, byte offset 99008: quote opened at byte 3 of line 1002 is never "
        "closed; if quotes are text, type: --no-quote",
        1002,
    ),
    "a quote inside a field": (
        "in.csv",
        b'id,text\n1,a 7" screen\n2,b\n',
        "",
        f"in.csv: line 2, byte offset 8: quote at byte 6 of line 2 {INSIDE}; if quotes are text, "
        "type: --no-quote",
        2,
    ),
    "a stray quote in the first record": (
        "in.tsv",
        b'1\t"' + SEEN + b"\n2\tb\n",
        "--no-header --text-column 2",
        "in.tsv: line 1: the first record: quote opened at byte 3 of line 1 is never closed; if "
        "quotes are text, type: --no-quote",
        2,
    ),
    # a backslash
    "a backslash before a quote": (
        "in.csv",
        b'id,text\n1,"she said \\"ok\\", fine"\n2,"b"\n',
        "",
        "in.csv: line 2, byte offset 8: quote opened at byte 3 of line 2 is closed at byte 14 of "
        f"line 2, {CLOSED_BY_TEXT}; a backslash stands before a quote; type: --escape '\\'",
        2,
    ),
    "a backslash before a quote, over two lines": (
        "in.csv",
        b'id,text\n1,"she said \\"ok,\nfine\\""\n2,"b"\n',
        "",
        "in.csv: line 2, byte offset 8: quote opened at byte 3 of line 2 is closed at byte 14 of "
        f"line 2, {CLOSED_BY_TEXT}; a backslash stands before a quote; type: --escape '\\'",
        3,  # lines, of two records
    ),
    "a backslash before a line break": (
        "in.tsv",
        b"id\ttext\tfrom\n1\tfirst\\\nsecond\tbob\n2\ta\tamy\n",
        "",
        "in.tsv: line 2, byte offset 13: has 2 fields, expected 3; a backslash stands before a "
        "line break; type: --escape '\\' --no-quote",
        3,  # lines, of two records
    ),
    "a backslash before a line break, quotes are text": (
        "in.tsv",
        b"id\ttext\tfrom\n1\tfirst\\\nsecond\tbob\n2\ta\tamy\n",
        "--no-quote",
        "in.tsv: line 2, byte offset 13: has 2 fields, expected 3; a backslash stands before a "
        "line break or a delimiter; type: --escape '\\'",
        3,  # lines, of two records
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_advice_works(check_advice, case):
    check_advice(*case)


def test_no_advice_where_none_works(classify):
    Path("in.csv").write_bytes(TABLE + b"3\n")
    result, _ = classify("in.csv", "")
    assert (result.exit_code, result.stderr) == (
        65,
        f"spam-batch: error: in.csv: line 4, byte offset {len(TABLE)}: has 1 field, expected 2; "
        "to set bad records aside, type --max-rejects 10, or 1%\n",
    )


def test_one_column_of_quoted_messages_is_read(classify, count_rows):
    Path("in.csv").write_bytes(b'"text"\n"a, b"\n"c, d"\n"e, f"\n')
    result, out = classify("in.csv", "")
    assert (result.exit_code, result.stderr, count_rows(Path(out))) == (0, "", 4)


def test_real_quotes_are_not_taken_for_text(classify):
    Path("in.csv").write_bytes(b'id,text\n"1","a"\n"2","b "c" d"\n"3","e"\n')
    result, _ = classify("in.csv", "")
    assert result.exit_code == 65
    assert result.stderr.endswith("to set bad records aside, type --max-rejects 10, or 1%\n")
