"""The first lines of a CSV file: a header that comes again, none at all, and a named delimiter."""

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
