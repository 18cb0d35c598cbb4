"""Padding, truncation, and loaders that hand out the notebook's batches."""

from pathlib import Path

import pandas as pd
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from batch.model.tokenizer import PAD_ID, Tokenizer
from trainer.data.notebook import balance, read_as_notebook, split
from trainer.data.tensors import EncodedSet, encode_frame, longest, make_loader, pad_messages
from trainer.recipe import RECIPES


def frame_of(*texts: str) -> pd.DataFrame:
    return pd.DataFrame({"label": ["ham", "spam"] * (len(texts) // 2), "text": texts})


def test_longest_is_at_least_one() -> None:
    assert longest([[1], [1, 2, 3], []]) == 3
    assert longest([[], []]) == 1


def test_pad_messages() -> None:
    ids = pad_messages([[1, 2, 3, 4], [], [5]], 3)
    expected = [[1, 2, 3], [PAD_ID, PAD_ID, PAD_ID], [5, PAD_ID, PAD_ID]]
    assert ids.dtype == torch.int64
    assert ids.tolist() == expected


def test_encode_frame(tokenizer: Tokenizer) -> None:
    frame = frame_of("Do you have time", "", "<|endoftext|>", "time time time time time time")
    data = encode_frame(frame, ["ham", "spam"], tokenizer, None)
    assert len(data) == 4
    assert data.ids.shape == (4, 7)  # <|endoftext|> as ordinary text
    assert data.ids[0].tolist() == [5211, 345, 423, 640, PAD_ID, PAD_ID, PAD_ID]
    assert data.ids[1].tolist() == [PAD_ID] * 7
    assert PAD_ID not in data.ids[2]
    assert data.labels.tolist() == [0, 1, 0, 1]
    assert data.lengths.tolist() == [4, 0, 7, 6]
    assert data.truncated == 0


def test_longer_messages_are_cut(tokenizer: Tokenizer) -> None:
    frame = frame_of("Do you have time", "time", "time " * 50, "Do you")
    data = encode_frame(frame, ["spam", "ham"], tokenizer, 2)
    assert data.ids.tolist()[:2] == [[5211, 345], [2435, PAD_ID]]
    assert data.labels.tolist() == [1, 0, 1, 0]
    assert data.lengths.tolist() == [2, 1, 2, 2]
    assert data.truncated == 2


def test_to_moves_every_tensor() -> None:
    data = EncodedSet(torch.zeros(2, 3), torch.zeros(2), torch.zeros(2), truncated=1)
    moved = data.to(torch.device("meta"))
    assert {moved.ids.device.type, moved.labels.device.type, moved.lengths.device.type} == {"meta"}
    assert moved.truncated == 1


@pytest.mark.parametrize("train", [True, False])
def test_batches_equal_the_notebooks(train: bool) -> None:
    """The same seed gives the same rows, pass after pass, whoever else draws between."""
    torch.manual_seed(123)
    ours = [rows.tolist() for _ in range(3) for rows in make_loader(21, 8, train)]

    dataset = TensorDataset(torch.arange(21))
    torch.manual_seed(123)
    loader = DataLoader(dataset, batch_size=8, shuffle=train, drop_last=train, num_workers=0)
    theirs = [rows.tolist() for _ in range(3) for (rows,) in loader]

    assert ours == theirs
    assert [len(rows) for rows in ours] == ([8, 8] if train else [8, 8, 5]) * 3
    assert (ours[0] != list(range(8))) == train


def test_book_figures(sms_file: Path, tokenizer: Tokenizer) -> None:
    book = RECIPES["book"]
    parts = split(balance(read_as_notebook(sms_file), book.split_seed), book)
    train = encode_frame(parts["train"], ["ham", "spam"], tokenizer, None)
    assert train.ids.shape == (1045, 120)
    assert train.lengths.max() == 120
    assert train.truncated == 0
    others = {
        name: encode_frame(parts[name], ["ham", "spam"], tokenizer, 120)
        for name in ("validation", "test")
    }
    loaders = {
        name: make_loader(len(data), book.batch_size, train=name == "train")
        for name, data in {"train": train, **others}.items()
    }
    assert {name: len(loader) for name, loader in loaders.items()} == {
        "train": 130,
        "validation": 19,
        "test": 38,
    }
    assert [data.ids.shape for data in others.values()] == [(149, 120), (300, 120)]
