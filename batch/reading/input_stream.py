"""Input and output streams: compression by content on the way in, by name on the way out.

A compressed stream that ends early or is damaged is an error, never an end. What is no
text at all (a workbook, a zip archive, UTF-16 that nobody spoke of) is refused with what to
type instead.

Output is compressed in members, one for each piece that is written. A decompressor joins
them, and an output that is cut where a piece ends goes on from there with the same bytes.
"""

import bz2
import lzma
import shlex
import sys
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO

from batch.reading.encoding import UTF_8, Encoding, Transcoder, detect_encoding, find_byte_order, read_some
from batch.errors import BrokenInputError, InputError

READ_SIZE = 1 << 16  # compressed bytes asked of a file at a time
FIRST_FEED = 512  # bytes
HEAD_SIZE = 4096  # bytes looked at to tell what a stream is
XZ_MEMORY = 256 << 20  # bytes that its dictionary may take; xz -9 needs 64 MiB


def _load_zstd():
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
    return zstd


class _GzipDecompressor:
    """One gzip member, with the attributes of bz2's decompressor."""

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
    packer = zlib.compressobj(6, zlib.DEFLATED, 31)  # a header without a time and a name
    return packer.compress(data) + packer.flush()


@dataclass(frozen=True)
class Compression:
    name: str
    ending: str  # of a file's name
    marks: tuple[bytes, ...]  # how a member begins
    decompressor: Callable
    compress: Callable[[bytes], bytes]  # one whole member


COMPRESSIONS = (
    Compression("gzip", ".gz", (b"\x1f\x8b\x08",), _GzipDecompressor, _gzip),
    Compression(
        "bzip2",
        ".bz2",
        # The mark of a first block, or of an empty stream, stands behind the size.
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
    """The decompressed bytes of a stream of one or more members, zeros after them apart.

    Raises, in ``read``:
        BrokenInputError: it ends within a member, is damaged, or something else follows it.
    """

    def __init__(self, name: str, stream: BinaryIO, kind: Compression):
        self._name, self._stream, self._kind = name, stream, kind
        self._chunk, self._at = b"", 0  # read, and how much of it was given to the decompressor
        # Bytes given to it next. Few at first: what is behind a short member comes back, and is
        # copied, so that a file of many would cost the square of its size.
        self._feed = FIRST_FEED
        self._decompressor = kind.decompressor()
        self._fault: BrokenInputError | None = None
        self.offset = 0  # decompressed bytes returned

    def read(self, n: int) -> bytes:
        """Up to ``n`` bytes, and ``b""`` only at the end."""
        while not self._fault:
            if self._decompressor.eof and not self._next_member():
                return b""
            piece, at_end = b"", False
            if self._decompressor.needs_input:
                piece = self._take_piece()
                at_end = not piece
            try:
                found = self._decompressor.decompress(piece, n)
            # bz2 says OSError, which here is no fault of the disk.
            except (zlib.error, OSError, lzma.LZMAError, EOFError, _load_zstd().ZstdError):
                self._refuse("is damaged")
                break
            if found:
                self.offset += len(found)
                return found
            if at_end and not self._decompressor.eof:
                self._refuse("ends too early, the file is cut off")
        raise self._fault

    def _take_piece(self) -> bytes:
        if self._at == len(self._chunk):
            self._chunk, self._at = read_some(self._stream, READ_SIZE), 0
        piece = self._chunk[self._at : self._at + self._feed]
        self._at, self._feed = self._at + len(piece), 2 * self._feed
        return piece

    def _next_member(self) -> bool:
        """Begin the next member; False at the end of the stream."""
        self._at -= len(self._decompressor.unused_data)  # it is of the last piece
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
                self._refuse("is followed by something else")
                raise self._fault
        self._decompressor, self._feed = self._kind.decompressor(), FIRST_FEED
        return True

    def _refuse(self, problem: str) -> None:
        what = f"the {self._kind.name} data {problem}"
        self._fault = BrokenInputError(
            f"{self._name}: {what}, after {self.offset:,} decompressed bytes"
        )


class _Headed:
    """A stream some of whose first bytes were read already."""

    def __init__(self, head: bytes, stream: BinaryIO):
        self._head, self._stream = head, stream

    def read(self, n: int) -> bytes:
        if self._head:
            found, self._head = self._head[:n], self._head[n:]
            return found
        return self._stream.read(n)


class InputStream:
    """The text of a file as a reader wants it: decompressed, and in a superset of ASCII.

    What the file is gets decided at the first ``read``.

    Args:
        name: the file's, for messages.
        open_at: gives its bytes from an offset on; asked for 0 once if ``offset`` is 0.
        encoding: what the text is in.
        offset: of what ``read`` gives, where to begin.

    Attributes:
        encoding: with its byte order, once something was read.
        compression: once something was read.

    Raises, in ``read``:
        InputError: it is no text, in another encoding, cut off, or damaged.
    """

    def __init__(
        self,
        name: str,
        open_at: Callable[[int], BinaryIO],
        encoding: Encoding = UTF_8,
        offset: int = 0,
    ):
        self.name, self.encoding = name, encoding
        self.compression: Compression | None = None
        self._open_at, self._offset = open_at, offset
        self._stream: BinaryIO | None = None

    def read(self, n: int) -> bytes:
        """Up to about ``n`` bytes, and ``b""`` only at the end."""
        if self._stream is None:
            self._stream = self._begin()
        return read_some(self._stream, n)

    def restore(self, data: bytes) -> bytes:
        """Bytes of whole rows in the file's own encoding."""
        if not self.encoding.is_transcoded:
            return data
        return data.decode("utf-8").encode(self.encoding.name)

    def _begin(self) -> BinaryIO:
        file = self._open_at(0)
        head = _read_head(file)
        stream = _Headed(head, file)
        self.compression = find_compression(head)
        if self.compression:
            stream = DecompressedStream(self.name, stream, self.compression)
            head = _read_head(stream)
            if inner := find_compression(head):
                raise InputError(
                    f"{self.name}: holds {inner.name} data within {self.compression.name}; "
                    "decompress it once first"
                )
            stream = _Headed(head, stream)
        check_is_text(self.name, head, self.encoding)
        if self.encoding.is_transcoded:
            self.encoding = find_byte_order(self.name, head, self.encoding)
            stream = Transcoder(self.name, stream, self.encoding)
        elif self._offset and not self.compression:
            return self._open_at(self._offset)
        return self._skip(stream)

    def _skip(self, stream: BinaryIO) -> BinaryIO:
        left = self._offset
        while left:
            found = read_some(stream, min(left, READ_SIZE))
            if not found:
                raise InputError(f"{self.name}: ends before byte offset {self._offset:,}")
            if len(found) > left:  # the transcoder may give more
                stream = _Headed(found[left:], stream)
            left -= min(left, len(found))
        return stream


def _read_head(stream: BinaryIO) -> bytes:
    head = b""
    try:
        while len(head) < HEAD_SIZE and (chunk := read_some(stream, HEAD_SIZE - len(head))):
            head += chunk
    except BrokenInputError:  # which the next read raises again
        if not head:
            raise
    return head


def check_is_text(name: str, head: bytes, encoding: Encoding = UTF_8) -> None:
    """Look at the start of an input for what can only be a mistake.

    Raises:
        InputError: it is an archive, a workbook, Parquet, or UTF-16 or UTF-32 unasked.
    """
    is_zip = head.startswith((b"PK\x03\x04", b"PK\x05\x06"))
    parts = (b"[Content_Types].xml", b"xl/", b"application/vnd.oasis.opendocument")
    is_workbook = is_zip and any(part in head for part in parts)
    if is_workbook or head.startswith(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"):
        raise InputError(f"{name}: is a workbook, not text; save it as CSV (UTF-8) and give that")
    if is_zip:
        file = "FILE" if name == "-" else shlex.quote(name)
        raise InputError(
            f"{name}: is a zip archive; type: unzip -p {file} | spam-batch classify - --out ..."
        )
    if head.startswith(b"PAR1"):
        raise InputError(f"{name}: is a Parquet file; type: --format parquet")
    found = detect_encoding(head)
    if found and not encoding.name.startswith(found[:6]):
        raise InputError(f"{name}: looks like {found}; type: --encoding {found}")
