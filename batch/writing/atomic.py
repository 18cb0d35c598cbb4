"""Write a file whole or not at all, and make it survive a power cut."""

import contextlib
import logging
import os
import re
import secrets
import select
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from batch.errors import OutputError, StorageError

log = logging.getLogger("batch")


def write_all(file: BinaryIO, data: bytes) -> None:
    """Write all of ``data`` to an unbuffered file, which may take only a part at a time."""
    view = memoryview(data)
    while view:
        written = file.write(view)
        if written is None:
            select.select([], [file], [])  # a non-blocking pipe that is full
        else:
            view = view[written:]


@contextlib.contextmanager
def storage_errors(out: str | Path) -> Iterator[None]:
    """Turn an OSError on the output ``out`` into a StorageError.

    A broken pipe stays one, since a reader that has enough is no error.
    """
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise StorageError(f"writing {out}: {error.strerror}") from None


def create_file(path: Path, mode: int) -> BinaryIO:
    """Create a file and open it unbuffered; never one that exists, nor the target of a link."""
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    return open(os.open(path, flags, mode), "r+b", buffering=0)


def sync_folder(folder: Path) -> None:
    """Make new names in a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folders(folder: Path) -> list[Path]:
    """Create ``folder`` and its parents where they are missing; returns those created, inner first.

    Raises:
        OSError: one cannot be created.
    """
    missing = [path for path in (folder, *folder.parents) if not os.path.lexists(path)]
    folder.mkdir(parents=True, exist_ok=True)
    return missing


def remove_empty(folders: list[Path]) -> None:
    """Remove the folders of :func:`make_folders`, up to the first that has something in it."""
    with contextlib.suppress(OSError):
        for folder in folders:
            folder.rmdir()


@contextlib.contextmanager
def making_folder(folder: Path) -> Iterator[None]:
    """Create ``folder`` for a block. If the block raises, a folder that stayed empty is removed.

    Raises:
        OutputError: it cannot be created.
    """
    try:
        made = make_folders(folder)
    except OSError as error:
        raise OutputError(f"cannot create {folder}: {error.strerror}") from None
    try:
        yield
    except BaseException:
        remove_empty(made)
        raise


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Ignore the signals that ask a run to stop, for the last short steps of a run."""
    numbers = []
    if threading.current_thread() is threading.main_thread():
        numbers = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
    before = [signal.signal(number, signal.SIG_IGN) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler or signal.SIG_DFL)


# A file that is not whole yet, by temporary_name; group 1 is the name that it was to get.
LEFTOVER = re.compile(r"\.(.+?)\.[0-9a-f]{16}(\.[a-z]+)?\.part", re.DOTALL)


def temporary_name(target: Path, kind: str = "") -> str:
    """A name for a file beside ``target`` that nobody can guess."""
    return f".{target.name}.{secrets.token_hex(8)}{kind}.part"


def remove_leftovers(target: Path, keep: tuple[Path, ...]) -> None:
    """Remove the part files of ``target`` that killed runs have left, but for ``keep``."""
    with contextlib.suppress(OSError), os.scandir(target.parent) as entries:
        for entry in entries:
            left = LEFTOVER.fullmatch(entry.name)
            if not left or left[1] != target.name or Path(entry.path) in keep:
                continue
            if entry.stat(follow_symlinks=False).st_uid == os.geteuid() and not entry.is_dir():
                os.unlink(entry.path)
                log.info("removed %s, which a killed run had left", entry.path)


def replace_file(
    path: Path, data: bytes, target: Path, kind: str, mode: int = 0o600, ignores_umask: bool = False
) -> None:
    """Replace ``path``, a small file in the folder of ``target``, or ``target`` itself.

    At any time the old file or the new one is there, and whole.

    Args:
        kind: for the name of the temporary file, see :func:`temporary_name`.
        mode: permissions of the new file, from which the umask takes away unless it is ignored.

    Raises:
        OSError: it cannot be written; the old file is still there.
    """
    temporary = write_beside(target, data, kind, mode)
    try:
        if ignores_umask:
            os.chmod(temporary, mode)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(target.parent)


def write_beside(target: Path, data: bytes, kind: str, mode: int) -> Path:
    """Write and sync a small file beside ``target``; returns its path, with a temporary name.

    Raises:
        OSError: it cannot be written; nothing is left.
    """
    temporary = target.with_name(temporary_name(target, kind))
    file = create_file(temporary, mode)
    try:
        with file:
            write_all(file, data)
            os.fsync(file.fileno())
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return temporary
