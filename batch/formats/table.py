"""What every format offers to a run: records to read, and rows to write."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from batch.model.decision import Predictions
from batch.reading.records import Record


class Table(Protocol):
    """An opened input, and the rows that its records become in the output.

    ``CsvTable``, ``JsonTable`` and ``ParquetTable`` are the three.

    Attributes:
        format: one of ``layout.FORMATS``.
        text_name: the text column, as a message names it.
        text_in_output: the text column, as a user would type it to read the output again.
        offset, line: where the next record stands. ``offset`` is in bytes, in rows for Parquet.
        blank_lines: how many were skipped since reading began, or since :meth:`go_to`.
        size: of the whole input, in the unit of ``offset``; None if it is not known.
    """

    format: str
    text_name: str
    text_in_output: str

    @property
    def offset(self) -> int: ...

    @property
    def line(self) -> int: ...

    @property
    def blank_lines(self) -> int: ...

    @property
    def size(self) -> int | None: ...

    def go_to(self, offset: int, line: int) -> None:
        """Continue to read at a record that an earlier reading had reached."""

    def read(self, n: int) -> list[Record]:
        """The next ``n`` records; fewer only before the end or a fault, then none.

        Raises:
            InputError: the input was cut while it was read, or is damaged.
            StorageError: it can no longer be read.
        """

    def header(self) -> bytes:
        """What stands in the part file before the first row."""

    def rows(self, records: Sequence[Record], predictions: Predictions) -> bytes:
        """N good records and their N predictions as they stand in the part file."""

    def own_bytes(self, record: Record) -> bytes:
        """The bytes of a good record that its row keeps."""

    def finish(self, part: Path) -> Path:
        """The file to publish, made from the part file that holds all rows.

        Raises:
            InputError: the input is damaged.
            OSError: the file cannot be written.
        """
