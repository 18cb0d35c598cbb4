"""``spam-train``: fetch, fit, evaluate, sample."""

import logging
from pathlib import Path

import click

from batch import __version__
from batch.command import Cli, show_log

log = logging.getLogger("trainer")

_cache = click.option(
    "--cache", type=click.Path(path_type=Path), default=Path("data"), show_default=True,
    help="Folder that keeps what was fetched.",
)  # fmt: skip
_weights = click.option(
    "--weights", default="auto", show_default=True,
    help="auto, gpt2, openai, huggingface, random, or the path of a checkpoint folder or "
    ".safetensors file. auto: GPT-2 small if it can be had, else the starter.",
)  # fmt: skip
_model = click.option(
    "--model", "size", default=None,
    type=click.Choice(["gpt2-small", "gpt2-medium", "gpt2-large", "gpt2-xl", "starter"]),
    help="Size of the model.",
)  # fmt: skip


@click.group(cls=Cli, name="spam-train", context_settings={"max_content_width": 100})
@click.version_option(__version__, prog_name="spam-train")
def main() -> None:
    """Finetune GPT-2 into a text classifier.

    \b
    Example:
      spam-train fit --out runs/spam
    """


@main.command()
@click.argument("what", type=click.Choice(["data", "bpe", "weights", "all"]), default="all")
@click.option(
    "--from", "source", type=click.Path(path_type=Path), help="A local file or folder instead."
)
@_cache
@_model
def fetch(what: str, source: Path | None, cache: Path, size: str | None) -> None:
    """Fetch data, BPE files or weights, each checked by its SHA-256.

    What is there already is not fetched again. `all` means data and BPE files;
    weights are half a gigabyte and are fetched when they are asked for.

    \b
    Example:
      spam-train fetch data
      spam-train fetch weights --model gpt2-medium
    """
    from trainer.assets import fetch_bpe, fetch_data
    from trainer.weight_files import fetch_weights

    show_log("trainer")
    if source is not None and what == "all":
        raise click.UsageError("--from needs to know what it is: data, bpe or weights")
    if what in ("data", "all"):
        found = fetch_data(cache, source)
        click.echo(f"data: {found.path} ({found.lines:,} lines; {found.origin})")
    if what in ("bpe", "all"):
        ranks = fetch_bpe(cache, source)
        click.echo(f"bpe: {ranks.path} ({ranks.origin})")
    if what == "weights":
        files = fetch_weights(cache, size or "gpt2-small", None, source)
        click.echo(f"weights: {files.path} ({files.kind}; {files.origin})")


@main.command()
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("runs/spam"), show_default=True,
    help="Run folder to write.",
)  # fmt: skip
@click.option(
    "--recipe", type=click.Choice(["default", "book"]), default="default", show_default=True,
    help="book: the published notebook; default: the same, read at the last real token.",
)  # fmt: skip
@_model
@_weights
@click.option("--data", type=click.Path(path_type=Path), help="Labelled CSV or TSV of your own.")
@click.option("--bpe", type=click.Path(path_type=Path), help="gpt2.tiktoken, or a folder with it.")
@click.option("--text-column", help="Name of the text column in --data.")
@click.option("--label-column", help="Name of the label column in --data.")
@click.option("--delimiter", help="One character; default: a tab if the first line has one.")
@click.option("--positive-label", help="Class whose probability is the score. Default: spam.")
@_cache
@click.option(
    "--device", type=click.Choice(["auto", "cuda", "mps", "cpu"]), default="auto",
    show_default=True,
)  # fmt: skip
@click.option("--seed", type=int, help="Seed of head, order and dropout.  [default: 123]")
@click.option("--epochs", type=click.IntRange(1), help="Passes over the training set.")
@click.option("--learning-rate", type=click.FloatRange(0, min_open=True))
@click.option("--batch-size", type=click.IntRange(1), help="Messages a step.")
@click.option(
    "--max-length", type=click.IntRange(1), help="Tokens; default: the longest in training."
)
@click.option("--balance/--no-balance", default=None, help="Cut classes to equal size.")
@click.option("--pth", type=click.Path(path_type=Path), help="Also write a .pth state dict here.")
@click.option("--quiet", is_flag=True, help="No progress, warnings only.")
def fit(
    out, recipe, size, weights, data, bpe, text_column, label_column, delimiter, positive_label,
    cache, device, seed, epochs, learning_rate, batch_size, max_length, balance, pth, quiet,
) -> None:  # fmt: skip
    """Train a classifier and write a run folder.

    \b
    Example:
      spam-train fit --recipe book --weights gpt2 --out runs/book
      spam-train fit --data tickets.csv --text-column body --label-column queue
    """
    show_log("trainer", quiet)
    from trainer.data import Columns
    from trainer.run import RunOptions, train
    from trainer.run_folder import read_config, read_model, save_state_dict

    changes = {
        "seed": seed, "epochs": epochs, "learning_rate": learning_rate, "balance": balance,
        "batch_size": batch_size, "max_length": max_length,
    }  # fmt: skip
    metrics = train(
        RunOptions(
            out=out, recipe=recipe, weights=weights, size=size, cache=cache, data=data, bpe=bpe,
            columns=Columns(label_column, text_column, delimiter), positive_label=positive_label,
            device=device, changes=changes, progress=not quiet,
        )
    )  # fmt: skip
    if pth is not None:
        save_state_dict(read_model(out, read_config(out)), pth)
    for line in summary_lines(metrics):
        click.echo(line)
    click.echo(f"run folder: {out}")


def summary_lines(metrics: dict) -> list[str]:
    """What a run gave, in a few lines: accuracy by set, weights, data."""
    lines = [
        f"{name} accuracy: {100 * value:.2f}% of {metrics['messages'][name]} messages"
        for name, value in metrics["accuracy"].items()
    ]
    data = metrics["data"]
    lines.append(f"weights: {metrics['weights']}")
    lines.append(f"data: {data['name']}, {data['rows']:,} rows ({data['origin']})")
    if data["is_partial"]:
        lines.append(
            f"WARNING: an incomplete copy of the SMS Spam Collection: {data['lines']:,} of 5,574 "
            "lines; these figures are not those of the published split."
        )
    return lines


@main.command()
@click.argument("text")
@click.option(
    "--run", type=click.Path(path_type=Path), default=Path("runs/spam"), show_default=True
)
def classify(text: str, run: Path) -> None:
    """Label one message with PyTorch; spam-batch text does it with the exported model.

    \b
    Example:
      spam-train classify "You won a prize, call now"
    """
    import torch

    from trainer.dataset import pad_messages
    from trainer.run_folder import read_config, read_model, read_tokenizer

    config = read_config(run)
    encoded = [read_tokenizer(run).encode(text, config.max_length)]
    with torch.no_grad():
        logits = read_model(run, config)(pad_messages(encoded, config.max_length))
    probabilities = torch.softmax(logits, dim=-1)[0]
    best = int(probabilities.argmax())
    click.echo(f"{config.labels[best]}\t{probabilities[best]:.6f}")


@main.command()
@click.argument("prompt")
@click.option("--new-tokens", type=click.IntRange(1, 1000), default=15, show_default=True)
@_weights
@_model
@_cache
@click.option("--bpe", type=click.Path(path_type=Path), help="gpt2.tiktoken, or a folder with it.")
def sample(prompt: str, new_tokens: int, weights: str, size: str | None, cache: Path, bpe) -> None:
    """Go on with PROMPT, greedily: the check that weights were loaded well.

    \b
    Example:
      spam-train sample "Every effort moves you" --weights gpt2
    """
    import torch

    from batch.tokenizer import Tokenizer
    from trainer.assets import fetch_bpe
    from trainer.generate import generate_greedy
    from trainer.model import GPT2Trunk, init_weights, model_config
    from trainer.run import resolve_weights
    from trainer.weights import load_trunk

    show_log("trainer")
    tokenizer = Tokenizer.load(fetch_bpe(cache, bpe).path)
    found = resolve_weights(weights, size, cache)
    config = model_config(found.size)
    trunk = GPT2Trunk(config)
    if found.tensors is None:
        log.warning("WARNING: random weights; the text will make no sense.")
        torch.manual_seed(123)
        init_weights(trunk, config.layers)
    else:
        load_trunk(trunk, found.tensors)
    ids = torch.tensor([tokenizer.encode(prompt)], dtype=torch.int64)
    click.echo(tokenizer.decode(generate_greedy(trunk, ids, new_tokens)[0].tolist()))
