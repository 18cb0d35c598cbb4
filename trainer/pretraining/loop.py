"""The training loop of a language model: steps, evaluations, checkpoints."""

import logging
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm import tqdm

from batch.errors import InputError
from trainer.pretraining.language_model import LanguageModel
from trainer.pretraining.text import TokenStream, epochs_of
from trainer.training.checkpoint import read_checkpoint, write_checkpoint

log = logging.getLogger("trainer")

WARMUP_STEPS = 100
TIMED_STEPS = 30  # after which a budget in minutes becomes one in tokens
CLIP_NORM = 1.0
WEIGHT_DECAY = 0.1  # of matrices within blocks
BETAS = (0.9, 0.95)
LAST_RATE = 0.05  # share of the learning rate at the end


@dataclass(frozen=True)
class Budget:
    """How long a language model is trained; ``seconds`` counts only where ``tokens`` is None."""

    tokens: int | None = None
    seconds: float = 0.0


@dataclass(frozen=True)
class LoopOptions:
    """The settings of a run that decide its weights, and those that do not."""

    batch: int = 8  # rows of a step
    drawn: int = 512  # rows of the softmax beside the batch's own; 0: all
    learning_rate: float = 2e-3
    seed: int = 123
    bf16: bool = False  # autocast, on CUDA
    eval_tokens: int = 1_000_000  # between two evaluations
    save_seconds: float = 60.0  # between two checkpoints
    progress: bool = True


@dataclass
class PretrainHistory:
    """Figures of a run; losses are nats a token over all rows, of the validation text."""

    tokens: list[int] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    best_loss: float = math.inf
    best_tokens: int = 0
    step: int = 0  # complete ones
    total_steps: int = 0  # 0: not known yet
    seconds: float = 0.0

    def to_dict(self) -> dict:
        return asdict(self)


def rate_factor(step: int, total: int) -> float:
    """The factor of the learning rate at ``step`` (from 0): linear warm-up, then a cosine."""
    if step < WARMUP_STEPS:
        return (step + 1) / (WARMUP_STEPS + 1)
    progress = (step - WARMUP_STEPS) / max(1, total - WARMUP_STEPS)
    return LAST_RATE + (1 - LAST_RATE) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def run_loop(
    model: LanguageModel,
    streams: tuple[TokenStream, TokenStream],
    length: int,
    budget: Budget,
    options: LoopOptions,
    save_best: Callable[[LanguageModel, PretrainHistory], None],
    checkpoint: Path | None = None,
    resume_key: dict[str, str] | None = None,
) -> PretrainHistory:
    """Train ``model`` in place on rows of ``length`` tokens until the budget is spent.

    ``streams`` are those of training and validation. ``save_best`` is called at each lower
    validation loss. A run resumes from ``checkpoint`` if it has the same ``resume_key``.

    Raises:
        InputError: too little text, or a loss that is not finite.
    """
    return _Loop(model, streams, length, budget, options, checkpoint, resume_key or {}).run(
        save_best
    )


class _Loop:
    """The state of one run."""

    def __init__(
        self,
        model: LanguageModel,
        streams: tuple[TokenStream, TokenStream],
        length: int,
        budget: Budget,
        options: LoopOptions,
        checkpoint: Path | None,
        resume_key: dict[str, str],
    ):
        self.model, self.length, self.budget, self.options = model, length, budget, options
        self.stream, self.held_out = streams
        self.checkpoint, self.resume_key = checkpoint, resume_key
        self.device = next(model.parameters()).device
        matrices = [p for name, p in model.named_parameters() if ".h." in name and p.dim() > 1]
        decayed = set(map(id, matrices))
        others = [p for p in model.parameters() if id(p) not in decayed]
        self.optimizer = torch.optim.AdamW(
            [{"params": matrices, "weight_decay": WEIGHT_DECAY},
             {"params": others, "weight_decay": 0.0}],
            lr=options.learning_rate, betas=BETAS, fused=self.device.type in ("cuda", "cpu"),
        )  # fmt: skip
        self.autocast = torch.autocast(
            self.device.type, torch.bfloat16, enabled=options.bf16 and self.device.type == "cuda"
        )
        self.history = PretrainHistory()
        self.step_tokens = options.batch * length

    def run(self, save_best: Callable[[LanguageModel, PretrainHistory], None]) -> PretrainHistory:
        history = self.history
        torch.manual_seed(self.options.seed)
        if self._resume():
            history = self.history
        elif self.budget.tokens is not None:
            history.total_steps = max(1, round(self.budget.tokens / self.step_tokens))
        if history.total_steps and history.step >= history.total_steps:
            return history  # it was killed between its last checkpoint and its end
        batches = epochs_of(self.stream, self.length, self.options.batch, self.options.seed)
        start = time.monotonic() - history.seconds
        saved = time.monotonic()
        per_evaluation = max(1, self.options.eval_tokens // self.step_tokens)
        with tqdm(
            total=(history.total_steps or 1) * self.step_tokens, unit="token", unit_scale=True,
            initial=history.step * self.step_tokens,
            disable=None if self.options.progress else True,
        ) as bar:  # fmt: skip
            for places in islice(batches, history.step, None):
                loss = self._train_step(places)
                history.step += 1
                bar.update(self.step_tokens)
                history.seconds = time.monotonic() - start
                if history.step == TIMED_STEPS and not history.total_steps:
                    self._fix_total(bar)
                if history.step % 50 == 0:
                    self._check_loss(loss)
                    bar.set_postfix(loss=f"{loss.item():.3f}")
                is_over = history.step == history.total_steps
                if is_over or history.step % per_evaluation == 0:
                    self._check_loss(loss)
                    self._evaluate(save_best)
                if time.monotonic() - saved > self.options.save_seconds:
                    history.seconds = time.monotonic() - start
                    self._write()
                    saved = time.monotonic()
                if is_over:
                    break
        return history

    def _fix_total(self, bar: tqdm) -> None:
        """Turn minutes into steps once, so that a resumed run has the same learning rates."""
        history = self.history
        history.total_steps = max(
            history.step + 1, round(self.budget.seconds / history.seconds * history.step)
        )
        bar.total = history.total_steps * self.step_tokens
        log.info(
            "%s tokens a second; the budget is %s tokens",
            f"{history.step * self.step_tokens / history.seconds:,.0f}",
            f"{history.total_steps * self.step_tokens:,}",
        )

    def _train_step(self, places: Tensor) -> Tensor:
        history, options = self.history, self.options
        for group in self.optimizer.param_groups:
            group["lr"] = options.learning_rate * rate_factor(history.step, history.total_steps)
        self.model.train()
        rows, targets = (part.to(self.device) for part in self.stream.take(places, self.length))
        with self.autocast:
            loss = self.model(rows, targets, options.drawn, self._draw_position())
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), CLIP_NORM)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss.detach()

    def _draw_position(self) -> int:
        """The first position of a step's rows: every other step 0, where messages begin.

        Otherwise positions beyond the rows' length would stay random.
        """
        most = self.model.transformer.wpe.num_embeddings - self.length
        return int(torch.randint(most + 1, ())) if self.history.step % 2 else 0

    def _check_loss(self, loss: Tensor) -> None:
        if not math.isfinite(loss.item()):
            raise InputError(
                f"the loss is {loss.item()} at step {self.history.step}; try a lower "
                f"--learning-rate than {self.options.learning_rate:g}"
            )

    def _evaluate(self, save_best: Callable[[LanguageModel, PretrainHistory], None]) -> None:
        history, seen = self.history, self.history.step * self.step_tokens
        loss = validation_loss(self.model, self.held_out, self.length, self.options.batch)
        history.tokens.append(seen)
        history.losses.append(loss)
        is_best = loss < history.best_loss
        if is_best:
            history.best_loss, history.best_tokens = loss, seen
            save_best(self.model, history)
        log.info(
            "%s tokens, %s a second: validation loss %.4f%s",
            f"{seen:,}", f"{seen / history.seconds:,.0f}", loss, ", the best" if is_best else "",
        )  # fmt: skip

    def _write(self) -> None:
        if self.checkpoint is not None:
            state = {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}
            state["history"] = self.history.to_dict()
            write_checkpoint(self.checkpoint, self.resume_key, state)

    def _resume(self) -> bool:
        state = read_checkpoint(self.checkpoint, self.resume_key) if self.checkpoint else None
        if state is None:
            return False
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.history = PretrainHistory(**state["history"])
        log.info("Resuming after %s tokens.", f"{self.history.step * self.step_tokens:,}")
        return True


@torch.no_grad()
def validation_loss(
    model: LanguageModel, stream: TokenStream, length: int, batch: int, most: int = 65_536
) -> float:
    """Mean loss over all rows of the softmax, nats a token, of at most ``most`` tokens.

    A stream of less than one row is read in a shorter one.
    """
    was_training = model.training
    model.eval()
    device = next(model.parameters()).device
    length = min(length, len(stream) - 1)
    places = stream.cut(length)[: max(1, most // length)]
    total = 0.0
    for part in places.split(batch):
        rows, targets = (tensor.to(device) for tensor in stream.take(part, length))
        total += model(rows, targets, 0).item() * len(part)
    model.train(was_training)
    return total / len(places)
