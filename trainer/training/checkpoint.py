"""The checkpoint of a training run, from which a killed run resumes to the same weights."""

import os
from pathlib import Path

import torch

from batch.errors import InputError, OutputError, UsageError, is_out_of_memory
from batch.writing.atomic import create_file, temporary_name

FORMAT = "spam-train checkpoint"
FORMAT_VERSION = 2
_UNMARKED = {"identity", "state", "cpu_rng"}  # keys of those that were written without a format


def write_checkpoint(path: Path, resume_key: dict[str, str], state: dict) -> None:
    """Write ``state`` and torch's random state; the last good one stays until this is whole.

    Args:
        resume_key: what must be the same for a run to resume from it: option or kind of
            thing -> its value, for instance ``--epochs`` -> ``4``, ``data`` -> SHA-256.
    """
    saved = {"format": FORMAT, "format_version": FORMAT_VERSION, "identity": resume_key}
    saved |= {"state": state, "cpu_rng": torch.get_rng_state()}
    if torch.cuda.is_available():
        saved["cuda_rng"] = torch.cuda.get_rng_state_all()
    part = path.with_name(temporary_name(path))
    with create_file(part, 0o666) as file:
        try:
            torch.save(saved, file)
            os.fsync(file.fileno())
            os.replace(part, path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise


def open_checkpoint(path: Path) -> dict | None:
    """What a checkpoint of ours holds, mapped and not copied; None if there is no file.

    Raises:
        OutputError: the file is another's, or is damaged; a checkpoint would replace it.
    """
    if not os.path.lexists(path):
        return None
    saved = None
    if path.is_file() and not path.is_symlink():
        try:
            saved = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        except Exception as error:  # torch raises pickle, zip and runtime errors here
            if is_out_of_memory(error):
                raise
            saved = None
    if isinstance(saved, dict) and (saved.get("format") == FORMAT or saved.keys() >= _UNMARKED):
        return saved
    raise OutputError(
        f"{path} is not a checkpoint of spam-train, or is damaged; it was left as it is; move it, "
        "or give another --out"
    )


def read_checkpoint(path: Path, resume_key: dict[str, str]) -> dict | None:
    """The state to resume from, with torch's random state set as it was; None if there is none.

    Raises:
        OutputError: the file is another's.
        InputError: it has another format version.
        UsageError: it was written with another value of ``resume_key``; the sentence names it.
    """
    saved = open_checkpoint(path)
    if saved is None:
        return None
    version = saved.get("format_version", 1)
    if version != FORMAT_VERSION:
        raise InputError(
            f"{path}: format version {version!r}, this spam-train reads {FORMAT_VERSION}; start "
            "over with --restart"
        )
    before = saved["identity"]
    for name in {**before, **resume_key}:
        if before.get(name) != resume_key.get(name):
            raise UsageError(
                f"{path}: an interrupted run is kept there, but {name} was "
                f"{_show(before.get(name))} and is {_show(resume_key.get(name))} now; give it as "
                "before, or start over with --restart"
            )
    torch.set_rng_state(saved["cpu_rng"])
    if "cuda_rng" in saved and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(saved["cuda_rng"])
    return saved["state"]


def _show(value: str | None) -> str:
    """A value for a message; a hash by its first digits."""
    if value is None:
        return "not there"
    return value[:12] if len(value) == 64 else repr(value)


def has_checkpoint(path: Path, resume_key: dict[str, str]) -> bool:
    """True if the same command would resume from ``path``."""
    try:
        saved = open_checkpoint(path)
    except OutputError:
        return False
    return saved is not None and saved.get("identity") == resume_key
