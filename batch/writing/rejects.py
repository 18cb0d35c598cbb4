"""Records that are set aside: how many are allowed, and the file that keeps them."""

from collections.abc import Sequence
from dataclasses import dataclass

from batch.errors import InputError, UsageError
from batch.reading.records import Record


def encode_rejects(records: Sequence[Record]) -> bytes:
    """Rows of the rejects file: a strict reader gets each record's bytes back, line end apart."""
    return b"".join(
        b'%d,%d,"%b","%b"\n'
        % (
            record.line,
            record.offset,
            record.problem.encode("utf-8").replace(b'"', b'""'),
            record.raw.replace(b'"', b'""'),
        )
        for record in records
    )


@dataclass(frozen=True)
class Allowance:
    """``--max-rejects``: a number, judged at each record, or a share, judged at the end."""

    count: int | None = 0
    percent: float | None = None
    typed: str = "0"

    @classmethod
    def parse(cls, value: str) -> "Allowance":
        """
        Raises:
            UsageError: neither a number nor a percentage.
        """
        typed = value.strip()
        try:
            if not typed.endswith("%"):
                count = int(typed)
                if count >= 0:
                    return cls(count, None, typed)
            elif 0 <= (percent := float(typed[:-1])) <= 100:
                return cls(None, percent, typed)
        except ValueError:
            pass
        raise UsageError(
            f"--max-rejects: {value!r} is neither a number of records nor a percentage up to 100; "
            "type for example 10 or 0.5%"
        )

    @property
    def is_none(self) -> bool:
        return self.count == 0 or self.percent == 0

    def check_window(self, name: str, before: int, bad: Sequence[Record]) -> None:
        """Judge the next bad records, after ``before`` others.

        Raises:
            InputError: one too many; names it.
        """
        allowed = 0 if self.is_none else self.count
        if allowed is None or before + len(bad) <= allowed:
            return
        record = bad[max(allowed - before, 0)]
        where = f"{name}: line {record.line}, byte offset {record.offset}: {record.problem}"
        if allowed == 0:
            raise InputError(f"{where}; to set bad records aside, type --max-rejects 10, or 1%")
        raise InputError(
            f"{where}; as many as --max-rejects {self.typed} allows were rejected before it"
        )

    def allows(self, rejects: int, records: int) -> bool:
        """True if so many of all records may be rejected."""
        if self.percent is None:
            return rejects <= self.count
        return rejects * 100 <= self.percent * records

    def check_total(self, name: str, rejects: int, records: int) -> None:
        """Judge the whole.

        Raises:
            InputError: more than allowed.
        """
        if not self.allows(rejects, records):
            raise InputError(
                f"{name}: {rejects:,} of {records:,} records were rejected "
                f"({100 * rejects / records:.2f} %), more than --max-rejects {self.typed} allows"
            )


NO_REJECTS = Allowance()
