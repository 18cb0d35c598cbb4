"""CSV without a header, with other quotes, or with columns of ours in it."""

import pytest


def test_no_header(run, labelled, table):
    data = b"".join(table.splitlines(keepends=True)[1:3])
    args = ("--no-header", "--columns", "tokens")
    wanted = b"".join(line + b",8\r\n" for line in data.splitlines())
    assert labelled(run, "in.csv", data, *args, "--text-column", 2).count(b"\r\n") == 2
    assert labelled(run, "-", b"a\r\nb", *args, input=b"a\r\nb", out="-") == b"a,1\r\nb,1\r\n"
    assert len(labelled(run, "in.csv", data, *args, "--text-column", 2)) == len(wanted)


@pytest.mark.parametrize(
    ("data", "args", "message"),
    [
        (b"1,2\n", (), "without a header the text column is a number from 1 to 2; "),
        (b"1,a\n", (3,), "without a header the text column is a number from 1 to 2, not '3'; "),
        (b"1,a\n", (0,), "without a header the text column is a number from 1 to 2, not '0'; "),
        (b"1,a\n", ("a",), "without a header the text column is a number from 1 to 2, not 'a'; "),
    ],
)
def test_no_header_and_no_such_column(run, data, args, message, refused):
    column = [option for value in args for option in ("--text-column", value)]
    assert refused(run, "in.csv", data, "--no-header", *column) == (
        65, f"in.csv: {message}type for example: --no-header --text-column 1"
    )  # fmt: skip


def test_no_header_and_a_bad_first_line(run, refused):
    assert refused(run, "in.csv", b'1,"a\n', "--no-header", "--text-column", 2) == (
        65, "in.csv: line 1: the first record: quote opened at byte 3 of line 1 is never closed; "
        "if quotes are text, type: --no-quote"
    )  # fmt: skip
    assert refused(run, "in.csv", b"", "--no-header") == (65, "in.csv: the file is empty")


def test_columns_by_number_where_names_do_not_tell(run, labelled):
    data = b"id,message,message\n1,a,Do you have time\n"
    found = labelled(run, "in.csv", data, "--text-column", 3)
    assert found == b"id,message,message,label,score\n1,a,Do you have time,ham,0.017986\n"
    assert labelled(run, "in.csv", b"3,2,1\n" + b"a,b,Do you have time\n", "--text-column", 1) == (
        b"3,2,1,label,score\na,b,Do you have time,ham,0.017986\n"
    )  # a name, if there is one


@pytest.mark.parametrize("columns", ["label,score", "score,label,tokens,truncated", "label"])
def test_our_own_output_labelled_again(run, columns, labelled, table):
    args = ("--columns", columns)
    once = labelled(run, "in.csv", table, *args)
    exit_code, said, _ = run("again.csv", once, *args)
    assert (exit_code, said) == (
        65,
        f"spam-batch: error: again.csv: there is a column {columns.split(',')[0]!r} already; it "
        "would be there twice; choose others with --columns, or give --overwrite-columns\n",
    )
    assert labelled(run, "again.csv", once, *args, "--overwrite-columns") == once


def test_columns_are_taken_out_wherever_they_stand(run, labelled, refused):
    data = b'"label",id,"text",score,x\r\n"a, ""b",1,"Do you have time","\r\n", y\r\n,,,,\r\n'
    found = labelled(run, "in.csv", data, "--overwrite-columns")
    assert found.startswith(
        b'id,"text",x,label,score\r\n1,"Do you have time", y,ham,0.017986\r\n,,,'
    )
    assert refused(
        run, "in.csv", data, "--overwrite-columns", "--text-column", "label", out="other.csv"
    ) == (
        65,
        "in.csv: the text column 'label' would be overwritten; choose others with --columns, "
        "or rename it",
    )


def test_other_quotes_and_escapes(run, labelled):
    found = labelled(run, "in.csv", b"id;text\n1;'a;''b'\n", "--delimiter", ";", "--quote", "'")
    assert found.startswith(b"id;text;label;score\n1;'a;''b';")
    found = labelled(run, "in.csv", b'id,text\n"1,"a"\n', "--no-quote")
    assert found.startswith(b'id,text,label,score\n"1,"a",')
    data = b"id\ttext\n1\ta\\\tb\\\nc\n"
    found = labelled(run, "in.tsv", data, "--no-quote", "--escape", "\\", out="out.tsv")
    assert found.startswith(b"id\ttext\tlabel\tscore\n1\ta\\\tb\\\nc\t")
    data = b'id,text\n1,"a\\"b"\n'
    assert labelled(run, "in.csv", data, "--escape", "\\").startswith(
        b'id,text,label,score\n1,"a\\"b",'
    )


def test_a_message_whose_lines_are_records(run, labelled, refused):
    message = b'2,"Hi, Anna\n' + b"Yours, Bob\n" * 16 + b'Bye"'
    data = b"id,text\n1,ok\n" + message + b"\n3,ok\n"
    said = (
        "in.csv: line 3, byte offset 13: quote opened at byte 3 of line 3 is closed at byte 4 of "
    )
    said += "line 20, but all 16 lines between are whole records of 2 fields, so it is taken as "
    said += "never closed (--trust-quotes takes it as one field); to set bad records aside, type "
    assert refused(run, "in.csv", data) == (65, f"{said}--max-rejects 10, or 1%")
    found = labelled(run, "in.csv", data, "--trust-quotes", "--restart")
    assert found.count(b"\n") == data.count(b"\n") and message + b"," in found


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--quote", ""), "--quote: '' is not one character"),
        (("--quote", "ab"), "--quote: 'ab' is not one character"),
        (("--quote", "q"), "--quote: 'q' also occurs in the columns that we add"),
        (("--quote", ","), "--delimiter: quote and delimiter are both b','; they must differ"),
        (("--escape", '"'), "--escape: escape and quote are both b'\"'; they must differ"),
        (("--escape", "1"), "--escape: '1' also occurs in the columns that we add"),
        (("--no-quote", "--quote", "'"), "--no-quote: --quote is given too; choose one"),
        (
            ("--delimiter", "¦", "--encoding", "ascii"),
            "--delimiter: '¦' cannot be written in ascii",
        ),
        (
            ("--no-header", "--overwrite-columns"),
            "--overwrite-columns: without a header no column has a name",
        ),
    ],
)
def test_options_that_do_not_work(run, args, message, refused, table):
    exit_code, said = refused(run, "in.csv", table, *args)
    assert (exit_code, said) == (2, f"Error: {message}")


def test_records_that_are_too_long(run, refused):
    data = b"text\n" + b"a" * 100 + b"\nb\n"
    assert refused(run, "in.csv", data, "--max-record-bytes", 50) == (
        65,
        "in.csv: line 2, byte offset 5: is 100 bytes long, at most 50 are allowed; "
        "to set bad records aside, type --max-rejects 10, or 1%",
    )
    exit_code, _, found = run("in.csv", data, "--max-record-bytes", 50, "--max-rejects", 1)
    assert (exit_code, found.count(b"\n")) == (3, 2)
