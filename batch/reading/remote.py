"""Inputs in a store, such as ``s3://bucket/a.csv``, which pyarrow's file systems read.

An input without ``://`` uses nothing of this module and opens no socket.
"""

import contextlib
import fnmatch
import hashlib
import io
import re
from collections.abc import Iterator
from typing import Any

from batch.errors import ChangedInputError, MissingInputError, UsageError
from batch.reading.source import HEAD_BYTES, Identity, Source, reading

READ_BYTES = 8 << 20  # per request to a store


def is_uri(name: str) -> bool:
    """True for an input in a store.

    >>> is_uri("s3://dumps/a.csv"), is_uri("dumps/a.csv")
    (True, False)
    """
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", name) is not None


def _resolve(uri: str) -> tuple[Any, str]:
    """The file system of ``uri`` (pyarrow's), and the path in it.

    Raises:
        UsageError: pyarrow has no file system for it.
    """
    from pyarrow import fs

    try:
        return fs.FileSystem.from_uri(uri)
    except (ValueError, NotImplementedError):
        raise UsageError(
            f"{uri}: no such file system; pyarrow has for example s3://, gs://, file://"
        ) from None


def find_files(pattern: str) -> list[str]:
    """The files that match a URI with ``*`` or ``[...]``, sorted by name.

    A URI without them is returned as it is.

    Raises:
        MissingInputError: no file matches, or the store does not answer.
    """
    parts = pattern.split("/")
    fixed = next((i for i, part in enumerate(parts) if re.search(r"[*\[]", part)), None)
    if fixed is None:
        return [pattern]
    from pyarrow import fs

    base = "/".join(parts[:fixed])
    system, path = _resolve(base)
    selector = fs.FileSelector(path, recursive=len(parts) > fixed + 1, allow_not_found=True)
    with _reaching(pattern):
        found = [info.path for info in system.get_file_info(selector) if info.is_file]
    names = [base.removesuffix(path) + name for name in found]
    names = sorted(name for name in names if _matches(name.split("/"), parts))
    if not names:
        raise MissingInputError(f"{pattern}: no file matches")
    return names


def _matches(name: list[str], pattern: list[str]) -> bool:
    """Compared part by part, so that ``*`` stops at a slash, as in a shell."""
    if len(name) != len(pattern):
        return False
    return all(fnmatch.fnmatchcase(*pair) for pair in zip(name, pattern, strict=True))


def stat_remote(uri: str) -> tuple[int, int]:
    """Size in bytes, and the time of the last change in nanoseconds (0 if the store has none).

    Raises:
        MissingInputError: there is no such file, or the store does not answer.
    """
    system, path = _resolve(uri)
    with _reaching(uri):
        info = system.get_file_info(path)
    if not info.is_file:
        raise MissingInputError(f"cannot read {uri}: there is no such file")
    return info.size, info.mtime_ns or 0


@contextlib.contextmanager
def open_remote(uri: str) -> Iterator[io.BufferedReader]:
    """The file, buffered and seekable.

    Raises:
        MissingInputError: there is no such file, or it cannot be opened.
    """
    stat_remote(uri)  # raises our own error if it is missing
    system, path = _resolve(uri)
    with _reaching(uri):
        file = system.open_input_file(path)
    with file:
        yield io.BufferedReader(file, READ_BYTES)


def hash_remote(uri: str) -> str:
    """SHA-256 of the file, all of which is read.

    Raises:
        MissingInputError: it cannot be opened.
    """
    with open_remote(uri) as file, reading(uri):
        digest = hashlib.sha256()
        while block := file.read(READ_BYTES):
            digest.update(block)
    return digest.hexdigest()


@contextlib.contextmanager
def _reaching(name: str) -> Iterator[None]:
    """Turn an error of the store on ``name`` into a MissingInputError."""
    try:
        yield
    except OSError as error:
        reason = (error.strerror or str(error)).splitlines()[0]
        raise MissingInputError(f"cannot read {name}: {reason}") from None


class RemoteSource(Source):
    """A file of a store; only its size and its time show a change."""

    def __init__(self, name: str, file: io.BufferedReader):
        super().__init__(name, file)
        self._stat = self.size, mtime_ns = stat_remote(name)
        with reading(name):
            head = hashlib.sha256(file.read(HEAD_BYTES)).hexdigest()
        self.identity = Identity(name, self.size, mtime_ns, 0, head)

    def head(self) -> bytes:
        with reading(self.name):
            self._file.seek(0)
            return self._file.read(16)

    def _hash_to(self, stop: int) -> None:
        with open_remote(self.name) as file, reading(self.name):
            file.seek(self._hashed)
            while block := file.read(min(READ_BYTES, stop - self._hashed)):
                self._sha256.update(block)
                self._hashed += len(block)
        self.check_unchanged()  # it may have ended before stop

    def check_unchanged(self) -> None:
        if stat_remote(self.name) != self._stat:
            raise ChangedInputError(f"{self.name}: was overwritten while it was read; run again")
