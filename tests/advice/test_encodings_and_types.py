"""Texts in another encoding, and Parquet columns of another type."""

import io
import shlex
import subprocess
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet as pq

from batch.reading.codepage import UNDO_TWICE


def encode_twice(text: str) -> bytes:
    """UTF-8 that a program of Windows read as cp1252; it keeps a byte without a character."""
    single = (bytes([byte]) for byte in text.encode())
    return "".join(b.decode("cp1252", "ignore") or b.decode("latin-1") for b in single).encode()


TWICE = "as if UTF-8 was read as cp1252 and written as UTF-8 again"
WARNINGS = {
    "cp1252": (
        "in.csv",
        "id,text\n1,a £ 7 prize\n2,b\n3,déjà vu\n4,“now”\n".encode("cp1252"),
        "3 texts have bytes that are not UTF-8 and are read as U+FFFD, first in line 2; each byte "
        "is a letter in cp1252; type: --encoding cp1252",
    ),
    "cp1252 in JSON Lines": (
        "in.jsonl",
        '{"text": "a £ 7 prize"}\n{"text": "b"}\n'.encode("cp1252"),
        "1 text has bytes that are not UTF-8 and are read as U+FFFD, first in line 1; each byte "
        "is a letter in cp1252; type: iconv -f cp1252 -t utf-8 in.jsonl > in.fixed.jsonl",
    ),
    "cp1251": (
        "in.csv",
        "id,text\n1,привет как дела\n".encode("cp1251"),
        "1 text has bytes that are not UTF-8 and are read as U+FFFD, first in line 2; type the "
        "right --encoding, for example cp1251 or gb18030",
    ),
    "UTF-8 of UTF-8": (
        "in.csv",
        encode_twice("id,text\n1,£ 7 café\n2,b\n3,“now” naïve 🙂\n"),
        f"2 texts look {TWICE}, first in line 2; type: {UNDO_TWICE} in.csv > in.fixed.csv",
    ),
    "UTF-8 of UTF-8 in JSON Lines": (
        "in.jsonl",
        encode_twice('{"text": "a"}\n{"text": "NÃO, “café” à Œuvre"}\n'),
        f"1 text looks {TWICE}, first in line 2; type: {UNDO_TWICE} in.jsonl > in.fixed.jsonl",
    ),
    "UTF-8 of UTF-8 among others": (
        "in.csv",
        "id,text\n1,déjà vu\n2,cafÃ©\n".encode(),
        f"1 text looks {TWICE}, first in line 3; other texts do not; export them anew",
    ),
    "damaged": (
        "in.csv",
        "id,text\n1,déjà vu\n".encode() + b"2,\xe9\n",
        "1 text has bytes that are not UTF-8 and are read as U+FFFD, first in line 3; other texts "
        "are UTF-8, so these are damaged, or of another source",
    ),
}


@pytest.mark.parametrize(("name", "data", "warning"), WARNINGS.values(), ids=WARNINGS)
def test_a_run_that_goes_on_warns_with_advice_that_works(classify, name, data, warning):
    Path(name).write_bytes(data)
    result, _ = classify(name, "--max-rejects 1%")
    assert (result.exit_code, result.stderr) == (0, f"WARNING: {warning}\n")
    advice, options = warning.partition("type: ")[2], ""
    if advice.startswith("--"):
        options = advice
    elif advice:
        subprocess.run(["bash", "-euo", "pipefail", "-c", advice], check=True, timeout=60)
        name = shlex.split(advice)[-1]
    elif "right --encoding" in warning:
        options = "--encoding cp1251"
    else:
        return
    if TWICE in warning:
        assert encode_twice(Path(name).read_text(encoding="utf-8")) == data
    result, _ = classify(name, f"--restart {options}")
    assert (result.exit_code, result.stderr) == (0, "")


def test_a_run_that_sets_records_aside_warns_with_the_advice(classify):
    Path("in.tsv").write_bytes(b'id\ttext\n1\t"a\n2\tb\n3\tc\n')
    advice = "line 2: if quotes are text, type: --no-quote"
    result, _ = classify("in.tsv", "--max-rejects 1")
    assert result.exit_code == 3
    assert result.stderr.startswith(f"WARNING: {advice}\nrejected: ")
    Path("out.tsv").unlink()
    result, _ = classify("in.tsv", "--max-rejects 1%")
    assert result.exit_code == 65
    assert result.stderr.endswith(
        "in.tsv: 1 of 3 records were rejected (33.33 %), more than --max-rejects 1% allows; "
        f"{advice}\n"
    )
    result, _ = classify("in.tsv", "--no-quote --restart")
    assert (result.exit_code, result.stderr) == (0, "")


def to_parquet(kind: pa.DataType, values: list) -> bytes:
    file = io.BytesIO()
    table = pa.table({"id": pa.array(range(len(values))), "text": pa.array(values, kind)})
    pq.write_table(table, file)
    return file.getvalue()


STRUCT = pa.struct([("from", pa.string()), ("body", pa.string())])
IMPORTS = "import sys, pyarrow.compute as c, pyarrow.parquet as q"
CHANGE = "n, i, o = sys.argv[1:]; t = q.read_table(i); q.write_table(t.set_column"
PARQUET = {
    "a struct": (
        STRUCT,
        [{"from": "amy", "body": "a"}, {"from": "bob", "body": "b"}],
        f"is a struct of 'from', 'body'; type: python3 -c \"{IMPORTS}; i, o = sys.argv[1:]; t = "
        'q.read_table(i).flatten(); q.write_table(t, o)" in.parquet in.fixed.parquet, and then '
        "--text-column text.body",
    ),
    "a list": (
        pa.list_(pa.string()),
        [["a", "b"], []],
        f'is a list of strings; type: python3 -c "{IMPORTS}; {CHANGE}(t.column_names.index(n), n, '
        'c.binary_join(t[n], chr(10))), o)" text in.parquet in.fixed.parquet',
    ),
    "a list of structs": (
        pa.list_(STRUCT),
        [[{"from": "amy", "body": "a"}]],
        "is a list of structs; make one text of each list first",
    ),
    "null": (pa.null(), [None, None], "has no value at all; name another with --text-column"),
    "numbers": (pa.int64(), [1, 2], "holds int64, not strings; name another with --text-column"),
}


@pytest.mark.parametrize(("kind", "values", "message"), PARQUET.values(), ids=PARQUET)
def test_parquet_columns_that_are_no_text(classify, type_it, kind, values, message):
    Path("in.parquet").write_bytes(to_parquet(kind, values))
    result, _ = classify("in.parquet", "")
    what = f"in.parquet: the text column 'text' {message}"
    assert (result.exit_code, result.stderr) == (65, f"spam-batch: error: {what}\n")
    if "type: " in message:
        shell, _, options = message.partition("type: ")[2].partition(", and then ")
        result, out = classify(type_it(shell), options)
        assert (result.exit_code, result.stderr) == (0, "")
        assert pq.read_table(out).num_rows == len(values)


@pytest.mark.parametrize(
    "kind",
    [pa.binary(), pa.large_binary(), pa.large_string(), pa.dictionary(pa.int8(), pa.binary())],
)
def test_parquet_bytes_are_text(classify, kind):
    texts = ["see you at seven", "a £ 7 prize", None, ""]
    given = [t if t is None or kind == pa.large_string() else t.encode() for t in texts]
    Path("in.parquet").write_bytes(to_parquet(kind, given))
    Path("as-text.parquet").write_bytes(to_parquet(pa.string(), texts))
    result, out = classify("as-text.parquet", "--max-rejects 1")
    assert result.exit_code == 3
    wanted = pq.read_table(out)
    result, out = classify("in.parquet", "--max-rejects 1 --restart")
    assert result.exit_code == 3
    found = pq.read_table(out)
    assert found.schema.field("text").type == kind
    assert found.select(["id", "label", "score"]) == wanted.select(["id", "label", "score"])
    assert found["text"].to_pylist() == [given[0], given[1], given[3]]


def test_parquet_bytes_that_are_no_utf_8(classify, type_it):
    texts = ["see you", "a £ 7 prize", None, "déjà vu"]
    Path("in.parquet").write_bytes(
        to_parquet(pa.binary(), [t if t is None else t.encode("cp1252") for t in texts])
    )
    result, out = classify("in.parquet", "--max-rejects 1")
    shell = (
        f'python3 -c "{IMPORTS}; {CHANGE}(t.column_names.index(n), n, [[v if v is None else '
        "v.decode('cp1252') for v in t[n].to_pylist()]]), o)\" text in.parquet in.fixed.parquet"
    )
    assert result.exit_code == 3
    assert result.stderr.splitlines()[0] == (
        "WARNING: 2 texts have bytes that are not UTF-8 and are read as U+FFFD, first in row 2; "
        f"each byte is a letter in cp1252; type: {shell}"
    )
    Path(out).unlink()
    assert pq.read_table(type_it(shell))["text"].to_pylist() == texts
    result, out = classify("in.fixed.parquet", "--max-rejects 1")
    assert result.stderr.startswith("rejected: ")
    assert pq.read_table(out)["text"].to_pylist() == [texts[0], texts[1], texts[3]]


def test_parquet_strings_that_were_encoded_twice(classify, type_it):
    texts = ["see you", "“now”", None, "déjà vu"]
    twice = [t if t is None else encode_twice(t).decode() for t in texts]
    Path("in.parquet").write_bytes(to_parquet(pa.string(), twice))
    result, _ = classify("in.parquet", "--max-rejects 1")
    shell = (
        f'python3 -c "{IMPORTS}; {CHANGE}(t.column_names.index(n), n, [[v if v is None else '
        "b''.join(c.encode('cp1252', 'ignore') or c.encode('latin-1') for c in v) for v in "
        't[n].to_pylist()]]), o)" text in.parquet in.fixed.parquet'
    )
    warning = result.stderr.splitlines()[0]
    assert warning == f"WARNING: 2 texts look {TWICE}, first in row 2; type: {shell}"
    fixed = pq.read_table(type_it(shell))["text"].to_pylist()
    assert [t if t is None else t.decode() for t in fixed] == texts
    result, _ = classify("in.fixed.parquet", "--max-rejects 1")
    assert result.stderr.startswith("rejected: ")
