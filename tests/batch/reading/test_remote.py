"""Inputs through pyarrow's file systems; file:// stands for s3://, of which there is none here."""

import hashlib
import os

import pytest
from click.testing import CliRunner

from batch.cli.commands import main
from batch.errors import ChangedInputError, MissingInputError, UsageError
from batch.reading.opening import open_source, still_has, take_fingerprint
from batch.reading.remote import find_files, is_uri
from batch.run.inputs import find_inputs
from batch.run.run_manifest import read_manifest

pytest.importorskip("pyarrow", reason="pyarrow is not installed")
TABLE = b"id,text\n1,Do you have time\n"


def test_what_is_a_uri():
    names = ["s3://b/a.csv", "gs://b", "file:///a", "a.csv", "/a://b", "-", "c:a"]
    assert [is_uri(name) for name in names] == [True, True, True, False, False, False, False]


def test_patterns(tmp_path):
    for name in ("x/a.csv", "x/b.csv", "y/a.csv", "y/z/a.csv", "y/c.tsv"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(TABLE)
    base = f"file://{tmp_path}"
    assert find_files(f"{base}/*/a.csv") == [f"{base}/x/a.csv", f"{base}/y/a.csv"]
    assert find_files(f"{base}/x/[b-c].csv") == [f"{base}/x/b.csv"]
    assert find_inputs([f"{base}/x/*", f"{base}/x/a.csv"]) == [
        f"{base}/x/a.csv", f"{base}/x/b.csv"
    ]  # fmt: skip
    for pattern in (f"{base}/*.csv", f"{base}/none/*.csv"):
        with pytest.raises(MissingInputError) as error:
            find_files(pattern)
        assert str(error.value) == f"{pattern}: no file matches"


@pytest.mark.parametrize("name", ["in.csv", "in.csv.gz", "in.parquet"])
def test_labelled_as_a_path(bundle, tmp_path, name):
    import gzip

    from pyarrow import csv, parquet

    (tmp_path / "in.csv").write_bytes(TABLE * 2)
    (tmp_path / "in.csv.gz").write_bytes(gzip.compress(TABLE))
    parquet.write_table(csv.read_csv(tmp_path / "in.csv"), tmp_path / "in.parquet")
    made = []
    for source in (tmp_path / name, f"file://{tmp_path}/{name}"):
        out = tmp_path / f"out{''.join(os.path.splitext(name)[1:])}"
        args = ["classify", str(source), "--out", str(out), "--bundle", str(bundle)]
        result = CliRunner().invoke(main, args)
        assert result.exit_code == 0, result.stderr
        made.append(out.read_bytes())
        made.append(read_manifest(out).input.sha256)
    assert made[:2] == made[2:]
    result = CliRunner().invoke(main, ["audit", str(out), "--bundle", str(bundle)])
    assert result.exit_code == 0, result.stdout
    (tmp_path / name).unlink()
    result = CliRunner().invoke(main, ["audit", str(out), "--bundle", str(bundle)])
    assert f"unchecked input: cannot read {source}: there is no such file" in result.stdout


def test_its_fingerprint(tmp_path):
    (tmp_path / "in.csv").write_bytes(TABLE)
    uri = f"file://{tmp_path}/in.csv"
    found = take_fingerprint(uri)
    assert (found.size, found.sha256) == (len(TABLE), hashlib.sha256(TABLE).hexdigest())
    assert still_has(uri, found)
    (tmp_path / "in.csv").write_bytes(TABLE + b"2,b\n")
    assert not still_has(uri, found)
    (tmp_path / "in.csv").unlink()
    assert not still_has(uri, found)


def test_changed_while_it_is_read(tmp_path):
    (tmp_path / "in.csv").write_bytes(TABLE)
    uri = f"file://{tmp_path}/in.csv"
    with open_source(uri) as source:
        assert source.check_unchanged() is None
        (tmp_path / "in.csv").write_bytes(TABLE + b"2,b\n")
        with pytest.raises(ChangedInputError) as error:
            source.check_unchanged()
    assert str(error.value) == f"{uri}: was overwritten while it was read; run again"


@pytest.mark.parametrize(
    ("uri", "kind", "said"),
    [
        ("file:///none/a.csv", MissingInputError,
         "cannot read file:///none/a.csv: there is no such file"),
        ("file:///", MissingInputError, "cannot read file:///: there is no such file"),
        ("odd://none/a.csv", UsageError,
         "odd://none/a.csv: no such file system; pyarrow has for example s3://, gs://, file://"),
    ],
)  # fmt: skip
def test_what_cannot_be_read(uri, kind, said):
    with pytest.raises(kind) as error, open_source(uri):
        pass
    assert str(error.value) == said
