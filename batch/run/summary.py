"""The summary of a run: the lines that are logged at its end."""

import logging
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field

from batch.drift.histograms import Histograms
from batch.drift.shifts import ASKED, Range, Shift, find_drift
from batch.messages import count
from batch.model.bundle import Bundle, Manifest
from batch.model.inference import InferenceSession
from batch.model.rules import BUNDLES_RULES, Rules
from batch.model.truncation import describe_truncation
from batch.writing.progress import Progress

PARTIAL = "WARNING: the model was trained on an incomplete copy of its data"


@dataclass
class Summary:
    """Totals of the whole input, and the speed of this run, which may have resumed another."""

    bundle: Bundle
    text_column: str  # its name
    out: str  # as the user types it, or "standard output"
    rejects: str  # the file for rejected records
    progress: Progress = field(default_factory=Progress)
    labelled: int = 0  # records of this run
    seconds: float = 0.0
    session: InferenceSession | None = None  # None if nothing was left to label
    precision: str = ""
    repeated: int = 0  # records of this run with the text of an earlier one
    notes: tuple[str, ...] = ()  # of the input
    warnings: list[str] = field(default_factory=list)
    # What to type so that the first bad record is good; "": nothing is known; None: none was bad.
    advice: str | None = None
    rules: Rules = BUNDLES_RULES

    @property
    def labels(self) -> dict[str, int]:
        """The number of rows for each label that a row can get, including zeros."""
        given = self.rules.decision(self.manifest).given
        return {name: self.progress.labels.get(name, 0) for name in given}

    @property
    def manifest(self) -> Manifest:
        return self.bundle.manifest

    @property
    def drift(self) -> list[Shift] | None:
        """How the rows differ from the training data; None if the bundle does not say."""
        done = self.progress
        ranges = self.rules.decision(self.manifest).score_ranges
        return find_shifts(self.bundle, ranges, done.labels, done.histograms, done.asked)

    def counts(self) -> dict:
        """The totals for a program that reads the log. Records are rows plus rejects."""
        done = self.progress
        return {
            "records": done.records,
            "rows": done.rows,
            "rejects": done.rejects,
            "labels": self.labels,
            **({"asked": done.asked} if self.bundle.proof else {}),
        }

    def lines(self) -> list[str]:
        """The lines for the user, in their order."""
        done, manifest, session = self.progress, self.manifest, self.session
        counts = ", ".join(f"{number:,} {name}" for name, number in self.labels.items())
        rejected = f", {count(done.rejects, 'reject')}" if done.rejects else ""
        lines = [
            f"{count(done.records, 'record')} in, {count(done.rows, 'row')} out{rejected}: "
            f"{counts}",
            f"text column: {self.text_column}",
            *self.notes,
        ]
        if session:
            rate = self.labelled / self.seconds if self.seconds else 0.0
            lines.append(
                f"{rate:,.0f} rows a second on {session.device} in {self.precision} "
                f"({count(session.threads, 'thread')}), {self.seconds:.1f} s; {manifest.model}"
            )
            if self.repeated:
                share = 100 * self.repeated / self.labelled
                lines.append(f"{count(self.repeated, 'repeated text')} ({share:.1f} %)")
        lines += self._describe_proof()
        lines.append(f"weights: {manifest.weights}")
        if done.truncated:
            cut = describe_truncation(self.rules.long, manifest.max_length)
            lines.append(f"{count(done.truncated, 'message')} {cut}")
        if done.blank_lines:
            lines.append(f"{count(done.blank_lines, 'blank line')} skipped")
        lines += [f"WARNING: {warning}" for warning in self.warnings]
        lines += [f"WARNING: {self._warn(shift)}" for shift in self.drift or () if shift.is_out]
        if session and session.note:
            lines.append(f"WARNING: {session.note}")
        if manifest.training.get("data", {}).get("is_partial"):
            lines.append(PARTIAL)
        if done.rejects:
            lines.append(f"rejected: {self.rejects}")
        lines.append(f"written: {self.out}")
        return lines

    def _describe_proof(self) -> list[str]:
        """What a cascade promises, and whether this run is one that it was proved for."""
        proof, done = self.bundle.proof, self.progress
        if proof is None:
            return []
        share = 100 * done.asked / done.rows if done.rows else 0.0
        lines = [
            f"asked of the slow model: {count(done.asked, 'row')} ({share:.2f} %; of the proof's "
            f"text {100 * proof.share_asked:.2f} %); {proof.promise()}"
        ]
        now = self.rules.settings(self.manifest)
        other = [
            f"{name} {now[name]}" for name, value in proof.settings.items() if now[name] != value
        ]
        if other:
            proved = ", ".join(f"{name} {value}" for name, value in proof.settings.items())
            lines.append(
                f"WARNING: the bound was proved with {proved}; it is not known with "
                f"{', '.join(other)}"
            )
        return lines

    def _warn(self, shift: Shift) -> str:
        if shift.what != ASKED:
            return shift.sentence("the proof's text" if self.bundle.proof else None)
        folder, is_file = shlex.quote(str(self.bundle.folder)), self.rejects != ""
        text = shlex.quote(self.out) if is_file else "FILE"
        return (
            f"{shift.sentence()}; to prove it on this text, type: spam-export verify {folder} "
            f"--text {text}; if that fails, distil again with this text (docs/cascade.md)"
        )


def find_shifts(
    bundle: Bundle,
    score_ranges: Mapping[str, Range],
    labels: Mapping[str, int],
    histograms: Histograms,
    asked: int,
) -> list[Shift] | None:
    """All that :func:`find_drift` compares, and of a cascade the share that was asked.

    Args:
        asked: rows that the slow model of a cascade decided.
    """
    manifest = bundle.manifest
    shifts = find_drift(manifest.reference, score_ranges, manifest.threshold, labels, histograms)
    if bundle.proof:
        shifts = [*(shifts or []), *bundle.proof.compare_asked(asked, sum(labels.values()))]
    return shifts


def describe_headers(done: Progress) -> str | None:
    """A warning of records that repeat the header, with the line of the first."""
    if not done.headers:
        return None
    if done.headers == 1:
        found, they = f"line {done.first_header} repeats the header", "it was labelled as a record"
    else:
        found = f"{done.headers:,} records repeat the header, the first in line {done.first_header}"
        they = "they were labelled as records"
    return f"{found}; {they}; files that are joined keep one header each"


def level_of(line: str) -> int:
    """The log level of one of :meth:`Summary.lines`. ``--quiet`` shows warnings and rejects.

    It does not show that the training data was incomplete, which is the same each night.
    """
    is_news = line.startswith(("WARNING", "rejected")) and line != PARTIAL
    return logging.WARNING if is_news else logging.INFO
