"""The run folder: what a training run writes, and what an export reads."""

import json
import math
import os
import platform
import shutil
import time
from collections.abc import Collection
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from batch.errors import InputError, MissingInputError, OutputError, is_out_of_memory
from batch.model.bundle_files import TOKENIZER
from batch.model.decision import Decision
from batch.model.tokenizer import Tokenizer
from batch.version import __version__
from batch.writing.atomic import LEFTOVER, replace_file, temporary_name
from batch.writing.target import find_foreign, is_foreign, resolve_path
from trainer.model.gpt2 import GPT2Classifier, ModelConfig
from trainer.training.checkpoint import open_checkpoint
from trainer.training.watch import LINES, is_lines

CONFIG = "config.json"
METRICS = "metrics.json"
WEIGHTS = "model.safetensors"
CHECKPOINT = "checkpoint.pt"
PREDICTIONS = "predictions.csv"
RUN_FORMAT = 1
RESULTS = (  # in the order in which an old run's are removed: without the first it is no run
    CONFIG, METRICS, WEIGHTS, TOKENIZER, PREDICTIONS, "train.csv", "validation.csv", "test.csv",
    "rejects.csv",
    "loss-plot.pdf", "loss-plot.png", "accuracy-plot.pdf", "accuracy-plot.png", "report.html",
)  # fmt: skip
RUN_FILES = {*RESULTS, LINES, CHECKPOINT, CHECKPOINT + ".part"}  # the last one of versions before


@dataclass(frozen=True)
class RunConfig:
    """The contents of ``config.json``: what a run was made from, and how to repeat it."""

    model: dict  # ModelConfig
    recipe: dict  # Recipe
    labels: list[str]
    positive_label: str | None
    max_length: int  # tokens
    weights: dict  # kind, origin, sha256, statement
    data: dict  # name, origin, sha256, rows, is_partial
    tokenizer_sha256: str
    device: str
    versions: dict[str, str]
    arguments: dict = field(default_factory=dict)  # the options of spam-train fit
    unsure_band: list[float] | None = None  # scores from the first to below the second are unsure
    teacher: dict | None = None  # name, digest, model, weights, options; of spam-train distill
    format: int = RUN_FORMAT

    def check(self) -> None:
        """Check what an export or an evaluation reads, since anybody may have edited the file.

        Raises:
            ValueError, TypeError, KeyError: a value is not valid; the text names it.
        """
        needed = {"recipe": ("name",), "weights": ("kind", "sha256", "statement"),
                  "data": ("sha256",), "model": (), "versions": (), "arguments": ()}  # fmt: skip
        for name, keys in needed.items():
            value = getattr(self, name)
            if not isinstance(value, dict) or not all(key in value for key in keys):
                raise ValueError(f"{name} is not valid")
        labels, counts = self.labels, self.data.get("labels")
        is_list = isinstance(labels, list) and all(isinstance(label, str) for label in labels)
        is_counted = not counts or all(isinstance(counts[label], int) for label in labels)
        is_valid = {
            "labels": is_list and len(set(labels)) == len(labels) >= 2 and is_counted,
            "positive_label": self.positive_label is None or self.positive_label in labels,
            "max_length": isinstance(self.max_length, int) and self.max_length >= 1,
            "unsure_band": self.unsure_band is None or isinstance(self.unsure_band, list),
            "teacher": self.teacher is None or isinstance(self.teacher, dict),
        }
        for name, is_good in is_valid.items():
            if not is_good:
                raise ValueError(f"{name} is not valid")

    @property
    def model_config(self) -> ModelConfig:
        return ModelConfig.from_dict(self.model)


def package_versions(*names: str) -> dict[str, str]:
    """Versions of Python, of this project and of the packages in ``names``."""
    versions = {"python": platform.python_version(), "spam-batch": __version__}
    for name in names:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "not installed"
    return versions


def write_json(path: Path, values: dict) -> None:
    """Write indented UTF-8 JSON, whole or not at all; a link there is replaced, not followed."""
    text = json.dumps(values, indent=2, ensure_ascii=False) + "\n"
    replace_file(path, text.encode("utf-8"), path, ".json", 0o666)


def check_folder(folder: Path, *inputs: Path | None) -> None:
    """Refuse to write a run where other files would be lost, or among files of others.

    Raises:
        OutputError: the folder is no run, holds a file that no run writes, or one of the
            ``inputs``; names it.
    """
    for path in filter(None, inputs):
        if path.resolve().is_relative_to(folder.resolve()):
            raise OutputError(f"{path} lies in the run folder {folder}; give another --out")
    if not folder.exists():
        return
    if not folder.is_dir():
        raise OutputError(f"{folder} is not a folder; give another --out")
    if all(_is_leftover(path) or is_lines(path) for path in folder.iterdir()):
        return
    if open_checkpoint(folder / CHECKPOINT) is None and not _is_complete(folder):
        raise OutputError(
            f"{folder} exists and is not a run folder; it was left as it is; give another --out"
        )
    if found := find_foreign(folder, RUN_FILES):
        raise OutputError(
            f"{found} is not a file of a run, and --out would write a run beside it; it was left "
            "as it is; move it, or give another --out"
        )


def _is_complete(folder: Path) -> bool:
    """True of what :func:`write_run` leaves: ``config.json`` comes last, so the rest is there."""
    try:
        read_config(folder)
    except (MissingInputError, InputError):
        return False
    return all((folder / name).is_file() for name in (METRICS, WEIGHTS, TOKENIZER))


def begin_run(folder: Path) -> None:
    """Make ``folder`` no run until :func:`write_run` is through.

    A kill in between then never leaves an old run's settings beside new weights. The
    checkpoint, by which the folder is known as ours until then, stays.
    """
    for name in RESULTS:
        (folder / name).unlink(missing_ok=True)


def remove_leftovers(folder: Path) -> None:
    """Remove what a killed run had not written to its end."""
    for path in filter(_is_leftover, list(folder.iterdir())):
        path.unlink()


def _is_leftover(path: Path) -> bool:
    left = LEFTOVER.fullmatch(path.name)
    return bool(left) and left[1] in RUN_FILES and not is_foreign(path, RUN_FILES)


def write_run(
    folder: Path, config: RunConfig, model: GPT2Classifier, metrics: dict, tokenizer: Path
) -> None:
    """Write weights, ``metrics.json``, a copy of the tokenizer, and ``config.json`` last."""
    shutil.copyfile(tokenizer, folder / TOKENIZER)
    state = {name: tensor.detach().cpu() for name, tensor in model.state_dict().items()}
    save_file(state, folder / WEIGHTS)
    (folder / WEIGHTS).chmod((folder / TOKENIZER).stat().st_mode)  # save_file makes it private
    write_json(folder / METRICS, metrics)
    write_json(folder / CONFIG, asdict(config))


def read_config(folder: Path) -> RunConfig:
    """Read ``config.json`` of a run folder, or the file itself if ``folder`` is one.

    Raises:
        MissingInputError: ``folder`` is not a run folder.
        InputError: the file is not a ``config.json`` of this format.
    """
    path = folder if folder.is_file() else folder / CONFIG
    try:
        config = RunConfig(**_read_object(path))
        if config.format == RUN_FORMAT:
            config.check()
    except OSError:
        raise MissingInputError(
            f"{folder} is not a run folder (it has no {CONFIG}); make one with: spam-train fit"
        ) from None
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise InputError(f"{path}: not the {CONFIG} of a run: {error}") from None
    if config.format != RUN_FORMAT:
        raise InputError(f"{path}: format {config.format}, this version reads {RUN_FORMAT}")
    return config


def _read_object(path: Path) -> dict:
    values = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(values, dict):
        raise ValueError(f"it holds a {type(values).__name__}, expected an object")
    return values


def read_metrics(folder: Path) -> dict:
    """Read ``metrics.json`` of a run folder.

    Raises:
        MissingInputError: there is none. InputError: it is not a JSON object.
    """
    path = folder / METRICS
    try:
        return _read_object(path)
    except OSError as error:
        raise MissingInputError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not the {METRICS} of a run: {error}") from None


def read_decision(folder: Path, config: RunConfig) -> Decision:
    """The run's rule from logits to labels; 1 and 0.5 where an old run has no such numbers.

    Raises:
        MissingInputError: there is no ``metrics.json``.
        InputError: its temperature or threshold is not a valid number.
    """
    path, metrics = folder / METRICS, read_metrics(folder)
    try:
        temperature = float(metrics.get("calibration", {}).get("temperature", 1.0))
        threshold = float(metrics.get("threshold", {}).get("value", 0.5))
    except (ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: {error}") from None
    if not (0 < temperature < math.inf and 0 <= threshold <= 1):
        raise InputError(
            f"{path}: a temperature of {temperature:g} and a threshold of {threshold:g} "
            "are not valid"
        )
    return Decision(config.labels, config.positive_label, threshold, temperature)


def read_model(folder: Path, config: RunConfig) -> GPT2Classifier:
    """The trained classifier on the CPU, in eval mode.

    Raises:
        InputError: the weights cannot be read, or do not fit the model of ``config.json``.
    """
    try:
        model = GPT2Classifier(config.model_config)
    except (TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise InputError(f"{folder / CONFIG}: model is not valid: {error}") from None
    try:
        model.load_state_dict(load_file(folder / WEIGHTS))
    except (OSError, RuntimeError, SafetensorError) as error:
        reason = " ".join(line.strip() for line in str(error).splitlines()[:2])
        raise InputError(f"{folder / WEIGHTS}: {reason}") from None
    return model.eval()


def read_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer of a run folder, which :func:`write_run` copied there."""
    return Tokenizer.load(folder / TOKENIZER)


def check_result(path: Path, keys: Collection[str], option: str) -> Path:
    """Where a result of ``keys`` in JSON goes; a file there is replaced if it is one, too.

    Raises:
        OutputError: it is something else, or its folder does not exist.
    """
    target = resolve_path(str(path))
    try:
        data = target.read_bytes()
        is_ours = not data or json.loads(data).keys() == set(keys)
    except FileNotFoundError:
        is_ours = True
    except (OSError, ValueError, AttributeError, RecursionError):
        is_ours = False
    if not is_ours:
        raise OutputError(
            f"{path} is not a result of this command; it was left as it is; give another {option}"
        )
    return target


def check_state_dict(path: Path, run: Path | None = None) -> Path:
    """Where a ``.pth`` goes; a file there is replaced if it is a classifier's, too.

    Raises:
        OutputError: it is something else, lies in the folder ``run``, or in none.
    """
    target = resolve_path(str(path))
    if run is not None and target.is_relative_to(run.resolve()):
        raise OutputError(f"{path} lies in the run folder {run}; give another --pth")
    if target.exists() and target.stat().st_size:
        try:
            state = torch.load(target, map_location="cpu", weights_only=True, mmap=True)
            is_ours = {"transformer.wte.weight", "score.weight"} <= state.keys()
        except Exception as error:  # torch raises pickle, zip and runtime errors here
            if is_out_of_memory(error):
                raise
            is_ours = False
        if not is_ours:
            raise OutputError(
                f"{path} is not a classifier's state dict; it was left as it is; give another --pth"
            )
    return target


def _remove_parts(target: Path) -> None:
    """Remove what killed runs had not written to the end of ``target``.

    A younger one may be of a run that is saving now: that takes no hour.
    """
    for path in list(target.parent.iterdir()):
        is_ours = LEFTOVER.fullmatch(path.name) and not is_foreign(path, {target.name})
        if is_ours and time.time() - path.stat().st_mtime > 3600:
            path.unlink()


def save_state_dict(model: GPT2Classifier, path: Path) -> None:
    """The notebook's ``torch.save(model.state_dict())``, for those who ask for a ``.pth``.

    Raises:
        OutputError: see :func:`check_state_dict`.
    """
    target = check_state_dict(path)
    _remove_parts(target)
    part = target.with_name(temporary_name(target))
    try:
        torch.save(model.state_dict(), part)
        os.replace(part, target)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
