"""Label one input: each record is written once, in order, with its own bytes and our columns."""

import contextlib
import logging
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

from batch.errors import (
    BrokenInputError,
    ChangedInputError,
    InternalError,
    OutputError,
    UsageError,
)
from batch.formats.open_table import check_output
from batch.formats.table import Table
from batch.messages import count
from batch.model.classifier import Classifier
from batch.model.decision import Predictions
from batch.model.lazy_classifier import LazyClassifier
from batch.reading.opening import open_source
from batch.reading.record import Record
from batch.reading.source import Source
from batch.run.job import Job
from batch.run.prefetch import prefetch
from batch.run.run_manifest import describe_run, utc_now
from batch.run.summary import Summary, describe_headers
from batch.run.windows import Window, encode_windows, label_windows, read_windows
from batch.writing.atomic import write_all
from batch.writing.checkpoint import ResumeKey, check_checkpoint_path
from batch.writing.journal import Journal
from batch.writing.lock import hold_lock
from batch.writing.names import rejects_path
from batch.writing.output import (
    STANDARD_OUTPUT,
    is_stream,
    open_stream,
)
from batch.writing.progress import Progress, RunStatistics
from batch.writing.rejects import encode_rejects
from batch.writing.target import check_labelled, resolve_target

COMMIT_SECONDS = 5.0  # between two commit points; longer if a window takes longer

log = logging.getLogger("batch")


def classify_file(job: Job, lazy: LazyClassifier) -> Summary:
    """Label the input of ``job`` into ``job.out``.

    The classifier is loaded after input and output were checked. It is not loaded if an
    interrupted run had labelled everything, unless only the load tells which device runs.

    Raises:
        SpamBatchError: nothing is published. The text is one sentence on what is wrong.
    """
    check_output(job.input, job.out)
    if is_stream(job.out):
        return _label_to_stream(job, lazy)
    target = resolve_target(job.out, job.input.name)
    check_checkpoint_path(target)
    if not job.replaces_any:
        check_labelled(target, job.out)
    if lazy.bundle.folder.resolve() in (target.parent, target.parent.parent):
        folder = lazy.bundle.folder
        raise OutputError(f"{job.out} lies in the bundle {folder}; give another --out")
    with hold_lock(target), open_source(job.input.name) as source:
        return _label_to_file(job, source, target, lazy)


def _label_to_stream(job: Job, lazy: LazyClassifier) -> Summary:
    bundle = lazy.bundle
    if not job.allowance.is_none:
        raise UsageError(
            "--max-rejects: rejects are written to a file beside the output, which is not "
            "possible for this output; give a file as --out"
        )
    with open_source(job.input.name) as source:
        table = job.open_table(source, bundle.manifest)
        name = "standard output" if job.out == STANDARD_OUTPUT else job.out
        summary = Summary(bundle, table.text_name, name, "", rules=job.rules)
        summary.notes = table.notes
        summary.warnings += table.choice_warnings
        classifier = _load(lazy, summary)
        with open_stream(job.out) as file:
            write_all(file, table.header())
            for rows, _, progress in _label_windows(job, table, classifier, summary):
                write_all(file, rows)
                summary.progress = progress
            _check_end(job, source, table, summary)
    return summary


def _label_to_file(job: Job, source: Source, target: Path, lazy: LazyClassifier) -> Summary:
    bundle, span = lazy.bundle, job.input.span
    if job.input.contents:
        source.trust(job.input.contents)
    table = job.open_table(source, bundle.manifest)
    if span:
        table.go_to(span.offset, span.line)
    precision, device = lazy.runs_in
    settings = {
        **job.settings(bundle.manifest),
        # The resolved values, where the option may be a default or a column number.
        "--format": table.format,
        "--text-column": table.text_in_output,
        "--device": device,
        "--precision": precision,
    }
    resume_key = ResumeKey(source.identity, settings, bundle.digest) if source.identity else None
    summary = Summary(bundle, table.text_name, job.out, str(rejects_path(target)), rules=job.rules)
    summary.notes = table.notes
    summary.warnings += table.choice_warnings
    summary.precision = precision
    started = utc_now()
    journal = Journal(target, job.out, resume_key)
    with contextlib.closing(journal):
        try:
            if journal.resume(job.restart, job.drops_stale):
                before = journal.progress.statistics
                statistics = replace(before, resumed=before.resumed + 1)
                summary.progress = replace(journal.progress, statistics=statistics)
                _log_resumed(job, summary.progress)
            if not summary.progress.is_complete:
                if journal.was_resumed:
                    if job.allowance.percent is None:
                        _check_allowed(job, summary.progress)
                    table.go_to(summary.progress.offset, summary.progress.line)
                classifier = _load(lazy, summary)
                if not journal.was_resumed:
                    statistics = RunStatistics(started)
                    begun = Progress(table.offset, table.line, statistics=statistics)
                    journal.start(table.header(), begun)
                    summary.progress = journal.progress
                _label_rest(job, table, classifier, summary, journal)
            _check_end(job, source, table, summary)
            read = source.fingerprint()
            journal.publish(
                table.finish,
                lambda *written: describe_run(job, summary, table, (read, *written)).to_json(),
            )
        except BaseException as error:
            journal.stop(keep=not isinstance(error, ChangedInputError | BrokenInputError))
            raise
    return summary


def _label_rest(
    job: Job, table: Table, classifier: Classifier, summary: Summary, journal: Journal
) -> None:
    last_commit = time.monotonic()
    windows = _label_windows(job, table, classifier, summary)
    for rows, rejects, progress in windows:
        journal.add(progress, rows, rejects)
        summary.progress = journal.progress
        if time.monotonic() - last_commit >= COMMIT_SECONDS:
            journal.commit()
            last_commit = time.monotonic()


def _label_windows(
    job: Job, table: Table, classifier: Classifier, summary: Summary
) -> Iterator[tuple[bytes, bytes, Progress]]:
    """The encoded rows and rejects of each window with the progress after it, and a last
    progress that is complete."""
    start, before = time.monotonic(), summary.progress
    session = classifier.session
    statistics = replace(
        before.statistics,
        device=session.device,
        threads=session.threads,
        onnxruntime=session.version,
    )
    done = before
    last = job.input.span.records if job.input.span else None
    # Three threads: one reads, one encodes, and this one runs the model and writes.
    windows = encode_windows(prefetch(read_windows(table, before.records, last)), classifier)
    with tqdm(
        total=table.size, initial=done.offset, unit="B", unit_scale=True,
        disable=None if job.progress else True,
    ) as bar, contextlib.closing(prefetch(windows)) as windows:  # fmt: skip
        checked = _check_windows(windows, job, table, summary)
        for window, predictions in label_windows(job.input.name, classifier, checked):
            bad = [record for record in window.records if record.problem]
            bar.update(window.offset - done.offset)
            done = replace(
                _advance(done, window, predictions, table.repeated_headers(window.good)),
                blank_lines=before.blank_lines + window.blank_lines,
                statistics=replace(
                    statistics, seconds=statistics.seconds + time.monotonic() - start
                ),
            )
            yield table.rows(window.good, predictions), encode_rejects(bad), done
            summary.labelled = done.records - before.records
            summary.repeated += predictions.repeated
            summary.seconds = time.monotonic() - start
            bar.set_postfix_str(f"{summary.labelled / max(summary.seconds, 1e-9):,.0f} rows/s")
    classifier.check_unchanged()
    if done.records != done.rows + done.rejects:
        raise InternalError(
            f"{done.records} records were read, but {done.rows} rows and {done.rejects} rejects "
            "were written"
        )
    yield (
        b"",
        b"",
        replace(
            done,
            offset=table.offset,  # after blank lines at the end, too
            line=table.line,
            blank_lines=before.blank_lines + table.blank_lines,
            is_complete=True,
        ),
    )


def _check_windows(
    windows: Iterator[Window], job: Job, table: Table, summary: Summary
) -> Iterator[Window]:
    """The windows, until one has more bad records than are allowed.

    Raises:
        InputError: as ``Allowance.check_window``.
    """
    rejects = summary.progress.rejects
    for window in windows:
        bad = [record for record in window.records if record.problem]
        job.allowance.check_window(job.input.name, rejects, bad, table.advise)
        rejects += len(bad)
        if bad and summary.advice is None:
            advice = table.advise(bad[0])
            summary.advice = f"line {bad[0].line}: {advice}" if advice else ""
        yield window


def _advance(
    done: Progress, window: Window, predictions: Predictions, headers: list[Record]
) -> Progress:
    """The counts after a window, except blank lines."""
    texts = [record.text or b"" for record in window.good]
    return replace(
        done,
        offset=window.offset,
        line=window.line,
        records=done.records + len(window.records),
        rejects=done.rejects + len(window.records) - len(window.good),
        headers=done.headers + len(headers),
        first_header=done.first_header or (headers[0].line if headers else 0),
        truncated=done.truncated + int(predictions.truncated.sum()),
        asked=done.asked + (0 if predictions.asked is None else int(predictions.asked.sum())),
        labels=dict(Counter(done.labels) + Counter(predictions.labels)),
        histograms=done.histograms.add(predictions.scores, predictions.tokens, texts),
    )


def _load(lazy: LazyClassifier, summary: Summary) -> Classifier:
    classifier = lazy.get()
    summary.session, summary.precision = classifier.session, classifier.precision
    return classifier


def _log_resumed(job: Job, done: Progress) -> None:
    name = job.input.name
    if done.is_complete:
        log.info("an interrupted run had labelled all of %s; nothing is left to label", name)
    else:
        records = count(done.records, "record")
        log.info("resuming at line %d of %s, after %s", done.line, name, records)


def _check_end(job: Job, source: Source, table: Table, summary: Summary) -> None:
    if warning := source.check_unchanged():
        summary.warnings.append(warning)
    summary.warnings += table.warnings()
    if warning := describe_headers(summary.progress):
        summary.warnings.append(warning)
    _check_allowed(job, summary.progress, summary.advice)
    if summary.advice:
        summary.warnings.append(summary.advice)


def _check_allowed(job: Job, done: Progress, advice: str | None = None) -> None:
    job.allowance.check_total(job.input.name, done.rejects, done.records, advice)
