"""Where an output may go: what must not stand there, and what must not be replaced."""

import contextlib
import os
import stat
from collections.abc import Container
from pathlib import Path

from batch.errors import OutputError
from batch.reading.source import STANDARD_INPUT
from batch.writing.atomic import LEFTOVER
from batch.writing.names import (
    MANIFEST_START,
    REJECTS_START,
    checkpoint_path,
    manifest_path,
    rejects_path,
)
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
    problem = "is not a rejects file, and rejects would go there; move it, or give another --out"
    check_replaceable(beside[0], REJECTS_START, problem)
    check_manifest_path(target)
    return target


def check_manifest_path(target: Path) -> None:
    """Refuse to replace a file that is no run manifest.

    Raises:
        OutputError: there is one in the place of the run manifest of ``target``.
    """
    problem = "is not a run manifest, and that of this run would go there; move it, or give another"
    check_replaceable(manifest_path(target), MANIFEST_START, f"{problem} --out")


def check_labelled(target: Path, out: str) -> None:
    """Refuse to replace, under a name that nobody typed, what no run of ours wrote.

    Raises:
        OutputError: ``target`` has neither run manifest nor checkpoint beside it.
    """
    if not target.exists() or not target.stat().st_size:
        return
    # One that was being replaced when its run was killed has no manifest, but a checkpoint.
    if not (manifest_path(target).exists() or checkpoint_path(target).exists()):
        raise OutputError(
            f"{out} is there, and has no {manifest_path(target).name} beside it by which it would "
            "be an output of spam-batch; move it, or type --force to replace it"
        )


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


def is_foreign(path: Path, ours: Container[str]) -> bool:
    """True if no program of ours wrote ``path`` into a folder whose files have the names ``ours``.

    Ours are regular files of those names, and what a killed run left of one.
    """
    left = LEFTOVER.fullmatch(path.name)
    name = left[1] if left else path.name
    return name not in ours or path.is_symlink() or not path.is_file()


def find_foreign(folder: Path, ours: Container[str]) -> Path | None:
    """The first foreign entry of ``folder``; hidden ones count, too."""
    return next((path for path in sorted(folder.iterdir()) if is_foreign(path, ours)), None)
