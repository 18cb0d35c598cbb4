"""An opened input: hashed while it is read, and checked for changes by others."""

import contextlib
import hashlib
import io
import os
import select
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from batch.errors import ChangedInputError, InputError, StorageError
from batch.reading.fingerprint import Fingerprint

STANDARD_INPUT = "-"
HASH_BLOCK = 1 << 20  # bytes
HEAD_BYTES = 1 << 20  # of the start of a file, hashed for its Identity
BinaryFile = io.RawIOBase | io.BufferedIOBase


@dataclass(frozen=True)
class Identity:
    """By what a run that resumes recognises its input file, without reading all of it.

    The device is not part of it: its number may change at a reboot, and a run may resume after
    one.
    """

    path: str  # absolute, links resolved
    size: int  # bytes
    mtime_ns: int
    inode: int
    head_sha256: str  # of the first 1 MiB

    def describe_change(self, now: "Identity") -> str | None:
        """What differs, as a clause of a message; None if nothing does."""
        if now.path != self.path:
            return f"it read {self.path}, not {now.path}"
        if now.size != self.size:
            return f"{self.path} had {self.size:,} bytes and has {now.size:,} now"
        if now.head_sha256 != self.head_sha256:
            return f"{self.path} has other contents now"
        if now.mtime_ns != self.mtime_ns:
            return f"{self.path} was written since"
        if now.inode != self.inode:
            return f"{self.path} was replaced by another file"
        return None


class Source:
    """An opened input, which the thread that reads it also hashes.

    Args:
        name: as the user typed it, for messages.
        file: unbuffered where reads must not wait for a full buffer, as for a pipe.

    Attributes:
        identity: None for a pipe and everything else that is not a regular file.
        size: in bytes, at the time of opening; None where ``identity`` is.
    """

    def __init__(self, name: str, file: BinaryFile):
        self.name = name
        self._file = file
        self.identity: Identity | None = None
        self.size: int | None = None
        self._sha256, self._hashed = hashlib.sha256(), 0  # hash, and of how many first bytes
        self._known: Fingerprint | None = None
        with contextlib.suppress(OSError, ValueError):  # a stream without a descriptor
            found = os.fstat(file.fileno())
            if stat.S_ISREG(found.st_mode) and name != STANDARD_INPUT:
                self.size = found.st_size
        if self.size is not None:
            with reading(name):
                head = hashlib.sha256(os.pread(file.fileno(), HEAD_BYTES, 0)).hexdigest()
            path = os.path.realpath(name)
            self.identity = Identity(path, self.size, found.st_mtime_ns, found.st_ino, head)

    def stream(self, offset: int = 0) -> io.RawIOBase:
        """The bytes from ``offset`` on; of a regular file, up to the size it had when opened."""
        if self.size is not None:
            with reading(self.name):
                self._file.seek(offset)
        return _Watched(self.name, self._file, offset, self.size, self._hash)

    def open_seekable(self) -> BinaryFile:
        """The file itself, for a reader that seeks.

        Raises:
            InputError: it is a pipe.
        """
        if self.size is None:
            raise InputError(f"{self.name}: is a pipe, and this format needs a file")
        return self._file

    def trust(self, known: Fingerprint) -> None:
        """Do not hash the file again: ``known`` is of all of it.

        Raises:
            ChangedInputError: the file was written after ``known`` was taken.
        """
        if (known.size, known.mtime_ns) != (self.size, self.identity and self.identity.mtime_ns):
            raise ChangedInputError(f"{self.name}: was overwritten while it was read; run again")
        self._known = known

    def _hash(self, at: int, data: memoryview) -> None:
        """Hash bytes that were read from offset ``at``."""
        if self._known:
            return
        if at > self._hashed:  # an interrupted run had read the bytes before
            self._hash_to(at)
        if at + len(data) > self._hashed:
            self._sha256.update(data[self._hashed - at :])
            self._hashed = at + len(data)

    def _hash_to(self, stop: int) -> None:
        descriptor = self._file.fileno()
        with reading(self.name):
            while self._hashed < stop:
                block = os.pread(descriptor, min(HASH_BLOCK, stop - self._hashed), self._hashed)
                if not block:
                    found = os.fstat(descriptor).st_size
                    raise ChangedInputError(_describe_cut(self.name, stop, found))
                self._sha256.update(block)
                self._hashed += len(block)

    def fingerprint(self) -> Fingerprint:
        """Of the bytes read from a pipe, or of all of a file; what was not read yet is read now."""
        if self._known:
            return self._known
        if self.identity is None:
            return Fingerprint(None, self._hashed, None, self._sha256.hexdigest())
        found = self.identity
        self._hash_to(found.size)
        return Fingerprint(found.path, found.size, found.mtime_ns, self._sha256.hexdigest())

    def head(self) -> bytes:
        """The first 16 bytes of a file."""
        with reading(self.name):
            return os.pread(self._file.fileno(), 16, 0)

    def check_unchanged(self) -> str | None:
        """Check at the end of a run that nobody has changed the file.

        Returns:
            A sentence for the log if the file has grown, else None.

        Raises:
            ChangedInputError: it was overwritten or cut, or has grown in the middle of a line.
        """
        if self.identity is None:
            return None
        size = self.identity.size
        with reading(self.name):
            found = os.fstat(self._file.fileno())
            last = os.pread(self._file.fileno(), 1, max(size - 1, 0))
        if found.st_size > size:
            if last not in (b"\n", b"\r"):
                raise ChangedInputError(
                    f"{self.name}: grows while it is read, and its last line was incomplete at "
                    f"{size:,} bytes; run again when it is complete"
                )
            return (
                f"{self.name} has grown to {found.st_size:,} bytes; "
                f"only the {size:,} that it had at the start were labelled"
            )
        if found.st_size < size:
            raise ChangedInputError(_describe_cut(self.name, size, found.st_size))
        if found.st_mtime_ns != self.identity.mtime_ns:
            raise ChangedInputError(f"{self.name}: was overwritten while it was read; run again")
        return None


class _Watched(io.RawIOBase):
    """The bytes of a file from ``at`` to ``stop``; it is an error if the file ends before.

    Args:
        on_read: called for each piece, with its offset.
    """

    def __init__(
        self,
        name: str,
        file: BinaryFile,
        at: int,
        stop: int | None,
        on_read: Callable[[int, memoryview], None],
    ):
        self._name, self._file, self._at, self._stop = name, file, at, stop
        self._on_read = on_read

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        view = memoryview(buffer)
        if self._stop is not None:
            view = view[: max(self._stop - self._at, 0)]
        if not view:
            return 0
        while (count := self._file.readinto(view)) is None:  # a non-blocking pipe, empty
            select.select([self._file], [], [])
        if self._stop is not None and count == 0:
            found = os.fstat(self._file.fileno()).st_size
            raise ChangedInputError(_describe_cut(self._name, self._stop, found))
        self._on_read(self._at, view[:count])
        self._at += count
        return count


def _describe_cut(name: str, before: int, now: int) -> str:
    return f"{name}: was cut from {before:,} to {now:,} bytes while it was read; run again"


@contextlib.contextmanager
def reading(name: str) -> Iterator[None]:
    """Turn an OSError on the input ``name`` into a StorageError."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise StorageError(f"{name}: reading stopped: {reason}") from None
