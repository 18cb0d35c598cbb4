"""Unlabelled messages as one stream of tokens, and the rows that a language model reads."""

import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from batch.errors import InputError, MissingInputError
from batch.formats.input import Input
from batch.formats.open_table import inner_ending, open_table, read_message_windows
from batch.messages import count
from batch.model.tokenizer import PAD_ID, Tokenizer
from batch.reading.dialect import Dialect
from batch.reading.opening import open_source
from batch.writing.output import STANDARD_OUTPUT
from batch.writing.rejects import NO_REJECTS, Allowance

log = logging.getLogger("trainer")

CHUNK = 32  # consecutive messages that are held out together, as a dialogue's turns are
LINE = Dialect(b"\x1f", None)  # one message a line: a byte that text does not have


@dataclass(frozen=True)
class TextOptions:
    """How unlabelled files are read; the defaults read what spam-batch reads without options."""

    input: Input = field(default_factory=lambda: Input(""))
    finds_delimiter: bool = True  # False: the dialect's delimiter was asked for
    allowance: Allowance = NO_REJECTS


def read_texts(paths: Sequence[Path], options: TextOptions) -> list[str]:
    """Every text of ``paths``, in order, read as spam-batch reads; a ``.txt`` has one a line.

    Raises:
        MissingInputError: a file cannot be read.
        InputError: no text column, too many bad records, or no text at all.
    """
    texts: list[str] = []
    rejects = records = 0
    for path in paths:
        found, bad = _read_file(str(path), options, rejects)
        texts += found
        rejects += bad
        records += len(found) + bad
    name = ", ".join(map(str, paths))
    options.allowance.check_total(name, rejects, records)
    texts = [text for text in texts if text.strip()]
    if not texts:
        raise InputError(f"{name}: there is no text")
    return texts


def _read_file(name: str, options: TextOptions, rejects: int) -> tuple[list[str], int]:
    if not os.path.isfile(name):
        raise MissingInputError(f"--text: {name} is not a file; give files of messages")
    given = replace(options.input, name=name)
    if inner_ending(name) == ".txt" and given.layout.format is None:
        layout = replace(given.layout, has_header=False)
        given = replace(given, dialect=LINE, layout=layout, text_column="1")
    elif inner_ending(name) == ".tsv" and options.finds_delimiter:
        given = replace(given, dialect=replace(given.dialect, delimiter=b"\t"))
    texts, bad = [], 0
    with open_source(name) as source:
        table = open_table(source, given, STANDARD_OUTPUT, (), [])
        for messages, number in read_message_windows(table, name, options.allowance, rejects):
            texts += messages
            bad += number
        source.check_unchanged()
    return texts, bad


@dataclass(frozen=True)
class TokenStream:
    """N tokens of messages in their order; each message ends with ``<|endoftext|>``.

    Attributes:
        rows: ``(N,)`` int64, embedding rows of the tokens.
        starts: ``(M,)`` int64, where a message, or a piece of a long one, begins.
    """

    rows: Tensor
    starts: Tensor

    def __len__(self) -> int:
        return len(self.rows)

    def cut(self, length: int, first: int = 0) -> Tensor:
        """Where rows of ``length`` + 1 tokens begin, from start number ``first`` on: ``(B,)``.

        Each begins with a message. One that does not fit into a row begins the next one, too.
        """
        starts, last = self.starts, len(self.rows) - length - 1
        chosen, number = [], min(first, len(starts) - 1)
        while (place := int(starts[number])) <= last:
            chosen.append(place)
            after = int(torch.searchsorted(starts, place + length, right=True)) - 1
            number = max(after, number + 1)
            if number >= len(starts):
                break
        return torch.tensor(chosen, dtype=torch.int64)

    def take(self, places: Tensor, length: int) -> tuple[Tensor, Tensor]:
        """Input and target, each ``(B, length)``: the target is the token after the input's."""
        rows = self.rows[places[:, None] + torch.arange(length + 1)]
        return rows[:, :-1], rows[:, 1:]


def make_stream(messages: Sequence[list[int]], token_map: Tensor, length: int) -> TokenStream:
    """The stream of encoded messages; a message of more than ``length`` tokens has many starts."""
    ids: list[int] = []
    starts = []
    for message in messages:
        starts += range(len(ids), len(ids) + len(message), length)
        ids += message
        ids.append(PAD_ID)
    return TokenStream(token_map[torch.tensor(ids)], torch.tensor(starts, dtype=torch.int64))


def split_held_out(
    messages: Sequence[list[int]], share: float, seed: int
) -> tuple[list[list[int]], list[list[int]]]:
    """Training and validation messages: chunks of consecutive ones, drawn with ``seed``."""
    chunks = [messages[at : at + CHUNK] for at in range(0, len(messages), CHUNK)]
    held_out = max(1, round(share * len(chunks)))
    if len(chunks) < 2 * held_out:
        raise InputError(
            f"{count(len(messages), 'message')} are too few to pretrain on; give at least "
            f"{2 * CHUNK}"
        )
    order = torch.randperm(len(chunks), generator=torch.Generator().manual_seed(seed)).tolist()
    chosen = set(order[:held_out])
    sides: tuple[list[list[int]], list[list[int]]] = ([], [])
    for number, chunk in enumerate(chunks):
        sides[number in chosen].extend(chunk)
    return sides


def encode_texts(texts: Sequence[str], tokenizer: Tokenizer) -> list[list[int]]:
    """The tokens of each text that has any."""
    return [ids for ids in tokenizer.encode_all(texts) if ids]


def epochs_of(stream: TokenStream, length: int, batch: int, seed: int) -> Iterator[Tensor]:
    """Batches of places, without end: every epoch cuts the stream anew and shuffles its rows.

    Raises:
        InputError: the stream has fewer tokens than one batch.
    """
    epoch = 0
    while True:
        generator = torch.Generator().manual_seed(seed + epoch)
        first = int(torch.randint(min(64, len(stream.starts)), (), generator=generator))
        places = stream.cut(length, first)
        if len(places) < batch:
            raise InputError(
                f"{count(len(stream), 'token')} do not fill a batch of {batch} rows of {length}; "
                "give more text, or a lower --batch-size or --context"
            )
        places = places[torch.randperm(len(places), generator=generator)]
        yield from places[: len(places) // batch * batch].split(batch)
        epoch += 1
