"""A small trained model in gpt2-small's shape that gives the same logits.

Its labels are those of a good model and it costs what gpt2-small costs, so a benchmark of
distilling has a teacher where GPT-2's weights cannot be fetched. Chen et al., Net2Net:
Accelerating Learning via Knowledge Transfer (2016): channels, heads and hidden units are
repeated, and what reads them is divided by the number of copies; further blocks add zero.

    python benchmarks/cascade/widen.py --run runs/spam --out runs/wide
    spam-export bundle --run runs/wide --out models/wide
"""

import argparse
import csv
import math
import shutil
from dataclasses import replace
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor, nn

from batch.model.bundle_files import TOKENIZER
from trainer.data.splits import HELD_OUT
from trainer.model.gpt2 import Attention, Block, GPT2Classifier, ModelConfig, model_config
from trainer.run_folder import read_config, read_metrics, read_model, write_run

TOLERANCE = 1e-4  # of a logit; tests/benchmarks/cascade/test_widen.py


def widen(model: GPT2Classifier, size: ModelConfig) -> GPT2Classifier:
    """The same function of token ids with the channels, layers and heads of ``size``.

    A repeated vector has the same mean and variance, so a LayerNorm gives the repeated output.
    The vocabulary is all of GPT-2's: each id has the row that the model's token map gives it.
    A second model, as the default one has it, stays as it is: its logits are added as before.

    Raises:
        ValueError: ``size`` is no multiple of the model's shape.
    """
    old = model.config
    new = replace(
        old, size=size.size, emb_dim=size.emb_dim, layers=size.layers, heads=size.heads,
        vocab_size=size.vocab_size, context_length=size.context_length, remapped=False,
    )  # fmt: skip
    depths = old.emb_dim // old.heads, new.emb_dim // new.heads  # channels of a head
    if new.heads % old.heads or depths[1] % depths[0] or new.layers < old.layers:
        raise ValueError(
            f"{old.size} with {old.heads} heads of {depths[0]} channels in {old.layers} layers "
            f"cannot be widened to {new.heads} heads of {depths[1]} in {new.layers}"
        )
    wide = GPT2Classifier(new)
    ours, theirs = wide.transformer, model.transformer
    channels = torch.arange(new.emb_dim) % old.emb_dim  # new channel -> the one that it copies
    with torch.no_grad():
        rows = theirs.token_map if old.remapped else torch.arange(new.vocab_size)
        ours.wte.weight.copy_(theirs.wte.weight[rows][:, channels])
        ours.wpe.weight.zero_()
        ours.wpe.weight[: old.context_length] = theirs.wpe.weight[:, channels]
        for number, block in enumerate(ours.h):
            # A further block computes what the last one does, and adds nothing of it.
            _widen_block(block, theirs.h[min(number, old.layers - 1)], channels)
            if number >= old.layers:
                for part in (block.attn.c_proj, block.mlp.c_proj):
                    part.weight.zero_()
                    part.bias.zero_()
        _copy_norm(ours.ln_f, theirs.ln_f, channels)
        _copy_linear(wide.score, model.score, torch.arange(old.classes), channels)
    if wide.second is not None and model.second is not None:
        wide.second.load_state_dict(model.second.state_dict())
    return wide.eval()


def _widen_block(ours: Block, theirs: Block, channels: Tensor) -> None:
    _copy_norm(ours.ln_1, theirs.ln_1, channels)
    _copy_norm(ours.ln_2, theirs.ln_2, channels)
    _widen_attention(ours.attn, theirs.attn, channels)
    hidden = torch.arange(ours.mlp.c_fc.out_features) % theirs.mlp.c_fc.out_features
    _copy_linear(ours.mlp.c_fc, theirs.mlp.c_fc, hidden, channels)
    _copy_linear(ours.mlp.c_proj, theirs.mlp.c_proj, channels, hidden)


def _widen_attention(ours: Attention, theirs: Attention, channels: Tensor) -> None:
    """Each head is repeated, and in it each channel.

    A score is then depth / old depth times as large before it is divided by sqrt(depth), so
    queries are multiplied by sqrt(old depth / depth).
    """
    new, old = len(channels), theirs.c_proj.in_features
    depth, old_depth = new // ours.heads, old // theirs.heads
    place = torch.arange(new)
    inner = (place // depth % theirs.heads) * old_depth + place % depth % old_depth
    qkv = torch.cat([inner, inner + old, inner + 2 * old])
    _copy_linear(ours.c_attn, theirs.c_attn, qkv, channels)
    factor = math.sqrt(old_depth / depth)
    ours.c_attn.weight[:new] *= factor
    ours.c_attn.bias[:new] *= factor
    _copy_linear(ours.c_proj, theirs.c_proj, channels, inner)


def _copy_norm(ours: nn.LayerNorm, theirs: nn.LayerNorm, channels: Tensor) -> None:
    ours.weight.copy_(theirs.weight[channels])
    ours.bias.copy_(theirs.bias[channels])


def _copy_linear(ours: nn.Linear, theirs: nn.Linear, outputs: Tensor, inputs: Tensor) -> None:
    """Outputs and inputs: the number of the old one that each new one copies."""
    copies = len(inputs) / theirs.in_features
    ours.weight.copy_(theirs.weight[outputs][:, inputs] / copies)
    ours.bias.copy_(theirs.bias[outputs])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--run", type=Path, default=Path("runs/spam"), help="run folder to widen")
    parser.add_argument("--out", type=Path, required=True, help="run folder to write")
    parser.add_argument("--size", default="gpt2-small")
    parser.add_argument(
        "--messages", type=int, default=100, help="of each held-out set, for the export's checks"
    )
    options = parser.parse_args()
    config = read_config(options.run)
    model = read_model(options.run, config)
    wide = widen(model, model_config(options.size))
    statement = f"{config.weights['statement']} Widened to {options.size}, with the same logits."
    config = replace(
        config, model=wide.config.to_dict(), weights=config.weights | {"statement": statement}
    )
    options.out.mkdir(parents=True)
    shutil.copyfile(options.run / "train.csv", options.out / "train.csv")
    for part in HELD_OUT:  # the logits are the old ones, and the large shape takes its time
        with open(options.run / f"{part}.csv", encoding="utf-8", newline="") as file:
            rows = list(islice(csv.reader(file), options.messages + 1))
        with open(options.out / f"{part}.csv", "w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows(rows)
    tokenizer = options.run / TOKENIZER
    write_run(options.out, config, wide, read_metrics(options.run), tokenizer)
    print(f"written: {options.out}")


if __name__ == "__main__":
    main()
