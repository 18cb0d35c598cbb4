"""How far a run is, and its statistics."""

from dataclasses import dataclass, field

from batch.drift.histograms import Tally


@dataclass(frozen=True)
class Course:
    """How a run went: what may differ between runs that write the same bytes."""

    started: str = ""  # in UTC, when its first part began
    resumed: int = 0  # how often it went on
    seconds: float = 0.0  # of labelling, all parts together
    device: str = ""
    threads: int = 0
    onnxruntime: str = ""  # version


@dataclass(frozen=True)
class Progress:
    """How far a run is, at the end of a window."""

    offset: int = 0  # of the next record, in the input
    line: int = 1  # its line
    records: int = 0
    rejects: int = 0
    truncated: int = 0
    blank_lines: int = 0
    labels: dict[str, int] = field(default_factory=dict)  # rows of each
    bytes: int = 0  # written, of the output
    sha256: str = ""  # of those bytes
    reject_bytes: int = 0
    reject_sha256: str = ""
    is_complete: bool = False
    tally: Tally = field(default_factory=Tally)
    course: Course = field(default_factory=Course)

    @property
    def rows(self) -> int:
        return sum(self.labels.values())

    @classmethod
    def from_json(cls, values: dict) -> "Progress":
        tally, course = Tally.from_json(values["tally"]), Course(**values["course"])
        return cls(**{**values, "tally": tally, "course": course})
