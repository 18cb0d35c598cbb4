"""One pretraining run: from files of unlabelled messages to the folder of a base."""

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch

from batch.errors import OutputError, UsageError
from batch.model.tokenizer import Tokenizer
from batch.reading.fingerprint import hash_file
from batch.writing.atomic import LEFTOVER, making_folder
from trainer.fetch.assets import fetch_bpe
from trainer.model.base_file import BASE, find_base, write_base
from trainer.model.build import select_device, share_rows
from trainer.model.gpt2 import GPT2Trunk, ModelConfig, count_parameters, init_weights
from trainer.model.vocabulary import Vocabulary, build_vocabulary_of
from trainer.pretraining.language_model import LanguageModel, plain_trunk
from trainer.pretraining.loop import Budget, LoopOptions, PretrainHistory, run_loop
from trainer.pretraining.text import (
    TextOptions,
    encode_texts,
    make_stream,
    read_texts,
    split_held_out,
)
from trainer.run_folder import CHECKPOINT, package_versions
from trainer.training.checkpoint import has_checkpoint, open_checkpoint

log = logging.getLogger("trainer")

SIZE = "gpt2-mini"
HEAD_CHANNELS = 32  # of an attention head
ROW_TOKENS = 128  # of a row of the training text, if the context has as many


@dataclass(frozen=True)
class PretrainOptions:
    """The options of ``spam-train pretrain``."""

    text: tuple[Path, ...]
    out: Path
    reading: TextOptions = field(default_factory=TextOptions)
    blocks: int = 3
    channels: int = 128
    vocabulary: int = 12_000  # rows of the token embedding, at most
    context: int = 256  # tokens of the longest message that it can classify
    held_out: float = 0.01  # share of the messages that the loss is measured on
    budget: Budget = field(default_factory=lambda: Budget(seconds=1200.0))
    loop: LoopOptions = field(default_factory=LoopOptions)
    bpe: Path | None = None
    cache: Path = Path("data")
    device: str = "auto"
    threads: int | None = None  # of torch; None: as torch chooses
    restart: bool = False

    def settings(self) -> dict[str, str]:
        """Option -> value of all that decides the weights, but for the text."""
        loop, budget = self.loop, self.budget
        length = budget.tokens if budget.tokens is not None else f"{budget.seconds / 60:g} minutes"
        return {
            "--blocks": str(self.blocks),
            "--channels": str(self.channels),
            "--vocab": str(self.vocabulary),
            "--context": str(self.context),
            "--held-out": str(self.held_out),
            "--tokens or --minutes": str(length),
            "--batch-size": str(loop.batch),
            "--drawn": str(loop.drawn),
            "--learning-rate": str(loop.learning_rate),
            "--seed": str(loop.seed),
            "--bf16": str(loop.bf16),
        }


def pretrain(options: PretrainOptions) -> dict:
    """Pretrain a base and write its folder; returns its card.

    Raises:
        SpamBatchError: with one sentence on what is wrong.
    """
    if options.channels % HEAD_CHANNELS:
        raise UsageError(f"--channels {options.channels} is not a multiple of {HEAD_CHANNELS}")
    texts = read_texts(options.text, options.reading)
    ranks = fetch_bpe(options.cache, options.bpe)
    check_base_folder(options.out, [*options.text, ranks.path])
    device = select_device(options.device)
    tokenizer = Tokenizer.load(ranks.path)
    messages = encode_texts(texts, tokenizer)
    kept, held_out = split_held_out(messages, options.held_out, options.loop.seed)
    vocabulary = build_vocabulary_of(options.vocabulary, kept, tokenizer)
    sides = (kept, held_out)
    length = min(ROW_TOKENS, options.context)
    streams = tuple(make_stream(side, vocabulary.token_map, length) for side in sides)
    log.info(
        "%s messages, %s tokens, %s of them held out; %s rows",
        f"{len(messages):,}", f"{sum(map(len, streams)):,}", f"{len(streams[1]):,}",
        f"{vocabulary.rows:,}",
    )  # fmt: skip
    config = base_config(options, vocabulary)
    model = make_language_model(config, vocabulary, options.loop.seed).to(device)
    log.info("%s parameters, on %s", f"{count_parameters(GPT2Trunk(config)):,}", device)
    card = {
        "text": [{"name": path.name, "sha256": hash_file(path)} for path in options.text],
        "messages": len(messages),
        "text_tokens": sum(map(len, streams)),
        "settings": options.settings(),
        "tokenizer_sha256": ranks.sha256,
        "versions": package_versions("torch", "tiktoken"),
    }
    key = {**options.settings(), "the text": str(card["text"]), "the tokenizer": ranks.sha256,
           "--device": str(device), "the version of torch": str(torch.__version__)}  # fmt: skip

    def save_best(trained: LanguageModel, history: PretrainHistory) -> None:
        about = {**card, "loss": history.best_loss, "tokens": history.best_tokens,
                 "seconds": round(history.seconds)}  # fmt: skip
        write_base(options.out / BASE, plain_trunk(trained.transformer, config), config, about)

    checkpoint = options.out / CHECKPOINT
    with making_folder(options.out):
        if options.restart:
            checkpoint.unlink(missing_ok=True)
        with _threads(options.threads):
            try:
                history = run_loop(
                    model, streams, length, options.budget, options.loop, save_best, checkpoint,
                    key,
                )  # fmt: skip
            except BaseException:
                if has_checkpoint(checkpoint, key):
                    log.warning("The checkpoint is kept; the same command resumes from it.")
                raise
    checkpoint.unlink(missing_ok=True)
    return {**card, "loss": history.best_loss, "tokens": history.best_tokens,
            "trained": history.step * options.loop.batch * length,
            "seconds": history.seconds, "history": history.to_dict()}  # fmt: skip


def base_config(options: PretrainOptions, vocabulary: Vocabulary) -> ModelConfig:
    """The architecture of the base."""
    return ModelConfig(
        SIZE,
        emb_dim=options.channels,
        layers=options.blocks,
        heads=options.channels // HEAD_CHANNELS,
        vocab_size=vocabulary.rows,
        remapped=True,
        context_length=options.context,
    )


def make_language_model(config: ModelConfig, vocabulary: Vocabulary, seed: int) -> LanguageModel:
    """The language model before training: random weights, rows that are sums of shared vectors."""
    torch.manual_seed(seed)
    trunk = GPT2Trunk(config)
    init_weights(trunk, config.layers)
    share_rows(trunk, vocabulary)
    return LanguageModel(trunk)


def check_base_folder(folder: Path, inputs: list[Path]) -> None:
    """Refuse to write a base where other files would be lost, or among files of others.

    Raises:
        OutputError: the folder holds something else than a base, or an input.
    """
    for path in inputs:
        if path.resolve().is_relative_to(folder.resolve()):
            raise OutputError(f"{path} lies in the folder {folder}; give another --out")
    if not folder.exists():
        return
    if not folder.is_dir():
        raise OutputError(f"{folder} is not a folder; give another --out")
    names = {path.name for path in folder.iterdir() if not LEFTOVER.fullmatch(path.name)}
    is_ours = names <= {BASE, CHECKPOINT} and (BASE not in names or find_base(folder))
    if not is_ours:
        raise OutputError(
            f"{folder} exists and is not the folder of a base; it was left as it is; give another "
            "--out"
        )
    open_checkpoint(folder / CHECKPOINT)  # refuses another's file
    for path in [path for path in folder.iterdir() if path.name not in names]:
        path.unlink()  # what a killed run had not written to its end


@contextlib.contextmanager
def _threads(number: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
