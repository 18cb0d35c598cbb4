"""Compressed streams whole, joined, cut and damaged, and what is no text, by whole messages."""

import bz2
import gzip
import io
import lzma
import re
import tracemalloc
import zipfile
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.errors import InputError
from batch.reading.compression import (
    COMPRESSIONS,
    _load_zstd,
    compression_of_name,
    find_compression,
)
from batch.reading.encoding import parse_encoding
from batch.reading.input_stream import InputStream, check_is_text

TEXT = b"id,text\n" + b"".join(b'%d,"message, %d"\n' % (row, row * 7919) for row in range(500))
KINDS = {kind.name: kind for kind in COMPRESSIONS}
# What other programs would write, by the standard library.
THEIRS = {
    "gzip": lambda data: gzip.compress(data, 9),
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": lambda data: _load_zstd().compress(data, 9),
}
every_kind = pytest.mark.parametrize("kind", KINDS)


class Trickle(io.BytesIO):
    """Reads of 1, 2, 3, 1, 2, 3, ... bytes."""

    step = 0

    def read(self, n=-1):
        self.step = self.step % 3 + 1
        return super().read(min(n, self.step))


def open_input(data: bytes, encoding="utf-8", offset=0, stream=io.BytesIO) -> InputStream:
    def open_at(offset: int):
        file = stream(data)
        file.seek(offset)
        return file

    return InputStream("in.csv", open_at, parse_encoding(encoding), offset)


def read(data: bytes, size: int = 1 << 18, encoding: str = "utf-8", stream=io.BytesIO) -> bytes:
    opened = open_input(data, encoding, stream=stream)
    return b"".join(iter(lambda: opened.read(size), b""))


def refusal(action, *args, **options) -> str:
    with pytest.raises(InputError) as error:
        action(*args, **options)
    return str(error.value)


@pytest.mark.parametrize("size", [1, 100, 1 << 18])
def test_what_is_not_compressed_is_read_as_it_is(size):
    assert read(TEXT, size) == TEXT
    assert read(TEXT, size, stream=Trickle) == TEXT
    assert read(b"") == b""
    assert read(b"BZh9 is how this message begins\n") == b"BZh9 is how this message begins\n"


@every_kind
@pytest.mark.parametrize("size", [7, 1 << 18])
@pytest.mark.parametrize("stream", [io.BytesIO, Trickle])
def test_known_by_content(kind, size, stream):
    assert read(THEIRS[kind](TEXT), size, stream=stream) == TEXT
    assert read(KINDS[kind].compress(TEXT), size, stream=stream) == TEXT
    assert find_compression(KINDS[kind].compress(b"")) is KINDS[kind]
    assert read(THEIRS[kind](b"")) == b""


@every_kind
def test_many_members_and_zeros_after_them(kind):
    pack = THEIRS[kind]
    members = pack(TEXT[:100]) + pack(b"") + pack(TEXT[100:101]) + pack(TEXT[101:])
    for zeros in (0, 1, 512, 200_000):
        assert read(members + bytes(zeros)) == TEXT
        assert read(members + bytes(zeros), 5) == TEXT
    assert read(members + bytes(8), stream=Trickle) == TEXT


@every_kind
def test_very_many_members(kind):
    member = THEIRS[kind](b"a,b\n")
    assert read(member * 5000) == b"a,b\n" * 5000


def test_a_skippable_frame():
    frame = b"\x5a\x2a\x4d\x18" + (5).to_bytes(4, "little") + b"hello"
    assert read(frame + THEIRS["zstd"](TEXT) + frame) == TEXT


@every_kind
def test_garbage_after_the_last_member(kind):
    for garbage in (b"x", bytes(7) + b"\1", TEXT):
        assert refusal(read, THEIRS[kind](TEXT) + garbage) == (
            f"in.csv: the {kind} data is followed by something else, "
            f"after {len(TEXT):,} decompressed bytes"
        )


@every_kind
def test_cut_anywhere_it_is_never_an_end(kind):
    data = THEIRS[kind](TEXT[:300]) + THEIRS[kind](TEXT[300:600])
    first = len(THEIRS[kind](TEXT[:300]))
    for end in range(12, len(data)):
        if end == first:
            assert read(data[:end]) == TEXT[:300]
            continue
        message = refusal(read, data[:end])
        done = 300 if end > first else None
        assert message.startswith(f"in.csv: the {kind} data ") and message.endswith(" bytes")
        if end > first + 12:
            assert "ends too early, the file is cut off, after " in message
            assert int(message.split()[-3]) >= done


def test_the_message_for_a_cut_file():
    assert refusal(read, THEIRS["gzip"](TEXT)[:-3]) == (
        f"in.csv: the gzip data ends too early, the file is cut off, "
        f"after {len(TEXT):,} decompressed bytes"
    )


@pytest.mark.parametrize("at", [-8, -4, -1])
def test_the_checksum_and_length_of_gzip_are_checked(at):
    data = bytearray(THEIRS["gzip"](TEXT))
    data[at] ^= 1
    said = re.sub(r"\d[\d,]*", "N", refusal(read, bytes(data), 100))
    assert said == "in.csv: the gzip data is damaged, after N decompressed bytes"


@pytest.mark.parametrize("kind", ["bzip2", "xz", "gzip"])
def test_a_flipped_bit_anywhere(kind):
    data = THEIRS[kind](TEXT[:400])
    for at in range(12, len(data)):
        broken = bytearray(data)
        broken[at] ^= 0x10
        try:  # some bits are padding
            assert read(bytes(broken)) == TEXT[:400]
        except InputError as error:
            assert str(error).startswith(f"in.csv: the {kind} data ")


def test_rows_before_the_fault_are_read():
    data = THEIRS["gzip"](TEXT)
    opened = open_input(data[: len(data) // 2])
    found = b""
    with pytest.raises(InputError):
        while chunk := opened.read(100):
            found += chunk
    assert TEXT.startswith(found) and len(found) > 1000


@pytest.mark.parametrize("kind", ["gzip", "zstd", "xz", "bzip2"])
def test_a_bomb_takes_no_memory(kind):
    bomb = THEIRS[kind](bytes(50 << 20))
    opened = open_input(bomb)
    tracemalloc.start()
    try:
        total = sum(map(len, iter(lambda: opened.read(1 << 16), b"")))
        assert tracemalloc.get_traced_memory()[1] < 12 << 20  # xz's dictionary has 8 MiB
    finally:
        tracemalloc.stop()
    assert total == 50 << 20


def test_compressed_twice():
    assert refusal(read, bz2.compress(gzip.compress(TEXT))) == (
        "in.csv: holds gzip data within bzip2; decompress it once first"
    )


@every_kind
@given(pieces=st.lists(st.binary(max_size=40), max_size=6), size=st.integers(1, 50))
def test_pieces_written_are_read_joined(kind, pieces, size):
    pieces = [b"id,", *pieces]  # so that it is text
    assert read(b"".join(map(KINDS[kind].compress, pieces)), size) == b"".join(pieces)


@every_kind
def test_a_piece_is_always_the_same_bytes(kind):
    packed = KINDS[kind].compress(TEXT)
    assert packed == KINDS[kind].compress(TEXT)
    if kind == "gzip":
        assert packed[3:8] == bytes(5)  # no name, no time
        assert zlib.decompress(packed, 31) == TEXT


@pytest.mark.parametrize(
    ("name", "kind"),
    [("a.csv.gz", "gzip"), ("A.GZ", "gzip"), ("b.zst", "zstd"), ("c.bz2", "bzip2"), ("d.xz", "xz")],
)
def test_the_output_by_its_name(name, kind):
    assert compression_of_name(name).name == kind


def test_a_name_that_asks_for_none():
    assert compression_of_name("labeled.csv") is compression_of_name("-") is None


def zipped(name: str, data: bytes = TEXT) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr(name, data)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            zipped("[Content_Types].xml"),
            "is a workbook, not text; save it as CSV (UTF-8) and give that",
        ),
        (
            b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(504),
            "is a workbook, not text; save it as CSV (UTF-8) and give that",
        ),
        (
            zipped("mimetype", b"application/vnd.oasis.opendocument.spreadsheet"),
            "is a workbook, not text; save it as CSV (UTF-8) and give that",
        ),
        (
            zipped("inbox.csv"),
            "is a zip archive; type: unzip -p in.csv > in.fixed.csv",
        ),
        (b"PAR1" + bytes(50), "is a Parquet file; type: --format parquet"),
        (TEXT.decode().encode("utf-16"), "looks like utf-16; type: --encoding utf-16"),
        (TEXT.decode().encode("utf-32"), "looks like utf-32; type: --encoding utf-32"),
        (TEXT.decode().encode("utf-16-be"), "looks like utf-16-be; type: --encoding utf-16-be"),
        (
            gzip.compress(TEXT.decode().encode("utf-16-le")),
            "looks like utf-16-le; type: --encoding utf-16-le",
        ),
    ],
)
def test_what_is_no_text(data, message):
    assert refusal(read, data) == f"in.csv: {message}"
    assert refusal(read, data, stream=Trickle) == f"in.csv: {message}"


def test_text_is_text():
    check_is_text("in.csv", TEXT)
    check_is_text("in.csv", "\ufeffa".encode("utf-16-be"), parse_encoding("utf-16"))


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "gbk", "latin-1"])
def test_transcoded_in_and_back(pack, encoding):
    data = "id,text\n1,é£\n".encode(encoding, "ignore")
    opened = open_input(pack(data), encoding)
    found = b"".join(iter(lambda: opened.read(3), b""))
    assert found.decode(opened.encoding.codec) == data.decode(opened.encoding.name)
    assert opened.restore(found) == data


@pytest.mark.parametrize("pack", [bytes, gzip.compress, lambda data: THEIRS["zstd"](data)])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
@pytest.mark.parametrize("offset", [0, 3, 70_000, 90_000])
def test_skips_to_an_offset_of_the_text(pack, encoding, offset):
    data = ("é," * 30_000).encode(encoding)
    whole = data.decode(encoding if encoding == "utf-8" else "utf-16-le").encode()
    offset = min(offset, len(whole))
    opened = open_input(pack(data), encoding, offset)
    assert b"".join(iter(lambda: opened.read(1000), b"")) == whole[offset:]


def test_skips_beyond_the_end():
    opened = open_input(gzip.compress(b"abc"), offset=4)
    assert refusal(opened.read, 9) == "in.csv: ends before byte offset 4"
