"""The losses of a distillation, against numbers worked out by hand."""

import math

import pytest
import torch
from torch.nn import functional as F

from trainer.data.tensors import NO_GOLD, EncodedSet, pad_messages
from trainer.training.loss import batch_loss, margin_loss, soft_loss


def make_set(teacher: torch.Tensor | None, gold: torch.Tensor | None = None) -> EncodedSet:
    return EncodedSet(pad_messages([[1], [2], [3]], 1), torch.tensor([0, 1, 1]),
                      torch.ones(3, dtype=torch.int64), 0, teacher, gold)  # fmt: skip


LOGITS = torch.tensor([[0.0, 1.0], [2.0, -1.0], [0.5, 0.5]])
ROWS = torch.tensor([0, 1, 2])


def test_margin_of_two_classes_is_the_square_of_its_error() -> None:
    teacher = torch.tensor([[0.0, 3.0]]).log_softmax(dim=1)
    assert margin_loss(LOGITS[:1], teacher).item() == pytest.approx((3.0 - 1.0) ** 2, rel=1e-6)


def test_margin_of_three_classes_is_the_mean_over_pairs() -> None:
    ours, theirs = torch.tensor([[1.0, 2.0, 4.0]]), torch.tensor([[0.0, 3.0, 3.0]])
    errors = [((ours[0, i] - ours[0, j]) - (theirs[0, i] - theirs[0, j])).item() ** 2
              for i, j in ((0, 1), (0, 2), (1, 2))]  # fmt: skip
    assert margin_loss(ours, theirs).item() == pytest.approx(sum(errors) / 3, rel=1e-6)


def test_soft_is_the_cross_entropy_with_the_probabilities() -> None:
    teacher = torch.tensor([[0.25, 0.75]]).log()
    p = 1 / (1 + math.exp(-1.0))
    expected = -0.25 * math.log(1 - p) - 0.75 * math.log(p)
    assert soft_loss(LOGITS[:1], teacher).item() == pytest.approx(expected, rel=1e-6)


def test_without_a_teacher_it_is_the_cross_entropy() -> None:
    expected = F.cross_entropy(LOGITS, torch.tensor([0, 1, 1]))
    assert torch.equal(batch_loss(LOGITS, make_set(None), ROWS), expected)


@pytest.mark.parametrize("kind", ["soft", "margin"])
def test_gold_labels_are_added_and_unlabelled_messages_have_no_teacher(kind: str) -> None:
    """The first has both, the second the teacher's alone, the third a gold label alone."""
    teacher = torch.tensor([[0.1, 0.9], [0.8, 0.2], [math.nan, math.nan]]).log()
    data = make_set(teacher, torch.tensor([0, NO_GOLD, 1]))
    loss_of = {"soft": soft_loss, "margin": margin_loss}[kind]
    hard = F.cross_entropy(LOGITS[[0, 2]], torch.tensor([0, 1]), reduction="sum")
    expected = (loss_of(LOGITS[:2], teacher[:2]).sum() + hard) / 3
    logits = LOGITS.clone().requires_grad_()
    found = batch_loss(logits, data, ROWS, kind)
    assert found.item() == pytest.approx(expected.item(), rel=1e-6)
    found.backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
