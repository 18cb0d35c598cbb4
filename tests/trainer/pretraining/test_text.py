"""Unlabelled files are read as spam-batch reads them, and cut into rows without a loss."""

from dataclasses import replace
from itertools import islice
from pathlib import Path

import torch

from batch.formats.input import Input
from batch.formats.layout import Layout
from batch.model.tokenizer import PAD_ID
from batch.writing.rejects import Allowance
from trainer.pretraining.text import (
    TextOptions,
    epochs_of,
    make_stream,
    read_texts,
    split_held_out,
)

IDENTITY = torch.arange(PAD_ID + 1)


def test_each_format_gives_the_texts_of_its_records(tmp_path: Path) -> None:
    files = {
        "a.csv": b'id,text\n1,"one, two"\n2,\n',
        "b.tsv": b"text\tid\nthree\t3\n",
        "c.jsonl": b'{"text": "four"}\n',
        "d.txt": b'five, "quoted\nsix\tseven\n\n',
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    paths = [tmp_path / name for name in files]
    expected = ["one, two", "three", "four", 'five, "quoted', "six\tseven"]
    assert read_texts(paths, TextOptions()) == expected
    headless = TextOptions(Input("", layout=Layout(has_header=False), text_column="2"))
    (tmp_path / "e.csv").write_bytes(b"1,eight\n")
    assert read_texts([tmp_path / "e.csv"], headless) == ["eight"]


def test_bad_records_and_missing_files_are_refused(tmp_path: Path, refusal) -> None:
    bad, missing, empty = (tmp_path / name for name in ("bad.csv", "none.csv", "empty.csv"))
    bad.write_bytes(b'id,text\n1,one\n2,t"wo\n3,three\n')
    empty.write_bytes(b"text\n\n")
    assert refusal(read_texts, [missing], TextOptions()) == (
        f"--text: {missing} is not a file; give files of messages"
    )
    assert refusal(read_texts, [empty], TextOptions()) == f"{empty}: there is no text"
    assert "line 3" in refusal(read_texts, [bad], TextOptions())
    lenient = replace(TextOptions(), allowance=Allowance.parse("1"))
    assert read_texts([bad], lenient) == ["one", "three"]


def test_rows_begin_with_a_message_and_have_every_token() -> None:
    messages = [[number] * (number % 7 + 1) for number in range(1, 40)] + [[50] * 33]
    stream = make_stream(messages, IDENTITY, 10)
    assert len(stream) == sum(map(len, messages)) + len(messages)
    places = stream.cut(10)
    assert set(places.tolist()) <= set(stream.starts.tolist())
    inputs, targets = stream.take(places, 10)
    assert torch.equal(inputs[:, 1:], targets[:, :-1])
    seen = {place + at for place in places.tolist() for at in range(11)}
    assert set(range(int(places[-1]) + 10)) <= seen
    long = [place for place in stream.starts.tolist() if stream.rows[place] == 50]
    assert len(long) == 4  # pieces of 10 tokens


def test_epochs_differ_and_a_seed_repeats_them(refusal) -> None:
    stream = make_stream([[number] * 9 for number in range(1, 200)], IDENTITY, 8)

    def first(seed: int) -> list[torch.Tensor]:
        return list(islice(epochs_of(stream, 8, 4, seed), 100))

    assert all(torch.equal(a, b) for a, b in zip(first(1), first(1), strict=True))
    assert not torch.equal(torch.cat(first(1)), torch.cat(first(2)))
    epoch = len(stream.cut(8)) // 4
    assert not torch.equal(torch.cat(first(1)[:epoch]), torch.cat(first(1)[epoch : 2 * epoch]))
    assert refusal(next, epochs_of(stream, 8, 9999, 1)) == (
        "1,990 tokens do not fill a batch of 9999 rows of 8; give more text, or a lower "
        "--batch-size or --context"
    )


def test_held_out_chunks(refusal) -> None:
    messages = [[number] for number in range(3200)]
    kept, held_out = split_held_out(messages, 0.05, 7)
    assert len(held_out) == 160
    assert sorted(kept + held_out) == messages
    assert split_held_out(messages, 0.05, 7) == (kept, held_out)
    assert refusal(split_held_out, messages[:40], 0.9, 7) == (
        "40 messages are too few to pretrain on; give at least 64"
    )
