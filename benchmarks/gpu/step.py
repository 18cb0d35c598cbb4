"""A step of the GPU benchmark, in a process of its own, that writes each figure when it has it.

So a step that fails, or is stopped at its time limit, keeps the figures that it had.
"""

import json
import logging
import os
import traceback
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from batch.errors import BundleError, SpamBatchError


@dataclass(frozen=True)
class Settings:
    """What every step is given."""

    device: str  # cuda or cpu
    is_dry: bool  # a tiny model instead of gpt2-small's shape
    data: Path  # labelled messages
    label_column: str | None
    bpe: Path
    weights: str  # random, or a path
    work: Path  # folder of runs and bundles, removed at the end
    train_steps: int
    held_out: int  # messages of the validation set, and of the test set
    texts: int  # whose labels are compared with the CPU's
    batch_tokens: tuple[int, ...]  # that are tried
    seconds: float  # that each labelling is measured for
    least_rows: int  # that it labels, and that warm up


class Skipped(Exception):
    """The step cannot be measured here; the text says why."""


def check_onnxruntime(device: str) -> None:
    """Check that the installed onnxruntime is one for the device.

    Raises:
        Skipped: it is not.
    """
    from batch.model.inference import wanted_device  # late: a package may be missing

    try:
        wanted_device(device)
    except BundleError as error:
        raise Skipped(str(error)) from None


def carry_out(module: str, name: str, settings: Settings, figures: Path, log: Path) -> None:
    """Run the generator ``name`` of ``module``; its pairs ``(key, figure)`` go to ``figures``.

    A last line has the status and why, unless all went well. What the step prints goes to
    ``log``.
    """
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    logging.basicConfig(level=logging.INFO, format=f"{name}: %(message)s")

    def write(**values: object) -> None:
        with open(figures, "a", encoding="utf-8") as file:
            file.write(json.dumps(values) + "\n")

    try:
        for key, figure in getattr(import_module(module), name)(settings):
            write(**{key: figure})
    except Skipped as error:
        write(status="skipped", why=str(error))
    except Exception as error:
        traceback.print_exc()
        line = (str(error).strip() or "no message").splitlines()[0]
        kind = "" if isinstance(error, SpamBatchError) else f"{type(error).__name__}: "
        write(status="failed", why=kind + line)
