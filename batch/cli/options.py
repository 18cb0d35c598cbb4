"""Options that several commands share: the layout of an input, and the rules for labels."""

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from batch.help import DECIDE, READ, RUN, WRITE, WRONG, option, together

if TYPE_CHECKING:  # imported late, or --help would be slow
    from click.shell_completion import CompletionItem

    from batch.formats.input import Input
    from batch.formats.layout import Layout
    from batch.model.rules import Rules
    from batch.reading.dialect import Dialect

Command = Callable[..., Any]  # a function with click's decorators, which may add parameters
T = TypeVar("T")


class PathName(click.types.StringParamType):
    """A name that the shell completes, and nobody checks: it may be a store's, or ``-``.

    Args:
        kind: "file" or "dir".
    """

    def __init__(self, kind: str):
        self.name = self.kind = kind

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> "list[CompletionItem]":
        from click.shell_completion import CompletionItem

        return [CompletionItem(incomplete, type=self.kind)]


FILE, FOLDER = PathName("file"), PathName("dir")

csv_options = together(  # of a CSV file with a header
    option(READ, "--text-column", help="Name, or number from 1; default: the column with "
        "a usual name, such as text; of several, the one whose values are messages."),
    option(READ, "--encoding", default="utf-8", show_default=True,
        help="Encoding of the records."),
    option(READ, "--delimiter", help="One character; default: what a first line sep= names, else "
        "a comma, for .tsv a tab."),
    option(READ, "--quote", default='"', show_default=True, help="One character."),
    option(READ, "--no-quote", is_flag=True, help="No quote character: quotes are text."),
    option(READ, "--escape", help="One character, such as \\; default: none."),
    option(READ, "--trust-quotes", is_flag=True,
        help="Allow any line in a quoted field, also one that looks like a record."),
)  # fmt: skip
_OTHERS = together(
    option(READ, "--format", "format_", type=click.Choice(["csv", "jsonl", "parquet"]),
        help="Default: by the file's name, else csv."),
    option(READ, "--no-header", is_flag=True,
        help="The first line is a record; --text-column is a number."),
    option(WRONG, "--max-record-bytes", type=click.IntRange(1), default=64 << 20,
        show_default=True, help="A longer record is bad."),
)  # fmt: skip
input_options = together(csv_options, _OTHERS)  # of how an input is read
_OVERWRITE = option(WRITE,
    "--overwrite-columns", is_flag=True,
    help="Replace columns of INPUT that have the names of new columns.",
)  # fmt: skip
layout_options = together(input_options, _OVERWRITE)  # of an input that gets new columns
long_option = option(DECIDE,
    "--long", type=click.Choice(["head", "tail", "windows"]), default="head", show_default=True,
    help="What is read of a message with more than max_length tokens: the first ones, the last "
    "ones, or all in windows; the window with the highest score decides.",
)  # fmt: skip
rule_options = together(
    option(DECIDE, "--threshold", type=float, metavar="P",
        help="Lowest score that gets the positive label. Default: the bundle's."),
    option(DECIDE, "--unsure-band", metavar="LOW,HIGH",
        help="Scores from LOW to below HIGH get the label unsure; none: no band. Default: the "
        "bundle's."),
    long_option,
)  # fmt: skip


def _only_on_ray(context: click.Context, option: click.Parameter, value: T) -> T:
    if value is not None and context.params.get("engine") != "ray":
        raise click.UsageError(f"{option.opts[0]}: only with --engine ray")
    return value


def _not_on_ray(context: click.Context, option: click.Parameter, value: T) -> T:
    if value is not None and context.params.get("engine") == "ray":
        raise click.UsageError(
            f"{option.opts[0]}: not with --engine ray; the counts are in _manifest.json, in --out"
        )
    return value


ray_options = together(  # of a run on many machines
    # Eager: it is parsed first, because the callbacks of other options need its value.
    option(RUN, "--engine", is_eager=True, type=click.Choice(["local", "ray"]), default="local",
        show_default=True, help="ray: on many machines; --out is a folder."),
    option(RUN, "--workers", type=click.IntRange(1), callback=_only_on_ray,
        help="With --engine ray: number of workers; default: one for each --threads processors "
        "(default 1), or for each GPU."),
    option(RUN, "--part-bytes", type=click.IntRange(1), callback=_only_on_ray,
        help="With --engine ray: cut larger files into parts; default: 268435456."),
)  # fmt: skip
_TYPED = {"\\t": "\t", "tab": "\t"}


def make_rules(
    long: str, threshold: float | None = None, unsure_band: str | None = None, **_
) -> "Rules":
    """The rules for labels from the options.

    Raises:
        UsageError: --unsure-band is not a band.
    """
    from batch.model.rules import OF_BUNDLE, Rules, parse_band

    band = OF_BUNDLE if unsure_band is None else parse_band(unsure_band)
    return Rules(threshold, band, long)


def make_input(name: str, text_column: str | None, **layout) -> "Input":
    """The input ``name`` with the options of :func:`layout_options`.

    Raises:
        UsageError: there is no such encoding.
        click.UsageError: the options contradict each other.
    """
    from batch.formats.input import Input

    return Input(name, make_dialect(name, **layout), make_layout(**layout), text_column)


def make_dialect(
    name: str,
    delimiter: str | None,
    quote: str,
    no_quote: bool,
    escape: str | None,
    trust_quotes: bool,
    encoding: str,
    **_,
) -> "Dialect":
    """The dialect of the input ``name``.

    Raises:
        click.UsageError: a value is not one character, or two options have the same one.
    """
    from batch.formats.open_table import inner_ending
    from batch.reading.dialect import Dialect

    if no_quote and quote != '"':
        raise click.UsageError("--no-quote: --quote is given too; choose one")
    if delimiter is None:
        delimiter = "\t" if inner_ending(name) == ".tsv" else ","
    given = {"delimiter": delimiter, "quote": None if no_quote else quote, "escape": escape}
    data = {key: _encode(key, value, encoding) for key, value in given.items() if value is not None}
    try:
        dialect = Dialect(data["delimiter"], data.get("quote"), data.get("escape"), trust_quotes)
    except ValueError as error:
        text = str(error)
        option = "delimiter" if "delimiter" in text else text.split()[0]
        raise click.UsageError(f"--{option}: {text}") from None
    for option, byte in data.items():
        if byte.isalnum() or byte == b".":
            problem = f"{given[option]!r} also occurs in the columns that we add"
            raise click.UsageError(f"--{option}: {problem}")
    return dialect


def _encode(option: str, value: str, encoding: str) -> bytes:
    from batch.reading.encoding import parse_encoding

    codec = parse_encoding(encoding).codec
    typed = _TYPED.get(value, value)
    if len(typed) != 1:
        raise click.UsageError(f"--{option}: {value!r} is not one character")
    try:
        return typed.encode(codec)
    except UnicodeEncodeError:
        raise click.UsageError(f"--{option}: {value!r} cannot be written in {codec}") from None


def make_layout(
    format_: str | None,
    encoding: str,
    no_header: bool,
    overwrite_columns: bool,
    max_record_bytes: int,
    delimiter: str | None = None,
    **_,
) -> "Layout":
    """The layout of all inputs.

    Raises:
        UsageError: there is no such encoding.
        click.UsageError: the options contradict each other.
    """
    from batch.formats.layout import Layout
    from batch.reading.encoding import parse_encoding

    if no_header and overwrite_columns:
        raise click.UsageError("--overwrite-columns: without a header no column has a name")
    return Layout(
        format_, parse_encoding(encoding), not no_header, overwrite_columns, max_record_bytes,
        delimiter is not None,
    )  # fmt: skip


def metrics_option(command: Command) -> Command:
    """Add ``--metrics-file`` to a command, which gets a :class:`RunMetrics` as ``metrics``."""

    @option(WRITE, "--metrics-file", type=FILE, callback=_not_on_ray,
        help="Write metrics for Prometheus' node exporter, also if the run fails.")  # fmt: skip
    @functools.wraps(command)
    def run(*args, metrics_file, **options):
        from batch.run.metrics import writing_metrics

        with writing_metrics(metrics_file) as metrics:
            return command(*args, metrics=metrics, **options)

    return run
