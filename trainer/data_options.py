"""Command-line options of labelled files: which, how they are read, which labels count."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from batch.cli.options import input_options, make_input
from batch.help import READ, WRONG, option, together

if TYPE_CHECKING:  # imported late, or --help would be slow
    from trainer.data.reading import ReadOptions

Command = Callable[..., Any]

_LABELLED = together(
    option(READ, "--label-column",
        help="Name, or number from 1; default: the first usual name, such as label."),
    option(READ, "--labels", metavar="NAME,NAME",
        help="Labels to keep; records with another one are left out, and counted."),
    option(WRONG, "--max-rejects", default="0", show_default=True, metavar="N|P%",
        help="Bad records, at most, to leave out; more stop the run."),
)  # fmt: skip


DATA_HELP = "Labelled CSV, TSV, JSON Lines or Parquet file; repeat it for more files."


def data_options(
    required: bool = False,
    text: str = DATA_HELP,
    as_arguments: bool = False,
    least: str = "enough for one in each set",
) -> Callable[[Command], Command]:
    """Add ``--data``, with the help ``text``, or the files as arguments, and their options.

    ``least`` is the default of ``--min-class`` in words.
    The command gets the files as ``data`` and the rest as ``reading``, a
    :class:`trainer.data.reading.ReadOptions`.
    """
    data = option(READ,
        "--data", type=click.Path(path_type=Path), multiple=True, required=required,
        help=text,
    )  # fmt: skip
    if as_arguments:
        data = click.argument(
            "data", metavar="FILE...", type=click.Path(path_type=Path), nargs=-1, required=True
        )

    min_class = option(WRONG, "--min-class", type=click.IntRange(1), metavar="N",
        help=f"Fewest messages of a class to train on. Default: {least}.")  # fmt: skip

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def run(*args, data: tuple[Path, ...], **values):
            names = ("label_column", "labels", "min_class", "max_rejects", *_LAYOUT)
            given = {name: values.pop(name) for name in names}
            return command(*args, data=data, reading=make_reading(data, **given), **values)

        return data(min_class(_LABELLED(input_options(run))))

    return decorate


_LAYOUT = (
    "text_column", "encoding", "delimiter", "quote", "no_quote", "escape", "trust_quotes",
    "format_", "no_header", "max_record_bytes",
)  # fmt: skip


def make_reading(
    data: tuple[Path, ...],
    label_column: str | None,
    labels: str | None,
    min_class: int | None,
    max_rejects: str,
    **layout,
) -> "ReadOptions":
    """How labelled files are read, from the options of :func:`data_options`.

    Raises:
        UsageError: a value that its option does not take.
        click.UsageError: the options contradict each other, or say how to read files but none
            is given.
    """
    from batch.writing.rejects import Allowance
    from trainer.data.labels import LabelRules, parse_labels
    from trainer.data.reading import ReadOptions

    finds_delimiter = layout["delimiter"] is None
    only = () if labels is None else parse_labels(labels)
    # The default delimiter depends on the name of each file; the reader finds it.
    given = make_input("", overwrite_columns=False, **layout)
    return ReadOptions(
        label_column, given, finds_delimiter, Allowance.parse(max_rejects),
        LabelRules(only, min_class),
    )  # fmt: skip
