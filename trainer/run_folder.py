"""The run folder: all that a training run leaves, and all that an export needs."""

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
    """What ``config.json`` says: enough to know, and to repeat, a run."""

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
    arguments: dict = field(default_factory=dict)  # what was asked for, to repeat the run
    unsure_band: list | None = None  # two probabilities; scores between get the label unsure
    format: int = RUN_FORMAT

    @property
    def model_config(self) -> ModelConfig:
        return ModelConfig.from_dict(self.model)


def package_versions(*names: str) -> dict[str, str]:
    """Versions of Python, of this project and of the packages named."""
    versions = {"python": platform.python_version(), "spam-batch": __version__}
    for name in names:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "not installed"
    return versions


def write_json(path: Path, values: dict) -> None:
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
    """Read ``config.json`` of a run folder, or such a file by itself.

    Raises:
        MissingInputError: no run folder. InputError: not one that we can read.
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


def read_model(folder: Path, config: RunConfig) -> GPT2Classifier:
    """The trained classifier on the CPU, in eval mode.

    Raises:
        InputError: the weights are not those of ``config.json``.
    """
    model = GPT2Classifier(config.model_config)
    try:
        model.load_state_dict(load_file(folder / WEIGHTS))
    except (OSError, RuntimeError, SafetensorError) as error:
        reason = " ".join(line.strip() for line in str(error).splitlines()[:2])
        raise InputError(f"{folder / WEIGHTS}: {reason}") from None
    return model.eval()


def read_tokenizer(folder: Path) -> Tokenizer:
    return Tokenizer.load(folder / TOKENIZER)


def save_state_dict(model: GPT2Classifier, path: Path) -> None:
    """The notebook's ``torch.save(model.state_dict())``, for those who ask for a ``.pth``."""
    torch.save(model.state_dict(), path)


def load_state_dict(model: GPT2Classifier, path: Path) -> None:
    """Read a ``.pth`` of :func:`save_state_dict`; a pickle that holds code is refused.

    Raises:
        InputError: not a state dict of this model.
    """
    try:
        model.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:  # torch raises pickle, zip and runtime errors here
        raise InputError(f"{path}: no state dict of this model: {type(error).__name__}") from None
