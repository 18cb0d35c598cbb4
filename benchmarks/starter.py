"""The models that need no downloaded weights, in one run: accuracy, time, rows a second.

For each of --models (``auto``'s fallback, and the starter from random weights), beside the
linear SVM: --seeds trainings on the book split; --splits on grouped splits of their own, with
balanced classes and in the natural mix, without our notices and with them in the training
set; each of the natural mix also labels --devset, a file of another source that is never
trained on; then --draws trainings on few labelled messages.
Last, the first model is trained, exported and verified once more, and labels --rows messages
of the data, drawn with seed 0, and every different one of them, through `spam-batch classify`.

    python benchmarks/starter.py --data data/SMSSpamCollection.tsv --devset other.csv
"""

import argparse
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
from scratch import scratch_folder

from batch.model.tokenizer import Tokenizer
from trainer.data.notebook import read_as_notebook
from trainer.data.notices import NOTICES
from trainer.data.reading import SMS_OPTIONS, read_labelled
from trainer.data.splits import make_split
from trainer.data.tensors import encode_frame
from trainer.evaluation.baseline import baseline_scores
from trainer.evaluation.held_out import all_logits, evaluate_held_out
from trainer.evaluation.scores import score
from trainer.fetch.assets import fetch_bpe
from trainer.model.initial_weights import resolve_weights
from trainer.protocols import PROTOCOLS, compare_accuracies
from trainer.recipe import get_recipe
from trainer.training.train_model import train_model

LABELS = ["ham", "spam"]
FEW = (50, 100, 300)


@dataclass(frozen=True)
class Bench:
    """What every training of one model needs."""

    weights: str
    recipe: str
    data: Path
    tokenizer: Tokenizer

    def train(
        self, protocol: str, number: int, few: int | None = None, notices: bool = False
    ) -> dict:
        """Accuracies of one training, ours and the SVM's, and what scores another file."""
        weights = resolve_weights(self.weights, None, Path("data"))
        changes = {**PROTOCOLS[protocol], "seed": 123 + number}
        if protocol != "book":
            changes["split_seed"] = 123 + number
        recipe = get_recipe(self.recipe, **weights.starts, **changes)
        if protocol == "book":
            frame = read_as_notebook(self.data)
        else:
            frame = read_labelled([self.data], SMS_OPTIONS).frame
        parts = make_split(frame, recipe)
        if few is not None:
            parts = {**parts, "train": draw(parts["train"], few, number),
                     "validation": draw(parts["validation"], few // 4, number)}  # fmt: skip
        if notices:
            both = pd.concat([parts["train"], read_labelled([NOTICES]).frame])
            parts["train"] = both.sample(frac=1, random_state=number).reset_index(drop=True)
        start = time.monotonic()
        trained = train_model(
            parts, LABELS, self.tokenizer, weights, recipe, torch.device("cpu"), progress=False
        )
        seconds = time.monotonic() - start
        held_out = evaluate_held_out(
            trained.model, trained.sets, parts, LABELS, "spam", fit_threshold=recipe.fit_threshold
        )
        return {
            "ours": held_out.metrics["scores"]["test"]["accuracy"],
            "svm": held_out.metrics["baseline"]["test"]["accuracy"],
            "seconds": seconds, "trained": trained, "decision": held_out.decision,
            "train": parts["train"],
        }  # fmt: skip

    def score_other(self, run: dict, frame: pd.DataFrame) -> tuple[dict, dict]:
        """Ours and the SVM's scores on messages of another source."""
        trained = run["trained"]
        data = encode_frame(frame, LABELS, self.tokenizer, trained.max_length)
        predicted, _, probabilities = run["decision"].decide(all_logits(trained.model, data))
        ours = score(data.labels.numpy(), predicted, probabilities, 1)
        return ours, baseline_scores(run["train"], frame, LABELS, 1)


def draw(frame: pd.DataFrame, count: int, seed: int) -> pd.DataFrame:
    """``count`` messages in the natural mix, two of each class at least."""
    counts = (frame["label"].value_counts(normalize=True) * count).round().clip(lower=2)
    drawn = [
        frame[frame["label"] == label].sample(int(number), random_state=seed)
        for label, number in counts.items()
    ]
    return pd.concat(drawn).sample(frac=1, random_state=seed).reset_index(drop=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--devset", type=Path, help="columns label and text")
    parser.add_argument("--bpe", type=Path)
    parser.add_argument("--models", default="gpt2-mini,random")
    parser.add_argument("--recipe", default="default")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--splits", type=int, default=5)
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--rows", type=int, default=50_000)
    args = parser.parse_args()
    torch.set_num_threads(1)
    tokenizer = Tokenizer.load(fetch_bpe(Path("data"), args.bpe).path)
    devset = read_labelled([args.devset]).frame if args.devset else None
    models = args.models.split(",")
    for model in models:
        bench = Bench(model, args.recipe, args.data, tokenizer)
        show_protocol(bench, "natural", args.splits, devset, notices=True)
        show_protocol(bench, "natural", args.splits, devset)
        show_protocol(bench, "grouped", args.splits)
        show_protocol(bench, "book", args.seeds)
        for few in FEW if args.draws else ():
            runs = [bench.train("natural", number, few) for number in range(args.draws)]
            show_runs(f"{model}, {few} labelled messages", runs)
    if args.rows:
        with scratch_folder() as folder:
            label_rows(folder, args, models[0])


def show_protocol(
    bench: Bench,
    protocol: str,
    count: int,
    devset: pd.DataFrame | None = None,
    notices: bool = False,
) -> None:
    runs, others, name = [], [], f"{bench.weights}, {protocol}{notices * ' and notices'}"
    for number in range(count):
        run = bench.train(protocol, number, notices=notices)
        runs.append(run)
        if devset is not None:
            others.append(bench.score_other(run, devset))
        del run["trained"]
    if runs:
        show_runs(name, runs)
    for side_name, side in (("", 0), (", SVM", 1)) if others else ():
        figures = [
            100 * statistics.mean(pair[side][key] for pair in others)
            for key in ("accuracy", "false_positive_rate", "recall")
        ]
        each = " ".join(f"{100 * pair[side]['accuracy']:.1f}" for pair in others)
        print("{}, devset{}: accuracy {:.2f} %, false positives {:.2f} %, recall {:.2f} % ({})"
              .format(name, side_name, *figures, each), flush=True)  # fmt: skip


def show_runs(name: str, runs: list[dict]) -> None:
    """The mean accuracies, the paired difference with its interval, and the time."""
    pair = compare_accuracies(*([run[side] for run in runs] for side in ("ours", "svm")))
    low, high = (100 * value for value in pair["interval"] or (float("nan"),) * 2)
    each = " ".join(f"{100 * run['ours']:.2f}/{100 * run['svm']:.2f}" for run in runs)
    print(
        f"{name}: {100 * pair['ours']:.2f} %, SVM {100 * pair['theirs']:.2f} %, difference "
        f"{100 * pair['difference']:+.2f} ({low:+.2f} to {high:+.2f}), above in {pair['above']}, "
        f"equal in {pair['equal']} of {len(runs)}; "
        f"{statistics.mean(run['seconds'] for run in runs):.0f} s a training ({each})",
        flush=True,
    )


def label_rows(folder: Path, args: argparse.Namespace, model: str) -> None:
    """Train, export, label; prints the seconds of each and the runner's own summary."""
    texts = read_as_notebook(args.data)["text"]
    texts.sample(args.rows, replace=True, random_state=0).to_csv(folder / "drawn.csv", index=False)
    texts.drop_duplicates().to_csv(folder / "different.csv", index=False)
    bpe = ["--bpe", args.bpe] if args.bpe else []
    fit = ["fit", "--data", args.data, "--weights", model, "--out", folder / "run", *bpe,
           "--recipe", args.recipe, "--split", "grouped", "--no-balance"]  # fmt: skip
    steps = [
        ("trainer", fit),
        ("exporter", ["bundle", "--run", folder / "run", "--out", folder / "bundle"]),
    ]
    for name in ("drawn", "different"):
        steps.append(("batch", ["classify", folder / f"{name}.csv", "--out", folder / f"{name}.out",
                                "--bundle", folder / "bundle"]))  # fmt: skip
    for module, arguments in steps:
        start = time.monotonic()
        command = [sys.executable, "-m", module, *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(done.stderr.strip().splitlines()[-1])
        print(f"{module} {arguments[0]}: {time.monotonic() - start:.0f} s from start to end")
        if module == "batch":
            print("\n".join(line for line in done.stderr.splitlines() if "rows a second" in line))


if __name__ == "__main__":
    main()
