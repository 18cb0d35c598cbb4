"""The run folder: what a training run writes, and what an export reads."""

import json
import platform
import shutil
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from batch.errors import InputError, MissingInputError, OutputError
from batch.model.bundle_files import TOKENIZER
from batch.model.decision import Decision
from batch.model.tokenizer import Tokenizer
from batch.version import __version__
from trainer.model.gpt2 import GPT2Classifier, ModelConfig

CONFIG = "config.json"
METRICS = "metrics.json"
WEIGHTS = "model.safetensors"
CHECKPOINT = "checkpoint.pt"
PREDICTIONS = "predictions.csv"
RUN_FORMAT = 1


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
    format: int = RUN_FORMAT

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
    """Write indented UTF-8 JSON that ends with a line end."""
    text = json.dumps(values, indent=2, ensure_ascii=False) + "\n"
    path.write_text(text, encoding="utf-8")


def check_folder(folder: Path, data: Path | None) -> None:
    """Refuse to write a run where other files would be lost.

    Raises:
        OutputError: the folder holds something that is no run, or the data itself.
    """
    if data is not None and data.resolve().parent == folder.resolve():
        raise OutputError(f"{data} lies in the run folder {folder}; give another --out")
    if not folder.exists() or (folder / CHECKPOINT).is_file():
        return
    if not folder.is_dir():
        raise OutputError(f"{folder} is not a folder")
    try:
        read_config(folder)
    except (MissingInputError, InputError):
        if any(folder.iterdir()):
            raise OutputError(
                f"{folder} exists and is not a run folder; it was left as it is"
            ) from None


def begin_run(folder: Path) -> None:
    """Make ``folder`` no run until :func:`write_run` is through.

    A kill in between then never leaves an old run's settings beside new weights.
    """
    (folder / CONFIG).unlink(missing_ok=True)


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
        values = json.loads(path.read_text(encoding="utf-8"))
        config = RunConfig(**values)
    except OSError:
        raise MissingInputError(
            f"{folder} is not a run folder (it has no {CONFIG}); make one with: spam-train fit"
        ) from None
    except (ValueError, TypeError) as error:
        raise InputError(f"{path}: not the {CONFIG} of a run: {error}") from None
    if config.format != RUN_FORMAT:
        raise InputError(f"{path}: format {config.format}, this version reads {RUN_FORMAT}")
    return config


def read_metrics(folder: Path) -> dict:
    """Read ``metrics.json`` of a run folder.

    Raises:
        MissingInputError: there is none. InputError: it is not JSON.
    """
    path = folder / METRICS
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise MissingInputError(f"cannot read {path}: {error.strerror}") from None
    except ValueError as error:
        raise InputError(f"{path}: {error}") from None


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
    if not (temperature > 0 and 0 <= threshold <= 1):
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
    model = GPT2Classifier(config.model_config)
    try:
        model.load_state_dict(load_file(folder / WEIGHTS))
    except (OSError, RuntimeError, SafetensorError) as error:
        reason = " ".join(line.strip() for line in str(error).splitlines()[:2])
        raise InputError(f"{folder / WEIGHTS}: {reason}") from None
    return model.eval()


def read_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer of a run folder, which :func:`write_run` copied there."""
    return Tokenizer.load(folder / TOKENIZER)


def save_state_dict(model: GPT2Classifier, path: Path) -> None:
    """Write a ``.pth`` as the notebook does; none of our commands reads one."""
    torch.save(model.state_dict(), path)
