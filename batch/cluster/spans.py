"""Cut a large input into spans of whole records, which many machines label at the same time."""

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
    """Spans of about ``span_bytes``, and the input's fingerprint; ``[], None`` for one span.

    A small input is one span. So is an input that is compressed, in Parquet, or in an encoding
    that is converted to UTF-8, because a reader cannot begin in the middle of it. Any other
    input is read once from the start: only the records before a record show whether a quote is
    open there. A span has its number of records and not its end, because the reason why a
    record is bad may depend on the bytes after it.

    Raises:
        InputError: the input cannot be read in its format, or has more bad records than
            allowed; the text is the same as on one machine.
    """
    with open_source(job.input.name) as source:
        format_ = find_format(job.input.name, job.input.layout)
        if format_ == PARQUET or (source.size or 0) <= span_bytes:
            return [], None
        table = job.open_table(source, manifest)
        if table.size is None:
            return [], None
        spans: list[Span] = []
        start = (table.offset, table.line)  # of the span
        before = total = rejects = 0  # records before the span; records and rejects so far
        while records := read_window(table, total):
            bad = [record for record in records if record.problem]
            job.allowance.check_window(job.input.name, rejects, bad, table.advise)
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
    # The last span also has the blank lines at the end.
    return [*spans[:-1], replace(spans[-1], records=None)], contents
