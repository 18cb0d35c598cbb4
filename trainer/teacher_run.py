"""Label plain files and made-up texts with a teacher's bundle, as ``spam-batch classify`` does."""

import csv
import hashlib
import io
import os
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from batch.errors import OutputError
from batch.formats.input import Input
from batch.formats.open_table import inner_ending
from batch.model.bundle import Bundle
from batch.model.classifier import Classifier, foresee
from batch.model.lazy_classifier import LazyClassifier
from batch.run.folder import label_file, log_skipped
from batch.run.inputs import name_outputs
from batch.run.job import Job
from batch.run.run_manifest import find_done
from batch.writing.atomic import making_folder, replace_file, storage_errors
from batch.writing.lock import hold_lock
from batch.writing.rejects import Allowance
from trainer.data.reading import ReadOptions
from trainer.run_steps import RunOptions

# Without label, because a file may have a column of that name.
COLUMNS = ("probability",)
MADE_UP = "made-up"
TEXT = "text"  # the header of their file


def work_folder(out: Path, what: str = "labelled") -> Path:
    """Where the labelled files of a run, or its ``made-up`` texts, stand: beside its folder."""
    out = out if out.name not in ("", "..") else out.resolve()  # . has no name
    return out.with_name(f"{out.name}.{what}")


def check_work_folder(folder: Path) -> None:
    """Refuse a file in the place of the folder, before a teacher works for it.

    Raises:
        OutputError: there is one.
    """
    if os.path.lexists(folder) and not folder.is_dir():
        raise OutputError(
            f"{folder} is no folder, and what the teacher labels would stand in it; move it, "
            "or give another --out"
        )


def label_plain(
    files: Sequence[Path], bundle: Bundle, run: RunOptions, made_up_in: Path | None = None
) -> list[Path]:
    """Label ``files`` into the work folder of ``run``; returns the labelled files.

    A file that was labelled before is skipped, and an interrupted one is resumed. Made-up texts
    are labelled into ``made_up_in``, and nothing is said of their drift, which is meant.

    Raises:
        SpamBatchError: a file cannot be labelled, or the bundle cannot be used.
    """
    if not files:
        return []
    device = run.device if run.device in ("cpu", "cuda") else "auto"
    load = partial(Classifier.load, bundle.folder, device)
    lazy = LazyClassifier(bundle, load, foresee(bundle, device, "auto"))
    folder = made_up_in or work_folder(run.out)
    with making_folder(folder), hold_lock(folder):
        outputs = name_outputs(list(map(str, files)), str(folder))
        for file, out in zip(files, outputs, strict=True):
            given, allowance = _input_of(file, run.reading), run.reading.allowance
            job = Job(given, out, COLUMNS, allowance, replaces_any=False, progress=run.progress)
            if done := find_done(job, bundle):
                log_skipped(str(file), done)
            else:
                label_file(job, lazy, warns_of_drift=made_up_in is None)
    return list(map(Path, outputs))


def label_texts(texts: Sequence[str], bundle: Bundle, run: RunOptions) -> Path:
    """Label texts as a file in a folder beside that of ``run``; returns the labelled file.

    The same texts are labelled once, and resumed. One that cannot be a record is left out. The
    file is named after its contents, so no file of other contents is replaced.

    Raises:
        SpamBatchError: as :func:`label_plain`.
    """
    folder = work_folder(run.out, MADE_UP)
    buffer = io.StringIO(newline="")
    # A text that is the header again would be warned of, as in files that were joined.
    rows = [[TEXT], *([text] for text in texts if text != TEXT)]
    csv.writer(buffer, quoting=csv.QUOTE_ALL).writerows(rows)
    data = buffer.getvalue().encode("utf-8")
    source = folder / f"{hashlib.sha256(data).hexdigest()[:12]}.csv"
    with making_folder(folder):
        with storage_errors(source):
            if not os.path.lexists(source):
                replace_file(source, data, source, "", 0o666)
            elif source.read_bytes() != data:
                raise OutputError(f"{source} is there, and was not made by this command; move it")
        plain = replace(run, reading=ReadOptions(allowance=Allowance(None, 100.0)))
        return label_plain([source], bundle, plain, folder / "labelled")[0]


def _input_of(file: Path, reading: ReadOptions) -> Input:
    """The file with the options of the command; ``.tsv`` has tabs where no delimiter is given."""
    given = replace(reading.input, name=str(file))
    if reading.finds_delimiter and inner_ending(file.name) == ".tsv":
        return replace(given, dialect=replace(given.dialect, delimiter=b"\t"))
    return given
