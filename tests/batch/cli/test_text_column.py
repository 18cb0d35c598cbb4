"""Which column is labelled: the values decide, in every format, from a file and a pipe."""

import csv
import gzip
import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from batch.cli.commands import main

MESSAGES = ["You WON a prize! Call 0900 555 now to claim", "see you at seven then"]
HELPDESK = {"message": ["9001", "9002"], "sms": ["0", "0"], "body": MESSAGES}
MAIL = {"content": ["text/plain", "text/plain"], "msg": MESSAGES}
BOTH = {"text": MESSAGES, "body": MESSAGES[::-1]}
NUMBERS = {"message": [str(9000 + row) for row in range(12)], "note": MESSAGES * 6}
FORMATS = ["csv", "tsv", "jsonl", "parquet"]


def write(form: str, columns: dict[str, list[str]]) -> bytes:
    rows = list(zip(*columns.values(), strict=True))
    if form == "jsonl":
        found = [json.dumps(dict(zip(columns, row, strict=True))) for row in rows]
        return "".join(line + "\n" for line in found).encode()
    if form == "parquet":
        file = io.BytesIO()
        pq.write_table(pa.table(columns), file)
        return file.getvalue()
    text = io.StringIO(newline="")
    csv.writer(text, delimiter="\t" if form == "tsv" else ",").writerows([list(columns), *rows])
    return text.getvalue().encode()


@pytest.fixture
def run(bundle, tmp_path, monkeypatch, classifier):
    """Runs ``spam-batch classify --quiet``: exit status, what was logged, the run manifest."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("batch.model.classifier.Classifier.load", lambda *_, **__: classifier)

    def run(form, data, *args, is_piped=False, quiet=True):
        (tmp_path / f"in.{form}").write_bytes(data)
        args = [*args, "--delimiter", "tab"] if form == "tsv" and is_piped else [*args]
        args = [*args, "--format", "jsonl"] if form == "jsonl" else args
        command = ["classify", "-" if is_piped else f"in.{form}", "--out", f"out.{form}", *args]
        command += ["--bundle", str(bundle), *["--quiet"] * quiet]
        done = CliRunner().invoke(main, command, input=data if is_piped else None)
        manifest = tmp_path / f"out.{form}.run.json"
        return done.exit_code, done.stderr, manifest.is_file() and json.loads(manifest.read_bytes())

    return run


def input_name(form: str, is_piped: bool) -> str:
    return "-" if is_piped else f"in.{form}"


WAYS = [(form, is_piped) for form in FORMATS for is_piped in (False, True) if form != "parquet"]
WAYS.append(("parquet", False))


@pytest.mark.parametrize(("form", "is_piped"), WAYS)
@pytest.mark.parametrize(("columns", "chosen"), [(HELPDESK, "body"), (MAIL, "msg")])
def test_the_values_decide_and_it_is_a_warning(run, form, is_piped, columns, chosen):
    exit_code, logged, manifest = run(form, write(form, columns), is_piped=is_piped)
    assert exit_code == 0
    figures = {
        "message": "0.0 words a value, 100% distinct, numbers",
        "sms": "0.0 words a value, 50% distinct, numbers",
        "body": "6.5 words a value, 100% distinct",
        "content": "1.0 words a value, 50% distinct, MIME types",
        "msg": "6.5 words a value, 100% distinct",
    }
    listed = ", ".join(f"{name!r} ({figures[name]})" for name in columns)
    warning = (
        f"the text column was chosen by its values: {chosen!r}, of {listed}; to be sure, name it "
        "with --text-column"
    )
    assert logged == f"WARNING: {warning}\n"
    assert manifest["warnings"] == [warning]
    assert manifest["table"]["text_column"] == chosen
    exit_code, logged, manifest = run(form, write(form, columns), "--text-column", chosen)
    assert (exit_code, logged, manifest["warnings"]) == (0, "", [])


@pytest.mark.parametrize(("form", "is_piped"), WAYS)
def test_where_they_do_not_decide_the_run_stops(run, form, is_piped):
    exit_code, logged, manifest = run(form, write(form, BOTH), is_piped=is_piped)
    assert (exit_code, manifest) == (65, False)
    assert logged == (
        f"spam-batch: error: {input_name(form, is_piped)}: more than one column could be the "
        "text: 'text' (6.5 words a value, 100% distinct), 'body' (6.5 words a value, 100% "
        "distinct); name one, for example: --text-column text\n"
    )
    args = ("--text-column", "text")
    exit_code, logged, manifest = run(form, write(form, BOTH), *args, is_piped=is_piped)
    assert (exit_code, logged) == (0, "")


@pytest.mark.parametrize(("form", "is_piped"), WAYS)
def test_a_column_of_numbers_is_no_text_unless_it_is_named(run, form, is_piped):
    exit_code, logged, manifest = run(form, write(form, NUMBERS), is_piped=is_piped)
    assert (exit_code, manifest) == (65, False)
    assert logged == (
        f"spam-batch: error: {input_name(form, is_piped)}: the column 'message' holds numbers, "
        "not messages; name the text with --text-column (--text-column message takes it as it "
        "is)\n"
    )
    args = ("--text-column", "message")
    assert run(form, write(form, NUMBERS), *args, is_piped=is_piped)[:2] == (0, "")


def test_one_column_without_a_header(run):
    data = write("csv", {"9000": NUMBERS["message"]})
    exit_code, logged, _ = run("csv", data, "--no-header")
    assert exit_code == 65
    assert logged == (
        "spam-batch: error: in.csv: the column '1' holds numbers, not messages; name the text "
        "with --text-column (--text-column 1 takes it as it is)\n"
    )
    assert run("csv", data, "--no-header", "--text-column", "1")[:2] == (0, "")


def test_no_byte_of_a_sample_is_lost(run, tmp_path):
    """The sample is of 64 KiB, and more where records are longer; then it may cut one off."""
    long = {"message": ["1"] * 3, "body": ["so many words " * 9000, "see you", "£ in quotes, yes"]}
    for rows in (1, 5):
        columns = {name: values * rows for name, values in long.items()} if rows > 1 else long
        data = write("csv", columns)
        for is_piped, wrapped in ((False, data), (True, data), (True, gzip.compress(data))):
            assert run("csv", wrapped, is_piped=is_piped)[0] == 0
            found = (tmp_path / "out.csv").read_bytes().splitlines()
            assert [line.rsplit(b",", 2)[0] for line in found] == data.splitlines()
        if rows == 1:
            continue
        data = gzip.compress(data)[:-9]  # cut off behind the sample
        exit_code, logged, _ = run("csv", data, is_piped=True)
        assert exit_code == 65 and "the gzip data ends too early" in logged


def test_each_file_of_a_folder_chooses_for_itself(run, tmp_path, bundle):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.csv").write_bytes(write("csv", HELPDESK))
    (tmp_path / "in" / "b.csv").write_bytes(write("csv", MAIL))
    command = ["classify", "in", "--out-dir", "out", "--bundle", str(bundle), "--quiet"]
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 0
    starts = [line.split(", of")[0] for line in done.stderr.splitlines()]
    assert starts == [
        "in/a.csv: WARNING: the text column was chosen by its values: 'body'",
        "in/b.csv: WARNING: the text column was chosen by its values: 'msg'",
    ]
    again = CliRunner().invoke(main, [*command])
    assert (again.exit_code, again.stderr) == (0, "")  # both were labelled already
