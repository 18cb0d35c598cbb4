"""The command line of ``spam-export``."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from batch.cli.options import FILE, input_options, make_input
from batch.command import Cli, print_line, show_log
from batch.help import DECIDE, MODEL, READ, RUN, WRITE, WRONG, option, together
from batch.version import __version__

if TYPE_CHECKING:  # imported late, or --help would be slow
    from exporter.cascade.texts import ProofText

Command = Callable[..., Any]  # a function with click's decorators, which may add parameters
LAYOUT_OPTIONS = (
    "text_column", "encoding", "delimiter", "quote", "no_quote", "escape", "trust_quotes",
    "format_", "no_header", "max_record_bytes",
)  # fmt: skip
PRECISIONS = ("fp32", "int8", "fp16", "bf16")

_run = option(MODEL,
    "--run", type=click.Path(path_type=Path), default=Path("runs/spam"), show_default=True,
    help="Run folder of spam-train fit.",
)  # fmt: skip
_device = option(RUN,
    "--device", type=click.Choice(["auto", "cuda", "cpu"]), default="auto", show_default=True,
    help="Device on which this command runs exported models.",
)  # fmt: skip
_hf_option = option(MODEL, "--from-hf", type=click.Path(path_type=Path), metavar="DIR",
    help="Instead of a run: a GPT2ForSequenceClassification that transformers saved.")  # fmt: skip
_hf_options = together(
    _hf_option,
    option(READ, "--text", "texts", type=click.Path(path_type=Path), multiple=True, metavar="FILE",
        help="With --from-hf: a file with messages to check on, such as an inbox; repeat it for "
        "more. The first 500 messages are read. Default: a few built-in ones, fp32 only."),
    option(READ, "--text-column", help="Name or number of the text column of --text."),
)  # fmt: skip
_quiet = option(WRITE, "--quiet", is_flag=True, help="Show warnings only, and no progress.")


@dataclass(frozen=True)
class ProofInputs:
    """The files of ``--text``, and how they are read."""

    names: tuple[str, ...]
    max_rejects: str
    layout: dict

    def read(self) -> "ProofText":
        """Read them all.

        Raises:
            SpamBatchError: an option or a file cannot be used.
        """
        from batch.run.inputs import find_inputs
        from batch.writing.rejects import Allowance
        from exporter.cascade.texts import read_texts

        inputs = [
            make_input(name, overwrite_columns=False, **self.layout)
            for name in find_inputs(self.names)
        ]
        return read_texts(inputs, Allowance.parse(self.max_rejects))


def _text(required: bool) -> Callable[[Command], Command]:
    """Add ``--text`` and the options of how it is read; the command gets a :class:`ProofInputs`."""

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def run(*args, text: tuple[str, ...], more: tuple[str, ...], max_rejects: str, **values):
            layout = {name: values.pop(name) for name in LAYOUT_OPTIONS}
            inputs = ProofInputs((*text, *more), max_rejects, layout)
            return command(*args, text=inputs, **values)

        text = option(READ, "--text", type=FILE, multiple=True, required=required,
            help="Text that was not trained on; repeat it for more files.")  # fmt: skip
        rejects = option(WRONG, "--max-rejects", default="0", show_default=True, metavar="N|P%",
            help="Bad records, at most, to leave out; more stop the command.")  # fmt: skip
        more = click.argument("more", metavar="[FILE]...", type=FILE, nargs=-1)
        return more(text(input_options(rejects(run))))

    return decorate


@click.group(cls=Cli, name="spam-export", context_settings={"max_content_width": 100})
@click.version_option(__version__, prog_name="spam-export")
def main() -> None:
    """Export a trained classifier to ONNX and prove that it gives the same results.

    \b
    Example:
      spam-export bundle --run runs/spam --out models/spam
      spam-export verify models/spam
    """


@main.command()
@_run
@_hf_options
@option(DECIDE, "--positive-label", help="With --from-hf: class whose probability is the score. "
    "Default: spam if there is one, else the second of two classes.")  # fmt: skip
@option(MODEL, "--max-length", type=click.IntRange(1), metavar="TOKENS",
    help="With --from-hf: tokens that a message is cut to. Default: what the tokenizer's files "
    "say, else all that the model has positions for.")  # fmt: skip
@option(WRITE,
    "--out", type=click.Path(path_type=Path), default=Path("models/spam"), show_default=True,
    help="Folder of the bundle to write.",
)  # fmt: skip
@option(WRITE, "--precision", metavar="LIST",
    help="Precisions, comma-separated: fp32, int8, fp16, bf16. Each must pass its checks. "
    "Default: fp32, and int8 if it passes.")  # fmt: skip
@_device
@_quiet
def bundle(
    run: Path, from_hf: Path | None, texts: tuple[Path, ...], text_column: str | None,
    positive_label: str | None, max_length: int | None, out: Path, precision: str | None,
    device: str, quiet: bool,
) -> None:  # fmt: skip
    """Write a bundle after every message's logits and labels are checked against PyTorch's.

    \b
    Example:
      spam-export bundle --run runs/spam --out models/spam
      spam-export bundle --precision fp32,int8
      spam-export bundle --from-hf hub/spam --text inbox.csv --out models/other
    """
    precisions: tuple[str, ...] = ("fp32",)
    optional: tuple[str, ...] = ("int8",)
    if precision is not None:
        precisions, optional = parse_precisions(precision), ()
    elif from_hf is not None and not texts:
        optional = ()
    given = {"text": texts, "text-column": text_column, "positive-label": positive_label}
    _check_source(from_hf, given | {"max-length": max_length})
    show_log("exporter", quiet)
    from exporter.export import export
    from exporter.from_huggingface import HuggingFaceSource
    from exporter.machine import describe_machine
    from exporter.report import machine_lines, variant_lines
    from exporter.trained_run import Source
    from exporter.variant_check import VariantCheck

    def show(verified: VariantCheck) -> None:
        for line in variant_lines(verified, verified.problems()):
            print_line(line)

    source: Source = run
    if from_hf is not None:
        folder = HuggingFaceSource(from_hf, texts, text_column, positive_label, max_length)
        folder.check_precisions(precisions)
        source = folder.read
    results = export(source, out, device, precisions, optional, progress=not quiet, show=show)
    for line in machine_lines(describe_machine(), [result.precision for result in results]):
        print_line(line)
    print_line(f"bundle: {out}")


def _check_source(from_hf: Path | None, given: dict[str, object]) -> None:
    """Refuse options of one source that are given with the other.

    Raises:
        UsageError: names the option.
    """
    if from_hf is None:
        for name, value in given.items():
            if value:
                raise click.UsageError(
                    f"--{name} is for --from-hf; a run has its own messages, label and length"
                )
    elif click.get_current_context().get_parameter_source("run") is not ParameterSource.DEFAULT:
        raise click.UsageError("--run and --from-hf are two sources; give one of them")


def _refuse_layout() -> None:
    """Refuse the options of how text is read that ``--from-hf`` does not take.

    Raises:
        UsageError: names the option.
    """
    context = click.get_current_context()
    for name in ("max_rejects", *LAYOUT_OPTIONS[1:]):
        if context.get_parameter_source(name) is not ParameterSource.DEFAULT:
            raise click.UsageError(
                f"--{name.strip('_').replace('_', '-')} is for a cascade; with --from-hf give "
                "--text in UTF-8, as CSV with commas, TSV, JSON Lines or Parquet"
            )


def parse_precisions(text: str) -> tuple[str, ...]:
    """Parse ``--precision``; fp32 comes first, because the others are made from it.

    Raises:
        UsageError: an unknown precision, or fp32 is missing.
    """
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in PRECISIONS:
            raise click.UsageError(
                f"--precision: there is no {name!r}; choose from {', '.join(PRECISIONS)}"
            )
    if "fp32" not in names:
        raise click.UsageError(
            "--precision: fp32 is missing; every bundle needs it, because it runs everywhere"
        )
    return tuple(name for name in PRECISIONS if name in names)


@main.command()
@option(MODEL, "--fast", type=click.Path(path_type=Path), required=True,
    help="Bundle of the fast model, trained on labels of the slow one.")  # fmt: skip
@option(MODEL, "--slow", type=click.Path(path_type=Path), required=True,
    help="Bundle of the slow model.")  # fmt: skip
@_text(True)
@option(DECIDE, "--max-disagreement", metavar="P|P%", required=True,
    help="Largest share of labels that may differ from the slow one's, such as 0.1%.")  # fmt: skip
@option(MODEL, "--precision", metavar="FAST+SLOW", default="auto+auto", show_default=True,
    help="Precisions of the two, which the cascade then always has, such as fp32+int8; auto: as "
    "spam-batch chooses.")  # fmt: skip
@option(WRITE, "--out", type=click.Path(path_type=Path), default=Path("models/cascade"),
    show_default=True, help="Folder of the cascade to write.")  # fmt: skip
@_device
@_quiet
def cascade(
    fast: Path, slow: Path, text: "ProofInputs", max_disagreement: str, precision: str, out: Path,
    device: str, quiet: bool,
) -> None:  # fmt: skip
    """Make one bundle of two: the fast model labels what it is sure of, the slow one the rest.

    \b
    Example:
      spam-export cascade --fast models/student --slow models/spam \\
          --text held-out.csv --max-disagreement 0.1%

    FILE is more --text, as a pattern of the shell gives it. One half of its distinct messages
    chooses the scores at which the slow model decides. The other half proves that at most
    --max-disagreement of the labels differ from the slow model's, with 95 % confidence; if it
    does not, nothing is written, and the exit status is 78.
    """
    show_log("exporter", quiet)
    from exporter.cascade.export import CascadeOptions, export_cascade, proof_lines
    from trainer.evaluation.calibration import parse_share

    parts = tuple(precision.split("+"))
    if len(parts) != 2:
        raise click.UsageError(f"--precision: {precision!r} is not FAST+SLOW, such as fp32+int8")
    promised = parse_share(max_disagreement, "--max-disagreement")
    if not 0 < promised < 1:
        raise click.UsageError(
            f"--max-disagreement: {max_disagreement} cannot be proved; type for example 0.1%"
        )
    options = CascadeOptions(fast, slow, out, promised, device, parts, not quiet)
    for line in proof_lines(export_cascade(options, text.read)):
        print_line(line)
    print_line(f"cascade: {out}")


@main.command()
@click.argument("folder", metavar="BUNDLE", type=click.Path(path_type=Path))
@_run
@_hf_option
@_text(False)
@_device
@_quiet
def verify(
    folder: Path, run: Path, from_hf: Path | None, text: "ProofInputs", device: str, quiet: bool
) -> None:
    """Check every variant of BUNDLE against PyTorch on this machine.

    \b
    Example:
      spam-export verify models/spam --run runs/spam
      spam-export verify models/cascade --text inbox.csv
      spam-export verify models/other --from-hf hub/spam --text inbox.csv

    A variant that fails is removed from the bundle, and the exit status is 78. Where bundle.json
    has other labels or lengths than the run, every variant fails.

    Of a cascade, the bound is proved again on --text, and the exit status is 78 if it does not
    hold. FILE is more --text, as a pattern of the shell gives it.
    """
    _check_source(from_hf, {})
    show_log("exporter", quiet)
    from batch.model.bundle import open_bundle
    from exporter.cascade.verify import find_kind, verify_cascade
    from exporter.from_huggingface import HuggingFaceSource

    if from_hf is None and find_kind(open_bundle(folder), bool(text.names)):
        for line in verify_cascade(folder, text.read(), device, progress=not quiet):
            print_line(line)
        return
    from exporter.machine import describe_machine
    from exporter.parity import VerificationError
    from exporter.report import machine_lines, variant_lines
    from exporter.trained_run import Source
    from exporter.verify_bundle import verify_bundle

    source: Source = run
    if from_hf is not None:
        _refuse_layout()
        made = open_bundle(folder).manifest
        given = HuggingFaceSource(
            from_hf, tuple(map(Path, text.names)), text.layout["text_column"],
            made.positive_label, made.max_length,
        )  # fmt: skip
        given.check_precisions(tuple(made.variants))
        source = given.read
    results = verify_bundle(folder, source, device, progress=not quiet)
    for result in results:
        for line in variant_lines(result.verified, result.problems(), result.structure):
            print_line(line)
    names = [result.verified.precision for result in results]
    for line in machine_lines(describe_machine(), names):
        print_line(line)
    failed = [result for result in results if result.problems()]
    if failed:
        first = failed[0]
        raise VerificationError(
            f"{', '.join(result.verified.precision for result in failed)} removed from {folder}: "
            f"{first.problems()[0]}"
        )
    print_line(f"{folder}: verified")
