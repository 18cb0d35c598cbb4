"""One training run from files to run folder."""

import contextlib
import hashlib
import json
import logging
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import pandas as pd
import torch

from batch.errors import InputError, OutputError, UsageError
from batch.model.tokenizer import Tokenizer
from trainer.data.labelled_file import Columns, default_positive_label, write_split
from trainer.data.splits import make_split, read_messages
from trainer.data.tensors import EncodedSet, encode_frame
from trainer.evaluation.outcome import check_band, judge
from trainer.fetch.assets import fetch_bpe, fetch_data
from trainer.model.build import build_model, merge_updates, select_device, share_rows
from trainer.model.gpt2 import GPT2Classifier, ModelConfig, count_parameters
from trainer.model.initial_weights import InitialWeights, resolve_weights
from trainer.model.vocabulary import Vocabulary, build_vocabulary
from trainer.recipe import Recipe, get_recipe
from trainer.report.notebook_plots import write_plots
from trainer.report.page import write_report
from trainer.run_folder import (
    CHECKPOINT,
    PREDICTIONS,
    RunConfig,
    begin_run,
    check_folder,
    package_versions,
    read_config,
    write_run,
)
from trainer.training.fit import History, fit
from trainer.training.trunk_cache import build_caches

log = logging.getLogger("trainer")

SMALL_EMB_DIM = 256  # channels
CACHE_BYTES = 4 << 30  # of memory for the frozen trunk's output; above, it goes to disk


@dataclass(frozen=True)
class RunOptions:
    """What a user asks of one run; None leaves the choice to the recipe or to us."""

    out: Path
    recipe: str = "default"
    weights: str = "auto"
    size: str | None = None
    cache: Path = Path("data")
    data: Path | None = None
    bpe: Path | None = None
    columns: Columns = field(default_factory=Columns)
    positive_label: str | None = None
    device: str = "auto"
    changes: dict | None = None  # fields of Recipe
    progress: bool = True
    trunk_cache: bool = True  # keep the frozen trunk's output
    restart: bool = False  # leave a checkpoint aside
    max_blocked: float | None = None  # share of the other class that may get the positive label
    unsure_band: tuple[float, float] | None = None  # scores that are neither; for the bundle
    expected: dict | None = None  # hashes that data and weights must have

    def arguments(self) -> dict:
        """What ``config.json`` keeps to repeat the run."""
        return {
            "recipe": self.recipe,
            "weights": self.weights,
            "size": self.size,
            "data": str(self.data.resolve()) if self.data else None,
            "columns": asdict(self.columns),
            "positive_label": self.positive_label,
            "max_blocked": self.max_blocked,
            "unsure_band": self.unsure_band,
        }


def options_of_config(path: Path, options: RunOptions) -> RunOptions:
    """The options that repeat the run whose ``config.json`` this is, into ``options.out``.

    Raises:
        InputError: the file is not of a run that can be repeated.
    """
    config = read_config(path)
    asked = config.arguments
    if not asked:
        raise InputError(f"{path}: does not say what was asked for, so it cannot be repeated")
    random = config.weights["kind"] == "random"
    return replace(
        options,
        recipe=asked["recipe"],
        # What auto came to, not auto: it may come to something else here.
        weights="random" if random else asked["weights"],
        size=config.model["size"],
        data=Path(asked["data"]) if asked["data"] else options.data,
        columns=Columns(**asked["columns"]),
        positive_label=asked["positive_label"],
        max_blocked=asked["max_blocked"],
        unsure_band=asked.get("unsure_band"),
        changes={key: value for key, value in config.recipe.items() if key != "name"},
        expected={"data": config.data["sha256"], "weights": config.weights["sha256"]},
    )


@dataclass(frozen=True)
class Trained:
    """A trained classifier with what it was trained on."""

    model: GPT2Classifier
    history: History
    accuracy: dict[str, float]  # by set, as the notebook takes it
    sets: dict[str, EncodedSet]
    max_length: int  # tokens


def train(options: RunOptions) -> dict:
    """Fetch, read, split, encode, fit and write the run folder; returns the metrics.

    Raises:
        SpamBatchError: with one sentence on what is wrong.
    """
    data_file = fetch_data(options.cache, options.data)
    bpe_file = fetch_bpe(options.cache, options.bpe)
    if data_file.is_partial:
        log.warning(
            "WARNING: an incomplete copy of the SMS Spam Collection: %s lines of 5,574.",
            f"{data_file.lines:,}",
        )
    changes = options.changes or {}
    recipe = get_recipe(options.recipe, **changes)  # what it says of data holds for any weights
    device = select_device(options.device)
    frame = read_messages(data_file.path, options.columns, recipe)
    labels = sorted(frame["label"].unique())
    counts = frame["label"].value_counts()
    log.info("%d messages: %s", len(frame), ", ".join(f"{counts[n]} {n}" for n in labels))
    positive = options.positive_label or default_positive_label(labels)
    if positive not in (None, *labels):
        raise UsageError(f"--positive-label {positive!r} is not among: {', '.join(labels)}")
    if options.max_blocked is not None and (len(labels) > 2 or positive is None):
        raise UsageError("--max-ham-blocked needs two classes, one of them the positive one")
    check_band(options.unsure_band, options.max_blocked, labels, positive)
    parts = make_split(frame, recipe)
    check_folder(options.out, options.data)
    weights = resolve_weights(options.weights, options.size, options.cache)
    _check_expected(options.expected, data_file.sha256, weights)
    recipe = get_recipe(options.recipe, from_random=weights.tensors is None, **changes)
    log.info("Recipe: %s. Device: %s. Weights: %s", recipe.name, device, weights.statement)
    try:
        options.out.mkdir(parents=True, exist_ok=True)  # now, not after an hour of training
    except OSError as error:
        raise OutputError(f"cannot create {options.out}: {error.strerror}") from None
    checkpoint = options.out / CHECKPOINT
    if options.restart:
        checkpoint.unlink(missing_ok=True)
    try:
        trained = train_model(
            parts, labels, Tokenizer.load(bpe_file.path), weights, recipe, device,
            trunk_cache=options.trunk_cache, progress=options.progress, checkpoint=checkpoint,
            identity=_identity(data_file.sha256, weights, recipe, labels, device),
        )  # fmt: skip
    except BaseException:
        if checkpoint.exists():
            log.warning("Kept up to the last whole epoch; the same command goes on from there.")
        raise

    data = {
        "name": data_file.name,
        "origin": data_file.origin,
        "sha256": data_file.sha256,
        "lines": data_file.lines,
        "is_partial": data_file.is_partial,
        "rows": len(frame),
        "labels": {name: int(counts[name]) for name in labels},  # before balancing
    }
    outcome = judge(trained.model, trained.sets, parts, labels, positive, options.max_blocked)
    metrics = {
        **outcome.metrics,
        "accuracy": trained.accuracy,
        "messages": {name: len(part) for name, part in trained.sets.items()},
        "truncated": {name: part.truncated for name, part in trained.sets.items()},
        "weights": weights.statement,
        "data": data,
        "history": trained.history.to_dict(),
    }
    config = RunConfig(
        model=trained.model.config.to_dict(),
        recipe=recipe.to_dict(),
        labels=labels,
        positive_label=positive,
        max_length=trained.max_length,
        weights=weights.describe(),
        data=data,
        tokenizer_sha256=bpe_file.sha256,
        device=str(device),
        unsure_band=options.unsure_band,
        versions=package_versions("torch", "tiktoken", "pandas", "numpy", "safetensors"),
        arguments=options.arguments(),
    )
    begin_run(options.out)
    write_split(options.out, parts)
    outcome.predictions.to_csv(options.out / PREDICTIONS, index=False)
    write_plots(options.out, trained.history, trained.history.epochs)
    write_run(options.out, config, trained.model, metrics, bpe_file.path)
    write_report(options.out)
    checkpoint.unlink(missing_ok=True)
    return metrics


def train_model(
    parts: dict[str, pd.DataFrame],
    labels: list[str],
    tokenizer: Tokenizer,
    weights: InitialWeights,
    recipe: Recipe,
    device: torch.device,
    *,
    trunk_cache: bool = True,
    progress: bool = True,
    checkpoint: Path | None = None,
    identity: str = "",
) -> Trained:
    """Encode the three sets, build the model, and train it."""
    sets, max_length = encode_parts(parts, labels, tokenizer, recipe, weights)
    log.info(
        "Split: %s; max_length %d tokens",
        " / ".join(f"{len(data)} {name}" for name, data in sets.items()), max_length,
    )  # fmt: skip
    vocabulary = None
    if weights.size == "starter":
        messages = tokenizer.encode_all(parts["train"]["text"], max_length)
        vocabulary = build_vocabulary(messages, tokenizer, recipe.min_token_count)
    model = make_model(weights, recipe, vocabulary, len(labels)).to(device)
    log.info(
        "%s parameters, %s of them trained",
        f"{count_parameters(model):,}", f"{count_parameters(model, trainable_only=True):,}",
    )  # fmt: skip
    sets = {name: data.to(device) for name, data in sets.items()}
    stand_ins = vocabulary.stand_ins.to(device) if vocabulary else None
    with _threads_for(model.config):
        folder = checkpoint.parent if checkpoint else None
        caches = build_caches(model, sets, recipe, CACHE_BYTES, folder) if trunk_cache else {}
        history, accuracy = fit(
            model, sets, recipe, progress, stand_ins, caches, checkpoint, identity
        )
    merge_updates(model)
    return Trained(model.requires_grad_(False).eval(), history, accuracy, sets, max_length)


def _check_expected(expected: dict | None, data_sha256: str, weights: InitialWeights) -> None:
    """Refuse to repeat a run on other data or weights.

    Raises:
        InputError: naming which, and both hashes.
    """
    if expected is None:
        return
    for what, found, wanted in (
        ("data", data_sha256, expected["data"]),
        ("weights", weights.sha256, expected["weights"]),
    ):
        if found != wanted:
            raise InputError(
                f"the {what} of this run differ from those of the first: "
                f"{found} instead of {wanted}"
            )


def _identity(data_sha256, weights: InitialWeights, recipe: Recipe, labels, device) -> str:
    """A hash of all that decides the weights, so that no checkpoint of another run is taken."""
    values = [data_sha256, weights.describe(), weights.size, recipe.to_dict(), labels, str(device)]
    text = json.dumps([*values, torch.__version__], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


@contextlib.contextmanager
def _threads_for(config: ModelConfig) -> Iterator[None]:
    """One thread for a small model: its products are too short to share out.

    On a machine that does something else besides, torch's threads then wait for
    each other longer than they work, ten times and more.
    """
    threads = torch.get_num_threads()
    if config.emb_dim <= SMALL_EMB_DIM:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def encode_parts(
    parts, labels: list[str], tokenizer: Tokenizer, recipe: Recipe, weights: InitialWeights
) -> tuple[dict[str, EncodedSet], int]:
    """Encode the three sets to the length of the longest training message.

    Raises:
        UsageError: that length is more than the model's context.
    """
    limit = weights.config.context_length
    wanted = limit if recipe.max_length == "model" else recipe.max_length
    train_set = encode_frame(parts["train"], labels, tokenizer, wanted)
    max_length = train_set.ids.shape[1]
    if max_length > limit:
        if recipe.max_length is not None:
            raise UsageError(f"--max-length {max_length} is more than the model's {limit} tokens")
        log.info("The longest training message has %d tokens; cut to %d.", max_length, limit)
        max_length = limit
        train_set = encode_frame(parts["train"], labels, tokenizer, max_length)
    others = {
        name: encode_frame(parts[name], labels, tokenizer, max_length)
        for name in ("validation", "test")
    }
    return {"train": train_set, **others}, max_length


def make_model(
    weights: InitialWeights, recipe: Recipe, vocabulary: Vocabulary | None, classes: int
) -> GPT2Classifier:
    """The classifier before training, with the starter's own vocabulary if there is one."""
    config = replace(
        weights.config,
        classes=classes,
        pooling=recipe.pooling,
        causal=recipe.causal,
        drop_rate=recipe.drop_rate,
    )
    if vocabulary is None:
        return build_model(config, recipe, weights.tensors)
    config = replace(config, vocab_size=vocabulary.rows, remapped=True)
    model = build_model(config, recipe, None)
    share_rows(model, vocabulary)
    # A thousand messages show each position too seldom: it starts as no difference at all.
    torch.nn.init.zeros_(model.transformer.wpe.weight)
    return model
