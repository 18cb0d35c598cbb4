"""Inputs that are no local paths but ``s3://...`` and the like: what pyarrow's file systems read.

Nothing here is used, and no socket opened, for an input without ``://``.
"""

import contextlib
import fnmatch
import hashlib
import io
import re
from collections.abc import Iterator
from typing import BinaryIO

from batch.errors import ChangedInputError, MissingInputError, UsageError
from batch.reading.source import HEAD_BYTES, Identity, Source, reading

READ_BYTES = 8 << 20  # asked of a store at a time; each is a request


def is_uri(name: str) -> bool:
    """
    >>> is_uri("s3://dumps/a.csv"), is_uri("dumps/a.csv")
    (True, False)
    """
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", name) is not None


def _resolve(uri: str):
    """The file system of ``uri``, and the path in it.

    Raises:
        UsageError: there is none for it.
    """
    from pyarrow import fs

    try:
        return fs.FileSystem.from_uri(uri)
    except (ValueError, NotImplementedError):
        raise UsageError(
            f"{uri}: no such file system; pyarrow has for example s3://, gs://, file://"
        ) from None


def find_files(pattern: str) -> list[str]:
    """The files that match ``*`` and ``[...]`` in a URI, by name; one without them is itself.

    Raises:
        MissingInputError: there is none, or the store does not answer.
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
    """Part by part: as in a shell, ``*`` stops at a slash."""
    if len(name) != len(pattern):
        return False
    return all(fnmatch.fnmatchcase(*pair) for pair in zip(name, pattern, strict=True))


def stat_remote(uri: str) -> tuple[int, int]:
    """Size in bytes, and the time of the last change in nanoseconds.

    Raises:
        MissingInputError: it is not there, no file, or the store does not answer.
    """
    system, path = _resolve(uri)
    with _reaching(uri):
        info = system.get_file_info(path)
    if not info.is_file:
        raise MissingInputError(f"cannot read {uri}: there is no such file")
    return info.size, info.mtime_ns or 0


@contextlib.contextmanager
def open_remote(uri: str) -> Iterator[BinaryIO]:
    """The file, buffered and seekable.

    Raises:
        MissingInputError: it is not there, or cannot be opened.
    """
    stat_remote(uri)  # says in our words that it is missing
    system, path = _resolve(uri)
    with _reaching(uri):
        file = system.open_input_file(path)
    with file:
        yield io.BufferedReader(file, READ_BYTES)


def hash_remote(uri: str) -> str:
    """SHA-256 of its contents, all of which are read.

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
    try:
        yield
    except OSError as error:
        reason = (error.strerror or str(error)).splitlines()[0]
        raise MissingInputError(f"cannot read {name}: {reason}") from None


class RemoteSource(Source):
    """A file of a store, watched as far as its size and time tell."""

    def __init__(self, name: str, file: BinaryIO):
        super().__init__(name, file)
        self.size, mtime_ns = stat_remote(name)
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
        self.check_unchanged()  # it may have ended before

    def check_unchanged(self) -> None:
        if stat_remote(self.name) != (self.size, self.identity.mtime_ns):
            raise ChangedInputError(f"{self.name}: was overwritten while it was read; run again")
