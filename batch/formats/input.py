"""One input, and everything that the user says of how to read it."""

import re
from dataclasses import dataclass

from batch.formats.layout import DEFAULT_LAYOUT, Layout
from batch.reading.dialect import DEFAULT_DIALECT, Dialect
from batch.reading.encoding import parse_encoding
from batch.reading.fingerprint import Fingerprint


@dataclass(frozen=True)
class Span:
    """Consecutive records of an input: those that one shard labels."""

    number: int  # from 1
    offset: int  # of the first record, in bytes
    line: int  # number of the line where it starts
    records: int | None  # None: to the end

    def __str__(self) -> str:
        """As a checkpoint and a run manifest store it; :meth:`parse` is the inverse."""
        length = "all" if self.records is None else f"{self.records} records"
        return f"{self.number}: {length} from byte {self.offset}, line {self.line}"

    @classmethod
    def parse(cls, text: str) -> "Span":
        """The inverse of ``str(span)``.

        >>> Span.parse("2: 4096 records from byte 16389, line 4098")
        Span(number=2, offset=16389, line=4098, records=4096)

        Raises:
            ValueError: the text is not a span.
        """
        found = re.fullmatch(r"(\d+): (all|(\d+) records) from byte (\d+), line (\d+)", text)
        if not found:
            raise ValueError(text)
        number, _, records, offset, line = found.groups()
        return cls(int(number), int(offset), int(line), int(records) if records else None)


@dataclass(frozen=True)
class Input:
    """One input: its name, how its bytes are read, and which column holds the messages."""

    name: str  # a path, a URI, or - for standard input
    dialect: Dialect = DEFAULT_DIALECT
    layout: Layout = DEFAULT_LAYOUT
    text_column: str | None = None  # None: the first usual name
    span: Span | None = None  # None: all of the input
    contents: Fingerprint | None = None  # if the input has been hashed already

    def settings(self) -> dict[str, str]:
        """Option -> value, as a user types it: all that the records depend on, but for the name.

        Checkpoints and run manifests store them; :meth:`of_settings` is the inverse.
        """
        dialect, layout = self.dialect, self.layout
        span = {"part": str(self.span)} if self.span else {}
        return span | {
            "--text-column": self.text_column or "",
            "--delimiter": dialect.delimiter.decode("latin-1"),
            "--quote": (dialect.quote or b"").decode("latin-1"),
            "--escape": (dialect.escape or b"").decode("latin-1"),
            "--trust-quotes": str(dialect.trusts_quotes),
            "--format": layout.format or "",
            "--encoding": layout.encoding.name,
            "--no-header": str(not layout.has_header),
            "--overwrite-columns": str(layout.overwrite),
            "--max-record-bytes": str(layout.max_record_bytes),
        }

    @classmethod
    def of_settings(cls, name: str, settings: dict[str, str]) -> "Input":
        """The input ``name`` with the settings that :meth:`settings` gave.

        Raises:
            KeyError: one of them is missing.
            ValueError: a value is not one that :meth:`settings` gives.
            UsageError: Python does not know the encoding.
        """
        quote, escape = (settings[key].encode("latin-1") or None for key in ("--quote", "--escape"))
        dialect = Dialect(
            settings["--delimiter"].encode("latin-1"),
            quote,
            escape,
            settings.get("--trust-quotes") == "True",
        )
        layout = Layout(
            settings["--format"] or None,
            parse_encoding(settings["--encoding"]),
            settings["--no-header"] != "True",
            settings["--overwrite-columns"] == "True",
            int(settings["--max-record-bytes"]),
        )
        span = Span.parse(settings["part"]) if "part" in settings else None
        return cls(name, dialect, layout, settings["--text-column"] or None, span)
