"""Intervals of proportions, and a test of two classifiers on the same messages."""

import math

Z_95 = 1.959963984540054  # the normal distribution's 97.5 % quantile


def wilson(successes: float, n: float) -> tuple[float, float]:
    """The 95 % Wilson score interval of a proportion ``successes / n``.

    Without messages the interval is (0, 1). With weights, ``n`` is the effective number of
    messages.
    Source: Wilson 1927; Newcombe 1998 (Statistics in Medicine 17, 857-872), method 3.

    >>> wilson(292, 300)
    (0.9482710570494102, 0.9864269301913529)

    Raises:
        ValueError: unless ``0 <= successes <= n``.
    """
    if not 0 <= successes <= n:
        raise ValueError(f"{successes} successes of {n}")
    if n == 0:
        return 0.0, 1.0
    share, square = successes / n, Z_95**2
    middle = (share + square / (2 * n)) / (1 + square / n)
    half = Z_95 / (1 + square / n) * math.sqrt(share * (1 - share) / n + square / (4 * n * n))
    low = 0.0 if successes == 0 else middle - half  # rounding would miss the exact 0
    high = 1.0 if successes == n else middle + half
    return low, high


def mcnemar(first: int, second: int) -> float:
    """The exact two-sided p-value of McNemar's test.

    Of the messages that only one of two classifiers labelled right, ``first`` were those of the
    first, and ``second`` those of the second. Source: McNemar 1947 (Psychometrika 12, 153-157);
    the exact form is the binomial test of ``first`` successes in ``first + second`` trials.

    >>> mcnemar(1, 8)
    0.0390625
    """
    trials, least = first + second, min(first, second)
    if trials < 1000:
        tail = sum(math.comb(trials, k) for k in range(least + 1)) / 2**trials
    else:  # the same by logarithms: the numbers are too large
        whole = math.lgamma(trials + 1) - trials * math.log(2)
        tail = math.fsum(
            math.exp(whole - math.lgamma(k + 1) - math.lgamma(trials - k + 1))
            for k in range(least + 1)
        )
    return min(1.0, 2 * tail)
