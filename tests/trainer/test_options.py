"""Numbers on the command line."""

import pytest

from trainer.cli import main

NUMBERS = (
    ("distill", "--augment"), ("distill", "--drop-rate"), ("fit", "--learning-rate"),
    ("fit", "--lora-alpha"), ("fit", "--weight-decay"), ("fit", "--clip-norm"),
    ("pretrain", "--minutes"), ("pretrain", "--learning-rate"), ("pretrain", "--held-out"),
)  # fmt: skip


@pytest.mark.parametrize(("command", "name"), NUMBERS)
def test_no_number(invoke, command: str, name: str) -> None:
    result = invoke(main, command, name, "nan")
    assert result.exit_code == 2
    assert f"Invalid value for '{name}': nan is not a finite number." in result.stderr


def test_no_infinity(invoke) -> None:
    result = invoke(main, "fit", "--learning-rate", "inf")
    assert result.exit_code == 2
    assert "Invalid value for '--learning-rate': inf is not a finite number." in result.stderr
