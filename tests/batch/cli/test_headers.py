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
        f"{name}: no text column found; line 1 looks like a record, not like the names of the "
        "columns; type: --no-header --text-column 2"
    )
    exit_code, logged, output = run(DUMP, "--no-header", "--text-column", "2", name=name)
    assert (exit_code, logged, own_bytes(output)) == (0, "", DUMP.splitlines())


def test_a_column_that_is_not_there_where_there_is_no_header(run, tmp_path):
    exit_code, logged, _ = run(DUMP, "--text-column", "Message")
    assert exit_code == 65
    check_no_text(tmp_path, logged)
    assert logged == (
        "spam-batch: error: in.csv: no text column found; line 1 looks like a record, not like the "
        "names of the columns; type: --no-header --text-column 2\n"
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
    assert exit_code == 65 and logged.endswith("type: --no-header\n")
    assert "pin" not in logged
    assert run(data, "--no-header")[:2] == (0, "")


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


ROWS = b"1;see you, at seven;0,50\r\n2;You WON a prize;1,00\r\n"


def without_ours(output: bytes, mark: bytes) -> bytes:
    """The output without our columns; its first line is kept as it is."""
    first, *rest = output.splitlines(keepends=True)
    ends = [line[len(line.rstrip(b"\r\n")) :] for line in rest]
    return first + b"".join(
        line.rsplit(mark, 2)[0] + end for line, end in zip(rest, ends, strict=True)
    )


@pytest.mark.parametrize("name", ["in.csv", "in.tsv", "-"])
@pytest.mark.parametrize("bom", [b"", BOM])
@pytest.mark.parametrize("end", [b"\r\n", b"\n", b"\r"])
def test_excels_line_names_the_delimiter(run, tmp_path, bundle, name, bom, end):
    data = (bom + b"sep=;\r\nid;text;price\r\n" + ROWS).replace(b"\r\n", end)
    out = "out.tsv" if name == "in.tsv" else "out.csv"
    for args in ((), ("--text-column", "2"), ("--delimiter", ";")):
        exit_code, logged, output = run(data, *args, name=name, out=out)
        assert (exit_code, logged) == (0, "")
        assert output.startswith(bom + b"sep=;" + end + b"id;text;price;label;score" + end)
        assert without_ours(output, b";") == data
    for command in (["audit", out, "--bundle", str(bundle)], ["report", out]):
        done = CliRunner().invoke(main, command)
        assert done.exit_code == 0, done.output


@pytest.mark.parametrize("mark", [b"\t", b"|", b",", b":"])
def test_the_line_without_a_header(run, mark):
    data = b"SEP=" + mark + b"\n" + b"1;see you\n2;ok then\n".replace(b";", mark)
    exit_code, logged, output = run(data, "--no-header", "--text-column", "2")
    assert (exit_code, logged, without_ours(output, mark)) == (0, "", data)


def test_the_line_in_quotes_and_what_the_summary_says(run):
    data = b'"sep=;"\nid;text\n1;see you\n2;ok then\n'
    exit_code, logged, output = run(data, quiet=False)
    assert (exit_code, without_ours(output, b";")) == (0, data)
    assert "text column: text\ndelimiter: ';', named by line 1\n" in logged


def test_lines_are_counted_behind_it_and_encodings_come_back(run):
    data = "sep=;\nid;text\n1;see you\n2;too;many\n"
    exit_code, logged, _ = run(data.encode())
    assert exit_code == 65
    assert "in.csv: line 4, byte offset 24: has 3 fields, expected 2" in logged
    data = data.replace(";many", "")
    exit_code, logged, output = run(data.encode("utf-16"), "--encoding", "utf-16")
    assert (exit_code, logged) == (0, "")
    assert without_ours(output.decode("utf-16").encode(), b";").decode() == data


def test_a_line_that_contradicts_the_options(run):
    data = b"sep=;\nid;text\n1;see you\n"
    exit_code, logged, _ = run(data, "--delimiter", ",")
    assert (exit_code, logged) == (
        65,
        "spam-batch: error: in.csv: line 1 names ';' as the delimiter, and --delimiter is ','; "
        "leave --delimiter out, or remove that line\n",
    )
    assert run(data.partition(b"\n")[2], "--delimiter", ";")[:2] == (0, "")
    for option in ("--quote", "--escape"):
        exit_code, logged, _ = run(data, option, ";")
        assert (exit_code, logged) == (
            65,
            "spam-batch: error: in.csv: line 1 names ';' as the delimiter, which is also "
            f"{option}; leave {option} out\n",
        )
    assert run(data)[:2] == (0, "")


@pytest.mark.parametrize("bom", [b"", BOM])
def test_powershells_line_above_the_header(run, bom):
    data = bom + b'#TYPE Selected.System.IO.FileInfo\r\n"id","text"\r\n"1","see you"\r\n'
    exit_code, logged, output = run(data)
    assert (exit_code, logged, without_ours(output, b",")) == (0, "", data)


def test_a_hash_that_is_data(run):
    data = b"#,text\n1,see you\n#TYPE your name,ok\n"
    assert own_bytes(run(data)[2]) == data.splitlines()
    data = b"#TYPE System.Object\nsep=;\n"
    exit_code, logged, output = run(data, "--no-header", "--text-column", "1")
    assert (exit_code, logged, own_bytes(output)) == (0, "", data.splitlines())
