"""Seconds of training: ours against the notebook's plain loop, in one run.

Theirs is written as the notebook has it: every message padded to the longest,
separate query, key and value projections, attention as plain matrix products,
GELU and LayerNorm from elementary operations, the head at every position, all
blocks in every step. Ours has the same weights (random ones of gpt2-small's shape, unless
--size says otherwise), data, order and figures. `book` has 1,494 messages of the SMS Spam
Collection, `default` all 5,574. Printed, too: the peak memory of the process so far.

A whole plain run takes half an hour and more on two cores. So theirs is timed
on --steps training steps and --batches evaluation batches, and their time for
the run is counted up from that; ours is timed whole. --steps 0 leaves theirs out.

    python benchmarks/training.py --data data/SMSSpamCollection.tsv --bpe data/gpt2.tiktoken
    python benchmarks/training.py --data data/SMSSpamCollection.tsv --recipes default --steps 0
"""

import argparse
import math
import resource
import statistics
import time
from pathlib import Path

import torch
from torch import nn

from batch.model.tokenizer import Tokenizer
from trainer.data.reading import DEFAULT_OPTIONS, read_messages
from trainer.data.splits import make_split
from trainer.data.tensors import encode_frame, trim
from trainer.fetch.assets import fetch_files
from trainer.model.build import build_model
from trainer.model.gpt2 import GPT2Classifier, model_config
from trainer.recipe import get_recipe
from trainer.training.fit import fit
from trainer.training.train_model import CACHE_BYTES
from trainer.training.trunk_cache import build_caches


class PlainLayerNorm(nn.Module):
    def __init__(self, norm: nn.LayerNorm):
        super().__init__()
        self.scale, self.shift = norm.weight, norm.bias

    def forward(self, x):
        mean = x.mean(dim=-1, keepdim=True)
        var = x.var(dim=-1, keepdim=True, unbiased=False)
        return self.scale * (x - mean) / torch.sqrt(var + 1e-5) + self.shift


class PlainAttention(nn.Module):
    def __init__(self, attn, context: int):
        super().__init__()
        C = attn.c_proj.in_features
        self.heads = attn.heads
        self.qkv = nn.ModuleList()
        trained = attn.c_attn.weight.requires_grad
        for part in range(3):
            linear = nn.Linear(C, C)
            linear.weight.data.copy_(attn.c_attn.weight[part * C : (part + 1) * C])
            linear.bias.data.copy_(attn.c_attn.bias[part * C : (part + 1) * C])
            self.qkv.append(linear.requires_grad_(trained))
        self.out_proj = attn.c_proj
        self.register_buffer("mask", torch.triu(torch.ones(context, context), diagonal=1))

    def forward(self, x):
        B, T, C = x.shape
        q, k, v = (f(x).view(B, T, self.heads, -1).transpose(1, 2) for f in self.qkv)
        scores = q @ k.transpose(2, 3)
        scores.masked_fill_(self.mask.bool()[:T, :T], -torch.inf)
        weights = torch.softmax(scores / k.shape[-1] ** 0.5, dim=-1)
        return self.out_proj((weights @ v).transpose(1, 2).contiguous().view(B, T, C))


class PlainBlock(nn.Module):
    def __init__(self, block, context: int):
        super().__init__()
        self.norm1, self.norm2 = PlainLayerNorm(block.ln_1), PlainLayerNorm(block.ln_2)
        self.att = PlainAttention(block.attn, context)
        self.up, self.down = block.mlp.c_fc, block.mlp.c_proj

    def forward(self, x):
        x = x + self.att(self.norm1(x))
        h = self.up(self.norm2(x))
        h = 0.5 * h * (1 + torch.tanh(math.sqrt(2 / math.pi) * (h + 0.044715 * torch.pow(h, 3))))
        return x + self.down(h)


class PlainClassifier(nn.Module):
    """The notebook's model with the weights of ours; logits at every position."""

    def __init__(self, model: GPT2Classifier):
        super().__init__()
        trunk, context = model.transformer, model.config.context_length
        self.tok_emb, self.pos_emb = trunk.wte, trunk.wpe
        self.blocks = nn.Sequential(*(PlainBlock(block, context) for block in trunk.h))
        self.norm, self.out_head = PlainLayerNorm(trunk.ln_f), model.score

    def forward(self, ids):
        x = self.tok_emb(ids) + self.pos_emb(torch.arange(ids.shape[1], device=ids.device))
        return self.out_head(self.norm(self.blocks(x)))


def time_plain(model, sets, recipe, steps: int, batches: int) -> tuple[float, float]:
    """Median seconds of a training step and of an evaluation batch of the plain loop."""
    plain = PlainClassifier(model)
    optimizer = torch.optim.AdamW(
        plain.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay
    )
    data, size = sets["train"], recipe.batch_size

    def logits(number):
        rows = slice(number * size, (number + 1) * size)
        position = -1 if recipe.pooling == "last_position" else data.lengths[rows] - 1
        return plain(data.ids[rows])[torch.arange(size), position], data.labels[rows]

    step_seconds, batch_seconds = [], []
    for number in range(steps + 1):
        start = time.perf_counter()
        optimizer.zero_grad()
        nn.functional.cross_entropy(*logits(number)).backward()
        optimizer.step()
        step_seconds.append(time.perf_counter() - start)
    with torch.no_grad():
        for number in range(batches + 1):
            start = time.perf_counter()
            logits(number)
            batch_seconds.append(time.perf_counter() - start)
    # The first of each warms up.
    return statistics.median(step_seconds[1:]), statistics.median(batch_seconds[1:])


def count_work(sets, recipe) -> tuple[int, int]:
    """Training steps, and batches evaluated, of the notebook's run by this recipe."""
    sizes = {name: math.ceil(len(data) / recipe.batch_size) for name, data in sets.items()}
    sizes["train"] = len(sets["train"]) // recipe.batch_size
    steps = recipe.epochs * sizes["train"]
    initial = sum(min(10, n) + min(recipe.eval_iter, n) for n in sizes.values())
    looks = math.ceil(steps / recipe.eval_freq) + recipe.epochs
    best = recipe.epochs * sizes["validation"] if recipe.keep == "best" else 0
    return steps, initial + looks * 2 * recipe.eval_iter + best + sum(sizes.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--bpe", type=Path, default=Path("data/gpt2.tiktoken"))
    parser.add_argument("--size", default="gpt2-small")
    parser.add_argument("--recipes", default="book,default")
    parser.add_argument("--epochs", type=int, help="the recipe's")
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--batches", type=int, default=6)
    args = parser.parse_args()
    tokenizer = Tokenizer.load(args.bpe)
    data = fetch_files(args.data.parent, (args.data,))
    print(
        f"{args.size}, random weights, {torch.get_num_threads()} threads, torch {torch.__version__}"
    )
    for name in args.recipes.split(","):
        recipe = get_recipe(name, epochs=args.epochs)
        frame = read_messages(data, DEFAULT_OPTIONS, recipe).frame
        labels = sorted(frame["label"].unique())
        parts = make_split(frame, recipe)
        train_set = encode_frame(parts["train"], labels, tokenizer, None)
        length = train_set.ids.shape[1]
        sets = {"train": train_set}
        for other in ("validation", "test"):
            sets[other] = encode_frame(parts[other], labels, tokenizer, length)
        config = model_config(args.size, classes=len(labels), pooling=recipe.pooling)
        if args.steps:
            model = build_model(config, recipe, None)
            check_same(model, sets)
            step, batch = time_plain(model, sets, recipe, args.steps, args.batches)
            steps, batches = count_work(sets, recipe)
            theirs = steps * step + batches * batch
            print(
                f"{name}: plain loop {theirs:.0f} s ({steps} steps of {step:.2f} s, {batches} "
                f"batches of {batch:.2f} s)",
                flush=True,
            )
        time_ours(name, build_model(config, recipe, None), sets, recipe)


def time_ours(name: str, model: GPT2Classifier, sets, recipe) -> None:
    """Train whole; prints seconds of the trunk and of the epochs, and memory."""
    start = time.perf_counter()
    caches = build_caches(model, sets, recipe, CACHE_BYTES)
    cached = time.perf_counter()
    fit(model, sets, recipe, True, None, caches)
    end = time.perf_counter()
    messages = sum(map(len, sets.values()))
    print(
        f"{name}: ours {end - start:.0f} s, {cached - start:.0f} s of them the trunk, once for "
        f"{len(caches['train'].offsets):,} distinct of {messages:,} messages, and "
        f"{(end - cached) / recipe.epochs:.0f} s an epoch ({recipe.epochs}); cache "
        f"{caches['train'].flat.numel() * 4 / 1e6:.0f} MB; peak memory of the process "
        f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB",
        flush=True,
    )


def check_same(model: GPT2Classifier, sets) -> None:
    """Both sides must give the same logits before either is timed."""
    ids, lengths = sets["train"].ids[:4], sets["train"].lengths[:4]
    with torch.no_grad():
        theirs = PlainClassifier(model)(ids)[torch.arange(4), model.pooled_position(ids)]
        difference = (model(trim(ids, lengths, model.config)) - theirs).abs().max().item()
    if not difference < 1e-4:
        raise SystemExit(f"the logits differ by {difference}")


if __name__ == "__main__":
    main()
