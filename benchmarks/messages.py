"""The messages that a benchmark runs on."""

import random
from pathlib import Path

from trainer.data.reading import SMS_OPTIONS, read_labelled

# Token counts of the SMS collection at its deciles, for made-up messages.
LENGTHS = (2, 7, 10, 12, 15, 18, 23, 29, 36, 45, 120)


def read_texts(data: Path | None, count: int) -> list[str]:
    """``count`` distinct messages."""
    if data is not None:
        distinct = read_labelled([data], SMS_OPTIONS).frame["text"].drop_duplicates()
        return list(distinct.sample(min(count, len(distinct)), random_state=0))
    rng = random.Random(0)
    words = ["call", "you", "the", "free", "now", "home", "dinner", "txt", "prize", "ok"]
    texts = []
    for number in range(count):
        low = rng.randrange(10)
        length = rng.randint(LENGTHS[low], LENGTHS[low + 1])
        texts.append(" ".join([str(number), *rng.choices(words, k=max(1, length - 1))]))
    return texts
