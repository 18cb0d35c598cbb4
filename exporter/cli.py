"""The command line of ``spam-export``."""

from pathlib import Path

import click

from batch.command import Cli, print_line, show_log
from batch.version import __version__

PRECISIONS = ("fp32", "int8", "fp16", "bf16")

_run = click.option(
    "--run", type=click.Path(path_type=Path), default=Path("runs/spam"), show_default=True,
    help="Run folder of spam-train fit.",
)  # fmt: skip
_device = click.option(
    "--device", type=click.Choice(["auto", "cuda", "cpu"]), default="auto", show_default=True,
    help="Device on which the exported model is checked.",
)  # fmt: skip
_quiet = click.option("--quiet", is_flag=True, help="Show warnings only, and no progress.")


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
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("models/spam"), show_default=True,
    help="Folder of the bundle to write.",
)  # fmt: skip
@click.option("--precision", metavar="LIST",
    help="Precisions, comma-separated: fp32, int8, fp16, bf16. Each must pass its checks. "
    "Default: fp32, and int8 if it passes.")  # fmt: skip
@_device
@_quiet
def bundle(run: Path, out: Path, precision: str | None, device: str, quiet: bool) -> None:
    """Write a bundle after every message's logits and labels are checked against PyTorch's.

    \b
    Example:
      spam-export bundle --run runs/spam --out models/spam
      spam-export bundle --precision fp32,int8
    """
    precisions: tuple[str, ...] = ("fp32",)
    optional: tuple[str, ...] = ("int8",)
    if precision is not None:
        precisions, optional = parse_precisions(precision), ()
    show_log("exporter", quiet)
    from exporter.export import export
    from exporter.machine import describe_machine
    from exporter.report import machine_lines, variant_lines
    from exporter.variant_check import VariantCheck

    def show(verified: VariantCheck) -> None:
        for line in variant_lines(verified, verified.problems()):
            print_line(line)

    results = export(run, out, device, precisions, optional, progress=not quiet, show=show)
    for line in machine_lines(describe_machine(), [result.precision for result in results]):
        print_line(line)
    print_line(f"bundle: {out}")


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
@click.argument("folder", metavar="BUNDLE", type=click.Path(path_type=Path))
@_run
@_device
@_quiet
def verify(folder: Path, run: Path, device: str, quiet: bool) -> None:
    """Check every variant of BUNDLE against PyTorch on this machine.

    A variant that fails is removed from the bundle, and the exit status is 78. Where bundle.json
    has other labels or lengths than the run, every variant fails.

    \b
    Example:
      spam-export verify models/spam --run runs/spam
    """
    show_log("exporter", quiet)
    from exporter.machine import describe_machine
    from exporter.parity import VerificationError
    from exporter.report import machine_lines, variant_lines
    from exporter.verify_bundle import verify_bundle

    results = verify_bundle(folder, run, device, progress=not quiet)
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
