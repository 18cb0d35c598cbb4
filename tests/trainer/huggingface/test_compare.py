"""The largest difference of logits."""

import numpy as np

from trainer.huggingface.compare import largest_difference


def test_names_the_row_and_divides_by_a_large_logit():
    theirs = np.array([[0.0, 4.0], [1.0, 1.0]])
    assert largest_difference(np.array([[0.0, 4.0], [1.5, 0.0]]), theirs) == (1.0, 0.25, 1)


def test_what_is_not_a_number_is_infinite():
    worst, relative, row = largest_difference(np.array([[0.0, np.nan]]), np.zeros((1, 2)))
    assert (worst, relative, row) == (np.inf, np.inf, 0)
