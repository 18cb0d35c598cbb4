"""Write a file whole or not at all, and make it last."""

import contextlib
import os
import re
import secrets
import select
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from batch.errors import StorageError


def write_all(file: BinaryIO, data: bytes) -> None:
    """Write to an unbuffered file, which may take less at a time, or nothing for now."""
    view = memoryview(data)
    while view:
        written = file.write(view)
        if written is None:
            select.select([], [file], [])  # a non-blocking pipe, full
        else:
            view = view[written:]


@contextlib.contextmanager
def storage_errors(out: str | Path) -> Iterator[None]:
    """Turn the operating system's errors on the output into one of ours."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise StorageError(f"writing {out}: {error.strerror}") from None


def create_file(path: Path, mode: int) -> BinaryIO:
    """A new file, unbuffered; never one that is there, nor what a link points to."""
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    return open(os.open(path, flags, mode), "r+b", buffering=0)


def sync_folder(folder: Path) -> None:
    """Make a new name itself survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Ignore the signals that ask a run to stop: what is left takes no time, and is the end."""
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
    """A name beside the target that nobody can guess."""
    return f".{target.name}.{secrets.token_hex(8)}{kind}.part"


def replace_file(path: Path, data: bytes, target: Path, kind: str, mode: int = 0o600) -> None:
    """Replace a small file beside ``target``: the old one or the new one is there, and whole."""
    temporary = write_beside(target, data, kind, mode)
    try:
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(target.parent)


def write_beside(target: Path, data: bytes, kind: str, mode: int) -> Path:
    """A small file beside ``target``, on the disk, whose name nobody can guess."""
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
