"""The loss of a batch: against labels, or against what a teacher said.

B messages, K classes.
"""

from torch import Tensor
from torch.nn import functional as F

from trainer.data.tensors import NO_GOLD, EncodedSet


def batch_loss(
    logits: Tensor, data: EncodedSet, rows: Tensor, kind: str = "soft", ignore_index: int = -100
) -> Tensor:
    """The mean loss of the messages ``rows`` ``(B,)`` with the logits ``(B, K)``.

    Without a teacher it is the cross-entropy with the labels. With one, each message that the
    teacher labelled has the loss of ``kind``, and each one that has a gold label has the
    cross-entropy with that label, or the sum of both.

    Args:
        kind: ``soft``, see :func:`soft_loss`, or ``margin``, see :func:`margin_loss`.
    """
    if data.teacher is None:
        return F.cross_entropy(logits, data.labels[rows], ignore_index=ignore_index)
    teacher = data.teacher[rows]
    said = ~teacher[:, 0].isnan()
    loss = LOSS_OF[kind](logits[said], teacher[said]).sum()
    if data.gold is not None:
        gold = data.gold[rows]
        loss = loss + F.cross_entropy(logits, gold, ignore_index=NO_GOLD, reduction="sum")
    return loss / len(rows)


def soft_loss(logits: Tensor, teacher: Tensor) -> Tensor:
    """Cross-entropy with the teacher's probabilities, ``(B, K)`` twice -> ``(B,)``, in nats.

    ``teacher`` has log-probabilities. Source: Hinton et al. 2015, section 2, at temperature 1.
    """
    return -(teacher.exp() * logits.log_softmax(dim=1)).sum(dim=1)


def margin_loss(logits: Tensor, teacher: Tensor) -> Tensor:
    """Mean square of the error in each margin between two classes, ``(B, K)`` twice -> ``(B,)``.

    A margin is the difference of two logits. The mean over all pairs of classes is
    2 / (K - 1) times the square of the centred error. Source: Ba and Caruana 2014, which
    match logits.
    """
    error = logits - teacher
    error = error - error.mean(dim=1, keepdim=True)
    return 2 * error.square().sum(dim=1) / (error.shape[1] - 1)


LOSS_OF = {"soft": soft_loss, "margin": margin_loss}
