"""Check where an output goes, before anything is written."""

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


def resolve_target(out: str, input_name: str) -> Path:
    """The path of the output, once it is sure that a run may write there.

    Args:
        out: the output as the user typed it.
        input_name: of the input: a path, a URI, or - for standard input.

    Raises:
        OutputError: the output cannot be created there; or it, its rejects file or its run
            manifest is the input; or another file is where the rejects file or the run manifest
            goes.
    """
    target = resolve_path(out)
    rejects, manifest = rejects_path(target), manifest_path(target)
    for path in (out, str(rejects), str(manifest)):
        check_not_input(path, input_name)
    problem = "is not a rejects file, and rejects would go there; move it, or give another --out"
    check_replaceable(rejects, REJECTS_START, problem)
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
            "be an output of spam-batch; move it (--force of spam-batch classify replaces it)"
        )


def resolve_path(out: str) -> Path:
    """The path of ``--out`` with links resolved: the target of a link is replaced, not the link.

    Raises:
        OutputError: it is a folder, or the folder that it is in does not exist or is a file.
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


def check_not_input(out: str, input_name: str) -> None:
    """Refuse to write over the input, whatever paths or links lead to it.

    Raises:
        OutputError: they are the same file.
    """
    if out == STANDARD_OUTPUT:
        return
    try:
        target = os.stat(out)
    except OSError:
        return  # it does not exist yet
    with contextlib.suppress(OSError):
        found = os.fstat(0) if input_name == STANDARD_INPUT else os.stat(input_name)
        if stat.S_ISREG(target.st_mode) and os.path.samestat(target, found):
            is_stdin = input_name == STANDARD_INPUT
            shown = "standard input" if is_stdin else f"the input {input_name}"
            raise OutputError(f"{out} is {shown}; give another --out")


def check_replaceable(path: Path, start: bytes, problem: str) -> None:
    """Refuse to replace a file that begins otherwise than with ``start``, unless it is empty.

    Args:
        problem: what to say of such a file, after its name.

    Raises:
        OutputError: the file begins otherwise, or cannot be read.
    """
    try:
        with open(path, "rb") as file:
            is_known = file.read(len(start)) in (start, b"")
    except FileNotFoundError:
        return
    except OSError:
        is_known = False
    if not is_known:
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
