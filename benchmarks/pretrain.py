"""Tokens a second of `spam-train pretrain` beside a plain PyTorch loop, in turns.

The plain loop trains the same trunk on the same rows with a softmax over the whole
vocabulary, as a tutorial would write it. Both start from the same weights; after the turns
each has the same number of tokens, and the loss on held-out text over all rows is printed.

    python benchmarks/pretrain.py --text dumps/*.csv --bpe data/gpt2.tiktoken
"""

import argparse
import statistics
import time
from itertools import islice
from pathlib import Path

import torch
from torch.nn import functional as F

from batch.model.tokenizer import Tokenizer
from trainer.fetch.assets import fetch_bpe
from trainer.model.gpt2 import GPT2Trunk, init_weights
from trainer.model.vocabulary import build_vocabulary_of
from trainer.pretraining.language_model import LanguageModel
from trainer.pretraining.loop import LoopOptions, validation_loss
from trainer.pretraining.pretrain import PretrainOptions, base_config
from trainer.pretraining.text import (
    TextOptions,
    encode_texts,
    epochs_of,
    make_stream,
    read_texts,
    split_held_out,
)

ROW = 128  # tokens


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--text", type=Path, nargs="+", required=True)
    parser.add_argument("--bpe", type=Path)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--steps", type=int, default=40, help="of each turn")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    tokenizer = Tokenizer.load(fetch_bpe(Path("data"), args.bpe).path)
    messages = encode_texts(read_texts(args.text, TextOptions()), tokenizer)
    kept, held_out = split_held_out(messages, 0.01, 123)
    options = PretrainOptions(tuple(args.text), Path("unused"))
    vocabulary = build_vocabulary_of(options.vocabulary, kept, tokenizer)
    stream, validation = (make_stream(side, vocabulary.token_map, ROW) for side in (kept, held_out))
    sides = {}
    for name, drawn in (("drawn rows", LoopOptions().drawn), ("full softmax", 0)):
        torch.manual_seed(123)
        trunk = GPT2Trunk(base_config(options, vocabulary))
        init_weights(trunk, options.blocks)
        batches = epochs_of(stream, ROW, options.loop.batch, 123)
        optimizer = torch.optim.AdamW(trunk.parameters(), lr=options.loop.learning_rate)
        sides[name] = (LanguageModel(trunk), drawn, batches, optimizer, [])
    for _ in range(args.turns):
        for model, drawn, batches, optimizer, seconds in sides.values():
            start = time.monotonic()
            for places in islice(batches, args.steps):
                rows, targets = stream.take(places, ROW)
                loss = model(rows, targets, drawn) if drawn else plain_loss(model, rows, targets)
                loss.backward()
                optimizer.step()
                optimizer.zero_grad()
            seconds.append(time.monotonic() - start)
    tokens = args.steps * options.loop.batch * ROW
    print(f"{torch.__version__}, {args.threads} threads, {vocabulary.rows:,} rows")
    for name, (model, _, _, _, seconds) in sides.items():
        speed = tokens / statistics.median(seconds)
        loss = validation_loss(model, validation, ROW, options.loop.batch)
        print(f"{name}: {speed:,.0f} tokens a second, validation loss {loss:.3f} after "
              f"{args.turns * tokens:,} tokens")  # fmt: skip


def plain_loss(model: LanguageModel, rows: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Logits of all rows at all positions, then the cross-entropy."""
    trunk = model.transformer
    x = trunk.wte(rows) + trunk.wpe(torch.arange(rows.shape[1]))
    logits = trunk.ln_f(trunk.run_blocks(x, 0, len(trunk.h))) @ trunk.wte.weight.T
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


if __name__ == "__main__":
    main()
