"""A file in the making. Its bytes are counted and hashed, so that a later run can verify them."""

import hashlib
import os
import stat
from pathlib import Path
from typing import BinaryIO

from batch.errors import InputError
from batch.writing.atomic import create_file, write_all

BLOCK = 1 << 20  # bytes that are read and hashed at a time


class PartFile:
    """A file with a temporary name, to which bytes are appended.

    After a write that failed or was interrupted, the file may be longer than ``size``;
    :meth:`reopen` cuts that off.

    Attributes:
        size: how many bytes were written.
        sha256: of those bytes.
    """

    def __init__(
        self, path: Path, file: BinaryIO, size: int = 0, hashed: "hashlib._Hash | None" = None
    ):
        self.path, self.size = path, size
        self._file, self._hashed = file, hashed or hashlib.sha256()

    @property
    def sha256(self) -> str:
        return self._hashed.hexdigest()

    @classmethod
    def create(cls, path: Path, mode: int) -> "PartFile":
        """Create a file; the umask takes bits away from ``mode``."""
        return cls(path, create_file(path, mode))

    @classmethod
    def reopen(cls, path: Path, size: int, sha256: str) -> "PartFile":
        """Open a file to append after its first ``size`` bytes.

        Raises:
            InputError: those bytes do not have this SHA-256, or the file cannot be opened, or
                another user may change it.
        """
        hint = "so the interrupted run cannot resume; start over with --restart"
        try:
            flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
            file = open(os.open(path, flags), "r+b", buffering=0)  # noqa: SIM115
        except OSError as error:
            raise InputError(f"{path}: cannot be opened: {error.strerror}, {hint}") from None
        try:
            found = os.fstat(file.fileno())
            is_own = found.st_uid == os.geteuid() and found.st_nlink == 1
            if not stat.S_ISREG(found.st_mode) or not is_own:
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
        """Append ``data``."""
        write_all(self._file, data)
        self._hashed.update(data)
        self.size += len(data)

    def sync(self) -> None:
        """Wait until the bytes are on the disk."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()


def hash_start(file: BinaryIO, size: int) -> "hashlib._Hash":
    """SHA-256 of the next ``size`` bytes of an unbuffered file, or of fewer if it ends before."""
    hashed = hashlib.sha256()
    while size and (block := file.read(min(size, BLOCK))):
        hashed.update(block)
        size -= len(block)
    return hashed


def is_written(path: Path, size: int, sha256: str) -> bool:
    """True if ``path`` is a file of ``size`` bytes with this SHA-256."""
    try:
        with open(path, "rb", buffering=0) as file:
            same_size = os.fstat(file.fileno()).st_size == size
            return same_size and hash_start(file, size).hexdigest() == sha256
    except OSError:
        return False
