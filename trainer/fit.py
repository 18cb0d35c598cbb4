"""The training loop of the notebook, step for step."""

import logging
import math
import time
from dataclasses import asdict, dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader
from tqdm import tqdm

from batch.errors import InputError
from batch.tokenizer import PAD_ID
from trainer.dataset import EncodedSet, make_loader
from trainer.model import GPT2Classifier, ModelConfig, init_weights
from trainer.recipe import Recipe
from trainer.weights import load_trunk

log = logging.getLogger("trainer")


@dataclass
class History:
    """What the loop saw. Losses are taken every ``eval_freq`` steps, accuracies every epoch."""

    steps: list[int] = field(default_factory=list)
    train_losses: list[float] = field(default_factory=list)
    validation_losses: list[float] = field(default_factory=list)
    train_accuracies: list[float] = field(default_factory=list)
    validation_accuracies: list[float] = field(default_factory=list)
    examples_seen: int = 0
    seconds: float = 0.0

    def to_dict(self) -> dict:
        return asdict(self)


def select_device(name: str = "auto") -> torch.device:
    """CUDA, else MPS from torch 2.9 on (older ones gave unstable results), else CPU.

    Raises:
        InputError: the device asked for by name is not there.
    """
    version = tuple(int(part) for part in torch.__version__.split("+")[0].split(".")[:2])
    available = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available() and version >= (2, 9),
        "cpu": True,
    }
    if name == "auto":
        return torch.device(next(kind for kind, there in available.items() if there))
    if not available[name]:
        raise InputError(f"the device {name} is not available to torch {torch.__version__} here")
    return torch.device(name)


def build_model(
    config: ModelConfig, recipe: Recipe, tensors: dict[str, Tensor] | None
) -> GPT2Classifier:
    """A classifier with its trunk loaded from ``tensors`` or, if None, drawn at random.

    The head is drawn right after seeding, as in the notebook. Parameters that
    the recipe does not train are frozen.
    """
    model = GPT2Classifier(config)
    if tensors is not None:
        load_trunk(model.transformer, tensors)
    else:
        torch.manual_seed(recipe.seed)
        init_weights(model.transformer, config.layers)
    for parameter in model.parameters():
        parameter.requires_grad = False
    torch.manual_seed(recipe.seed)
    model.score = nn.Linear(config.emb_dim, config.classes)
    for module in _trainable_modules(model, recipe.trainable):
        for parameter in module.parameters():
            parameter.requires_grad = True
    return model


def _trainable_modules(model: GPT2Classifier, trainable: str) -> list[nn.Module]:
    trunk = model.transformer
    return {
        "head": [model.score],
        "last_block": [model.score, trunk.ln_f, trunk.h[-1]],
        "all": [model],
    }[trainable]


def trim(ids: Tensor, lengths: Tensor, pooling: str) -> Tensor:
    """Cut padding that no message of the batch needs.

    With ``last_token`` nothing to the right of a message can change its
    logits, so this is exact; with ``last_position`` the padding is part of the
    input and stays.
    """
    if pooling == "last_token":
        return ids[:, : max(1, int(lengths.max()))]
    return ids


def drop_tokens(ids: Tensor, lengths: Tensor, rate: float) -> tuple[Tensor, Tensor]:
    """Delete each token with probability ``rate``; at least one of a message stays.

    ``(B, T)``, ``(B,)`` -> ``(B, T)`` padded again on the right, ``(B,)``.
    """
    position = torch.arange(ids.shape[1], device=ids.device)[None, :]
    real = position < lengths[:, None]
    draw = torch.rand(ids.shape, device=ids.device).masked_fill(~real, -1.0)
    keep = real & ((draw >= rate) | (draw == draw.max(dim=1, keepdim=True).values))
    order = torch.argsort((~keep).to(torch.int8), dim=1, stable=True)
    kept = keep.sum(dim=1)
    return ids.gather(1, order).masked_fill(position >= kept[:, None], PAD_ID), kept


def batch_logits(model: GPT2Classifier, data: EncodedSet, rows: Tensor) -> Tensor:
    """Logits ``(B, K)`` of the messages with these row numbers."""
    rows = rows.to(data.ids.device)
    return model(trim(data.ids[rows], data.lengths[rows], model.config.pooling))


@torch.no_grad()
def accuracy_over(
    model: GPT2Classifier, data: EncodedSet, loader: DataLoader, batches: int | None = None
) -> float:
    """Fraction of messages labelled right in the first ``batches`` batches, all if None."""
    model.eval()
    right = torch.zeros((), dtype=torch.int64, device=data.ids.device)
    seen = 0
    for number, rows in enumerate(loader):
        if batches is not None and number >= batches:
            break
        predicted = batch_logits(model, data, rows).argmax(dim=-1)
        right += (predicted == data.labels[rows.to(predicted.device)]).sum()
        seen += len(rows)
    return right.item() / seen if seen else math.nan


@torch.no_grad()
def loss_over(model: GPT2Classifier, data: EncodedSet, loader: DataLoader, batches: int) -> float:
    """Mean cross-entropy of the first ``batches`` batches, each batch weighing the same."""
    model.eval()
    losses = []
    for number, rows in enumerate(loader):
        if number >= batches:
            break
        target = data.labels[rows.to(data.labels.device)]
        losses.append(F.cross_entropy(batch_logits(model, data, rows), target))
    return torch.stack(losses).mean().item() if losses else math.nan


def learning_rate_factor(step: int, total: int, recipe: Recipe) -> float:
    """What the learning rate is multiplied by at ``step`` of ``total``, both counted from 0."""
    warmup = int(total * recipe.warmup_fraction)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    if recipe.schedule == "constant":
        return 1.0
    progress = (step - warmup) / max(1, total - warmup)
    return 0.5 * (1 + math.cos(math.pi * progress))


def fit(
    model: GPT2Classifier,
    sets: dict[str, EncodedSet],
    recipe: Recipe,
    progress: bool = True,
    stand_ins: Tensor | None = None,
) -> tuple[History, dict[str, float]]:
    """Train in place. Returns the history and the accuracies over the full sets.

    ``sets`` has ``train``, ``validation`` and ``test`` on the model's device.
    Every draw from torch's generator happens where the notebook makes it, so
    with pretrained weights on the same device the figures are the notebook's.
    ``stand_ins`` are those of the starter's :class:`~trainer.vocabulary.Vocabulary`.

    Raises:
        InputError: fewer training messages than one batch, or a loss that is not a number.
    """
    if len(sets["train"]) < recipe.batch_size:
        raise InputError(
            f"{len(sets['train'])} training messages do not fill one batch of {recipe.batch_size}"
        )
    loaders = {
        name: make_loader(len(data), recipe.batch_size, train=name == "train")
        for name, data in sets.items()
    }
    log.info("%s batches", " / ".join(f"{len(loader)} {n}" for n, loader in loaders.items()))
    _report_initial(model, sets, loaders, recipe)

    torch.manual_seed(recipe.seed)
    trainable = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(
        trainable, lr=recipe.learning_rate, weight_decay=recipe.weight_decay
    )
    total = recipe.epochs * len(loaders["train"])
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: learning_rate_factor(step, total, recipe)
    )
    average = None
    if recipe.average_decay is not None:
        average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(recipe.average_decay))
    history = History()
    start = time.monotonic()
    with tqdm(total=total, unit="step", disable=None if progress else True) as bar:
        step = -1
        for epoch in range(1, recipe.epochs + 1):
            for rows in loaders["train"]:
                step += 1
                loss = _train_step(
                    model, sets["train"], rows, recipe, optimizer, trainable, stand_ins
                )
                schedule.step()
                if average is not None:
                    average.update_parameters(model)
                history.examples_seen += len(rows)
                bar.update()
                if step % recipe.eval_freq == 0:
                    _check_loss(loss, step, recipe)
                    _evaluate_loss(model, sets, loaders, recipe, history, epoch, step, bar)
            _check_loss(loss, step, recipe)
            _evaluate_accuracy(model, sets, loaders, recipe, history)
    if average is not None:
        model.load_state_dict(average.module.state_dict())
    history.seconds = time.monotonic() - start
    log.info("Training completed in %.2f minutes.", history.seconds / 60)

    final = {name: accuracy_over(model, sets[name], loaders[name]) for name in sets}
    for name, value in final.items():
        log.info("%s accuracy: %.2f%%", name.replace("train", "training").capitalize(), 100 * value)
    return history, final


def _train_step(
    model: GPT2Classifier,
    data: EncodedSet,
    rows: Tensor,
    recipe: Recipe,
    optimizer: torch.optim.Optimizer,
    trainable: list[nn.Parameter],
    stand_ins: Tensor | None,
) -> Tensor:
    model.train()
    optimizer.zero_grad()
    rows = rows.to(data.ids.device)
    ids, lengths = data.ids[rows], data.lengths[rows]
    if stand_ins is not None and recipe.stand_in_rate:
        is_replaced = torch.rand(ids.shape, device=ids.device) < recipe.stand_in_rate
        ids = torch.where(is_replaced, stand_ins[ids], ids)
    if recipe.token_drop_rate:
        ids, lengths = drop_tokens(ids, lengths, recipe.token_drop_rate)
    loss = F.cross_entropy(model(trim(ids, lengths, recipe.pooling)), data.labels[rows])
    loss.backward()
    if recipe.clip_norm is not None:
        nn.utils.clip_grad_norm_(trainable, recipe.clip_norm)
    optimizer.step()
    return loss.detach()


def _check_loss(loss: Tensor, step: int, recipe: Recipe) -> None:
    if not math.isfinite(loss.item()):
        raise InputError(
            f"the loss is {loss.item()} at step {step}; try a lower "
            f"--learning-rate than {recipe.learning_rate:g}"
        )


def _report_initial(model, sets, loaders, recipe: Recipe) -> None:
    """The notebook's look at the untrained classifier, with its seeds."""
    torch.manual_seed(recipe.seed)
    for name in sets:
        value = accuracy_over(model, sets[name], loaders[name], batches=10)
        title = name.replace("train", "training").capitalize()
        log.info("Before training: %s accuracy: %.2f%%", title, 100 * value)
    for name in sets:
        value = loss_over(model, sets[name], loaders[name], batches=recipe.eval_iter)
        title = name.replace("train", "training").capitalize()
        log.info("Before training: %s loss: %.3f", title, value)


def _evaluate_loss(model, sets, loaders, recipe, history: History, epoch, step, bar) -> None:
    train_loss = loss_over(model, sets["train"], loaders["train"], recipe.eval_iter)
    validation_loss = loss_over(model, sets["validation"], loaders["validation"], recipe.eval_iter)
    history.steps.append(step)
    history.train_losses.append(train_loss)
    history.validation_losses.append(validation_loss)
    bar.set_postfix(loss=f"{train_loss:.3f}")
    log.info(
        "Ep %d (Step %06d): Train loss %.3f, Val loss %.3f",
        epoch, step, train_loss, validation_loss,
    )  # fmt: skip


def _evaluate_accuracy(model, sets, loaders, recipe, history: History) -> None:
    train, validation = (
        accuracy_over(model, sets[name], loaders[name], batches=recipe.eval_iter)
        for name in ("train", "validation")
    )
    history.train_accuracies.append(train)
    history.validation_accuracies.append(validation)
    log.info(
        "Training accuracy: %.2f%% | Validation accuracy: %.2f%%", 100 * train, 100 * validation
    )
