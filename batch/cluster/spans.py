"""A large input in spans of whole records, which many machines can label at the same time."""

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from batch.model.bundle import Manifest
from batch.errors import ChangedInputError
from batch.reading.fingerprint import Fingerprint
from batch.formats.open_table import PARQUET, find_format
from batch.reading.opening import open_source
from batch.run.windows import read_window

if TYPE_CHECKING:
    from batch.run.job import Job


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
        return f"{self.number}: {length} from byte {self.offset}, line {self.line}"

    @classmethod
    def parse(cls, said: str) -> "Span":
        """
        >>> Span.parse("2: 4096 records from byte 16389, line 4098")
        Span(number=2, offset=16389, line=4098, records=4096)

        Raises:
            ValueError: it is none.
        """
        found = re.fullmatch(r"(\d+): (all|(\d+) records) from byte (\d+), line (\d+)", said)
        if not found:
            raise ValueError(said)
        number, _, records, offset, line = found.groups()
        return cls(int(number), int(offset), int(line), records and int(records))


def plan_spans(
    job: "Job", manifest: Manifest, span_bytes: int
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
    with open_source(job.source) as source:
        if find_format(job.source, job.layout) == PARQUET or (source.size or 0) <= span_bytes:
            return [], None
        table = job.open_table(source, manifest)
        if table.size is None:
            return [], None
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
        contents = source.fingerprint()
    if before < total:
        spans.append(Span(len(spans) + 1, *start, total - before))
    if not spans[1:]:
        return [], None
    # Blank lines at the end are the last one's.
    return [*spans[:-1], replace(spans[-1], records=None)], contents
