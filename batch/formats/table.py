"""The interface of a table: records to read, and rows to write."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from batch.model.decision import Predictions
from batch.reading.record import Record


class Table(Protocol):
    """An opened input, and how its records become rows of the output.

    ``CsvTable``, ``JsonTable`` and ``ParquetTable`` implement it. A run uses it like this::

        part.write(table.header())
        while records := table.read(4096):
            part.write(table.rows(records, classify(records)))
        publish(table.finish(part))

    Attributes:
        format: one of ``layout.FORMATS``.
        text_name: the text column, as messages show it.
        text_in_output: the text column, as a user types it to read the output again.
        choice_warnings: sentences for the summary, such as that the text column was a guess.
        notes: sentences for the summary that are no warnings.
        offset: of the next record: in bytes, for Parquet in rows.
        line: number of the line where the next record starts, from 1; for Parquet, of its row.
        blank_lines: how many were skipped since reading began, or since :meth:`go_to`.
        size: of the whole input, in the unit of ``offset``; None if it is not known.
    """

    format: str
    text_name: str
    text_in_output: str
    choice_warnings: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def column_names(self) -> list[str]:
        """All columns of the input, in its order; of JSON Lines, the keys of the first object."""

    @property
    def offset(self) -> int: ...

    @property
    def line(self) -> int: ...

    @property
    def blank_lines(self) -> int: ...

    @property
    def size(self) -> int | None: ...

    def go_to(self, offset: int, line: int) -> None:
        """Continue with the record at ``offset`` and ``line``, which an earlier run had reached."""

    def read(self, n: int) -> list[Record]:
        """The next ``n`` records, good and bad; fewer only before the end or an error, then none.

        Raises:
            InputError: the input is damaged, or was cut while it was read.
            StorageError: an I/O error.
        """

    def advise(self, record: Record) -> str | None:
        """What to type so that a bad record is good; None if the input does not show it."""

    def warnings(self) -> list[str]:
        """What looked wrong in the records that were read so far."""

    def values(self, records: Sequence[Record], column: int) -> list[str | None]:
        """The values of N good records in one column of ``column_names``.

        None stands for a value that is null or not there. A number is as it is written.
        """

    def repeated_headers(self, records: Sequence[Record]) -> list[Record]:
        """Those of the good records that repeat the header, as in files joined with ``cat``."""

    def header(self) -> bytes:
        """The bytes of the part file before the first row."""

    def rows(self, records: Sequence[Record], predictions: Predictions) -> bytes:
        """The bytes of N good records with their N predictions in the part file."""

    def own_bytes(self, record: Record) -> bytes:
        """The bytes of a good record that its row keeps: all, but for columns that ours replace."""

    def finish(self, part: Path) -> Path:
        """The file to publish, made of the part file that holds all rows.

        Raises:
            InputError: the input is damaged.
            OSError: the file cannot be written.
        """
