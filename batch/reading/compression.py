"""Compression: recognised by content when a file is read, chosen by name when it is written."""

import bz2
import lzma
import sys
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from batch.errors import BrokenInputError
from batch.reading.byte_stream import ByteStream, read_some

READ_SIZE = 1 << 16  # compressed bytes asked of a file at a time
FIRST_FEED = 512  # bytes given to a new decompressor
XZ_MEMORY = 256 << 20  # bytes that a dictionary of xz may take; xz -9 needs 64 MiB


def _load_zstd() -> Any:
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
    return zstd


class _GzipDecompressor:
    """One gzip member, with the interface of ``bz2.BZ2Decompressor``."""

    def __init__(self) -> None:
        self._zlib, self._tail = zlib.decompressobj(31), b""

    def decompress(self, data: bytes, max_length: int) -> bytes:
        found = self._zlib.decompress(self._tail + data, max_length)
        self._tail = self._zlib.unconsumed_tail
        return found

    @property
    def eof(self) -> bool:
        return self._zlib.eof

    @property
    def needs_input(self) -> bool:
        return not (self.eof or self._tail)

    @property
    def unused_data(self) -> bytes:
        return self._zlib.unused_data


def _gzip(data: bytes) -> bytes:
    packer = zlib.compressobj(6, zlib.DEFLATED, 31)  # 31: gzip, its header without time and name
    return packer.compress(data) + packer.flush()


@dataclass(frozen=True)
class Compression:
    """One kind of compression. A compressed file is one or more members, one after the other."""

    name: str
    ending: str  # of a file's name
    marks: tuple[bytes, ...]  # how a member may begin
    decompressor: Callable[[], Any]  # makes one like bz2.BZ2Decompressor, for one member
    compress: Callable[[bytes], bytes]  # makes one whole member


COMPRESSIONS = (
    Compression("gzip", ".gz", (b"\x1f\x8b\x08",), _GzipDecompressor, _gzip),
    Compression(
        "bzip2",
        ".bz2",
        # Behind the block size stands the mark of a first block, or of an empty stream.
        tuple(
            b"BZh%d" % size + block
            for size in range(1, 10)
            for block in (b"1AY&SY", b"\x17rE8P\x90")
        ),
        bz2.BZ2Decompressor,
        bz2.compress,
    ),
    Compression(
        "xz",
        ".xz",
        (b"\xfd7zXZ\0",),
        lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, XZ_MEMORY),
        lambda data: lzma.compress(data, preset=1),  # a tenth of preset 6's memory
    ),
    Compression(
        "zstd",
        ".zst",
        # A frame, or one of the sixteen kinds of skippable frame.
        (b"\x28\xb5\x2f\xfd", *(bytes([0x50 + i]) + b"\x2a\x4d\x18" for i in range(16))),
        lambda: _load_zstd().ZstdDecompressor(),
        lambda data: _load_zstd().compress(data),
    ),
)


def find_compression(head: bytes) -> Compression | None:
    """The compression of a stream that begins with ``head``."""
    return next((kind for kind in COMPRESSIONS if head.startswith(kind.marks)), None)


def compression_of_name(name: str) -> Compression | None:
    """The compression that a file of this name should have.

    >>> compression_of_name("labeled.csv.gz").name
    'gzip'
    """
    return next((kind for kind in COMPRESSIONS if name.lower().endswith(kind.ending)), None)


class DecompressedStream:
    """The decompressed bytes of a stream of one or more members. Zeros after them are ignored.

    Attributes:
        offset: how many decompressed bytes were returned.

    Raises, in ``read``:
        BrokenInputError: a member is damaged or cut off, or something else follows the last one.
    """

    def __init__(self, name: str, stream: ByteStream, kind: Compression):
        self._name, self._stream, self._kind = name, stream, kind
        self._chunk, self._at = b"", 0  # read, and how much of it was given to the decompressor
        # How many bytes the decompressor gets next. Few at first: it gives back, and copies, what
        # stands behind the end of a member. So a file of many short members takes linear time.
        self._feed = FIRST_FEED
        self._decompressor = kind.decompressor()
        self._fault: BrokenInputError | None = None
        self.offset = 0

    def read(self, n: int) -> bytes:
        """Up to ``n`` bytes, and ``b""`` only at the end."""
        if self._fault:
            raise self._fault
        while True:
            if self._decompressor.eof and not self._next_member():
                return b""
            piece, at_end = b"", False
            if self._decompressor.needs_input:
                piece = self._take_piece()
                at_end = not piece
            try:
                found = self._decompressor.decompress(piece, n)
            # bz2 raises OSError for damaged data; nothing is read from the disk here.
            except (zlib.error, OSError, lzma.LZMAError, EOFError, _load_zstd().ZstdError):
                raise self._refuse("is damaged") from None
            if found:
                self.offset += len(found)
                return found
            if at_end and not self._decompressor.eof:
                raise self._refuse("ends too early, the file is cut off")

    def _take_piece(self) -> bytes:
        if self._at == len(self._chunk):
            self._chunk, self._at = read_some(self._stream, READ_SIZE), 0
        piece = self._chunk[self._at : self._at + self._feed]
        self._at, self._feed = self._at + len(piece), 2 * self._feed
        return piece

    def _next_member(self) -> bool:
        """Begin the next member; False at the end of the stream."""
        self._at -= len(self._decompressor.unused_data)  # which is the end of the last piece
        marks = self._kind.marks
        if not self._chunk.startswith(marks, self._at):
            rest, more = self._chunk[self._at :].lstrip(b"\0"), b"more"
            while more and len(rest) < max(map(len, marks)):
                more = read_some(self._stream, READ_SIZE)
                rest = (rest + more).lstrip(b"\0")
            self._chunk, self._at = rest, 0
            if not rest:
                return False
            if not rest.startswith(marks):
                raise self._refuse("is followed by something else")
        self._decompressor, self._feed = self._kind.decompressor(), FIRST_FEED
        return True

    def _refuse(self, problem: str) -> BrokenInputError:
        """The error to raise now, which every later read raises again."""
        self._fault = BrokenInputError(
            f"{self._name}: the {self._kind.name} data {problem}, "
            f"after {self.offset:,} decompressed bytes"
        )
        return self._fault
