"""The checkpoint of a training run, from which a killed run resumes to the same weights."""

import logging
import os
from pathlib import Path

import torch

log = logging.getLogger("trainer")


def write_checkpoint(path: Path, identity: str, state: dict) -> None:
    """Write ``state`` and torch's random state; the last good one stays until this is whole.

    ``identity`` says which run it is of: its settings, data, weights and versions.
    """
    saved = {"identity": identity, "state": state, "cpu_rng": torch.get_rng_state()}
    if torch.cuda.is_available():
        saved["cuda_rng"] = torch.cuda.get_rng_state_all()
    part = path.with_name(path.name + ".part")
    with open(part, "wb") as file:
        torch.save(saved, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)


def read_checkpoint(path: Path, identity: str) -> dict | None:
    """The state of a run of the same ``identity``, with torch's random state set as it was.

    None if there is none, or one of another run, or one that cannot be read:
    training then starts at the beginning, and a line of the log says why.
    """
    if not path.exists():
        return None
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises pickle, zip and runtime errors here
        log.warning(
            "The checkpoint %s cannot be read (%s); starting over.", path, type(error).__name__
        )
        return None
    if saved["identity"] != identity:
        log.warning("The checkpoint %s is of another run; starting over.", path)
        return None
    torch.set_rng_state(saved["cpu_rng"])
    if "cuda_rng" in saved and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(saved["cuda_rng"])
    return saved["state"]
