"""The first lines of a CSV file: a header that comes again, none at all, and a named delimiter."""

import json

import pytest
from click.testing import CliRunner

from batch.cli.commands import main

BOM = b"\xef\xbb\xbf"


@pytest.fixture
def run(bundle, tmp_path, monkeypatch, classifier):
    """Runs ``spam-batch classify``: exit status, what was logged, and the output."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("batch.model.classifier.Classifier.load", lambda *_, **__: classifier)

    def run(data: bytes, *args, name="in.csv", out="out.csv", quiet=True):
        if name != "-":
            (tmp_path / name).write_bytes(data)
        command = ["classify", name, "--out", out, "--bundle", str(bundle), *args]
        done = CliRunner().invoke(main, [*command, *["--quiet"] * quiet], input=data)
        path = tmp_path / out
        return done.exit_code, done.stderr, path.read_bytes() if path.exists() else None

    return run


def own_bytes(output: bytes, delimiter: bytes = b",") -> list[bytes]:
    return [line.rsplit(delimiter, 2)[0] for line in output.splitlines()]


@pytest.mark.parametrize("name", ["in.csv", "-"])
@pytest.mark.parametrize("bom", [b"", BOM])
@pytest.mark.parametrize("header", [b"id,text", b"text,id", b"text"])
def test_a_repeated_header_is_labelled_with_a_warning(run, name, bom, header):
    row = b",".join({b"id": b"1", b"text": b"see you"}[key] for key in header.split(b","))
    dump = bom + header + b"\r\n" + row + b"\r\n"
    exit_code, logged, output = run(dump * 2, name=name)
    assert (exit_code, own_bytes(output)) == (0, (dump * 2).splitlines())
    assert logged == (
        "WARNING: line 3 repeats the header; it was labelled as a record; files that are joined "
        "keep one header each\n"
    )
    assert run(dump, name=name)[:2] == (0, "")


def test_a_repeated_header_in_other_quotes_and_encodings(run):
    dump = 'id,text,é\n1,see you,x\n"id","text","é"\n'
    for encoding in ("utf-8", "latin-1", "utf-16", "shift_jis"):
        data = dump.replace("é", "語" if encoding == "shift_jis" else "é").encode(encoding)
        exit_code, logged, _ = run(data, "--encoding", encoding)
        assert exit_code == 0
        assert logged.startswith("WARNING: line 3 repeats the header; ")


def test_what_is_no_repeated_header(run):
    data = b"id,text\n1,text\nid,see you\n"
    assert run(data)[:2] == (0, "")
    assert run(data + b"id,text\n", "--no-header", "--text-column", "2")[:2] == (0, "")


DUMP = b"101,my pin is 4471 dont tell\n102,You WON a prize call now\n103,see you at seven\n"
SECRETS = ("pin", "4471", "101", "prize", "seven")


def check_no_text(tmp_path, logged: str) -> None:
    manifests = [path.read_text() for path in tmp_path.glob("*.run.json")]
    checkpoints = [path.read_text() for path in tmp_path.glob(".*.checkpoint.json")]
    for text in (logged, *manifests, *checkpoints):
        fields = [word for word in SECRETS if f"'{word}" in text or f'"{word}' in text]
        assert not fields and "my pin" not in text


@pytest.mark.parametrize("log", ["text", "json"])
@pytest.mark.parametrize("name", ["in.csv", "-"])
def test_a_first_record_that_is_no_header_is_not_shown(run, tmp_path, name, log):
    exit_code, logged, _ = run(DUMP, "--log-format", log, name=name)
    assert exit_code == 65
    check_no_text(tmp_path, logged)
    said = json.loads(logged)["message"] if log == "json" else logged
    assert said.removeprefix("spam-batch: error: ").strip() == (
        f"{name}: no text column found; columns: 2 (they look like data, so they are not "
        "shown); name it with --text-column; if the first line is a record, type: --no-header "
        "--text-column 2"
    )
    exit_code, logged, output = run(DUMP, "--no-header", "--text-column", "2", name=name)
    assert (exit_code, logged, own_bytes(output)) == (0, "", DUMP.splitlines())


def test_a_column_that_is_not_there_where_there_is_no_header(run, tmp_path):
    exit_code, logged, _ = run(DUMP, "--text-column", "Message")
    assert exit_code == 65
    check_no_text(tmp_path, logged)
    assert logged == (
        "spam-batch: error: in.csv: the text column 'Message' is not there; columns: 2 (they look "
        "like data, so they are not shown); if the first line is a record, type: --no-header "
        "--text-column 2\n"
    )


@pytest.mark.parametrize("name", ["in.csv", "-"])
def test_a_number_of_a_column_without_a_header(run, tmp_path, name):
    """The first record is taken for the header, and its text is neither logged nor kept."""
    exit_code, logged, output = run(DUMP, "--text-column", "2", name=name, quiet=False)
    assert (exit_code, own_bytes(output)) == (0, DUMP.splitlines())
    check_no_text(tmp_path, logged)
    assert "text column: column 2 of 2\n" in logged
    warning = (
        "the first line was read as the header, but looks like a record; if it is one, type: "
        "--no-header --text-column 2"
    )
    assert f"WARNING: {warning}\n" in logged
    manifest = json.loads((tmp_path / "out.csv.run.json").read_bytes())
    assert (manifest["warnings"], manifest["table"]["text_column"]) == ([warning], "2")
    assert run(DUMP, "--text-column", "2", name=name)[1] == f"WARNING: {warning}\n"


def test_one_column_without_a_header_gets_a_hint(run, tmp_path):
    data = b"12/11/26 21:14 - A: my pin is 4471\n12/11/26 21:15 - B: ok thanks\n"
    exit_code, logged, _ = run(data)
    assert exit_code == 65 and logged.endswith("type: --no-header --text-column 1\n")
    assert "pin" not in logged
    assert run(data, "--no-header", "--text-column", "1")[:2] == (0, "")


def test_headers_that_are_names(run, tmp_path):
    for header, text in (("0,1", "2"), ("1,2", "2"), ("Sent at,Free text", "2"), (",note", "2")):
        data = f"{header}\n7,see you\n".encode()
        assert run(data, "--text-column", text)[:2] == (0, "")
    exit_code, logged, _ = run(b"Is this a survey with questions?,b\nsee you,1\n",
                               "--text-column", "Is this a survey with questions?")  # fmt: skip
    assert (exit_code, logged) == (0, "")


def test_parquet_that_was_made_of_a_file_without_a_header(run, tmp_path, bundle):
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = ["101", "my pin is 4471 dont tell"]
    table = pa.table([["102", "103"], ["see you", None]], names=names)
    pq.write_table(table, tmp_path / "made.parquet")
    data = (tmp_path / "made.parquet").read_bytes()
    options = {"name": "in.parquet", "out": "out.parquet"}
    exit_code, logged, _ = run(data, **options)
    assert (exit_code, logged) == (
        65,
        "spam-batch: error: in.parquet: no text column found; columns: 2 (they look like data, so "
        "they are not shown); name it with --text-column\n",
    )
    exit_code, logged, _ = run(data, "--text-column", "2", **options)
    assert exit_code == 65 and "has null as its column 2 of 2; to set" in logged
    exit_code, logged, _ = run(data, "--text-column", "2", "--max-rejects", "1", **options)
    assert exit_code == 3
    check_no_text(tmp_path, logged)
    audited = CliRunner().invoke(main, ["audit", "out.parquet", "--bundle", str(bundle)])
    assert audited.exit_code == 0, audited.output
