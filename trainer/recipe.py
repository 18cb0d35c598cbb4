"""Recipes: all settings of a training run except data and weights.

``book`` is the published notebook, to the letter. ``default`` is for use: all messages in
their natural mix, near copies in one set, the last real token, the epoch with the lowest
validation loss, and a threshold from the validation set. Both are for pretrained weights. A
model that starts from random weights keeps the recipe's data, split, pooling, order and
choices by validation, and takes the other settings of :data:`FROM_RANDOM`.
"""

from dataclasses import asdict, dataclass, replace
from typing import Any

SPLITS_BY_NAME = ("book", "grouped")
SCHEDULES = ("constant", "cosine")
LOSSES = ("margin", "soft")  # of a distillation, see trainer/training/loss.py
TRAINABLE = ("head", "last_block", "last_two_blocks", "all", "lora")


@dataclass(frozen=True)
class Recipe:
    """The settings of one training run; ``config.json`` has all of them."""

    name: str
    pooling: str
    trainable: str = "last_block"  # one of TRAINABLE
    lora_rank: int = 16
    lora_alpha: float = 16.0
    causal: bool = True  # False: every position sees all others, padding included
    split: str = "book"  # or "grouped": near copies are in the same set, quotes mean nothing
    notices: bool = False  # to the SMS Spam Collection: see trainer/data/notices.py
    balance: bool = True  # cut every class to the size of the smallest
    train_fraction: float = 0.7
    validation_fraction: float = 0.1  # the rest is the test set
    split_seed: int = 123  # pandas random_state of balancing and shuffling
    max_length: int | str | None = None  # tokens; None: longest training message; "model": context
    batch_size: int = 8  # messages
    accumulate: int = 1  # batches whose gradients are added for one optimizer step
    group_by_length: bool = False  # batches of messages of similar length, in random order
    loss: str = "labels"  # cross-entropy with the labels; or one of LOSSES
    ignore_index: int = -100  # target value that the loss ignores
    epochs: int = 5
    min_steps: int = 0  # fewer messages are passed over more often, in smaller batches
    learning_rate: float = 5e-5
    weight_decay: float = 0.1
    schedule: str = "constant"  # or "cosine", after a linear warm-up
    warmup_fraction: float = 0.0  # of all steps
    clip_norm: float | None = None  # global gradient norm; None: unclipped
    average_decay: float | None = None  # of a moving average of the weights; None: no average
    drop_rate: float = 0.0
    token_drop_rate: float = 0.0  # probability that a training token is deleted
    stand_in_rate: float = 0.0  # probability that only its shape is shown; starter
    min_token_count: int = 2  # messages that must have a token for its own row; starter
    eval_freq: int = 50  # steps between two evaluations of the loss
    eval_iter: int = 5  # batches of each such evaluation
    keep: str = "last"  # or "best": the weights of the epoch with the lowest validation loss
    patience: int | None = None  # stop after so many epochs without a lower validation loss
    fit_threshold: bool = False  # for two classes: see choose_plain_threshold
    adds_starter: bool = False  # train a starter, too, and add its logits; for a base
    bf16: bool = False  # autocast, on CUDA
    seed: int = 123

    def to_dict(self) -> dict:
        return asdict(self)


RECIPES = {
    "book": Recipe("book", pooling="last_position"),
    "default": Recipe(
        "default",
        pooling="last_token",
        split="grouped",
        notices=True,
        balance=False,
        keep="best",
        fit_threshold=True,
    ),
}

# Chosen by the runs in docs/measurements.md, section "Starter".
FROM_RANDOM: dict[str, Any] = {
    "trainable": "all",
    "epochs": 4,
    "learning_rate": 2e-3,
    "warmup_fraction": 0.1,
    "clip_norm": 1.0,
    "average_decay": 0.998,
    "drop_rate": 0.1,
    "token_drop_rate": 0.1,
    "stand_in_rate": 0.1,
}

MIN_TOKEN_SHARE = 1 / 20_000  # of a student's texts must have a token for its own row

# What spam-train distill changes in ``default``; chosen by the runs in docs/distilling.md.
DISTILLED: dict[str, Any] = {
    "name": "distilled",
    "loss": "margin",
    "schedule": "cosine",
    "batch_size": 128,
    "group_by_length": True,
    "eval_freq": 200,
    "min_steps": 0,
    "adds_starter": False,  # a student is one small model
    # There is text enough; what hides tokens was not measured to help.
    "drop_rate": 0.0,
    "token_drop_rate": 0.0,
    "stand_in_rate": 0.0,
}


# For a base of spam-train pretrain. Chosen by the runs in docs/measurements.md.
FROM_BASE: dict[str, Any] = {
    **FROM_RANDOM,
    "batch_size": 32,
    "learning_rate": 5e-4,
    "drop_rate": 0.2,
    "token_drop_rate": 0.2,
    "stand_in_rate": 0.0,
    "group_by_length": True,
    "min_steps": 100,
    "keep": "last",  # the average of the last epoch is what the runs were scored with
    "adds_starter": True,
}


def get_recipe(
    name: str, from_random: bool = False, from_base: bool = False, **changes: Any
) -> Recipe:
    """The recipe of this name with ``changes``, except those that are None.

    >>> get_recipe("book").learning_rate
    5e-05
    """
    recipe = RECIPES[name]
    if from_random:
        recipe = replace(recipe, **FROM_RANDOM)
    elif from_base:
        recipe = replace(recipe, **FROM_BASE)
    changes = {key: value for key, value in changes.items() if value is not None}
    if "epochs" in changes:
        changes.setdefault("min_steps", 0)
    return replace(recipe, **changes)


def fit_to_size(recipe: Recipe, messages: int) -> Recipe:
    """The recipe with as many epochs as ``min_steps`` takes on so few training messages.

    >>> small = fit_to_size(get_recipe("default", from_base=True), 40)
    >>> small.batch_size, small.epochs
    (5, 13)
    """
    if not recipe.min_steps:
        return recipe
    batch = min(recipe.batch_size, max(4, messages // 8))
    per_epoch = max(1, messages // batch // recipe.accumulate)
    epochs = max(recipe.epochs, -(-recipe.min_steps // per_epoch))
    return replace(recipe, batch_size=batch, epochs=epochs)


def fit_vocabulary(recipe: Recipe, texts: int) -> Recipe:
    """The recipe of a student: the more texts, the more of them must have a token for its own row.

    A vector that few texts have trained fits those alone; made-up texts repeat a rare token, and
    it is no less rare for that. docs/distilling.md has what this saves.

    >>> fit_vocabulary(get_recipe("default"), 1_000_000).min_token_count
    50
    """
    wanted = round(MIN_TOKEN_SHARE * texts)
    return replace(recipe, min_token_count=max(recipe.min_token_count, wanted))


def starter_recipe(recipe: Recipe) -> Recipe:
    """The recipe of the starter that ``adds_starter`` trains beside a base, in as many epochs."""
    own = {**FROM_RANDOM, "epochs": recipe.epochs, "batch_size": 8, "group_by_length": False}
    return replace(recipe, **own, adds_starter=False)
