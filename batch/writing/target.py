"""Where an output may go: what must not stand there, and what must not be replaced."""

import contextlib
import os
import stat
from pathlib import Path

from batch.errors import OutputError
from batch.reading.source import STANDARD_INPUT
from batch.writing.names import MANIFEST_START, REJECTS_START, manifest_path, rejects_path
from batch.writing.output import STANDARD_OUTPUT


def resolve_target(out: str, source: str) -> Path:
    """The file that a run which reads ``source`` replaces, once nothing stands against it.

    Raises:
        OutputError: it cannot be created there; or it, its rejects file or its run manifest
            is the input, or a file of somebody else's stands in the place of one of them.
    """
    target = resolve_path(out)
    beside = (rejects_path(target), manifest_path(target))
    for path in (out, *map(str, beside)):
        check_not_input(path, source)
    for path, start, kind, what in (
        (beside[0], REJECTS_START, "a rejects file", "rejects"),
        (beside[1], MANIFEST_START, "a run manifest", "that of this run"),
    ):
        check_replaceable(
            path, start, f"is not {kind}, and {what} would go there; move it, or give another --out"
        )
    return target


def resolve_path(out: str) -> Path:
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


def check_not_input(out: str, source: str) -> None:
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
    with contextlib.suppress(OSError):
        found = os.fstat(0) if source == STANDARD_INPUT else os.stat(source)
        if stat.S_ISREG(target.st_mode) and os.path.samestat(target, found):
            shown = "standard input" if source == STANDARD_INPUT else f"the input {source}"
            raise OutputError(f"{out} is {shown}; give another --out")


def check_replaceable(path: Path, start: bytes, problem: str) -> None:
    """Refuse to replace a file that does not begin as ours do. An empty file may be replaced.

    Raises:
        OutputError: it is not ours, or cannot be read; ``problem`` follows its name.
    """
    try:
        with open(path, "rb") as file:
            is_ours = file.read(len(start)) in (start, b"")
    except FileNotFoundError:
        return
    except OSError:
        is_ours = False
    if not is_ours:
        raise OutputError(f"{path} {problem}")
