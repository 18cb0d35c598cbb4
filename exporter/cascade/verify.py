"""Prove a cascade's bound again, on any text: ``spam-export verify CASCADE --text``."""

import logging
from pathlib import Path

from batch.errors import UsageError
from batch.model.bundle import Bundle
from batch.model.cascade.classifier import CascadeClassifier
from batch.model.classifier import Classifier
from exporter.cascade.measure import check_enough, describe_proof, run_both
from exporter.cascade.texts import ProofText
from exporter.parity import VerificationError

log = logging.getLogger("exporter")


def find_kind(bundle: Bundle, has_text: bool) -> bool:
    """True for a cascade.

    Raises:
        UsageError: a cascade needs text to be proved on, and no other bundle does.
    """
    folder = bundle.folder
    if bundle.proof and not has_text:
        raise UsageError(
            f"{folder} is a cascade; give the text to prove it on, for example: "
            f"spam-export verify {folder} --text inbox.csv"
        )
    if has_text and not bundle.proof:
        raise UsageError(f"--text: {folder} is no cascade; it is checked against its --run")
    return bundle.proof is not None


def verify_cascade(
    folder: Path, text: ProofText, device: str = "auto", progress: bool = True
) -> list[str]:
    """Prove the bound on those messages of ``text`` whose hash puts them into the proving half.

    A message that the band was chosen on is in the other half, whatever file it comes in, so it
    proves nothing here. The bundle is not changed.

    Returns:
        the lines to print.

    Raises:
        VerificationError: the bound is not proved on this text.
        InputError: it has too few messages.
    """
    classifier = Classifier.load(folder, device)
    assert isinstance(classifier, CascadeClassifier)  # as find_kind says
    promised = classifier.proof.promised
    check_enough(text, promised)
    fast, slow = classifier.fast, classifier.slow
    found = run_both(fast, slow, text.proving, "proving the bound", progress)
    asked = classifier.proof.asks(fast.decision.leanings(found.logits), found.tokens)
    differ = int((found.differs(fast.decision) & ~asked).sum())
    bound, sentence = describe_proof(differ, len(asked), promised)
    share = f"{100 * asked.mean():.2f} %"
    if bound > promised:
        raise VerificationError(
            f"{folder}: the bound does not hold on this text: with {share} of the messages asked "
            f"of the slow model, {sentence}; distil again with this text, and prove the new "
            "cascade with spam-export cascade (docs/cascade.md)"
        )
    return [
        f"asked again     {share} of the messages",
        f"cascade         {sentence}",
        f"{folder}: the bound holds on this text",
    ]
