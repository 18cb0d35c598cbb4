"""Options that several commands have: what an input looks like, and how it is decided on."""

import functools

import click

_CSV = (
    click.option("--text-column", help="Name, or number from 1; default: text, or the first "
        "obvious name."),
    click.option("--encoding", default="utf-8", show_default=True,
        help="Of INPUT, and of labelled rows."),
    click.option("--delimiter", help="One character; default: a comma, a tab for .tsv."),
    click.option("--quote", default='"', show_default=True, help="One character."),
    click.option("--no-quote", is_flag=True, help="No quote character: quotes are text."),
    click.option("--escape", help="One character, such as \\; default: none."),
    click.option("--trust-quotes", is_flag=True,
        help="A quoted field may have any lines, also such as are records by themselves."),
)  # fmt: skip
_OTHERS = (
    click.option("--format", "format_", type=click.Choice(["csv", "jsonl", "parquet"]),
        help="Default: by INPUT's name, else csv."),
    click.option("--no-header", is_flag=True,
        help="The first line is a record; --text-column is a number."),
    click.option("--overwrite-columns", is_flag=True,
        help="Take out columns of INPUT that are called as ours."),
    click.option("--max-record-bytes", type=click.IntRange(1), default=64 << 20,
        show_default=True, help="A longer record is a bad one."),
)  # fmt: skip
_LONG = click.option(
    "--long", type=click.Choice(["head", "tail", "windows"]), default="head", show_default=True,
    help="What is read of a message of more than max_length tokens: the first, the last, or all "
    "in windows, of which the one with the highest score decides.",
)  # fmt: skip
_RULES = (
    click.option("--threshold", type=float, metavar="P",
        help="Score from which the positive label is given. Default: the bundle's."),
    click.option("--unsure-band", metavar="LOW,HIGH",
        help="Scores from LOW to below HIGH get the label unsure; none: no score does. Default: "
        "the bundle's."),
    _LONG,
)  # fmt: skip


def _only_on_ray(context, option, value):
    if value is not None and context.params.get("engine") != "ray":
        raise click.UsageError(f"{option.opts[0]}: only with --engine ray")
    return value


def _not_on_ray(context, option, value):
    if value is not None and context.params.get("engine") == "ray":
        raise click.UsageError(
            f"{option.opts[0]}: not with --engine ray; its counts are in _manifest.json, in --out"
        )
    return value


_RAY = (
    # Eager, so that those that ask for it know of it.
    click.option("--engine", is_eager=True, type=click.Choice(["local", "ray"]), default="local",
        show_default=True, help="ray: many machines, --out is a folder; see --workers."),
    click.option("--workers", type=click.IntRange(1), callback=_only_on_ray,
        help="With --engine ray, default: as many as there is room for, by --threads (1 each), "
        "or one a GPU."),
    click.option("--part-bytes", type=click.IntRange(1), callback=_only_on_ray,
        help="With --engine ray: a larger file becomes several; default: 268435456."),
)  # fmt: skip
_TYPED = {"\\t": "\t", "tab": "\t"}


def layout_options(command):
    """Give a command all options of this module."""
    for option in reversed(_OTHERS):
        command = option(command)
    return csv_options(command)


def csv_options(command):
    """Give a command those of a CSV file with a header."""
    for option in reversed(_CSV):
        command = option(command)
    return command


def ray_options(command):
    """Give a command those of a run on many machines."""
    for option in reversed(_RAY):
        command = option(command)
    return command


def long_option(command):
    """Give a command ``--long``, whose cost it tells."""
    return _LONG(command)


def rule_options(command):
    """Give a command the options of how a message becomes a label."""
    for option in reversed(_RULES):
        command = option(command)
    return command


def make_rules(long, threshold=None, unsure_band=None, **_):
    """How a message becomes a label.

    Raises:
        UsageError: --unsure-band is no band.
    """
    from batch.model.rules import OF_BUNDLE, Rules, parse_band

    band = OF_BUNDLE if unsure_band is None else parse_band(unsure_band)
    return Rules(threshold, band, long)


def make_input(name: str, text_column, **layout):
    """The input ``name`` with the options of :func:`layout_options`.

    Raises:
        UsageError: no such encoding.
        click.UsageError: options that do not go together.
    """
    from batch.formats.input import Input

    return Input(name, make_dialect(name, **layout), make_layout(**layout), text_column)


def make_dialect(name: str, delimiter, quote, no_quote, escape, trust_quotes, encoding, **_):
    """The dialect of the input ``name``.

    Raises:
        click.UsageError: a character that is none, or that does two things.
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
            problem = f"{given[option]!r} would stand in our own columns too"
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


def make_layout(format_, encoding, no_header, overwrite_columns, max_record_bytes, **_):
    """The layout of all inputs.

    Raises:
        UsageError: no such encoding.
        click.UsageError: options that do not go together.
    """
    from batch.formats.layout import Layout
    from batch.reading.encoding import parse_encoding

    if no_header and overwrite_columns:
        raise click.UsageError("--overwrite-columns: without a header no column has a name")
    return Layout(
        format_, parse_encoding(encoding), not no_header, overwrite_columns, max_record_bytes
    )


def metrics_option(command):
    """Give a command ``--metrics-file``, and itself ``seen``, which wants its summaries."""

    @click.option("--metrics-file", metavar="FILE", callback=_not_on_ray,
        help="Write what the run did for Prometheus' node exporter, also if it fails.")  # fmt: skip
    @functools.wraps(command)
    def run(*args, metrics_file, **options):
        from batch.run.metrics import writing_metrics

        with writing_metrics(metrics_file) as seen:
            return command(*args, seen=seen, **options)

    return run
