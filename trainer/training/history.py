"""What a training run measured, epoch by epoch."""

from dataclasses import asdict, dataclass, field


@dataclass
class History:
    """Losses after every ``eval_freq`` steps, accuracies after every epoch, and counts."""

    steps: list[int] = field(default_factory=list)
    train_losses: list[float] = field(default_factory=list)
    validation_losses: list[float] = field(default_factory=list)
    train_accuracies: list[float] = field(default_factory=list)
    validation_accuracies: list[float] = field(default_factory=list)
    examples_seen: int = 0
    seconds: float = 0.0
    best_epoch: int | None = None  # with the lowest validation loss, where the recipe asks for it
    epochs: int = 0  # complete ones

    def to_dict(self) -> dict:
        return asdict(self)
