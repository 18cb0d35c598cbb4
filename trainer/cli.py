"""The command line of ``spam-train``."""

import logging
from pathlib import Path

import click

from batch.command import Cli, print_line, show_log
from batch.help import DECIDE, MODEL, OPTIMIZER, READ, TRAIN, WRITE, option
from batch.messages import escape_controls
from batch.version import __version__
from trainer.check.command import check
from trainer.data_options import data_options
from trainer.distill_command import distill
from trainer.huggingface.command import to_hf
from trainer.options import (
    PATH,
    bpe_option,
    cache_option,
    checked_changes,
    device_option,
    json_option,
    model_option,
    quiet_option,
    recipe_options,
    restart_option,
    run_option,
    weights_option,
)
from trainer.pretraining.command import pretrain

log = logging.getLogger("trainer")


@click.group(cls=Cli, name="spam-train", context_settings={"max_content_width": 100})
@click.version_option(__version__, prog_name="spam-train")
def main() -> None:
    """Finetune GPT-2 into a text classifier.

    \b
    Example:
      spam-train fit --out runs/spam
    """


main.add_command(pretrain)
main.add_command(check)
main.add_command(to_hf)


@main.command()
@click.argument("what", type=click.Choice(["data", "bpe", "weights", "all"]), default="all")
@option(
    READ,
    "--from",
    "source",
    type=PATH,
    help="Take a local file or folder instead of the network.",
)
@cache_option
@model_option
def fetch(what: str, source: Path | None, cache: Path, size: str | None) -> None:
    """Fetch data, BPE files or weights, and check each by its SHA-256.

    \b
    Example:
      spam-train fetch data
      spam-train fetch weights --model gpt2-medium

    A file that is already there is not fetched again. `all` means data and BPE files;
    weights have at least half a gigabyte and are fetched only on request.
    """
    from trainer.fetch.assets import fetch_bpe, fetch_data
    from trainer.fetch.weight_files import fetch_weights

    show_log("trainer")
    if source is not None and what == "all":
        raise click.UsageError("--from needs one kind of file; say which: data, bpe or weights")
    if what in ("data", "all"):
        found = fetch_data(cache, source)
        print_line(f"data: {found.path} ({found.lines:,} lines; {found.origin})")
    if what in ("bpe", "all"):
        ranks = fetch_bpe(cache, source)
        print_line(f"bpe: {ranks.path} ({ranks.origin})")
    if what == "weights":
        files = fetch_weights(cache, size or "gpt2-small", None, source)
        print_line(f"weights: {files.path} ({files.kind}; {files.origin})")


@main.command()
@option(WRITE,
    "--out", type=PATH, default=Path("runs/spam"), show_default=True,
    help="Run folder to write.",
)  # fmt: skip
@option(TRAIN,
    "--recipe", type=click.Choice(["default", "book"]), default="default", show_default=True,
    help="book: the published notebook; default: for use, on all messages, near copies in one set, "
    "the best epoch kept.",
)  # fmt: skip
@model_option
@weights_option
@data_options()
@bpe_option
@option(
    DECIDE,
    "--positive-label",
    help="Class whose probability is the score. Default: spam if there is one, else the second "
    "of two classes.",
)
@cache_option
@device_option
@recipe_options
@option(WRITE, "--pth", type=PATH, help="Also write the weights to this .pth file.")
@option(OPTIMIZER, "--trunk-cache/--no-trunk-cache", default=True,
    help="Compute the output of the frozen blocks only once for each message.")  # fmt: skip
@option(WRITE, "--log-dir", type=PATH, metavar="DIR",
    help="Also write TensorBoard's events here (the extra tensorboard).")  # fmt: skip
@restart_option
@option(DECIDE, "--max-ham-blocked", metavar="SHARE",
    help="Choose the threshold on the validation set so that at most this share of the other "
    "class gets the positive label: 0.2% or 0.002.")  # fmt: skip
@option(DECIDE, "--unsure-band", metavar="LOW,HIGH",
    help="In the exported bundle, scores from LOW to below HIGH get the label unsure.")  # fmt: skip
@option(READ, "--config", type=PATH, help="Repeat the run of this config.json.")
@quiet_option
def fit(
    out, recipe, size, weights, data, reading, bpe, positive_label, cache, device,
    pth, trunk_cache, log_dir, restart, max_ham_blocked, unsure_band, config, quiet, **changes,
) -> None:  # fmt: skip
    """Train a classifier and write a run folder.

    \b
    Example:
      spam-train fit --recipe book --weights gpt2 --out runs/book
      spam-train fit --data tickets.csv --text-column body --label-column queue
      spam-train fit --max-ham-blocked 0.2%
      spam-train fit --config runs/spam/config.json --out runs/again

    The same command resumes a killed run from its last whole epoch.
    """
    show_log("trainer", quiet)
    from batch.model.rules import parse_band
    from trainer.evaluation.calibration import parse_share
    from trainer.run import RunOptions, options_of_config, summary_lines, train
    from trainer.run_folder import check_state_dict, read_config, read_model, save_state_dict

    options = RunOptions(
        out=out, recipe=recipe, weights=weights, size=size, cache=cache, data=data, bpe=bpe,
        reading=reading, positive_label=positive_label,
        device=device, changes=checked_changes(changes), progress=not quiet,
        trunk_cache=trunk_cache, restart=restart, log_dir=log_dir,
        max_blocked=None if max_ham_blocked is None
        else parse_share(max_ham_blocked, "--max-ham-blocked"),
        unsure_band=None if unsure_band is None else parse_band(unsure_band),
    )  # fmt: skip
    if config is not None:
        options = options_of_config(config, options)
    if pth is not None:
        check_state_dict(pth, out)
    metrics = train(options)
    if pth is not None:
        save_state_dict(read_model(out, read_config(out)), pth)
    for line in summary_lines(metrics):
        print_line(line)
    print_line(f"run folder: {out}")


@main.command()
@run_option
@data_options(required=True)
def evaluate(run: Path, data, reading) -> None:
    """Score a run on labelled files from another source.

    \b
    Example:
      spam-train evaluate --run runs/spam --data other.csv

    Messages that were in the training set are left out.
    """
    from trainer.evaluation.evaluate import evaluate as evaluate_file
    from trainer.evaluation.evaluate import evaluation_lines

    result = evaluate_file(run, data, reading)
    for line in evaluation_lines(result):
        print_line(line)


@main.command()
@option(TRAIN, "--rows", default="all", show_default=True, help="Row numbers, such as 1,16 or 3-5.")
@option(MODEL, "--shape", type=click.Choice(["starter", "gpt2"]), default="gpt2", show_default=True,
    help="starter: small models from random weights, for a machine without a GPU.")  # fmt: skip
@option(
    TRAIN, "--seeds", type=click.IntRange(1), default=1, show_default=True, help="Runs of each row."
)
@data_options()
@bpe_option
@cache_option
@device_option
@json_option
@quiet_option
def table(rows, shape, seeds, data, reading, bpe, cache, device, json_out, quiet) -> None:
    """Run rows of the published table of experiments, and print our accuracy beside theirs.

    \b
    Example:
      spam-train table --shape starter
      spam-train table --rows 1,16 --seeds 5
    """
    show_log("trainer", quiet)
    from trainer.published_table import KEYS, format_table, parse_rows, run_table
    from trainer.run_folder import check_result, write_json

    target = None if json_out is None else check_result(json_out, KEYS, "--json")
    result = run_table(parse_rows(rows), shape, seeds, data, reading, bpe, cache, device, not quiet)
    if target is not None:
        write_json(target, result)
    for line in format_table(result):
        print_line(line)


@main.command()
@option(TRAIN, "--protocols", default="book,grouped,natural", show_default=True,
    help="book: the published split; grouped: near copies are in the same set; natural: grouped, "
    "with the classes in their natural mix.")  # fmt: skip
@option(
    TRAIN,
    "--seeds",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Runs of each protocol.",
)
@option(TRAIN, "--new-splits", is_flag=True, help="Draw another split for each seed, too.")
@option(TRAIN, "--recipe", type=click.Choice(["default", "book"]), default="default")
@model_option
@weights_option
@data_options()
@bpe_option
@cache_option
@device_option
@recipe_options
@json_option
@quiet_option
def scores(
    protocols, seeds, new_splits, recipe, size, weights, data, reading, bpe, cache,
    device, json_out, quiet, split, balance, **changes,
) -> None:  # fmt: skip
    """Train once for each protocol and seed, and print each test score beside the linear SVM's.

    \b
    Example:
      spam-train scores --seeds 5
      spam-train scores --protocols grouped --seeds 5 --new-splits
    """
    if split is not None or balance is not None:
        raise click.UsageError("--protocols sets the split; leave --split and --balance out")
    show_log("trainer", quiet)
    from trainer import protocols as scoring
    from trainer.run_folder import check_result, write_json

    target = None if json_out is None else check_result(json_out, scoring.KEYS, "--json")
    options = scoring.ScoreOptions(
        protocols=scoring.parse_protocols(protocols), reading=reading,
        seeds=seeds, new_splits=new_splits, changes=checked_changes(changes), progress=not quiet,
        recipe=recipe, weights=weights, size=size, data=data, bpe=bpe, cache=cache, device=device,
    )  # fmt: skip
    result = scoring.score_protocols(options)
    if target is not None:
        write_json(target, result)
    for line in scoring.format_protocols(result):
        print_line(line)


@main.command()
@click.argument("text")
@run_option
def classify(text: str, run: Path) -> None:
    """Label one message with PyTorch. (With the exported model: spam-batch text.)

    \b
    Example:
      spam-train classify "You won a prize, call now"
    """
    import torch

    from trainer.data.tensors import pad_messages
    from trainer.run_folder import read_config, read_decision, read_model, read_tokenizer

    config = read_config(run)
    decision = read_decision(run, config)
    encoded = [read_tokenizer(run).encode(text, config.max_length)]
    with torch.no_grad():
        logits = read_model(run, config)(pad_messages(encoded, config.max_length))
    best, scores, _ = decision.decide(logits.numpy())
    click.echo(f"{escape_controls(config.labels[best[0]])}\t{scores[0]:.6f}")


@main.command()
@click.argument("prompt")
@option(WRITE, "--new-tokens", type=click.IntRange(1, 1000), default=15, show_default=True)
@weights_option
@model_option
@cache_option
@bpe_option
def sample(prompt: str, new_tokens: int, weights: str, size: str | None, cache: Path, bpe) -> None:
    """Continue PROMPT with the most probable tokens, to check that weights are loaded correctly.

    \b
    Example:
      spam-train sample "Every effort moves you" --weights gpt2
    """
    import torch

    from batch.model.tokenizer import Tokenizer
    from trainer.fetch.assets import fetch_bpe
    from trainer.model.generate import generate_greedy
    from trainer.model.gpt2 import GPT2Trunk, init_weights
    from trainer.model.initial_weights import resolve_weights
    from trainer.model.load_weights import load_trunk

    show_log("trainer")
    tokenizer = Tokenizer.load(fetch_bpe(cache, bpe).path)
    found = resolve_weights(weights, size, cache)
    config = found.config
    trunk = GPT2Trunk(config)
    if found.tensors is None:
        log.warning("WARNING: the weights are random; the text will make no sense.")
        torch.manual_seed(123)
        init_weights(trunk, config.layers)
    else:
        load_trunk(trunk, found.tensors)
        if found.token_map is not None:
            trunk.token_map.copy_(found.token_map)
    ids = torch.tensor([tokenizer.encode(prompt)], dtype=torch.int64)
    click.echo(tokenizer.decode(generate_greedy(trunk, ids, new_tokens)[0].tolist()))


main.add_command(distill)
