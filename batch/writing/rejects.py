"""Rejected records: how many are allowed, and the rows of the file that keeps them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from batch.errors import InputError, UsageError
from batch.reading.record import Record


def encode_rejects(records: Sequence[Record]) -> bytes:
    """Rows of the rejects file. A strict reader gets each record's bytes back, but no line end.

    The record ``2,"a`` at line 3, byte 14, whose quote is never closed, becomes
    ``3,14,"quote opened at byte 3 of line 3 is never closed","2,""a"``.
    """
    return b"".join(
        b'%d,%d,"%b","%b"\n'
        % (
            record.line,
            record.offset,
            (record.problem or "").encode("utf-8").replace(b'"', b'""'),
            record.raw.replace(b'"', b'""'),
        )
        for record in records
    )


@dataclass(frozen=True)
class Allowance:
    """``--max-rejects``: a number, which each window checks, or a share, which the end checks."""

    count: int | None = 0  # None: a share
    percent: float | None = None  # from 0 to 100; None: a number
    typed: str = "0"  # as the user typed it

    @classmethod
    def parse(cls, value: str, option: str = "--max-rejects", noun: str = "records") -> "Allowance":
        """The value of the option.

        >>> Allowance.parse("0.5%")
        Allowance(count=None, percent=0.5, typed='0.5%')

        Raises:
            UsageError: it is neither a number nor a percentage.
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
            f"{option}: {value!r} is neither a number of {noun} nor a percentage up to 100; "
            "type for example 10 or 0.5%"
        )

    @property
    def is_none(self) -> bool:
        """True if no reject is allowed."""
        return self.count == 0 or self.percent == 0

    def check_window(
        self,
        name: str,
        before: int,
        bad: Sequence[Record],
        advise: Callable[[Record], str | None] = lambda _: None,
    ) -> None:
        """Check the bad records of a window.

        Args:
            name: of the input.
            before: how many records were rejected before.
            bad: those of the window.
            advise: what to type so that a bad record is good, if the input shows it.

        Raises:
            InputError: they are too many; the message has the first that is not allowed.
        """
        allowed = 0 if self.is_none else self.count
        if allowed is None or before + len(bad) <= allowed:
            return
        record = bad[max(allowed - before, 0)]
        where = f"{name}: line {record.line}, byte offset {record.offset}: {record.problem}"
        advice = advise(record)
        if allowed == 0:
            advice = advice or "to set bad records aside, type --max-rejects 10, or 1%"
            raise InputError(f"{where}; {advice}")
        rest = f"; {advice}" if advice else ""
        raise InputError(
            f"{where}; as many as --max-rejects {self.typed} allows were rejected before it{rest}"
        )

    def allows(self, rejects: int, records: int) -> bool:
        """True if ``rejects`` of ``records`` may be rejected."""
        if self.count is not None:
            return rejects <= self.count
        return rejects * 100 <= (self.percent or 0) * records

    def check_total(self, name: str, rejects: int, records: int, advice: str | None = None) -> None:
        """Check the rejects of the whole input.

        Args:
            advice: what to type so that they are fewer, if the input shows it.

        Raises:
            InputError: they are too many.
        """
        if not self.allows(rejects, records):
            raise InputError(
                f"{name}: {rejects:,} of {records:,} records were rejected "
                f"({100 * rejects / records:.2f} %), more than --max-rejects {self.typed} allows"
                + (f"; {advice}" if advice else "")
            )


NO_REJECTS = Allowance()
