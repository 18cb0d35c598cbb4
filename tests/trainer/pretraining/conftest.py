"""A small text of made-up messages."""

from pathlib import Path

import pytest

from batch.errors import SpamBatchError

NAMES = ("Ann", "Bob", "Eve", "Tom")
PLACES = ("the station", "school", "the market", "home")


def made_up(count: int) -> list[str]:
    """Messages that follow a pattern, so that a language model can learn it."""
    return [
        f"{NAMES[n % 4]} is at {PLACES[n // 4 % 4]} until {n % 12 + 1} o'clock, see you there"
        for n in range(count)
    ]


@pytest.fixture(scope="session")
def text_file(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("text") / "messages.txt"
    path.write_text("\n".join(made_up(600)) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def refusal():
    """The sentence that an action is refused with."""

    def run(action, *args, **options) -> str:
        with pytest.raises(SpamBatchError) as caught:
            action(*args, **options)
        return str(caught.value)

    return run
