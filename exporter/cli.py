"""``spam-export``: trace to ONNX, check, write the bundle."""

from pathlib import Path

import click

from batch import __version__
from batch.command import Cli, show_log


@click.group(cls=Cli, name="spam-export", context_settings={"max_content_width": 100})
@click.version_option(__version__, prog_name="spam-export")
def main() -> None:
    """Export a trained classifier to ONNX and prove that it says the same.

    \b
    Example:
      spam-export bundle --run runs/spam --out models/spam
    """


@main.command()
@click.option(
    "--run", type=click.Path(path_type=Path), default=Path("runs/spam"), show_default=True,
    help="Run folder of spam-train fit.",
)  # fmt: skip
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("models/spam"), show_default=True,
    help="Bundle to write.",
)  # fmt: skip
@click.option(
    "--device", type=click.Choice(["auto", "cuda", "cpu"]), default="auto", show_default=True,
    help="Where the exported model is checked.",
)  # fmt: skip
@click.option("--quiet", is_flag=True, help="No progress, warnings only.")
def bundle(run: Path, out: Path, device: str, quiet: bool) -> None:
    """Write a bundle, once every message's logits and labels equal PyTorch's.

    \b
    Example:
      spam-export bundle --run runs/spam --out models/spam
    """
    show_log("exporter", quiet)
    from exporter.export import export
    from exporter.verify import FP32_TOLERANCE

    comparisons = export(run, out, device, progress=not quiet)
    click.echo("ONNX Runtime against PyTorch, validation and test messages and nasty ones:")
    for result in comparisons:
        click.echo(
            f"  batch size {result.batch_size:>2}: {result.messages} messages, largest logit "
            f"difference {result.worst:.2e} (message {result.worst_message}), "
            f"{len(result.labels_differ)} labels differ"
        )
    click.echo(f"tolerance {FP32_TOLERANCE:g}: passed; bundle: {out}")
