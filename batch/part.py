"""A file in the making: its bytes counted and summed up, so that it is known again."""

import os
import stat
import zlib
from pathlib import Path
from typing import BinaryIO

from batch.errors import InputError
from batch.output import create_file, write_all

BLOCK = 1 << 20


class PartFile:
    """Bytes that have no name of their own yet.

    ``size`` and ``crc32`` are of what was written; more may stand in the file after a
    write that failed or was interrupted, and is cut off by :meth:`reopen`.
    """

    def __init__(self, path: Path, file: BinaryIO, size: int = 0, crc32: int = 0):
        self.path, self.size, self.crc32 = path, size, crc32
        self._file = file

    @classmethod
    def create(cls, path: Path, mode: int) -> "PartFile":
        """A new file; ``mode`` is cut by the umask."""
        return cls(path, create_file(path, mode))

    @classmethod
    def reopen(cls, path: Path, size: int, crc32: int) -> "PartFile":
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
            if sum_up(file, size) != crc32:
                raise InputError(f"{path}: its bytes are not those that were written, {hint}")
            file.truncate(size)
            file.seek(size)
        except BaseException:
            file.close()
            raise
        return cls(path, file, size, crc32)

    def write(self, data: bytes) -> None:
        write_all(self._file, data)
        self.size, self.crc32 = self.size + len(data), zlib.crc32(data, self.crc32)

    def sync(self) -> None:
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()


def sum_up(file: BinaryIO, size: int) -> int:
    """CRC-32 of the next ``size`` bytes of an unbuffered file, or of all that there are."""
    crc32 = 0
    while size and (block := file.read(min(size, BLOCK))):
        crc32, size = zlib.crc32(block, crc32), size - len(block)
    return crc32


def is_written(path: Path, size: int, crc32: int) -> bool:
    """True if ``path`` is a file of exactly those bytes."""
    try:
        with open(path, "rb", buffering=0) as file:
            return os.fstat(file.fileno()).st_size == size and sum_up(file, size) == crc32
    except OSError:
        return False
