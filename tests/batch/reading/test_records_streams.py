"""The record reader on streams that fail or are cut, and what long records cost."""

import gzip
import io
import tracemalloc

import pytest

from batch.reading.records import RecordReader


class Faulty(io.BytesIO):
    """A stream that fails where its bytes end."""

    def read(self, n: int = -1) -> bytes | None:
        chunk = super().read(n)
        if not chunk:
            raise EOFError("the stream is cut")
        return chunk


@pytest.mark.parametrize("block_size", [1, 4, 1000])
@pytest.mark.parametrize("last", [b"g", b'g,"h\n', b"g" * 200])
def test_a_fault_of_the_stream_comes_after_the_records_before_it(block_size, last):
    stream = Faulty(b"a,b\nc,d\ne,f\n" + last)
    reader = RecordReader(stream, block_size=block_size, columns=2, max_record_bytes=99)
    assert [record.raw for record in reader.read_records(9)] == [b"a,b", b"c,d", b"e,f"]
    assert (reader.offset, reader.line) == (12, 4)
    for _ in range(2):
        with pytest.raises(EOFError, match=r"^the stream is cut$"):
            reader.read_records(9)


def test_a_cut_gzip_stream_is_not_taken_for_the_end():
    whole = gzip.compress(b"".join(b"%d,text\n" % i for i in range(1000)))
    reader = RecordReader(gzip.GzipFile(fileobj=io.BytesIO(whole[:-8])), columns=2)
    with pytest.raises(EOFError):
        while reader.read_records(100):
            pass


def test_a_stream_that_would_not_wait_is_not_taken_for_the_end():
    stream = io.BytesIO()
    stream.read = lambda n: None
    with pytest.raises(BlockingIOError) as raised:
        RecordReader(stream).read_records(1)
    assert str(raised.value) == "the input has no bytes yet and would not wait for them"


class Repeated:
    """A stream of ``times`` blocks and an end that takes no memory."""

    def __init__(self, block: bytes, times: int, end: bytes) -> None:
        self.blocks = iter([*[block] * times, end])

    def read(self, n: int) -> bytes:
        return next(self.blocks, b"")


def test_an_over_long_line_takes_bounded_memory():
    block = b"x" * (1 << 16)
    reader = RecordReader(Repeated(block, 1000, b"\r\na,b\n"), columns=2, max_record_bytes=1 << 20)
    tracemalloc.start()
    records = reader.read_records(3)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 << 20
    sizes = [(record.line, len(record.raw), record.line_end) for record in records]
    assert sizes == [(1, 4096, b"\r\n"), (2, 3, b"\n")]
    assert records[0].problem == "is 65536000 bytes long, at most 1048576 are allowed"
    assert records[1].offset == 65_536_002


@pytest.mark.parametrize("field", [b"x" * 50_000_000, b'"' + b"x,y\n\n" * 10_000_000 + b'"'])
def test_a_field_of_50_mb_is_read_within_a_few_times_its_size(field):
    data = b"id," + field + b"\n1," + field + b"\n2,c\n"
    tracemalloc.start()
    reader = RecordReader(io.BytesIO(data))
    header = next(reader)
    reader.expect(2, text_column=1)
    records = reader.read_records(3)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10 * len(field)
    assert header.fields == [b"id", field.strip(b'"')]
    assert [record.text for record in records] == [field.strip(b'"'), b"c"]
    assert reader.bytes_scanned < 7 * len(data)
