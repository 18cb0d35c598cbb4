"""The training loop: the notebook's steps, and what a recipe adds to them."""

import logging
import math
import time
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from tqdm import tqdm

from batch.errors import InputError
from trainer.data.tensors import EncodedSet, drop_tokens, make_loader, trim
from trainer.model.gpt2 import GPT2Classifier
from trainer.recipe import Recipe
from trainer.training.accuracy import accuracy_over, loss_over, set_logits
from trainer.training.checkpoint import read_checkpoint, write_checkpoint
from trainer.training.history import History
from trainer.training.loss import batch_loss
from trainer.training.trunk_cache import TrunkCache
from trainer.training.watch import Watch

log = logging.getLogger("trainer")


def learning_rate_factor(step: int, total: int, recipe: Recipe) -> float:
    """The factor of the learning rate at ``step`` (from 0) of ``total`` steps."""
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
    caches: dict[str, TrunkCache] | None = None,
    checkpoint: Path | None = None,
    resume_key: dict[str, str] | None = None,
    watch: Watch | None = None,
) -> tuple[History, dict[str, float]]:
    """Train ``model`` in place. Returns the history and the accuracies over the full sets.

    Random numbers are drawn in the order of the notebook, so with pretrained weights on the
    same device the figures are the notebook's.

    Args:
        sets: ``train``, ``validation`` and ``test``, on the model's device.
        stand_ins: those of the starter's :class:`~trainer.model.vocabulary.Vocabulary`.
        caches: those of :func:`~trainer.training.trunk_cache.build_caches`.
        checkpoint: file to write after each epoch; the run resumes from a checkpoint there
            that has the same ``resume_key``.
        watch: gets the figures of each evaluation.

    Raises:
        InputError: fewer training messages than one batch, or a loss that is not finite.
    """
    if len(sets["train"]) < recipe.batch_size:
        raise InputError(
            f"{len(sets['train'])} training messages do not fill one batch of {recipe.batch_size}"
        )
    loop = _Loop(model, sets, recipe, stand_ins, caches or {}, checkpoint, resume_key or {})
    loop.watch = watch or loop.watch
    try:
        return loop.run(progress)
    finally:
        loop.watch.close()


class _Loop:
    """The state of one training run."""

    def __init__(
        self,
        model: GPT2Classifier,
        sets: dict[str, EncodedSet],
        recipe: Recipe,
        stand_ins: Tensor | None,
        caches: dict[str, TrunkCache],
        checkpoint: Path | None,
        resume_key: dict[str, str],
    ):
        self.model, self.sets, self.recipe = model, sets, recipe
        self.stand_ins, self.caches = stand_ins, caches
        self.checkpoint, self.resume_key = checkpoint, resume_key
        self.loaders = {
            name: make_loader(
                len(data),
                recipe.batch_size,
                train=name == "train",
                lengths=data.lengths if recipe.group_by_length else None,
            )
            for name, data in sets.items()
        }
        device = model.score.weight.device
        self.trainable = [p for p in model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(
            self.trainable,
            lr=recipe.learning_rate,
            weight_decay=recipe.weight_decay,
            fused=device.type in ("cuda", "cpu"),
        )
        self.per_epoch = math.ceil(len(self.loaders["train"]) / recipe.accumulate)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer,
            lambda step: learning_rate_factor(step, recipe.epochs * self.per_epoch, recipe),
        )
        self.average = None
        if recipe.average_decay is not None:
            self.average = AveragedModel(model, avg_fn=self._average)
        self.autocast = torch.autocast(
            device.type, torch.bfloat16, enabled=recipe.bf16 and device.type == "cuda"
        )
        self.history = History()
        self.watch = Watch()
        self.tokens = torch.zeros((), dtype=torch.int64, device=device)  # since the last figures
        self.clock = 0.0  # when their training began; later by the time of evaluations
        self.step = -1
        # Validation loss, and the trained weights: a frozen trunk need not be copied.
        self.best: tuple[float, dict[str, Tensor]] | None = None

    def run(self, progress: bool) -> tuple[History, dict[str, float]]:
        names = " / ".join(f"{len(loader)} {name}" for name, loader in self.loaders.items())
        log.info("%s batches", names)
        if not self._resume():
            self._report_initial()
            torch.manual_seed(self.recipe.seed)
        self.watch.begin(self.step)
        self.clock = time.monotonic()
        start = self.clock - self.history.seconds
        total = self.recipe.epochs * len(self.loaders["train"])
        with tqdm(
            total=total, initial=self.step + 1, unit="step", disable=None if progress else True
        ) as bar:
            while self.history.epochs < self.recipe.epochs and not self._is_over():
                self._run_epoch(bar)
                self.history.seconds = time.monotonic() - start
                if self.checkpoint is not None:
                    write_checkpoint(self.checkpoint, self.resume_key, self._state())
        if self.best is not None and self.recipe.keep == "best":
            self.model.load_state_dict(self.best[1], strict=False)
        elif self.average is not None:
            self.model.load_state_dict(self.average.module.state_dict())
        log.info("Training completed in %.2f minutes.", self.history.seconds / 60)
        final = {name: self._accuracy(name) for name in self.sets}
        for name, value in final.items():
            log.info("%s accuracy: %.2f%%", _title(name), 100 * value)
        return self.history, final

    def _run_epoch(self, bar: tqdm) -> None:
        loader, recipe, history = self.loaders["train"], self.recipe, self.history
        loss = torch.zeros(())
        for number, rows in enumerate(loader, 1):
            self.step += 1
            is_update = number % recipe.accumulate == 0 or number == len(loader)
            loss = self._train_step(rows, is_update)
            history.examples_seen += len(rows)
            bar.update()
            if self.step % recipe.eval_freq == 0:
                self._check_loss(loss)
                self._evaluate_loss(history.epochs + 1, bar)
        self._check_loss(loss)
        history.epochs += 1
        pause = time.monotonic()
        self._evaluate_accuracy()
        if recipe.keep == "best" or recipe.patience is not None:
            self._keep_best()
        self.clock += time.monotonic() - pause

    def _train_step(self, rows: Tensor, is_update: bool) -> Tensor:
        model, recipe, data = self.model, self.recipe, self.sets["train"]
        model.train()
        rows = rows.to(data.ids.device)
        self.tokens += data.lengths[rows].sum()
        with self.autocast:
            logits = self._train_logits(rows)
            loss = batch_loss(logits.float(), data, rows, recipe.loss, recipe.ignore_index)
        (loss / recipe.accumulate).backward()
        if is_update:
            if recipe.clip_norm is not None:
                nn.utils.clip_grad_norm_(self.trainable, recipe.clip_norm)
            self.optimizer.step()
            self.optimizer.zero_grad()
            self.schedule.step()
            if self.average is not None:
                self.average.update_parameters(model)
        return loss.detach()

    def _average(self, average: Tensor, weight: Tensor, count: Tensor | int) -> Tensor:
        """One step of the moving average; a lower decay at first, or early weights dominate it."""
        count = torch.as_tensor(count)
        decay = torch.minimum((1 + count) / (10 + count), torch.tensor(self.recipe.average_decay))
        return torch.lerp(weight, average, decay.to(weight.dtype).to(weight.device))

    def _train_logits(self, rows: Tensor) -> Tensor:
        recipe, data = self.recipe, self.sets["train"]
        if "train" in self.caches:
            return set_logits(self.model, data, rows, self.caches["train"])
        ids, lengths = data.ids[rows], data.lengths[rows]
        if self.stand_ins is not None and recipe.stand_in_rate:
            is_replaced = torch.rand(ids.shape, device=ids.device) < recipe.stand_in_rate
            ids = torch.where(is_replaced, self.stand_ins[ids], ids)
        if recipe.token_drop_rate:
            ids, lengths = drop_tokens(ids, lengths, recipe.token_drop_rate)
        return self.model(trim(ids, lengths, self.model.config))

    def _accuracy(self, name: str, batches: int | None = None) -> float:
        with self.autocast:
            return accuracy_over(
                self.model, self.sets[name], self.loaders[name], batches, self.caches.get(name)
            )

    def _loss(
        self, name: str, batches: int | None = None, model: GPT2Classifier | None = None
    ) -> float:
        with self.autocast:
            return loss_over(
                model or self.model,
                self.sets[name],
                self.loaders[name],
                batches,
                self.caches.get(name),
            )

    def _check_loss(self, loss: Tensor) -> None:
        if not math.isfinite(loss.item()):
            raise InputError(
                f"the loss is {loss.item()} at step {self.step}; try a lower "
                f"--learning-rate than {self.recipe.learning_rate:g}"
            )

    def _report_initial(self) -> None:
        """Log accuracy and loss of the untrained classifier, with the notebook's seeds."""
        torch.manual_seed(self.recipe.seed)
        for name in self.sets:
            log.info(
                "Before training: %s accuracy: %.2f%%", _title(name), 100 * self._accuracy(name, 10)
            )
        for name in self.sets:
            log.info(
                "Before training: %s loss: %.3f",
                _title(name),
                self._loss(name, self.recipe.eval_iter),
            )

    def _evaluate_loss(self, epoch: int, bar: tqdm) -> None:
        tokens = self.tokens.item()  # waits for a GPU
        seconds = max(time.monotonic() - self.clock, 1e-9)
        train, validation = (
            self._loss(name, self.recipe.eval_iter) for name in ("train", "validation")
        )
        self.history.steps.append(self.step)
        self.history.train_losses.append(train)
        self.history.validation_losses.append(validation)
        self.watch.add(
            self.step, epoch, train_loss=train, validation_loss=validation,
            learning_rate=self.optimizer.param_groups[0]["lr"],
            tokens_per_second=round(tokens / seconds, 1),
        )  # fmt: skip
        bar.set_postfix(loss=f"{train:.3f}")
        log.info(
            "Ep %d (Step %06d): Train loss %.3f, Val loss %.3f", epoch, self.step, train, validation
        )
        self.tokens.zero_()
        self.clock = time.monotonic()

    def _evaluate_accuracy(self) -> None:
        train, validation = (
            self._accuracy(name, self.recipe.eval_iter) for name in ("train", "validation")
        )
        self.history.train_accuracies.append(train)
        self.history.validation_accuracies.append(validation)
        self.watch.add(
            self.step, self.history.epochs, train_accuracy=train, validation_accuracy=validation
        )
        log.info(
            "Training accuracy: %.2f%% | Validation accuracy: %.2f%%",
            100 * train, 100 * validation,
        )  # fmt: skip

    def _keep_best(self) -> None:
        """Copy the trained weights if the loss of the whole validation set is the lowest so far.

        With a moving average these are the average's: they are what the run would end with.
        """
        model = self.model if self.average is None else self.average.module
        with torch.random.fork_rng(devices=[]):  # keeps the order of training unchanged
            loss = self._loss("validation", model=model)
        if self.best is None or loss < self.best[0]:
            trained = {
                name: parameter.detach().clone()
                for name, parameter in model.named_parameters()
                if parameter.requires_grad
            }
            self.best = (loss, trained)
            self.history.best_epoch = self.history.epochs
        log.info(
            "Validation loss %.4f; the best is %.4f, of epoch %d",
            loss, self.best[0], self.history.best_epoch,
        )  # fmt: skip

    def _is_over(self) -> bool:
        """True if ``patience`` epochs passed without a lower validation loss."""
        if self.recipe.patience is None or self.history.best_epoch is None:
            return False
        return self.history.epochs - self.history.best_epoch >= self.recipe.patience

    def _state(self) -> dict:
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "average": self.average.state_dict() if self.average is not None else None,
            "best": self.best,
            "history": self.history.to_dict(),
            "step": self.step,
        }

    def _resume(self) -> bool:
        state = read_checkpoint(self.checkpoint, self.resume_key) if self.checkpoint else None
        if state is None:
            return False
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        self.best = tuple(state["best"]) if state["best"] else None
        self.history = History(**state["history"])
        self.step = state["step"]
        log.info("Resuming after epoch %d of %d.", self.history.epochs, self.recipe.epochs)
        return True


def _title(name: str) -> str:
    return name.replace("train", "training").capitalize()
