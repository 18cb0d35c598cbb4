"""Where the rows go: a target and its neighbours, bytes written to the last, names that last."""

import contextlib
import os
import select
import signal
import stat
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from batch.errors import OutputError, StorageError

STANDARD_OUTPUT = "-"


def resolve_target(out: str) -> Path:
    """Where ``--out`` really is: a link's target is what gets replaced, not the link.

    Raises:
        OutputError: it is a folder, or its folder is none or does not exist.
    """
    path = Path(out)
    target = Path(os.path.realpath(path))
    if target.is_dir():
        raise OutputError(f"{path} is a folder; give the name of a file")
    if target.parent.exists() and not target.parent.is_dir():
        raise OutputError(f"{target.parent} is not a folder; give another name")
    if not target.parent.is_dir():
        raise OutputError(f"the folder {target.parent} does not exist; make it first")
    return target


def is_stream(out: str) -> bool:
    """True for ``-`` and what is no regular file: a pipe, a device. Those are written directly."""
    if out == STANDARD_OUTPUT:
        return True
    try:
        mode = os.stat(out).st_mode
    except OSError:
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def check_not_input(out: str, inputs: list[str]) -> None:
    """Refuse to write over what is read, by whatever path or link.

    Raises:
        OutputError: they are the same file.
    """
    if out == STANDARD_OUTPUT:
        return
    try:
        target = os.stat(out)
    except OSError:
        return  # there is none yet
    for name in inputs:
        with contextlib.suppress(OSError):
            source = os.fstat(0) if name == STANDARD_OUTPUT else os.stat(name)
            if stat.S_ISREG(target.st_mode) and os.path.samestat(target, source):
                said = "standard input" if name == STANDARD_OUTPUT else f"the input {name}"
                raise OutputError(f"{out} is {said}; give another --out")


def check_ours(path: Path, start: bytes, said: str) -> None:
    """Refuse to replace a file that does not begin as ours do; an empty one holds nothing.

    Raises:
        OutputError: it is another's, or cannot be read; ``said`` follows its name.
    """
    try:
        with open(path, "rb") as file:
            is_ours = file.read(len(start)) in (start, b"")
    except FileNotFoundError:
        return
    except OSError:
        is_ours = False
    if not is_ours:
        raise OutputError(f"{path} {said}")


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
def open_stream(out: str) -> Iterator[BinaryIO]:
    """Open standard output, a pipe or a device, for :func:`write_all`.

    Raises:
        OutputError: it cannot be opened.
        StorageError: an I/O error on the way, such as a full disk.
    """
    if out == STANDARD_OUTPUT:
        if sys.stdout is None:
            raise OutputError("standard output is closed")
        with storage_errors("standard output"):
            sys.stdout.flush()
            yield getattr(sys.stdout.buffer, "raw", sys.stdout.buffer)
        return
    try:
        file = open(out, "wb", buffering=0)  # noqa: SIM115
    except OSError as error:
        raise OutputError(f"cannot write {out}: {error.strerror}") from None
    with storage_errors(out), file:
        yield file


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
