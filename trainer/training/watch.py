"""Figures of a run while it trains: lines of ``metrics.jsonl``, and TensorBoard's events."""

import json
import math
import sys
import types
from pathlib import Path
from typing import Any

from batch.errors import OutputError
from batch.writing.atomic import replace_file

LINES = "metrics.jsonl"
_LONGEST = 4096  # bytes of a line
_NO_TENSORFLOW = "tensorboard.compat.notf"
# The tags that TensorBoard groups its charts by.
_TAGS = {
    "train_loss": "loss/train",
    "validation_loss": "loss/validation",
    "train_accuracy": "accuracy/train",
    "validation_accuracy": "accuracy/validation",
    "learning_rate": "training/learning rate",
    "tokens_per_second": "training/tokens a second",
}


class Watch:
    """Writes what :meth:`add` is given; nothing where there is no path and no folder.

    Args:
        path: the file of JSON lines.
        log_dir: the folder of TensorBoard's event files; needs the extra tensorboard.

    Raises:
        OutputError: the folder cannot be made.
        ModuleNotFoundError: tensorboard is not installed.
    """

    def __init__(self, path: Path | None = None, log_dir: Path | None = None):
        self.path, self.log_dir = path, log_dir
        self._events: Any = None
        if log_dir is not None:
            import tensorboard  # noqa: F401  (fails here, and not after the first evaluation)

            try:
                log_dir.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise OutputError(
                    f"cannot create {log_dir}: {error.strerror}; give another --log-dir"
                ) from None

    def begin(self, step: int) -> None:
        """Begin behind ``step``, the last one of the checkpoint; -1 for a new run.

        What a killed run wrote after its checkpoint is dropped, for these steps come again.
        """
        if self.path is not None:
            kept = _lines_until(self.path, step) if step >= 0 else b""
            replace_file(self.path, kept, self.path, ".jsonl", 0o666)
        if self.log_dir is not None:
            # TensorBoard would import the whole of tensorflow, where that is installed, to make a
            # folder. This is its own switch for the stub (tensorboard/compat/__init__.py).
            sys.modules.setdefault(_NO_TENSORFLOW, types.ModuleType(_NO_TENSORFLOW))
            from torch.utils.tensorboard import SummaryWriter

            self._events = SummaryWriter(str(self.log_dir), purge_step=step + 1)

    def add(self, step: int, epoch: int, **values: float) -> None:
        """Write figures of a step, from 0; a number that is not finite becomes null."""
        if self.path is not None:
            finite = {key: value if math.isfinite(value) else None for key, value in values.items()}
            line = json.dumps({"step": step, "epoch": epoch, **finite}) + "\n"
            with open(self.path, "a", encoding="utf-8") as file:
                file.write(line)
        if self._events is not None:
            for key, value in values.items():
                self._events.add_scalar(_TAGS[key], value, step)
            self._events.flush()

    def close(self) -> None:
        """Close TensorBoard's file."""
        if self._events is not None:
            self._events.close()
            self._events = None


def _lines_until(path: Path, step: int) -> bytes:
    """The whole lines up to ``step``; a line that a kill tore ends them."""
    kept = []
    try:
        lines = path.read_bytes().splitlines(keepends=True)
    except FileNotFoundError:
        return b""
    for line in lines:
        try:
            if not line.endswith(b"\n") or json.loads(line)["step"] > step:
                break
        except (ValueError, KeyError, TypeError):
            break
        kept.append(line)
    return b"".join(kept)


def is_lines(path: Path) -> bool:
    """True if ``path`` is a file of these lines, or an empty one of the same name."""
    if path.name != LINES or path.is_symlink() or not path.is_file():
        return False
    with open(path, "rb") as file:
        first = file.readline(_LONGEST)
    try:
        keys = json.loads(first).keys() if first else {"step", "epoch"}
    except (ValueError, AttributeError, RecursionError):
        return False
    return {"step", "epoch"} <= keys <= {"step", "epoch", *_TAGS}
