"""The messages that a benchmark runs on."""

import csv
import random
from collections.abc import Iterator
from pathlib import Path

# Token counts of the SMS collection at its deciles, for made-up messages.
LENGTHS = (2, 7, 10, 12, 15, 18, 23, 29, 36, 45, 120)


def read_texts(data: Path | None, count: int) -> list[str]:
    """``count`` distinct messages."""
    if data is not None:
        from trainer.data.reading import SMS_OPTIONS, read_labelled  # brings pandas

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


def number_texts(texts: list[str], count: int) -> Iterator[str]:
    """``count`` messages, each with its number, so that none comes twice."""
    return (f"{row} {texts[row % len(texts)]}" for row in range(count))


def write_table(path: Path, rows: int, texts: list[str]) -> None:
    """A CSV file of ``rows`` messages, none of them twice."""
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "text"])
        writer.writerows(enumerate(number_texts(texts, rows)))
