"""Check where an output goes, before anything is written."""

import contextlib
import os
import stat
from pathlib import Path

from batch.errors import OutputError
from batch.reading.source import STANDARD_INPUT
from batch.writing.names import MANIFEST_START, REJECTS_START, manifest_path, rejects_path
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
    hint = "would go there; move it, or give another --out"
    check_replaceable(rejects, REJECTS_START, f"is not a rejects file, and rejects {hint}")
    problem = f"is not a run manifest, and that of this run {hint}"
    check_replaceable(manifest, MANIFEST_START, problem)
    return target


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
