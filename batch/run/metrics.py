"""``--metrics-file``: what the last run did, as text for Prometheus' node exporter.

The exporter's textfile collector reads every ``*.prom`` file of a folder. The file is replaced
as a whole, also after a run that failed.
"""

import contextlib
import logging
import re
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from batch.command import status_of
from batch.drift.histograms import Histograms
from batch.errors import REJECTED, OutputError, StorageError
from batch.model.bundle import Bundle
from batch.run.summary import Summary, find_shifts
from batch.version import __version__
from batch.writing.atomic import replace_file
from batch.writing.target import check_replaceable, resolve_path

log = logging.getLogger("batch")

START = b"# HELP spam_batch_"
LAST_SUCCESS = "spam_batch_last_success_timestamp_seconds"
Samples = Sequence[tuple[Mapping[str, str], float]]  # labels and value of each


class RunMetrics:
    """The metrics of a run, added up over its files."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.labels: Counter[str] = Counter()
        self.histograms = Histograms()
        self.bundle: Bundle | None = None
        self.score_ranges: dict[str, tuple[float, float]] = {}  # the same for all files
        self.info: dict[str, str] = {}
        self.seconds = 0.0
        self.files: Counter[str] = Counter()  # files of --out-dir by outcome

    def add_file(self, outcome: str, summary: Summary | None = None) -> None:
        """Count a file of ``--out-dir``, which was ``labelled``, ``skipped``, or ``failed``."""
        self.files[outcome] += 1
        if summary:
            self.add(summary)

    def add(self, summary: Summary) -> None:
        """Add a file that was labelled."""
        done = summary.progress
        self.bundle = summary.bundle
        self.score_ranges = summary.rules.decision(summary.manifest).score_ranges
        self.info = {"bundle": summary.bundle.digest, "precision": summary.precision}
        self.counts += Counter(
            files=1, records=done.records, rejects=done.rejects, truncated=done.truncated,
            asked=done.asked,
        )  # fmt: skip
        self.labels.update(summary.labels)
        self.histograms = self.histograms.merge(done.histograms)
        self.seconds += done.statistics.seconds

    def lines(self) -> list[str]:
        """The metrics of the labelled files; none if no file was labelled."""
        if self.bundle is None:
            return []
        rows = sum(self.labels.values())
        rate = rows / self.seconds if self.seconds else 0.0
        asked = self.counts["asked"]
        shifts = find_shifts(self.bundle, self.score_ranges, self.labels, self.histograms, asked)
        shares: Samples = [({}, asked / rows)] if self.bundle.proof and rows else []
        info = [({"version": __version__, **self.info}, 1)]
        numbers = {name: self.counts[name] for name in ("files", "records", "rejects")}
        found: dict[str, tuple[str, Samples]] = {
            "info": ("What labelled.", info),
            "rows": ("Rows written, by label.",
                [({"label": name}, count) for name, count in self.labels.items()]),
            **{
                name: (f"{name.capitalize()} of the run.", [({}, number)])
                for name, number in numbers.items()
            },
            "truncated": ("Messages cut at the model's length.",
                [({}, self.counts["truncated"])]),
            "asked_share": ("Share of the rows that a cascade's slow model decided.", shares),
            "labelling_seconds": ("Time spent on reading, labelling and writing.",
                [({}, self.seconds)]),
            "rows_per_second": ("Rows over that time.", [({}, rate)]),
            "drift": ("Label's share, or population stability index.",
                [({"what": shift.what}, shift.value) for shift in shifts or ()]),
            "drift_flagged": ("1 if it left its band.",
                [({"what": shift.what}, int(shift.is_out)) for shift in shifts or ()]),
        }  # fmt: skip
        return [
            line
            for name, (text, values) in found.items()
            for line in format_metric(f"spam_batch_run_{name}", text, values)
        ]


def format_metric(name: str, text: str, values: Samples) -> list[str]:
    """One gauge in Prometheus' text format 0.0.4.

    >>> format_metric("rows", "Rows.", [({"label": "spam"}, 7)])[2]
    'rows{label="spam"} 7'
    """
    if not values:
        return []
    lines = [f"# HELP {name} {text}", f"# TYPE {name} gauge"]
    for labels, value in values:
        pairs = ",".join(f'{key}="{_escape(text)}"' for key, text in labels.items())
        lines.append(f"{name}{{{pairs}}} {value!r}" if pairs else f"{name} {value!r}")
    return lines


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


@contextlib.contextmanager
def writing_metrics(name: str | None) -> Iterator[RunMetrics]:
    """Write the file ``name`` at the end of a block, also if the block fails.

    Raises:
        OutputError: it is a folder or not a metrics file of ours, or its folder is missing.
        StorageError: it cannot be written after a run that was complete.
    """
    metrics = RunMetrics()
    if name is None:
        yield metrics
        return
    target = resolve_path(name)
    _check(target)
    start = time.monotonic()
    error: BaseException | None = None
    try:
        yield metrics
    except BaseException as caught:
        error = caught
        raise
    finally:
        status = 0 if error is None else status_of(error)
        try:
            _check(target)  # again: the run's own output may have this name
            _write(target, metrics, status, time.monotonic() - start)
        except (OSError, OutputError) as fault:
            is_taken = isinstance(fault, OutputError)
            problem = (
                f"writing {name}: {fault.strerror}" if isinstance(fault, OSError) else str(fault)
            )
            if status not in (0, REJECTED):
                log.warning("%s", problem)
            else:
                kind = OutputError if is_taken else StorageError
                raise kind(f"{problem}; the labelled output is complete") from None


def _check(target: Path) -> None:
    problem = "is not a metrics file of spam-batch; give another --metrics-file"
    check_replaceable(target, START, problem)


def _write(target: Path, metrics: RunMetrics, status: int, seconds: float) -> None:
    now = round(time.time(), 3)
    is_complete = status in (0, REJECTED)
    last = now if is_complete else _read_last_success(target)
    always: dict[str, tuple[str, float | None]] = {
        "spam_batch_run_success": ("1 if every record was labelled or rejected.", int(is_complete)),
        "spam_batch_run_exit_status": ("Exit status of the run.", status),
        "spam_batch_run_seconds": ("From start to end.", round(seconds, 3)),
        "spam_batch_run_timestamp_seconds": ("When the run ended.", now),
        LAST_SUCCESS: ("When a run last succeeded.", last),
        "spam_batch_run_files_skipped": (
            "Files of --out-dir that were labelled before.", metrics.files["skipped"],
        ),
        "spam_batch_run_files_failed": ("Files of --out-dir that failed.", metrics.files["failed"]),
    }  # fmt: skip
    lines = [
        line
        for name, (text, value) in always.items()
        for line in format_metric(name, text, [] if value is None else [({}, value)])
    ]
    content = "\n".join([*lines, *metrics.lines()]) + "\n"
    # The node exporter runs as another user. The file has counts and names of labels, no text.
    data = content.encode("utf-8")
    replace_file(target, data, target, ".metrics", 0o644, ignores_umask=True)


def _read_last_success(target: Path) -> float | None:
    """The time of the last success from the previous file. A failed run keeps it."""
    try:
        found = re.search(rf"^{LAST_SUCCESS} (\S+)$", target.read_text("utf-8"), re.M)
        return float(found[1]) if found else None
    except (OSError, ValueError):
        return None
