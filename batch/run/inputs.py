"""Several inputs: which files they are, and the output of each."""

import glob
import logging
import os
import shlex
import stat
from collections.abc import Container, Iterable, Sequence
from pathlib import Path

from batch.errors import MissingInputError, OutputError, UsageError
from batch.formats.open_table import ENDINGS, inner_ending
from batch.messages import count
from batch.reading.remote import find_files, is_uri
from batch.writing.names import MANIFEST_ENDING, REJECTS_ENDING, manifest_path, rejects_path

log = logging.getLogger("batch")


def find_inputs(names: Sequence[str]) -> list[str]:
    """The input files, each once.

    A folder stands for its files, sorted by name, with a known ending and no dot at the
    beginning; folders in it and files that a run writes beside an output are left out. A
    warning counts files with other endings and folders with files to label, because they may
    have messages, too. A pattern that the shell has not expanded stands for the files that
    match; ``**`` in it stands for folders at any depth.

    Raises:
        MissingInputError: a folder or pattern has no file.
    """
    found: dict[str, str] = {}  # real path -> name
    for name in names:
        for path in _expand(name):
            found.setdefault(path if is_uri(path) else os.path.realpath(path), path)
    for name in filter(os.path.isdir, names):
        _warn_left_out(name, found)
        _warn_sub_folders(name, found)
    return list(found.values())


def _expand(name: str) -> list[str]:
    if is_uri(name):
        return find_files(name)
    if os.path.isdir(name):
        paths = [path for path in _list_files(name) if inner_ending(path.name) in ENDINGS]
        if not paths:
            known = ", ".join(ENDINGS)
            raise MissingInputError(f"{name}: has no files to label; their names end in {known}")
        return list(map(str, paths))
    if glob.has_magic(name) and not os.path.exists(name):
        ours = (REJECTS_ENDING, MANIFEST_ENDING) if "**" in name else ()
        matching = filter(os.path.isfile, glob.glob(name, recursive=True))
        files = sorted(match for match in matching if not match.endswith(ours))
        if not files:
            raise MissingInputError(f"{name}: no file matches")
        return files
    return [name]


def _list_files(folder: str) -> list[Path]:
    """Files that are not hidden, and that a run does not write beside an output."""
    ours = (REJECTS_ENDING, MANIFEST_ENDING)
    return sorted(
        path
        for path in Path(folder).iterdir()
        if not path.name.startswith(".") and not path.name.endswith(ours) and path.is_file()
    )


def _warn_left_out(folder: str, found: Container[str]) -> None:
    others = [path.name for path in _list_files(folder) if os.path.realpath(path) not in found]
    if others:
        shown = others[0] + ", ..." * (len(others) > 1)
        left, known = count(len(others), "file"), ", ".join(ENDINGS)
        why = f"because the ending is not one of {known}; to label such a file, give its name"
        log.warning("%s: %s left out (%s), %s", folder, left, shown, why)


def _warn_sub_folders(folder: str, found: Container[str]) -> None:
    """Warn of folders in it with files to label, unless those are outputs of ours."""
    left, endings = 0, set()
    for path, folders, _ in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        files = [
            file
            for file in (_list_files(path) if path != folder else ())
            if inner_ending(file.name) in ENDINGS
            and os.path.realpath(file) not in found
            and not manifest_path(file).exists()
        ]
        left += bool(files)
        for name in (file.name for file in files):
            endings.add(name[name.lower().rindex(inner_ending(name)) :])
    if left:
        patterns = [shlex.quote(os.path.join(folder, "**", f"*{end}")) for end in sorted(endings)]
        which = "the files in it" if left == 1 else "the files in them"
        log.warning(
            "%s: %s left out; to label %s, too, type: %s",
            folder, count(left, "sub-folder"), which, " ".join(patterns),
        )  # fmt: skip


def name_outputs(inputs: Sequence[str], folder: str, option: str = "--out-dir") -> list[str]:
    """The output of each input: a file with the same name in ``folder``, which ``option`` gave.

    Raises:
        OutputError: there is no such folder, and it could not be created.
        UsageError: two inputs would write one file, see :func:`check_no_clash`.
    """
    try:
        is_wrong = not stat.S_ISDIR(os.stat(folder).st_mode)
    except FileNotFoundError:
        is_wrong = os.path.lexists(folder)  # a link to nothing
    except OSError as error:
        raise OutputError(f"cannot create {folder}: {error.strerror}") from None
    if is_wrong:
        raise OutputError(f"{folder} is not a folder; give another {option}")
    parent = os.path.dirname(folder.rstrip("/"))
    if not os.path.isdir(parent or "."):
        raise OutputError(f"the folder {parent} does not exist; make it first")
    outputs = [str(Path(folder) / Path(name).name) for name in inputs]
    check_no_clash(zip(inputs, outputs, strict=True))
    return outputs


def check_no_clash(pairs: Iterable[tuple[str, str]]) -> None:
    """Check pairs of an input and its output; the shards of one input do not clash.

    Raises:
        UsageError: two inputs would write the same output, rejects or manifest.
    """
    writers: dict[str, str] = {}
    for name, out in pairs:
        for path in (Path(out), rejects_path(Path(out)), manifest_path(Path(out))):
            other = writers.setdefault(str(path), name)
            if other != name:
                raise UsageError(
                    f"{other} and {name} would both write {path}; label them into two folders"
                )
