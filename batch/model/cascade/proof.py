"""``proof.json`` of a cascade: which messages the slow model decides, and what was proved of it.

docs/formats.md describes the keys. ``spam-export cascade`` writes the file, and its hash is in
``bundle.json``: so nobody changes the band without notice.
"""

import math
from dataclasses import asdict, dataclass, field, fields

import numpy as np

from batch.drift.shifts import Shift, compare_asked
from batch.messages import count
from batch.model.bundle import check_reference

PROOF = "proof.json"
BETWEEN = "+"  # between the precisions of the two models
DEFAULT_RULES = {"--long": "head"}  # the proof is of messages cut so
TYPICAL = 16  # tokens; a message of so many is asked if its leaning itself is in the band
POWERS = (0.0, 0.25, 0.5)  # of a message's length; a root is rounded alike on every machine


@dataclass(frozen=True)
class Proof:
    """The contents of ``proof.json``."""

    stages: dict[str, str]  # fast and slow -> SHA-256 of their bundle.json
    precisions: dict[str, str]  # fast and slow -> the precisions that were measured
    # The slow model decides if low <= weigh(Decision.leanings, ...) < high.
    band: list[float]
    center: float  # the leaning at which the fast model's label changes
    length_power: float  # one of POWERS; chosen with the band
    temperature: float  # of the fast model, fitted to the slow one's probabilities
    promised: float  # largest share of labels that may differ from the slow model's
    confidence: float  # of the bound
    tuning: dict  # messages that the band was chosen on
    proving: dict  # messages, asked, differ, bound
    share_asked: float  # of all rows of the text, repeated ones as well
    text: dict  # of which files: rows, distinct texts, messages that count, SHA-256
    settings: dict[str, str]  # the rules for labels that the proof was made with
    reference: dict  # what the rows of the text got, for drift
    curve: list = field(default_factory=list)  # [share asked, share that differs] of the proof
    made_by: dict = field(default_factory=dict)

    @property
    def precision(self) -> str:
        """Both precisions in one word, as ``--precision`` has it."""
        return BETWEEN.join((self.precisions["fast"], self.precisions["slow"]))

    @property
    def bound(self) -> float:
        """Upper end of the interval for the share of labels that differ."""
        return self.proving["bound"]

    def asks(self, leanings: np.ndarray, tokens: np.ndarray) -> np.ndarray:
        """Which of N messages the slow model decides, ``(N,)`` bool; see :func:`weigh`."""
        low, high = self.band
        weighed = weigh(leanings, tokens, self.center, self.length_power)
        return (low <= weighed) & (weighed < high)

    def promise(self) -> str:
        """The promise as a part of a sentence.

        >>> proof.promise()  # doctest: +SKIP
        "at most 0.067 % of the labels differ from the slow model's (95 % confidence, ...)"
        """
        return (
            f"at most {show_bound(self.bound)} of the labels differ from the slow model's "
            f"({100 * self.confidence:g} % confidence, measured on "
            f"{count(self.proving['messages'], 'message')})"
        )

    def compare_asked(self, asked: int, rows: int) -> list[Shift]:
        """Compare the share of rows that the slow model decided with that of the proof's text."""
        if not rows:
            return []
        return [compare_asked(asked, rows, self.share_asked, self.text["distinct"])]

    def find_problem(self) -> str | None:
        """The name of a key whose value cannot be; None if all can."""
        try:
            is_good = {
                "stages": set(self.stages) == {"fast", "slow"} and _are(str, self.stages),
                "precisions": set(self.precisions) == {"fast", "slow"}
                and _are(str, self.precisions),
                "band": len(self.band) == 2
                and all(isinstance(end, int | float) for end in self.band)
                and self.band[0] <= self.center <= self.band[1],
                "length_power": self.length_power in POWERS,
                "temperature": 0 < self.temperature < math.inf,
                "promised": 0 < self.promised < 1,
                "confidence": 0 < self.confidence < 1,
                "proving": 0 <= self.proving["differ"] <= self.proving["messages"]
                and 0 < self.bound <= self.promised,
                "share_asked": 0 <= self.share_asked <= 1,
                "text": 0 < self.text["distinct"] <= self.text["rows"]
                and isinstance(self.text["sha256"], str),
                "settings": _are(str, self.settings),
                "reference": check_reference(self.reference),
            }
        except (AttributeError, KeyError, TypeError):
            return "values"
        return next((name for name, good in is_good.items() if not good), None)

    @classmethod
    def from_json(cls, values: dict) -> "Proof":
        """The inverse of ``asdict``.

        Raises:
            ValueError: a key is missing or unknown, or a value cannot be; the text names it.
        """
        known = {key.name for key in fields(cls)}
        if unknown := sorted(set(values) - known):
            raise ValueError(f"the key {unknown[0]!r} is not known")
        try:
            proof = cls(**values)
        except TypeError:
            missing = sorted(known - set(values))
            raise ValueError(
                f"the key {missing[0]!r} is missing; make the cascade again, from the two bundles "
                "in it, with: spam-export cascade"
            ) from None
        if problem := proof.find_problem():
            raise ValueError(f"{problem}: not valid")
        return proof

    def to_json(self) -> dict:
        return asdict(self)


def show_bound(bound: float) -> str:
    """A bound as a percentage, rounded up: what is shown was proved, too.

    >>> show_bound(0.000674), show_bound(0.0034)
    ('0.068 %', '0.340 %')
    """
    # Of 0.34 %, which is 340.00000000000006 in the calculation, nothing is left to round up.
    return f"{math.ceil(round(1e5 * bound, 6)) / 1e3:.3f} %"


def weigh(
    leanings: np.ndarray, tokens: np.ndarray, center: float, length_power: float
) -> np.ndarray:
    """Leanings that count more the longer a message is, ``(N,)`` float64.

    A long message takes more of the slow model's time, so it has to be less sure to be asked:
    its distance from ``center`` is multiplied by a power of its length.

    Args:
        leanings: ``(N,)``, see ``Decision.leanings``.
        tokens: ``(N,)``, which the fast model reads.
        length_power: one of ``POWERS``.
    """
    factors = np.ones(len(tokens)) if length_power == 0 else np.sqrt(tokens / TYPICAL)
    return center + (leanings - center) * (np.sqrt(factors) if length_power == 0.25 else factors)


def _are(kind: type, values: dict) -> bool:
    return all(isinstance(value, kind) for value in values.values())
