"""The band's leanings count by that power of the length with which the fewest tokens are read."""

import numpy as np
import pytest

from batch.model.decision import Decision
from exporter.cascade.measure import Outcome, choose_band_and_power

DECISION = Decision(["ham", "spam"], "spam", 0.5, 1.0)
SHORT, LONG = 4, 64  # tokens


def outcome(wrong_tokens: int) -> Outcome:
    """A short and a long message at each of 200 leanings; one of ``wrong_tokens`` at 3 is wrong."""
    leanings = np.repeat(np.arange(-50, 50) / 4 + 0.125, 2)
    tokens = np.tile([SHORT, LONG], 100)
    labels = (leanings > 0).astype(int)
    labels[np.flatnonzero((leanings == 3.125) & (tokens == wrong_tokens))] = 0
    logits = np.stack([np.zeros(200), leanings], axis=1).astype(np.float32)
    return Outcome(logits, tokens, labels, np.eye(2)[labels])


@pytest.mark.parametrize(
    ("wrong_tokens", "power", "short", "long"),
    [
        (SHORT, 0.5, 13, 3),  # the short ones up to 3.125, the long ones up to a quarter of it
        (LONG, 0.0, 13, 13),
    ],
)
def test_the_fewest_tokens_are_read(wrong_tokens, power, short, long) -> None:
    tuned = outcome(wrong_tokens)
    band, found = choose_band_and_power(tuned, DECISION, allowed=5, proving=200)
    assert (found, band.left) == (power, 0)
    asked = tuned.tokens[band.asks(tuned.leanings(DECISION, found))]
    assert ((asked == SHORT).sum(), (asked == LONG).sum()) == (short, long)
    # The best of those that may be chosen.
    _, found = choose_band_and_power(tuned, DECISION, 5, 200, powers=[0.25])
    assert found == 0.25


def test_the_taken_messages_are_whole() -> None:
    whole = outcome(SHORT)
    rows = np.array([3, 7])
    part = whole.take(rows)
    assert part.tokens.tolist() == [LONG, LONG] and part.logits.shape == (2, 2)
    assert part.differs(DECISION).tolist() == whole.differs(DECISION)[rows].tolist()
