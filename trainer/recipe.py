"""Recipes: everything that decides a training run, apart from data and weights.

``book`` is the published notebook. ``default`` differs from it in one thing,
the pooled position. Both are written for pretrained weights; a model that
starts from random weights keeps the recipe's data, split, pooling and order,
and takes the optimizer settings of :data:`FROM_RANDOM` instead.
"""

from dataclasses import asdict, dataclass, replace

SPLITS_BY_NAME = ("book", "grouped")
SCHEDULES = ("constant", "cosine")
TRAINABLE = ("head", "last_block", "last_two_blocks", "all", "lora")


@dataclass(frozen=True)
class Recipe:
    """One training run's settings; frozen, and stored whole in ``config.json``."""

    name: str
    pooling: str
    trainable: str = "last_block"  # which parameters learn
    lora_rank: int = 16
    lora_alpha: float = 16.0
    causal: bool = True  # False: every position sees all others, padding too
    split: str = "book"  # or "grouped": near copies stay on one side, no quote guessing
    balance: bool = True  # every class cut down to the smallest
    train_fraction: float = 0.7
    validation_fraction: float = 0.1  # the rest is the test set
    split_seed: int = 123  # pandas random_state of balancing and shuffling
    max_length: int | str | None = None  # tokens; None: longest training message; "model": context
    batch_size: int = 8  # messages
    accumulate: int = 1  # batches whose gradients make one step of the optimizer
    group_by_length: bool = False  # batches of messages of like length, in random order
    ignore_index: int = -100  # a target that the loss leaves out
    epochs: int = 5
    learning_rate: float = 5e-5
    weight_decay: float = 0.1
    schedule: str = "constant"  # or "cosine", after a linear warm-up
    warmup_fraction: float = 0.0  # of all steps
    clip_norm: float | None = None  # global gradient norm; None: unclipped
    average_decay: float | None = None  # of a moving average of the weights; None: the last ones
    drop_rate: float = 0.0
    token_drop_rate: float = 0.0  # probability that a training token is deleted
    stand_in_rate: float = 0.0  # probability that it is shown by its shape alone
    min_token_count: int = 2  # messages that must hold a token for a row of its own; starter
    eval_freq: int = 50  # steps between two evaluations of the loss
    eval_iter: int = 5  # batches that such an evaluation looks at
    keep: str = "last"  # or "best": the weights of the epoch with the least validation loss
    patience: int | None = None  # epochs without a better one after which training stops
    bf16: bool = False  # autocast, on CUDA
    seed: int = 123

    def to_dict(self) -> dict:
        return asdict(self)


RECIPES = {
    "book": Recipe("book", pooling="last_position"),
    "default": Recipe("default", pooling="last_token"),
}

# Chosen by the runs in docs/measurements.md, section "Starter".
FROM_RANDOM = {
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


def get_recipe(name: str, from_random: bool = False, **changes) -> Recipe:
    """A recipe by name; ``changes`` that are None are left out.

    >>> get_recipe("book").learning_rate
    5e-05
    """
    recipe = RECIPES[name]
    if from_random:
        recipe = replace(recipe, **FROM_RANDOM)
    return replace(recipe, **{key: value for key, value in changes.items() if value is not None})
