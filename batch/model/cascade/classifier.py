"""Label texts with a cascade: the fast model first, then the slow one for those in the band.

Which model decides depends on the text alone: on its length, and on the fast model's logits,
which are the same bits in any batch on a CPU. Each model keeps its own cache of texts.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from batch.errors import BundleError
from batch.model.bundle_files import GOLDEN
from batch.model.cascade.folder import CascadeBundle
from batch.model.cascade.proof import Proof
from batch.model.classifier import Classifier, Prepared
from batch.model.decision import FAST, SLOW, Predictions
from batch.model.rules import Rules

# N texts, the fast model's labels of them, and the numbers of the distinct texts to ask.
Begun = tuple[Prepared, Predictions, np.ndarray]
# Of the slow model, that make the last one, which is seldom full, a small part.
FULL_BATCHES = {"cpu": 8, "cuda": 1}
GOLDEN_TOLERANCE = 0.02  # of a score; the stages' own golden messages check logits more closely


class CascadeClassifier(Classifier):
    """Two classifiers in the place of one."""

    def __init__(self, bundle: CascadeBundle, fast: Classifier, slow: Classifier):
        assert bundle.proof is not None  # as open_cascade says
        self.bundle, self.proof = bundle, bundle.proof
        self.manifest, self.precision = bundle.manifest, bundle.proof.precision
        self.decision, self.truncation = slow.decision, slow.truncation
        # One rule for both; the fast model's scores are calibrated to the slow one's.
        fast.decision = replace(slow.decision, temperature=bundle.proof.temperature)
        self.fast, self.slow = fast, slow
        self.session = fast.session
        self.session.note = slow.session.note or fast.session.note

    @property
    def parts(self) -> dict[str, Classifier]:
        return {"fast model's ": self.fast, "slow model's ": self.slow}

    def check_unchanged(self) -> None:
        self.fast.check_unchanged()
        self.slow.check_unchanged()

    def clear_cache(self) -> None:
        self.fast.clear_cache()
        self.slow.clear_cache()

    def encode(self, text: str) -> tuple[list[int], bool]:
        """The token ids that the fast model reads; see :meth:`Classifier.encode`."""
        return self.fast.encode(text)

    def prepare(self, texts: Sequence[str]) -> Prepared:
        return self.fast.prepare(texts)

    def classify_prepared(self, prepared: Prepared) -> Predictions:
        return self.finish([self.begin(prepared)])[0]

    def begin(self, prepared: Prepared) -> Begun:
        """The fast model's part of :meth:`classify_prepared`."""
        repeated = self.fast.run(prepared)
        leanings = self.fast.decision.leanings(prepared.logits)
        asks = self.proof.asks(leanings, prepared.tokens)
        found = self.fast.decide(prepared, repeated)
        return prepared, replace(found, asked=asks[prepared.rows]), np.flatnonzero(asks)

    def fills_batches(self, begun: Sequence[Begun]) -> bool:
        """True if the texts to ask fill enough of the slow model's batches."""
        tokens = sum(int(prepared.tokens[asked].sum()) for prepared, _, asked in begun)
        return tokens >= FULL_BATCHES[self.slow.session.device] * self.slow.batch_tokens

    def finish(self, begun: Sequence[Begun]) -> list[Predictions]:
        """The labels of several windows, whose texts for the slow model share batches."""
        texts = [prepared.distinct[at] for prepared, _, asked in begun for at in asked.tolist()]
        theirs = self.slow.classify(texts)
        ends = np.cumsum([len(asked) for *_, asked in begun])
        return [
            _merge(found, theirs, prepared.rows, asked, int(end) - len(asked))
            for (prepared, found, asked), end in zip(begun, ends, strict=True)
        ]


def _merge(
    ours: Predictions, theirs: Predictions, numbers: np.ndarray, asked: np.ndarray, start: int
) -> Predictions:
    """The fast model's N predictions with the slow one's in the rows that it was asked for.

    Args:
        numbers: ``(N,)`` the number of each row's distinct text.
        asked: numbers of the distinct texts that were asked, in the order of ``theirs``.
        start: the first of ``theirs`` that belongs here.
    """
    assert ours.asked is not None
    rows = np.flatnonzero(ours.asked)
    sources = start + np.searchsorted(asked, numbers[rows])
    labels, reasons = list(ours.labels), list(ours.reasons)
    for row, source in zip(rows.tolist(), sources.tolist(), strict=True):
        labels[row], reasons[row] = theirs.labels[source], theirs.reasons[source]
    merged = {
        name: getattr(ours, name).copy()
        for name in ("scores", "probabilities", "tokens", "truncated")
    }
    for name, values in merged.items():
        values[rows] = getattr(theirs, name)[sources]
    return replace(ours, labels=labels, reasons=reasons, **merged)


def load_cascade(
    bundle: CascadeBundle, device: str, threads: int | None, allow_unverified: bool, rules: Rules
) -> CascadeClassifier:
    """Load both models on one device, in the precisions of the proof, and replay the golden file.

    Raises:
        SpamBatchError: as ``Classifier.load``.
    """
    proof = bundle.proof
    assert proof is not None  # as open_cascade says

    def load(stage: str, on: str, rules: Rules) -> Classifier:
        folder = bundle.stages[stage].folder
        precision = proof.precisions[stage]
        found = Classifier.load(
            folder, on, threads, precision, allow_unverified, rules.threshold, rules.unsure_band,
            rules.long,
        )  # fmt: skip
        if found.bundle.digest != proof.stages[stage]:
            raise BundleError(f"{folder}: was replaced while it was loaded; run again")
        return found

    slow = load(SLOW, device, rules)
    # The device of the slow one, where the GPU does not work. Its rules become the fast one's.
    fast = load(FAST, slow.session.device, Rules(long=rules.long))
    classifier = CascadeClassifier(bundle, fast, slow)
    _replay(classifier, proof)
    return classifier


def golden_values(classifier: CascadeClassifier, texts: Sequence[str]) -> list[dict]:
    """What ``golden.json`` has of each text: how it leans, and its probabilities both ways."""
    prepared = classifier.fast.prepare(texts)
    ours = classifier.fast.classify_prepared(prepared)
    theirs = classifier.slow.classify(texts)
    leanings = classifier.fast.decision.leanings(prepared.logits)[prepared.rows]
    return [
        {"text": text, "leaning": leaning, FAST: fast, SLOW: slow}
        for text, leaning, fast, slow in zip(
            texts, leanings.tolist(), ours.probabilities.tolist(),
            theirs.probabilities.tolist(), strict=True,
        )
    ]  # fmt: skip


def _replay(classifier: CascadeClassifier, proof: Proof) -> None:
    """Compare both models' probabilities of the golden messages with those of the proof.

    Raises:
        BundleError: they differ. The text has the number of the message.
    """
    folder = classifier.bundle.folder
    try:
        messages = classifier.bundle.read_json(GOLDEN)["messages"]
        texts = [message["text"] for message in messages]
        expected = {stage: np.array([each[stage] for each in messages]) for stage in (FAST, SLOW)}
    except (KeyError, TypeError):
        raise BundleError(
            f"{folder}: {GOLDEN} does not have the form that spam-export writes; make the cascade "
            "again with: spam-export cascade"
        ) from None
    found = golden_values(classifier, texts)
    for stage, theirs in expected.items():
        ours = np.array([each[stage] for each in found])
        if ours.shape != theirs.shape:
            raise BundleError(f"{folder}: {GOLDEN} does not belong to the {stage} model")
        difference = np.abs(ours - theirs).max(axis=1)
        worst = int(difference.argmax())
        if not difference[worst] <= GOLDEN_TOLERANCE:  # a difference that is nan fails, too
            raise BundleError(
                f"{folder}: the {stage} model gives golden message {worst} a probability that "
                f"differs by {difference[worst]:.2g} from that of the proof, more than "
                f"{GOLDEN_TOLERANCE:g}"
            )
    classifier.clear_cache()  # a first text is counted as new in any run
