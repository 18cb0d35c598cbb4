"""What head, tail and windows make of long messages, and what each costs.

The messages of --data are labelled in each mode, and besides them each long ham with a spam
of the data behind it. Prints figures only, never a text.

    python benchmarks/long_messages.py --data SMSSpamCollection --bundle models/spam
"""

import argparse
import time
from pathlib import Path

import numpy as np

from batch.model.classifier import Classifier
from batch.model.truncation import MODES
from trainer.data.reading import SMS_OPTIONS, read_labelled

HIDDEN = 20  # spam messages that are put behind each long ham


class Counting:
    """A session that counts the messages or windows that run, and their tokens, padding too."""

    def __init__(self, session):
        self.session, self.rows, self.tokens = session, 0, 0

    def run(self, ids: np.ndarray) -> np.ndarray:
        self.rows, self.tokens = self.rows + len(ids), self.tokens + ids.size
        return self.session.run(ids)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="label<TAB>text a line")
    parser.add_argument("--bundle", default="models/spam")
    parser.add_argument("--precision", default="fp32")
    asked = parser.parse_args()
    frame = read_labelled([asked.data], SMS_OPTIONS).frame
    texts, is_spam = frame["text"].to_numpy(), (frame["label"] == "spam").to_numpy()
    heads = None
    for mode in MODES:
        classifier = Classifier.load(asked.bundle, "cpu", precision=asked.precision, long=mode)
        limit = classifier.manifest.max_length
        is_long = classifier.tokenizer.encode_batch(texts.tolist(), limit).truncated
        spams = texts[is_spam & ~is_long][:HIDDEN]
        hidden = [f"{ham} {spam}" for ham in texts[is_long & ~is_spam] for spam in spams]
        classifier.session = counting = Counting(classifier.session)
        start = time.perf_counter()
        found = classifier.classify(texts.tolist())
        seconds, rows, tokens = time.perf_counter() - start, counting.rows, counting.tokens
        given = np.array(found.labels)
        if heads is None:
            heads = given
            print(
                f"{len(texts):,} messages; {is_long.sum()} have more than {limit} tokens, "
                f"{(is_long & is_spam).sum()} of those are spam"
            )
        caught, alone = (
            classifier.classify(list(part)).labels.count("spam") for part in (hidden, spams)
        )
        print(
            f"{mode}: {rows:,} rows of {tokens:,} tokens run, {seconds:.2f} s; of the long "
            f"messages {found.truncated[is_long].sum()} are cut, "
            f"{(given == 'spam')[is_long & ~is_spam].sum()} ham called spam, "
            f"{(given != heads)[is_long].sum()} labelled otherwise than by head, scores up to "
            f"{found.scores[is_long].max(initial=0):.4f}; spam behind a long ham: {caught:,} of "
            f"{len(hidden):,} found ({alone} of {len(spams)} by themselves)"
        )


if __name__ == "__main__":
    main()
