"""The folder that a bundle is written in, and how it takes the place of an older one."""

import contextlib
import ctypes
import fcntl
import logging
import os
import re
import tempfile
from collections.abc import Callable, Container, Iterator
from pathlib import Path

from batch.errors import OutputError
from batch.model.bundle_files import CARD, EXTERNAL_SUFFIX, GOLDEN, MANIFEST, TOKENIZER, VERIFY
from batch.model.cascade.proof import PROOF
from batch.model.decision import STAGES
from batch.writing.atomic import make_folders, remove_empty
from batch.writing.target import is_foreign
from exporter.convert.variants import FILES

log = logging.getLogger("exporter")

NAMES = {
    *STAGES, PROOF,  # of a cascade; its two folders hold files of these names, too
    MANIFEST, TOKENIZER, GOLDEN, VERIFY, CARD, *FILES.values(),
    *(name + EXTERNAL_SUFFIX for name in FILES.values()),
}  # fmt: skip
Names = Callable[[Path], Container[str]]  # a folder -> the names of its files
_RENAME_EXCHANGE = 2  # linux/fs.h
_AT_FDCWD = -100  # linux/fcntl.h


@contextlib.contextmanager
def scratch_folder(target: Path, problem: str, advice: str) -> Iterator[Path]:
    """A new folder beside ``target``, which is removed after the block if it still has its name.

    Folders that killed exports to ``target`` left are removed first. The folder is locked while
    the block runs, so no other export takes it for one of those.

    Raises:
        OutputError: the folder cannot be made; the text has ``problem`` and ``advice``.
    """
    made: list[Path] = []
    try:
        made = make_folders(target.parent)
        _remove_leftovers(target)
        folder = tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent)
        lock = _lock(Path(folder))
    except OSError as error:
        remove_empty(made)
        raise OutputError(f"{problem}: {error.strerror}; {advice}") from None
    try:
        yield Path(folder)
    finally:
        remove_files(Path(folder), _our_names)
        os.close(lock)
        remove_empty(made)  # if nothing was written


def _lock(folder: Path) -> int:
    """Lock a folder; the system frees the lock of a killed process.

    Raises:
        BlockingIOError: another process holds the lock.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _remove_leftovers(target: Path) -> None:
    """Remove folders with a name of ours that hold files of ours alone, unless they are in use.

    An empty one stays: another export may have made it just now, and not locked it yet.
    """
    name = re.compile(re.escape(f".{target.name}.") + r"[a-z0-9_]{8}\.part")
    for path in sorted(target.parent.iterdir()):
        if not name.fullmatch(path.name) or path.is_symlink() or not path.is_dir():
            continue
        with contextlib.suppress(OSError):
            lock = _lock(path)
            try:
                if any(path.iterdir()) and find_other(path, _our_names) is None:
                    remove_files(path, _our_names)
                    log.info("removed %s, which a killed export had left", path)
            finally:
                os.close(lock)


def _our_names(_: Path) -> Container[str]:
    return NAMES


def find_other(folder: Path, names: Names) -> Path | None:
    """The first entry of a bundle's folder that has none of its names; hidden ones count, too.

    The two folders of a cascade are looked into. ``names`` are those of a folder's files.
    """
    ours = names(folder)
    for path in sorted(folder.iterdir()):
        if _is_stage(path, ours):
            if found := find_other(path, names):
                return found
        elif is_foreign(path, ours):
            return path
    return None


def remove_files(folder: Path, names: Names) -> None:
    """Remove the files of these names, and then the folder if nothing else is in it."""
    with contextlib.suppress(OSError):
        ours = names(folder)
        for path in sorted(folder.iterdir()):
            if _is_stage(path, ours):
                remove_files(path, names)
            elif not is_foreign(path, ours):
                path.unlink()
        folder.rmdir()


def _is_stage(path: Path, ours: Container[str]) -> bool:
    """True for one of the two folders of a cascade."""
    return path.name in STAGES and path.name in ours and path.is_dir() and not path.is_symlink()


def exchange(one: Path, other: Path) -> bool:
    """Give each of two folders the other's name in one step, in which neither name is missing.

    False, and nothing has changed, where the system or the file system cannot do that.
    """
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError):  # macOS, an old libc
        return False
    paths = os.fsencode(one), os.fsencode(other)
    return renameat2(_AT_FDCWD, paths[0], _AT_FDCWD, paths[1], _RENAME_EXCHANGE) == 0
