"""Messages a second: the exported bundle against the notebook's loop, in one run.

Ours is ``batch.Classifier`` on the bundle; theirs is the notebook's
``classify_review``: PyTorch, one message at a time, padded to max_length, the
head computed at every position. Same weights, same messages, same machine.

    python benchmarks/throughput.py --run runs/spam --bundle models/spam
"""

import argparse
import statistics
import time
from pathlib import Path

import torch

from batch.classifier import Classifier
from trainer.data import read_split
from trainer.dataset import pad_messages
from trainer.run_folder import read_config, read_model, read_tokenizer


def label_plainly(model, config, tokenizer, texts: list[str]) -> list[str]:
    """The notebook's loop over ``classify_review``."""
    labels = []
    for text in texts:
        ids = pad_messages([tokenizer.encode(text)], config.max_length)
        with torch.no_grad():
            hidden = model.transformer(ids)
            logits = model.score(hidden)
            row = model.pooled_position(ids)
            labels.append(config.labels[int(logits[0, row[0]].argmax())])
    return labels


def measure(function, *args) -> tuple[float, list[str]]:
    start = time.perf_counter()
    labels = function(*args)
    return time.perf_counter() - start, labels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, default=Path("runs/spam"))
    parser.add_argument("--bundle", type=Path, default=Path("models/spam"))
    parser.add_argument("--messages", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()

    config = read_config(args.run)
    model, tokenizer = read_model(args.run, config), read_tokenizer(args.run)
    classifier = Classifier.load(args.bundle, "cpu")
    texts = list(read_split(args.run, "test")["text"])[: args.messages]
    ratios, ours_rates, theirs_rates = [], [], []
    for repeat in range(args.repeats + 1):
        theirs, their_labels = measure(label_plainly, model, config, tokenizer, texts)
        ours, our_predictions = measure(classifier.classify, texts)
        if our_predictions.labels != their_labels:
            raise SystemExit("the labels differ")
        if repeat:  # the first warms up
            ratios.append(theirs / ours)
            ours_rates.append(len(texts) / ours)
            theirs_rates.append(len(texts) / theirs)
    print(f"{len(texts)} messages, {args.repeats} repeats, {torch.get_num_threads()} threads")
    for name, rates in (("PyTorch, one by one", theirs_rates), ("spam-batch, fp32", ours_rates)):
        print(f"{name:22} {statistics.median(rates):10,.0f} messages a second (median)")
    low, high = min(ratios), max(ratios)
    print(f"ratio {statistics.median(ratios):.1f} ({low:.1f} to {high:.1f}); all labels equal")


if __name__ == "__main__":
    main()
