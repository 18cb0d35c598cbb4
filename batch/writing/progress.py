"""How far a run is, and how it went."""

from dataclasses import dataclass, field

from batch.drift.histograms import Histograms


@dataclass(frozen=True)
class RunStatistics:
    """What may differ between two runs that write the same bytes."""

    started: str = ""  # when the run first began, in UTC: "2026-11-22T03:00:00Z"
    resumed: int = 0  # how often the run was resumed
    seconds: float = 0.0  # of labelling; those before an interruption count as well
    device: str = ""
    threads: int = 0
    onnxruntime: str = ""  # version


@dataclass(frozen=True)
class Progress:
    """How far a run is at the end of a window; all counts are since the start of the input.

    After a header of 11 bytes and the record ``1,You won\\n``, labelled spam, a run has
    ``Progress(offset=21, line=3, records=1, labels={"spam": 1}, ...)``.
    """

    offset: int = 0  # of the next record in the input: bytes, or rows of Parquet
    line: int = 1  # number of the line where the next record starts
    records: int = 0  # rows and rejects together
    rejects: int = 0
    truncated: int = 0
    asked: int = 0  # rows that the slow model of a cascade decided
    blank_lines: int = 0
    headers: int = 0  # records that repeat the header
    first_header: int = 0  # line of the first of them; 0: there is none
    labels: dict[str, int] = field(default_factory=dict)  # label -> its number of rows
    bytes: int = 0  # of the part file that were written
    sha256: str = ""  # of those bytes
    reject_bytes: int = 0  # the same of the rejects
    reject_sha256: str = ""
    is_complete: bool = False  # all records are labelled
    histograms: Histograms = field(default_factory=Histograms)
    statistics: RunStatistics = field(default_factory=RunStatistics)

    @property
    def rows(self) -> int:
        """How many records were labelled."""
        return sum(self.labels.values())

    @classmethod
    def from_json(cls, values: dict) -> "Progress":
        """The inverse of ``dataclasses.asdict``.

        Raises:
            KeyError, TypeError, ValueError: the values are not those of a progress.
        """
        histograms = Histograms.from_json(values["histograms"])
        statistics = RunStatistics(**values["statistics"])
        return cls(**{**values, "histograms": histograms, "statistics": statistics})
