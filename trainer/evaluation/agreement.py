"""How often a student gives its teacher's labels, and what asking the teacher again mends.

N messages, K classes.
"""

import numpy as np

from batch.model.decision import Decision
from trainer.data.tensors import NO_GOLD, EncodedSet
from trainer.evaluation.scores import wilson

SCORE_BINS = 10  # of equal width
# Shares of the messages that are asked again: the points of the curve.
ASKED = (0.0, 0.0025, 0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5)


def measure_agreement(decision: Decision, logits: np.ndarray, data: EncodedSet) -> dict:
    """Compare a student's labels with its teacher's on a held-out set.

    Messages that the teacher did not label are left out, except beside the gold labels.

    Args:
        decision: the student's rule.
        logits: ``(N, K)`` float, the student's.
        data: the N messages; its labels are the teacher's where the teacher labelled them.

    Returns:
        A dict that can be written as JSON: ``messages``; ``disagreement`` (count, share,
        interval); ``by_class`` of the teacher; ``by_score`` of the student; ``curve`` (``asked``,
        ``left``): the shares that are asked again, the least sure first, and the disagreement
        that is left of all messages; and ``gold``, or None.
    """
    assert data.teacher is not None
    said = ~data.teacher[:, 0].isnan().cpu().numpy()
    labels = data.labels.cpu().numpy()
    predicted, scores, _ = decision.decide(logits)
    differs = (predicted != labels)[said]
    margins, scores = decision.margins(logits)[said], scores[said]
    own = labels[said]
    bins = np.minimum((scores * SCORE_BINS).astype(int), SCORE_BINS - 1)
    return {
        "messages": int(said.sum()),
        "disagreement": _share(differs),
        "by_class": [
            {"label": name, **_share(differs[own == number])}
            for number, name in enumerate(decision.labels)
        ],
        "by_score": [
            {"from": number / SCORE_BINS, "to": (number + 1) / SCORE_BINS,
             **_share(differs[bins == number])}
            for number in range(SCORE_BINS)
        ],
        "curve": {"asked": list(ASKED), "left": list(left_after_asking(differs, margins))},
        "gold": None if data.gold is None else _beside_gold(data, labels, predicted, said),
    }  # fmt: skip


def _share(differs: np.ndarray) -> dict:
    count, messages = int(differs.sum()), len(differs)
    return {
        "messages": messages,
        "count": count,
        "share": count / messages if messages else None,
        "interval": list(wilson(count, messages)),
    }


def left_after_asking(
    differs: np.ndarray, margins: np.ndarray, asked: tuple[float, ...] = ASKED
) -> list[float]:
    """The share of N messages that still differ after the least sure ones were asked again.

    A message that is asked again gets the teacher's label. Of equal margins all or none are
    asked, so that a label never depends on the order of the messages.

    >>> left_after_asking(np.array([True, False, True, False]), np.array([.1, .2, .3, .4]), (0, .5))
    [0.5, 0.25]

    Args:
        differs: ``(N,)`` bool.
        margins: ``(N,)`` float, how far each message is from another label.
        asked: shares of N.
    """
    if not len(differs):
        return [0.0 for _ in asked]
    ordered = np.sort(margins)
    left = []
    for share in asked:
        count = int(share * len(margins) + 1e-9)
        bound = ordered[count] if count < len(margins) else np.inf
        left.append(float(differs[margins >= bound].sum() / len(differs)))
    return left


def _beside_gold(
    data: EncodedSet, labels: np.ndarray, predicted: np.ndarray, said: np.ndarray
) -> dict:
    """How many of the messages that have a gold label the student and the teacher label so."""
    assert data.gold is not None
    gold = data.gold.cpu().numpy()
    known = gold != NO_GOLD
    both = known & said
    return {
        "student": _share((predicted != gold)[known]),
        "student_where_both": _share((predicted != gold)[both]),
        "teacher": _share((labels != gold)[both]),
    }


def agreement_lines(agreement: dict, svm: dict) -> list[str]:
    """The result of :func:`measure_agreement` in a few lines; ``svm`` has the SVM's scores."""
    total = agreement["disagreement"]
    lines = [f"disagrees with the teacher on {_say(total)} held-out messages"]
    per_class = [f"{part['label']} {_say(part)}" for part in agreement["by_class"][:MOST_CLASSES]]
    if len(agreement["by_class"]) > MOST_CLASSES:
        per_class.append(f"and {len(agreement['by_class']) - MOST_CLASSES} more classes")
    lines.append(f"by the teacher's class: {', '.join(per_class)}")
    parts = [part for part in agreement["by_score"] if part["count"]]
    if parts:
        shown = [f"{part['from']:.1f} to {part['to']:.1f} {_say(part)}" for part in parts]
        lines.append(f"by the student's score: {', '.join(shown)}")
    curve = agreement["curve"]
    points = [
        f"{100 * asked:g} % asked, {100 * left:.3f} % left"
        for asked, left in zip(curve["asked"], curve["left"], strict=True)
        if asked in SHOWN_SHARES
    ]
    lines.append(f"if the least sure are asked of the teacher again: {'; '.join(points)}")
    other = f"{100 * (1 - svm['accuracy']):.2f} %"
    lines.append(f"the SVM, trained on the teacher's labels, disagrees on {other}")
    if gold := agreement["gold"]:
        lines.append(f"against the gold labels: the student errs on {_say(gold['student'])}")
        if gold["teacher"]["messages"]:
            lines.append(
                f"where the teacher labelled them too: the teacher errs on "
                f"{_say(gold['teacher'])}, the student on {_say(gold['student_where_both'])}"
            )
    return lines


MOST_CLASSES = 12  # that are printed
SHOWN_SHARES = (0.01, 0.02, 0.05, 0.1)


def _say(part: dict) -> str:
    if part["share"] is None:
        return "none of 0"
    return f"{100 * part['share']:.2f} % ({part['count']:,} of {part['messages']:,})"
