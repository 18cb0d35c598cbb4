"""One run at a time for one output, a file or a folder."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from batch.errors import LockedError, OutputError


def lock_path(target: Path) -> Path:
    """The lock file of an output: beside a file; in a folder, with a name that no file's has."""
    if target.is_dir():
        return target / ".lock"
    return target.with_name(f".{target.name}.lock")


@contextlib.contextmanager
def hold_lock(target: Path) -> Iterator[None]:
    """Hold the lock of ``target`` for a ``with`` block, and remove its file afterwards.

    The operating system frees the lock of a killed process. The next run takes over the file
    that it left, and removes it.

    Raises:
        LockedError: another run holds the lock.
        OutputError: the lock file cannot be created, or another file has its name.
    """
    path = lock_path(target)
    try:
        descriptor = acquire_lock(path)
    except BlockingIOError:
        raise LockedError(
            f"another run is writing {target}; wait until it ends, or stop it"
        ) from None
    except OSError as error:
        raise OutputError(f"cannot create {path}: {error.strerror}") from None
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            path.unlink()  # still held, so nobody else takes this file for the lock
        os.close(descriptor)


def check_lock(path: Path, descriptor: int) -> None:
    """Refuse to use, and later to remove, a file that is no lock: a lock of ours is empty.

    Raises:
        OutputError: the open file has contents.
    """
    if os.fstat(descriptor).st_size:
        raise OutputError(
            f"{path} is not a lock of spam-batch, and one would go there; move it, or give another "
            "output"
        )


def acquire_lock(path: Path, mode: int = 0o600, wait: bool = False) -> int:
    """Create and lock the file ``path``; return its descriptor, which holds the lock.

    Raises:
        BlockingIOError: another process holds the lock, and ``wait`` is false.
        OutputError: the file is there and is no lock of ours.
        OSError: the file cannot be created.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    while True:
        descriptor = os.open(path, flags, mode)
        try:
            check_lock(path, descriptor)
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            # The last holder may have removed the file between the two calls above.
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(descriptor), os.stat(path, follow_symlinks=False)):
                    return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
