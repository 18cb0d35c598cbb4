"""A large input in spans of whole records, which many machines can label at the same time."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from batch.errors import ChangedInputError
from batch.formats import PARQUET, find_format, open_table
from batch.source import open_source
from batch.windows import read_window

if TYPE_CHECKING:
    from batch.classify import Job


@dataclass(frozen=True)
class Span:
    """Records that follow one another."""

    number: int  # from 1
    offset: int  # of the first record
    line: int  # its line
    records: int | None  # None: to the end

    def __str__(self) -> str:
        """What a run that goes on must have in common."""
        length = "all" if self.records is None else f"{self.records} records"
        return f"{self.number}: {length} from byte {self.offset}"


def plan_spans(job: "Job", labels: list[str], span_bytes: int) -> list[Span]:
    """Spans of about ``span_bytes``; none if the input is to be labelled in one piece.

    That is so for what is small, compressed, in Parquet, or in an encoding that is turned into
    UTF-8: there is no way into the middle of those. All others are read once, by the reader that
    will read the spans: only whoever has read all before a record knows whether a quote is open.
    A reader can begin at a record's offset. It is told how many records are its own and not
    where they end, since why one is bad may depend on bytes behind them.

    Raises:
        InputError: it cannot be read as what it should be, or has more bad records than allowed,
            in the words of one machine.
    """
    with open_source(job.source) as source:
        if find_format(job.source, job.layout) == PARQUET or (source.size or 0) <= span_bytes:
            return []
        table = open_table(
            source, job.out, job.dialect, job.text_column, job.columns, labels, job.layout
        )
        if table.size is None:
            return []
        spans: list[Span] = []
        start, before, total, rejects = (table.offset, table.line), 0, 0, 0
        while records := read_window(table, total):
            bad = [record for record in records if record.problem]
            job.allowance.check_window(job.source, rejects, bad)
            total, rejects = total + len(records), rejects + len(bad)
            if table.offset - start[0] >= span_bytes:
                spans.append(Span(len(spans) + 1, *start, total - before))
                start, before = (table.offset, table.line), total
        job.allowance.check_total(job.source, rejects, total)
        if source.check_unchanged():
            raise ChangedInputError(f"{job.source}: grows while it is read; run again")
    if before < total:
        spans.append(Span(len(spans) + 1, *start, total - before))
    # Blank lines at the end are the last one's.
    return [*spans[:-1], replace(spans[-1], records=None)] if spans[1:] else []
