"""A large input in spans of whole records, which many machines can label at the same time."""

from dataclasses import replace

from batch.errors import ChangedInputError
from batch.formats.input import Span
from batch.formats.layout import PARQUET
from batch.formats.open_table import find_format
from batch.model.bundle import Manifest
from batch.reading.fingerprint import Fingerprint
from batch.reading.opening import open_source
from batch.run.job import Job
from batch.run.windows import read_window


def plan_spans(
    job: Job, manifest: Manifest, span_bytes: int
) -> tuple[list[Span], Fingerprint | None]:
    """Spans of about ``span_bytes``, and the input's contents; none of either if it is to be
    labelled in one piece.

    That is so for what is small, compressed, in Parquet, or in an encoding that is turned into
    UTF-8: there is no way into the middle of those. All others are read once, by the reader that
    will read the spans: only whoever has read all before a record knows whether a quote is open.
    A reader can begin at a record's offset. It is told how many records are its own and not
    where they end, since why one is bad may depend on bytes behind them.

    Raises:
        InputError: it cannot be read as what it should be, or has more bad records than allowed,
            in the words of one machine.
    """
    with open_source(job.input.name) as source:
        format_ = find_format(job.input.name, job.input.layout)
        if format_ == PARQUET or (source.size or 0) <= span_bytes:
            return [], None
        table = job.open_table(source, manifest)
        if table.size is None:
            return [], None
        spans: list[Span] = []
        start, before, total, rejects = (table.offset, table.line), 0, 0, 0
        while records := read_window(table, total):
            bad = [record for record in records if record.problem]
            job.allowance.check_window(job.input.name, rejects, bad)
            total, rejects = total + len(records), rejects + len(bad)
            if table.offset - start[0] >= span_bytes:
                spans.append(Span(len(spans) + 1, *start, total - before))
                start, before = (table.offset, table.line), total
        job.allowance.check_total(job.input.name, rejects, total)
        if source.check_unchanged():
            raise ChangedInputError(f"{job.input.name}: grows while it is read; run again")
        contents = source.fingerprint()
    if before < total:
        spans.append(Span(len(spans) + 1, *start, total - before))
    if not spans[1:]:
        return [], None
    # Blank lines at the end are the last one's.
    return [*spans[:-1], replace(spans[-1], records=None)], contents
