"""The checkpoint of a training run, from which a killed run resumes to the same weights."""

import logging
import os
from pathlib import Path

import torch

from batch.errors import InputError, OutputError
from batch.writing.atomic import create_file, temporary_name

log = logging.getLogger("trainer")

FORMAT = "spam-train checkpoint"
FORMAT_VERSION = 1
_UNMARKED = {"identity", "state", "cpu_rng"}  # keys of those that were written without a format


def write_checkpoint(path: Path, identity: str, state: dict) -> None:
    """Write ``state`` and torch's random state; the last good one stays until this is whole.

    ``identity`` says which run it is of: its settings, data, weights and versions.
    """
    saved = {"format": FORMAT, "format_version": FORMAT_VERSION, "identity": identity}
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
        except Exception:  # torch raises pickle, zip and runtime errors here
            saved = None
    if isinstance(saved, dict) and (saved.get("format") == FORMAT or saved.keys() >= _UNMARKED):
        return saved
    raise OutputError(
        f"{path} is not a checkpoint of spam-train, or is damaged; it was left as it is; move it, "
        "or give another --out"
    )


def read_checkpoint(path: Path, identity: str) -> dict | None:
    """The state of a run of the same ``identity``, with torch's random state set as it was.

    None if there is none, or one of another run: training then starts at the beginning,
    and a line of the log says why.

    Raises:
        OutputError: the file is another's. InputError: it is of another format version.
    """
    saved = open_checkpoint(path)
    if saved is None:
        return None
    version = saved.get("format_version", FORMAT_VERSION)
    if version != FORMAT_VERSION:
        raise InputError(
            f"{path}: format version {version!r}, this spam-train reads {FORMAT_VERSION}; start "
            "over with --restart"
        )
    if saved["identity"] != identity:
        log.warning("The checkpoint %s is of another run; starting over.", path)
        return None
    torch.set_rng_state(saved["cpu_rng"])
    if "cuda_rng" in saved and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(saved["cuda_rng"])
    return saved["state"]


def has_checkpoint(path: Path, identity: str) -> bool:
    """True if the same command would go on from ``path``."""
    try:
        saved = open_checkpoint(path)
    except OutputError:
        return False
    return saved is not None and saved.get("identity") == identity
