"""Compressed inputs and outputs, whole and cut, through the command line."""

import bz2
import gzip
import io
import lzma
import zlib

import pytest

from batch.reading.compression import COMPRESSIONS, _load_zstd
from batch.reading.input_stream import InputStream


def decompress(data: bytes) -> bytes:
    stream = InputStream("out", lambda _: io.BytesIO(data))
    return b"".join(iter(lambda: stream.read(1 << 16), b""))


WRAPPINGS = {
    "gzip": gzip.compress,
    "three members": lambda data: b"".join(map(gzip.compress, (data[:9], data[9:99], data[99:]))),
    "zeros behind": lambda data: gzip.compress(data) + bytes(1024),
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": lambda data: _load_zstd().compress(data),
}


@pytest.mark.parametrize("wrapping", WRAPPINGS)
@pytest.mark.parametrize("name", ["in.csv", "-"])
def test_compressed_input_by_content(run, plain, wrapping, name, labelled, table):
    data = WRAPPINGS[wrapping](table)
    assert labelled(run, name, data, input=data) == plain


@pytest.mark.parametrize("kind", COMPRESSIONS, ids=lambda kind: kind.name)
def test_compressed_output_by_name(run, plain, kind, labelled, table):
    found = labelled(run, "in.csv", table, out="out.csv" + kind.ending)
    assert found.startswith(kind.marks)
    assert decompress(found) == plain
    assert run("in.csv", table, out="out.csv" + kind.ending)[2] == found


def test_a_cut_file_says_how_far_it_was_read(run, refused, table):
    data = gzip.compress(table[:900]) + gzip.compress(table[900:])[:-9]
    exit_code, said = refused(run, "in.csv.gz", data)
    assert (exit_code, said) == (
        65,
        f"in.csv.gz: the gzip data ends too early, the file is cut off, after {len(table):,} "
        f"decompressed bytes; records read before it: 40",
    )


def test_nothing_is_kept_of_a_cut_file_so_that_the_whole_one_is_labelled(
    run, plain, tmp_path, labelled, refused, table
):
    (tmp_path / "plain.csv").unlink()
    (tmp_path / "plain.out.csv").unlink()
    (tmp_path / "plain.out.csv.run.json").unlink()
    data = gzip.compress(table)
    assert refused(run, "in.csv", data[:-4])[0] == 65
    assert [path.name for path in tmp_path.iterdir()] == ["in.csv"]
    assert labelled(run, "in.csv", data) == plain


def test_a_cut_header(run, refused, table):
    assert refused(run, "in.csv.gz", gzip.compress(table)[:15]) == (
        65,
        "in.csv.gz: the gzip data ends too early, the file is cut off, after 0 decompressed bytes",
    )


def test_a_tsv_file_that_is_compressed(run, labelled):
    data = gzip.compress(b"id\ttext\n1\ta, b\n")
    found = labelled(run, "in.tsv.gz", data, out="out.tsv")
    assert found == b"id\ttext\tlabel\tscore\n1\ta, b\tspam\t0.998499\n"


def test_members_are_cut_where_windows_are(run, labelled, table):
    found, sizes = labelled(run, "in.csv", table, out="out.csv.gz"), []
    while found:
        member = zlib.decompressobj(31)
        sizes.append(member.decompress(found).count(b"\r\n"))
        found = member.unused_data
    assert sizes == [1, 16, 16, 8]
