"""What a shell command mends in a CSV file, its header and its encoding."""

from pathlib import Path

import pytest

SEEN = b"see you at seven"
INSIDE = (
    "stands inside a field that does not begin with one, expected the field in quotes and the "
    "quote doubled"
)
NO_COLUMN = "no text column found"
LATER = "line 1 does not name the columns"
A_RECORD = "line 1 looks like a record, not like the names of the columns"
DRAWN = (
    r"it is a table drawn for a person; type: sed '/^([0-9]* rows*)\r*$/d; /^[0-9]* rows* in set/d;"
    r" /^[-+|: ]*---[-+|: ]*\r*$/d; s/^ *| *//; s/^ *//; s/ *|\r*$//; s/ *| */|/g'"
)


CASES = {
    # what only a command mends
    "curly quotes": (
        "in.csv",
        "id,text\n1,“see you”\n2,“now, or never”\n".encode(),
        "",
        "in.csv: line 3, byte offset 24: has 3 fields, expected 2; the fields stand in curly "
        """quotes, which CSV does not know; type: sed 's/“/"/g; s/”/"/g' in.csv > in.fixed.csv""",
        2,
    ),
    "curly quotes in the header": (
        "in.csv",
        "“id”,“text”\n1,“see you”\n2,“now, or never”\n".encode(),
        "",
        f"in.csv: {NO_COLUMN}; the fields stand in curly quotes, which CSV does not know; type: "
        """sed 's/“/"/g; s/”/"/g' in.csv > in.fixed.csv""",
        2,
    ),
    "a space before the quote": (
        "in.csv",
        b'id,text\n1, "now, or never"\n2, "b"\n',
        "",
        f"in.csv: line 2, byte offset 8: quote at byte 4 of line 2 {INSIDE}; a space stands "
        """between a delimiter and a quote; type: sed 's/, *"/,"/g' in.csv > in.fixed.csv""",
        2,
    ),
    "each line in quotes": (
        "in.csv",
        b'"id,text"\r\n"1,""now, or never"""\r\n"2,b"\r\n',
        "",
        f"in.csv: {NO_COLUMN}; each line stands in quotes as a whole; type: "
        r"""sed 's/^"//; s/"\(\r*\)$/\1/; s/""/"/g' in.csv > in.fixed.csv""",
        2,
    ),
    "a file that was not written whole": (
        "in.csv",
        b"id,text\n1,a\n2,b\n" + bytes(100),
        "",
        "in.csv: line 4, byte offset 16: has 1 field, expected 2; it has NUL bytes, as a file has "
        "after a crash or on a full disk; to leave them out, type: tr -d '\\000' < in.csv > "
        "in.fixed.csv",
        2,
    ),
    "the end mark of DOS": (
        "in.csv",
        b"id,text\r\n1,a\r\n2,b\r\n\x1a",
        "",
        "in.csv: line 4, byte offset 19: has 1 field, expected 2; it has the byte 1A (Ctrl-Z), by "
        "which DOS ends a file; to leave it out, type: tr -d '\\032' < in.csv > in.fixed.csv",
        2,
    ),
    "each line in quotes, its column by number": (
        "in.csv",
        b'"id,text"\n"1,""now, or never"""\n"2,b"\n',
        "--text-column 1",
        "in.csv: each line stands in quotes as a whole; type: "
        r"""sed 's/^"//; s/"\(\r*\)$/\1/; s/""/"/g' in.csv > in.fixed.csv""",
        2,
    ),
    "files joined with cat, with a byte order mark before a quote": (
        "in.csv",
        b'"id","text"\n"1","a, b"\n\xef\xbb\xbf"2","c"\n',
        "",
        f"in.csv: line 3, byte offset 23: quote at byte 4 of line 3 {INSIDE}; a byte order mark "
        "stands before a line, as in files joined with cat; type: "
        r"sed 's/^\xEF\xBB\xBF//' in.csv > in.fixed.csv",
        2,
    ),
    "the table that psql draws": (
        "in.txt",
        b' id | text \n----+------\n  1 | see you "at, 7\n  2 | b\n(2 rows)\n\n',
        "",
        f"in.txt: {NO_COLUMN}; {DRAWN} in.txt > in.fixed.txt, and then --delimiter '|' --no-quote",
        2,
    ),
    "the table that psql draws, its delimiter is given": (
        "in.txt",
        b" id | text \n----+------\n  1 | a\n  2 | b\n(2 rows)\n",
        "--delimiter '|'",
        f"in.txt: line 2, byte offset 12: has 1 field, expected 2; {DRAWN} in.txt > in.fixed.txt, "
        "and then --delimiter '|' --no-quote",
        2,
    ),
    "the table that mysql draws": (
        "in.txt",
        b"+----+------+\r\n| id | text |\r\n+----+------+\r\n|  1 | a    |\r\n|  2 | b    |\r\n"
        b"+----+------+\r\n2 rows in set (0.00 sec)\r\n",
        "",
        f"in.txt: {NO_COLUMN}; {DRAWN} in.txt > in.fixed.txt, and then --delimiter '|' --no-quote",
        2,
    ),
    "the number of rows that psql writes at the end": (
        "in.csv",
        b"id,text\n1,a\n2,b\n(2 rows)\n",
        "",
        "in.csv: line 4, byte offset 16: has 1 field, expected 2; a line tells the number of "
        r"rows; type: sed '/^([0-9]* rows*)\r*$/d; /^[0-9]* rows* in set/d' in.csv > in.fixed.csv",
        2,
    ),
    # the header
    "no header": (
        "in.csv",
        b"17,Are you coming tonight? Bring wine\n18," + SEEN + b"\n",
        "",
        f"in.csv: {NO_COLUMN}; {A_RECORD}; type: --no-header --text-column 2",
        2,
    ),
    "no header, one column": (
        "in.csv",
        b"Are you coming tonight?\n" + SEEN + b"\n",
        "",
        f"in.csv: {NO_COLUMN}; {A_RECORD}; type: --no-header",
        2,
    ),
    "a title above the header": (
        "in.csv",
        b"Inbox report\nPeriod: January\n\nTicket,Message\n1," + SEEN + b"\n2,b\n",
        "",
        f"in.csv: {NO_COLUMN}; {LATER}; line 4 does; type: tail -n +4 in.csv > in.fixed.csv",
        2,
    ),
    "an error above the header": (
        "in.csv",
        b"<br />\n<b>Warning</b>: gone away<br />\nid,text\n1," + SEEN + b"\n2,b\n",
        "",
        f"in.csv: {NO_COLUMN}; {LATER}; line 3 does; type: tail -n +3 in.csv > in.fixed.csv",
        2,
    ),
    "a title that is called as a text column": (
        "in.csv",
        b"text\nid,text\n1," + SEEN + b"\n2,b\n",
        "--max-rejects 50%",
        "in.csv: line 1 has 1 field, unlike all of the next 3 records; they have 2; line 2 does; "
        "type: tail -n +2 in.csv > in.fixed.csv",
        2,
    ),
    "records that end with a delimiter": (
        "in.csv",
        b"id,text\r\n1,a,\r\n2,b,\r\n",
        "--max-rejects 10",
        "in.csv: line 1 has 2 fields, unlike all of the next 2 records; they have 3; each record "
        "ends with a delimiter, and line 1 does not; type: "
        r"sed '1s/\(\r*\)$/,\1/' in.csv > in.fixed.csv",
        2,
    ),
    "a header that ends with a delimiter": (
        "in.csv",
        b"id,text,\r\n1,a\r\n2,b\r\n",
        "",
        "in.csv: line 1 has 3 fields, unlike all of the next 2 records; they have 2; line 1 ends "
        r"with a delimiter, and the records do not; type: sed '1s/,\(\r*\)$/\1/' in.csv > "
        "in.fixed.csv",
        2,
    ),
    "a header of other columns": (
        "in.csv",
        b"id,text\n1,2,see you at seven\n2,3,b c\n3,4,d\n",
        "",
        "in.csv: line 1 has 2 fields, unlike all of the next 3 records; they have 3; to leave out "
        "line 1, type: tail -n +2 in.csv > in.fixed.csv, and then --no-header --text-column 3",
        3,
    ),
    # the encoding
    "UTF-16": (
        "in.csv",
        "id,text\n1,£ 7\n2,b\n".encode("utf-16"),
        "",
        "in.csv: looks like utf-16; type: --encoding utf-16",
        2,
    ),
    "UTF-16 without a mark": (
        "in.csv",
        "id,text\n1,£ 7\n2,b\n".encode("utf-16-be"),
        "",
        "in.csv: looks like utf-16-be; type: --encoding utf-16-be",
        2,
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_advice_works(check_advice, case):
    check_advice(*case)


INBOX = (Path(__file__).parents[2] / "examples" / "inbox.csv").read_bytes()
WITHOUT = "in.csv: without a header the text column is a number from 1 to"
QUOTED = b'1,ham,ok\n2,ham,"Slides are in ""final"", ""v4"", sorry"\n3,spam,"Win, win"\n'


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        # A space before a quote that is text of a message in quotes is no fault.
        (QUOTED, "--no-header", f"{WITHOUT} 3; type for example: --no-header --text-column 3"),
        (INBOX, "--no-header", f"{WITHOUT} 3; type for example: --no-header --text-column 3"),
        (
            QUOTED, "--no-header --text-column 4",
            f"{WITHOUT} 3, not '4'; type for example: --no-header --text-column 1",
        ),
        (
            b"1,\xe2\x80\x9chello\xe2\x80\x9d you\n2,b\n", "--no-header",
            f"{WITHOUT} 2; type for example: --no-header --text-column 2",
        ),
    ],
)  # fmt: skip
def test_without_a_header_the_number_is_what_lacks(classify, data, options, message) -> None:
    Path("in.csv").write_bytes(data)
    result, _ = classify("in.csv", options)
    assert (result.exit_code, result.stderr) == (65, f"spam-batch: error: {message}\n")
    result, out = classify("in.csv", message.split("type for example: ")[1])
    assert (result.exit_code, result.stderr) == (0, "")
    rows = Path(out).read_bytes().splitlines()
    for row, record in zip(rows, data.splitlines(), strict=True):
        assert row.startswith(record)


def test_without_a_header_a_delimiter_that_reads_better_is_advised(check_advice) -> None:
    data = b"1;ham;see you, at seven\n2;ham;b\n3;spam;c, d, e\n"
    check_advice(
        "in.csv", data, "--no-header",
        f"in.csv: {NO_COLUMN}; the delimiter ';' fits; type: --delimiter ';'", 0,
        f"{WITHOUT} 3; type for example: --no-header --text-column 3",
    )  # fmt: skip


def test_no_command_that_would_change_a_message(classify) -> None:
    Path("in.csv").write_bytes(b'id,text\n1, "now, or never"\n2,"so, ""b"", c"\n')
    result, _ = classify("in.csv", "")
    assert (result.exit_code, result.stderr) == (
        65,
        f"spam-batch: error: in.csv: line 2, byte offset 8: quote at byte 4 of line 2 {INSIDE}; to "
        "set bad records aside, type --max-rejects 10, or 1%\n",
    )
    result, _ = classify("in.csv", "--max-rejects 10")
    assert (result.exit_code, Path("out.csv").read_bytes().splitlines()[1][:21]) == (
        3, b'2,"so, ""b"", c",ham,'
    )  # fmt: skip
