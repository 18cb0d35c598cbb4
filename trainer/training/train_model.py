"""Encode the three sets, build the model, and train it."""

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from batch.errors import UsageError
from batch.model.tokenizer import Tokenizer
from trainer.data.splits import HELD_OUT
from trainer.data.tensors import EncodedSet, encode_frame, make_loader
from trainer.model.build import build_model, merge_updates, share_rows
from trainer.model.gpt2 import GPT2Classifier, ModelConfig, count_parameters
from trainer.model.initial_weights import InitialWeights, random_weights
from trainer.model.vocabulary import Vocabulary, build_vocabulary, refine_vocabulary
from trainer.recipe import Recipe, fit_to_size, starter_recipe
from trainer.training.accuracy import accuracy_over
from trainer.training.fit import fit
from trainer.training.history import History
from trainer.training.trunk_cache import build_caches
from trainer.training.watch import Watch

log = logging.getLogger("trainer")

SMALL_EMB_DIM = 256  # channels
EVALUATION_BATCH = 32  # messages
BASE_WEIGHT = 1.1  # of a base's logits beside a starter's; docs/measurements.md has the others
CACHE_BYTES = 4 << 30  # of memory for the frozen trunk's output; more than that goes to disk


@dataclass(frozen=True)
class Trained:
    """A trained classifier, in eval mode, and the sets it was trained and tested on."""

    model: GPT2Classifier
    history: History
    accuracy: dict[str, float]  # by set, computed as in the notebook
    sets: dict[str, EncodedSet]
    max_length: int  # tokens


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
    resume_key: dict[str, str] | None = None,
    watch: Watch | None = None,
) -> Trained:
    """Encode ``parts`` (the three sets as text), build the model, and train it.

    After each epoch ``checkpoint`` is written; a checkpoint of a run of the same ``resume_key``
    is resumed. With ``recipe.adds_starter`` a starter is trained after it, and its logits are
    added; that takes seconds and has no checkpoint. ``watch`` gets the figures of the first.

    Raises:
        UsageError: ``recipe.max_length`` is more than the model's context.
        InputError: too few training messages, or a loss that is not a number.
        StorageError: the trunk cache does not fit on the disk.
    """
    first = _train_member(
        parts, labels, tokenizer, weights, recipe, device, trunk_cache, progress, checkpoint,
        resume_key, watch,
    )  # fmt: skip
    if not recipe.adds_starter:
        return first
    log.info("A starter is trained on the same messages; its logits are added.")
    starter = replace(starter_recipe(recipe), max_length=first.max_length)
    second = _train_member(
        parts, labels, tokenizer, random_weights("starter"), starter, device, False, progress
    )
    return _add_second(first, second)


def _add_second(first: Trained, second: Trained) -> Trained:
    """One model of both, whose logits are BASE_WEIGHT times the first's plus the second's."""
    with torch.no_grad():
        for parameter in first.model.score.parameters():
            parameter.mul_(BASE_WEIGHT)
    config = replace(first.model.config, second=second.model.config)
    model = GPT2Classifier(config)
    model.transformer, model.score, model.second = (
        first.model.transformer, first.model.score, second.model
    )  # fmt: skip
    model.requires_grad_(False).eval()
    accuracy = {}
    for name, data in first.sets.items():
        loader = make_loader(len(data), EVALUATION_BATCH, train=False)
        accuracy[name] = accuracy_over(model, data, loader)
        log.info("Both, %s accuracy: %.2f%%", name, 100 * accuracy[name])
    return replace(first, model=model, accuracy=accuracy)


def _train_member(
    parts: dict[str, pd.DataFrame],
    labels: list[str],
    tokenizer: Tokenizer,
    weights: InitialWeights,
    recipe: Recipe,
    device: torch.device,
    trunk_cache: bool,
    progress: bool,
    checkpoint: Path | None = None,
    resume_key: dict[str, str] | None = None,
    watch: Watch | None = None,
) -> Trained:
    recipe = fit_to_size(recipe, len(parts["train"]))
    sets, max_length = encode_parts(parts, labels, tokenizer, recipe, weights)
    log.info(
        "Split: %s; max_length %d tokens",
        " / ".join(f"{len(data)} {name}" for name, data in sets.items()), max_length,
    )  # fmt: skip
    vocabulary = None
    if weights.has_vocabulary:
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
            model, sets, recipe, progress, stand_ins, caches, checkpoint, resume_key, watch
        )
    merge_updates(model)
    return Trained(model.requires_grad_(False).eval(), history, accuracy, sets, max_length)


@contextlib.contextmanager
def _threads_for(config: ModelConfig) -> Iterator[None]:
    """Use one thread for a small model, whose matrix products are too short to split.

    On a busy machine torch's threads would wait for each other at least ten times longer than
    they work.
    """
    threads = torch.get_num_threads()
    if config.emb_dim <= SMALL_EMB_DIM:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def encode_parts(
    parts: dict[str, pd.DataFrame],
    labels: list[str],
    tokenizer: Tokenizer,
    recipe: Recipe,
    weights: InitialWeights,
) -> tuple[dict[str, EncodedSet], int]:
    """Encode the three sets, and the ``max_length`` in tokens that they are padded or cut to.

    It is the recipe's, or the length of the longest training message where the recipe has none.

    Raises:
        UsageError: the recipe's max_length is more than the model's context.
    """
    limit = weights.config.context_length
    wanted = limit if isinstance(recipe.max_length, str) else recipe.max_length
    train_set = encode_frame(parts["train"], labels, tokenizer, wanted)
    max_length = train_set.ids.shape[1]
    if max_length > limit:
        if recipe.max_length is not None:
            raise UsageError(f"--max-length {max_length} is more than the model's {limit} tokens")
        log.info(
            "The longest training message has %d tokens; messages are truncated to %d.",
            max_length, limit,
        )  # fmt: skip
        max_length = limit
        train_set = encode_frame(parts["train"], labels, tokenizer, max_length)
    others = {name: encode_frame(parts[name], labels, tokenizer, max_length) for name in HELD_OUT}
    return {"train": train_set, **others}, max_length


def make_model(
    weights: InitialWeights, recipe: Recipe, vocabulary: Vocabulary | None, classes: int
) -> GPT2Classifier:
    """The classifier before training; ``vocabulary`` is that of :attr:`has_vocabulary`."""
    config = replace(
        weights.config,
        classes=classes,
        pooling=recipe.pooling,
        causal=recipe.causal,
        drop_rate=recipe.drop_rate,
    )
    if vocabulary is None:
        return build_model(config, recipe, weights.tensors)
    if weights.tensors is not None and weights.token_map is not None:
        return _refine_base(config, recipe, weights.tensors, weights.token_map, vocabulary)
    config = replace(config, vocab_size=vocabulary.rows, remapped=True)
    model = build_model(config, recipe, None)
    share_rows(model.transformer, vocabulary)
    # A thousand messages train each position too seldom, so positions start at zero.
    torch.nn.init.zeros_(model.transformer.wpe.weight)
    return model


def _refine_base(
    config: ModelConfig,
    recipe: Recipe,
    tensors: dict[str, Tensor],
    token_map: Tensor,
    vocabulary: Vocabulary,
) -> GPT2Classifier:
    """A base whose rows are split by the labelled messages' own tokens, letters and shapes.

    Each row starts as the base's row and gets the starter's shared vectors, from zero, so that
    rare words and numbers learn together.
    """
    refined, of_base = refine_vocabulary(token_map, vocabulary)
    config = replace(config, vocab_size=refined.rows)
    rows = {**tensors, "wte.weight": tensors["wte.weight"][of_base]}
    model = build_model(config, recipe, rows)
    share_rows(model.transformer, refined, from_zero=False)
    return model
