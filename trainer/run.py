"""One training run from files to run folder."""

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from batch.errors import OutputError, UnavailableError, UsageError
from batch.tokenizer import Tokenizer
from trainer.assets import fetch_bpe, fetch_data
from trainer.data import (
    Columns,
    balance,
    default_positive_label,
    read_labelled,
    split,
    write_split,
)
from trainer.dataset import EncodedSet, encode_frame
from trainer.fit import build_model, fit, select_device
from trainer.model import SIZES, GPT2Classifier, ModelConfig, count_parameters, model_config
from trainer.openai_checkpoint import read_openai_checkpoint
from trainer.plots import write_plots
from trainer.recipe import Recipe, get_recipe
from trainer.run_folder import RunConfig, begin_run, package_versions, write_run
from trainer.vocabulary import Vocabulary, build_vocabulary
from trainer.weight_files import fetch_weights
from trainer.weights import read_safetensors

log = logging.getLogger("trainer")

SMALL_EMB_DIM = 256


@dataclass(frozen=True)
class Weights:
    """Where a trunk starts: published tensors, or None for random ones."""

    size: str
    kind: str  # openai, huggingface, random
    origin: str
    statement: str  # one sentence for logs, config.json, bundle.json and summaries
    sha256: dict[str, str]
    tensors: dict[str, Tensor] | None

    def describe(self) -> dict:
        return {key: getattr(self, key) for key in ("kind", "origin", "sha256", "statement")}


def resolve_weights(spec: str, size: str | None, cache: Path) -> Weights:
    """Turn ``--weights`` and ``--model`` into tensors or the decision for random ones.

    ``spec`` is ``auto`` (GPT-2 small if it can be had, else the starter), ``gpt2``
    (any published source), ``openai``, ``huggingface``, ``random``, or a path.

    Raises:
        UnavailableError: the source cannot be had, and ``spec`` is not ``auto``.
        UsageError: the starter was asked for with published weights.
    """
    if spec == "random" or (size == "starter" and spec == "auto"):
        return _random_weights(size or "starter")
    if size == "starter":
        raise UsageError("no weights are published for the starter; use --weights random")
    if spec == "auto" and size is None:
        try:
            return _published_weights("gpt2-small", None, None, cache)
        except UnavailableError as error:
            log.info("%s", error)
            weights = _random_weights("starter")
            log.warning("WARNING: GPT-2's weights cannot be had here. %s", weights.statement)
            return weights
    kind = spec if spec in ("openai", "huggingface") else None
    source = None if kind or spec in ("auto", "gpt2") else Path(spec)
    return _published_weights(size or "gpt2-small", kind, source, cache)


def _random_weights(size: str) -> Weights:
    name = "The starter, a small model of GPT-2's architecture" if size == "starter" else size
    statement = f"{name}, trained from random weights on this data alone; not pretrained GPT-2."
    return Weights(size, "random", "random", statement, {}, None)


def _published_weights(size: str, kind: str | None, source: Path | None, cache: Path) -> Weights:
    files = fetch_weights(cache, size, kind, source)
    read = read_openai_checkpoint if files.kind == "openai" else read_safetensors
    statement = f"{size}, pretrained by OpenAI ({files.origin}), finetuned on this data."
    return Weights(size, files.kind, files.origin, statement, files.sha256, read(files.path))


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
    weights = resolve_weights(options.weights, options.size, options.cache)
    recipe = get_recipe(
        options.recipe, from_random=weights.tensors is None, **(options.changes or {})
    )
    device = select_device(options.device)
    log.info("Recipe: %s. Device: %s. Weights: %s", recipe.name, device, weights.statement)

    frame = read_labelled(data_file.path, options.columns)
    labels = sorted(frame["label"].unique())
    counts = frame["label"].value_counts()
    log.info("%d messages: %s", len(frame), ", ".join(f"{counts[n]} {n}" for n in labels))
    positive = options.positive_label or default_positive_label(labels)
    if positive not in (None, *labels):
        raise UsageError(f"--positive-label {positive!r} is not among: {', '.join(labels)}")
    parts = split(balance(frame, recipe.split_seed) if recipe.balance else frame, recipe)

    tokenizer = Tokenizer.load(bpe_file.path)
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
    try:
        options.out.mkdir(parents=True, exist_ok=True)  # now, not after an hour of training
    except OSError as error:
        raise OutputError(f"cannot create {options.out}: {error.strerror}") from None
    stand_ins = vocabulary.stand_ins.to(device) if vocabulary else None
    with _threads_for(model.config):
        history, accuracy = fit(model, sets, recipe, options.progress, stand_ins)

    data = {
        "name": data_file.name,
        "origin": data_file.origin,
        "sha256": data_file.sha256,
        "lines": data_file.lines,
        "is_partial": data_file.is_partial,
        "rows": len(frame),
    }
    metrics = {
        "accuracy": accuracy,
        "messages": {name: len(part) for name, part in sets.items()},
        "truncated": {name: part.truncated for name, part in sets.items()},
        "weights": weights.statement,
        "data": data,
        "history": history.to_dict(),
    }
    config = RunConfig(
        model=model.config.to_dict(),
        recipe=recipe.to_dict(),
        labels=labels,
        positive_label=positive,
        max_length=max_length,
        weights=weights.describe(),
        data=data,
        tokenizer_sha256=bpe_file.sha256,
        device=str(device),
        versions=package_versions("torch", "tiktoken", "pandas", "numpy", "safetensors"),
    )
    begin_run(options.out)
    write_split(options.out, parts)
    write_plots(options.out, history, recipe.epochs)
    write_run(options.out, config, model, metrics, bpe_file.path)
    return metrics


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
    parts, labels: list[str], tokenizer: Tokenizer, recipe: Recipe, weights: Weights
) -> tuple[dict[str, EncodedSet], int]:
    """Encode the three sets to the length of the longest training message.

    Raises:
        UsageError: that length is more than the model's context.
    """
    limit = SIZES[weights.size].context_length
    train_set = encode_frame(parts["train"], labels, tokenizer, recipe.max_length)
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
    weights: Weights, recipe: Recipe, vocabulary: Vocabulary | None, classes: int
) -> GPT2Classifier:
    """The classifier before training, with the starter's own vocabulary if there is one."""
    config: ModelConfig = model_config(
        weights.size, classes=classes, pooling=recipe.pooling, drop_rate=recipe.drop_rate
    )
    if vocabulary is None:
        return build_model(config, recipe, weights.tensors)
    config = replace(config, vocab_size=vocabulary.rows, remapped=True)
    model = build_model(config, recipe, None)
    with torch.no_grad():
        model.transformer.token_map.copy_(vocabulary.token_map)
    return model
