"""The output file: at any moment absent, the old complete file, or the new complete one."""

import contextlib
import os
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from batch.errors import OutputError, StorageError

STANDARD_OUTPUT = "-"


def resolve_target(out: str) -> Path:
    """Where ``--out`` really is: a link's target is what gets replaced, not the link.

    Raises:
        OutputError: it is a folder, or its folder does not exist or cannot be written.
    """
    path = Path(out)
    target = Path(os.path.realpath(path))
    if target.is_dir():
        raise OutputError(f"{path} is a folder; give the name of a file")
    if not target.parent.is_dir():
        raise OutputError(f"the folder {target.parent} does not exist; make it first")
    return target


def check_not_input(out: str, inputs: list[str]) -> None:
    """Refuse to write over what is read, by whatever path or link.

    Raises:
        OutputError: they are the same file.
    """
    for name in inputs:
        if STANDARD_OUTPUT not in (name, out) and Path(out).exists() and Path(name).exists():
            found = Path(out).stat()
            if stat.S_ISREG(found.st_mode) and os.path.samestat(found, Path(name).stat()):
                raise OutputError(f"{out} is the input {name}; give another --out")


@contextlib.contextmanager
def open_output(out: str) -> Iterator[BinaryIO]:
    """Open ``out`` for bytes; it gets its name when the block ends well, and not before.

    ``-`` and anything that is not a regular file (a pipe, ``/dev/null``) is
    written directly.

    Raises:
        OutputError: it cannot be created.
        StorageError: an I/O error on the way, such as a full disk.
    """
    if out == STANDARD_OUTPUT:
        if sys.stdout is None:
            raise OutputError("standard output is closed")
        with _storage_errors("standard output"):
            yield sys.stdout.buffer
            sys.stdout.buffer.flush()
        return
    target = resolve_target(out)
    if target.exists() and not target.is_file():
        try:
            file = open(target, "wb")  # noqa: SIM115
        except OSError as error:
            raise OutputError(f"cannot write {out}: {error.strerror}") from None
        with _storage_errors(out), file:
            yield file
        return
    try:
        descriptor, name = tempfile.mkstemp(
            prefix=f".{target.name}.", suffix=".part", dir=target.parent
        )
    except OSError as error:
        raise OutputError(f"cannot create a file in {target.parent}: {error.strerror}") from None
    try:
        with _storage_errors(out), open(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fchmod(descriptor, 0o666 & ~_umask())
            os.fsync(descriptor)
        with _storage_errors(out):
            os.replace(name, target)
            _sync_folder(target.parent)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
        raise


@contextlib.contextmanager
def _storage_errors(out: str) -> Iterator[None]:
    """Turn the operating system's errors on the output into one of ours."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise StorageError(f"writing {out}: {error.strerror}") from None


def _sync_folder(folder: Path) -> None:
    """Make the new name itself survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def create_file(path: Path, mode: int) -> BinaryIO:
    """A new file, unbuffered; never one that is there, nor what a link points to."""
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    return open(os.open(path, flags, mode), "r+b", buffering=0)
