"""``spam-train distill`` on the command line."""

from pathlib import Path

import click

from batch.cli.options import FILE, FOLDER
from batch.command import print_line, show_log
from batch.help import DECIDE, MODEL, TRAIN, WRITE, Command, option
from trainer.data_options import data_options
from trainer.options import (
    PATH,
    Number,
    bpe_option,
    cache_option,
    checked_changes,
    device_option,
    model_option,
    quiet_option,
    restart_option,
    student_options,
)


@click.command(cls=Command)
@click.argument("files", metavar="LABELLED...", type=FILE, nargs=-1, required=True)
@option(WRITE, "--out", type=PATH, default=Path("runs/student"), show_default=True,
    help="Run folder to write.")  # fmt: skip
@option(MODEL, "--teacher", type=FOLDER, metavar="BUNDLE",
    help="The bundle that labelled the files. Files without labels are labelled with it first, "
    "into OUT.labelled.")  # fmt: skip
@option(TRAIN, "--augment", type=Number(0, 100), default=0.0, show_default=True,
    metavar="TIMES", help="Made-up texts for each training text, most of them variants of those "
    "that the teacher is unsure of; it labels them, too. Needs --teacher.")  # fmt: skip
@model_option
@option(MODEL, "--weights", default="random", show_default=True,
    help="random: the starter's shape; else as in spam-train fit.")  # fmt: skip
@data_options(text="File with gold labels; repeat it for more files.", least="10")
@bpe_option
@option(DECIDE, "--positive-label", help="The teacher's, if it is not a usual name, such as spam.")
@cache_option
@device_option
@student_options
@restart_option
@quiet_option
def distill(
    files, out, teacher, augment, size, weights, data, reading, bpe, positive_label, cache, device,
    restart, quiet, **changes,
) -> None:  # fmt: skip
    """Train a small model, the student, to give the labels of a bundle, its teacher.

    \b
    Example:
      spam-train distill labelled/*.csv --out runs/student
      spam-train distill inbox.csv --teacher models/spam --out runs/student

    LABELLED are files that `spam-batch classify --columns label,probability` wrote, or folders
    of them; for two classes its default columns are enough. With --teacher they may also be
    files without labels. The options of how files are read are for those and for --data;
    --label-column and --labels are for --data alone.

    The same command resumes a killed run.
    """
    show_log("trainer", quiet)
    show_log("batch", quiet)
    from trainer.distill import DistillOptions, student_lines
    from trainer.distill import distill as train_student
    from trainer.run_steps import RunOptions

    run = RunOptions(
        out=out, weights=weights, size=size, cache=cache, data=data, bpe=bpe, reading=reading,
        positive_label=positive_label, device=device, changes=checked_changes(changes),
        progress=not quiet, restart=restart,
    )  # fmt: skip
    metrics = train_student(DistillOptions(files, run, teacher, augment))
    for line in student_lines(metrics):
        print_line(line)
    print_line(f"run folder: {out}")
