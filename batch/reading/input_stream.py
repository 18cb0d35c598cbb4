"""Input and output streams: compression by content on the way in, by name on the way out.

A compressed stream that ends early or is damaged is an error, never an end. What is no
text at all (a workbook, a zip archive, UTF-16 that nobody spoke of) is refused with what to
type instead.

Output is compressed in members, one for each piece that is written. A decompressor joins
them, and an output that is cut where a piece ends goes on from there with the same bytes.
"""

import shlex
from collections.abc import Callable
from typing import BinaryIO

from batch.errors import BrokenInputError, InputError
from batch.reading.compression import READ_SIZE, Compression, DecompressedStream, find_compression
from batch.reading.encoding import (
    UTF_8,
    Encoding,
    Transcoder,
    detect_encoding,
    find_byte_order,
    read_some,
)

HEAD_SIZE = 4096  # bytes looked at to tell what a stream is


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
