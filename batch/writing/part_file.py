"""A file in the making: its bytes counted and hashed, so that it is known again."""

import hashlib
import os
import stat
from pathlib import Path
from typing import BinaryIO

from batch.errors import InputError
from batch.writing.atomic import create_file, write_all

BLOCK = 1 << 20


class PartFile:
    """Bytes that have no name of their own yet.

    ``size`` and ``sha256`` are of what was written; more may stand in the file after a
    write that failed or was interrupted, and is cut off by :meth:`reopen`.
    """

    def __init__(self, path: Path, file: BinaryIO, size: int = 0, hashed=None):
        self.path, self.size = path, size
        self._file, self._hashed = file, hashed or hashlib.sha256()

    @property
    def sha256(self) -> str:
        return self._hashed.hexdigest()

    @classmethod
    def create(cls, path: Path, mode: int) -> "PartFile":
        """A new file; ``mode`` is cut by the umask."""
        return cls(path, create_file(path, mode))

    @classmethod
    def reopen(cls, path: Path, size: int, sha256: str) -> "PartFile":
        """Go on behind the first ``size`` bytes, once they are those that were written.

        Raises:
            InputError: they are not, or the file is not ours.
        """
        hint = "so the interrupted run cannot go on; start over with --restart"
        try:
            flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
            file = open(os.open(path, flags), "r+b", buffering=0)  # noqa: SIM115
        except OSError as error:
            raise InputError(f"{path}: cannot be opened: {error.strerror}, {hint}") from None
        try:
            found = os.fstat(file.fileno())
            is_ours = found.st_uid == os.geteuid() and found.st_nlink == 1
            if not stat.S_ISREG(found.st_mode) or not is_ours:
                raise InputError(f"{path}: is not a file that this user alone has, {hint}")
            if found.st_size < size:
                raise InputError(
                    f"{path}: has {found.st_size:,} bytes, its checkpoint says {size:,}, {hint}"
                )
            hashed = hash_start(file, size)
            if hashed.hexdigest() != sha256:
                raise InputError(f"{path}: its bytes are not those that were written, {hint}")
            file.truncate(size)
            file.seek(size)
        except BaseException:
            file.close()
            raise
        return cls(path, file, size, hashed)

    def write(self, data: bytes) -> None:
        write_all(self._file, data)
        self._hashed.update(data)
        self.size += len(data)

    def sync(self) -> None:
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()


def hash_start(file: BinaryIO, size: int):
    """SHA-256 of the next ``size`` bytes of an unbuffered file, or of all that there are."""
    hashed = hashlib.sha256()
    while size and (block := file.read(min(size, BLOCK))):
        hashed.update(block)
        size -= len(block)
    return hashed


def is_written(path: Path, size: int, sha256: str) -> bool:
    """True if ``path`` is a file of exactly those bytes."""
    try:
        with open(path, "rb", buffering=0) as file:
            same_size = os.fstat(file.fileno()).st_size == size
            return same_size and hash_start(file, size).hexdigest() == sha256
    except OSError:
        return False
