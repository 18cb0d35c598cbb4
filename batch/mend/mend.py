"""Label records that were rejected and then mended by hand, each in its place of the output."""

import hashlib
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from pathlib import Path

import numpy as np

from batch.checks.audit_rows import WINDOW, AuditedFile
from batch.drift.histograms import Histograms, count_scores, count_tokens
from batch.errors import BundleError, InputError, MissingInputError, UsageError
from batch.formats.csv_table import CsvTable
from batch.formats.jsonlines import JsonTable
from batch.formats.layout import PARQUET
from batch.mend.mended_file import read_mended
from batch.mend.publish import Replacement, finish_killed
from batch.messages import count
from batch.model.bundle import open_bundle
from batch.model.classifier import Classifier
from batch.model.rules import Rules
from batch.reading.fingerprint import Fingerprint
from batch.reading.opening import open_source, still_has
from batch.reading.record import Record
from batch.run.run_manifest import RunManifest, read_manifest, utc_now
from batch.run.summary import find_shifts
from batch.writing.lock import hold_lock
from batch.writing.names import PARTS_MANIFEST
from batch.writing.rejects import encode_rejects

Key = tuple[int, int]  # line and byte offset of a record in the input


@dataclass
class Mending:
    """What came of it."""

    out: str
    mended: list[dict] = field(default_factory=list)  # as the run manifest has them
    labels: Counter[str] = field(default_factory=Counter)  # of the mended rows
    left: list[Record] = field(default_factory=list)  # what is still bad
    finished: RunManifest | None = None  # of an earlier mending that was killed, and has ended now

    @property
    def rejects(self) -> int:
        """How many records are still rejects."""
        return self.finished.counts["rejects"] if self.finished else len(self.left)

    def lines(self) -> list[str]:
        """The lines for the user."""
        if self.finished:
            return [f"finished a mending that was killed: {self.out}; type the same command for "
                    "further records"]  # fmt: skip
        total = len(self.mended) + len(self.left)
        if not total:
            return [f"{self.out} has no rejects; there is nothing to mend"]
        counts = ", ".join(f"{number:,} {name}" for name, number in self.labels.items() if number)
        what = f": {counts}" if counts else ""
        lines = [f"{len(self.mended):,} of {count(total, 'reject')} mended{what}"]
        for record in self.left[:10]:
            lines.append(f"still bad: line {record.line}, byte offset {record.offset}: "
                         f"{record.problem}")  # fmt: skip
        if len(self.left) > 10:
            lines.append(f"still bad: {len(self.left) - 10:,} more")
        changed = f"written: {self.out}" if self.mended else f"{self.out} is as it was"
        return [*lines, changed]


def mend_output(name: str, rejects: str, bundle: str, given: str | None = None) -> Mending:
    """Put the mended records of ``rejects`` into the output ``name``, and keep the others.

    Args:
        rejects: the rejects file, or a copy, with records changed by hand.
        bundle: where the bundle of the run is now.
        given: where the input is now, if it was moved.

    Raises:
        SpamBatchError: nothing was changed.
    """
    target = Path(name).resolve()
    if not target.is_file():
        raise MissingInputError(f"cannot read {name}: it is no file; give an output of classify")
    with hold_lock(target):
        if finished := finish_killed(target):
            return Mending(name, finished=finished)
        manifest = read_manifest(target)
        if not manifest.counts["rejects"]:
            return Mending(name)
        source = _check(name, target, manifest, given)
        mended = read_mended(rejects)
        classifier = _load(bundle, manifest)
        with ExitStack() as stack:
            files = [stack.enter_context(open_source(each)) for each in (source, str(target))]
            labels = classifier.decision.given
            given_file = AuditedFile(files[0], manifest, False, str(target), labels)
            output = AuditedFile(files[1], manifest, True)
            return _Mender(name, target, manifest, classifier, rejects).run(
                given_file, output, mended
            )


def _check(name: str, target: Path, manifest: RunManifest, given: str | None) -> str:
    """The name of the input, once it is sure that rows can be put where they belong."""
    if manifest.table["format"] == PARQUET:
        raise UsageError(
            f"{name} is Parquet, whose only bad records are rows without a text; fill in the "
            "texts of the input, and label it again"
        )
    if (target.parent / PARTS_MANIFEST).exists() or "part" in manifest.options:
        raise UsageError(
            f"{name} belongs to a run on many machines; mend the input, and label it again"
        )
    if not still_has(target, manifest.output):
        raise InputError(
            f"{name} has changed since its run; mend the output as it was, or label the input again"
        )
    source = given or manifest.input.name
    if source is None:
        raise UsageError(f"{name}: its input came through a pipe; give it as a file with --input")
    if not still_has(source, manifest.input):
        raise InputError(
            f"{name}: {source} is missing, or is not the input of the run; name it with --input"
        )
    return source


def _load(folder: str, manifest: RunManifest) -> Classifier:
    opened, wanted = open_bundle(folder), manifest.bundle["digest"]
    if opened.digest != wanted:
        raise BundleError(
            f"{folder} has the digest {opened.digest}, the run's had {wanted}; give the run's "
            "bundle with --bundle"
        )
    rules = asdict(Rules.of_settings(manifest.options, opened.manifest))
    precision = manifest.bundle["precision"]
    return Classifier.load(folder, precision=precision, allow_unverified=True, **rules)


class _Mender:
    """Walks over the input and the output side by side."""

    def __init__(
        self, name: str, target: Path, manifest: RunManifest, classifier: Classifier, rejects: str
    ):
        self._target, self._manifest, self._rejects = target, manifest, rejects
        self._classifier, self._before = classifier, manifest.mended_at
        self._done = Mending(name)
        self._texts = Histograms()  # of all rows, for the number of different texts
        self._scores: list[float] = []  # of the mended rows
        self._tokens: list[int] = []
        self._truncated = 0
        self._asked = 0  # of the mended rows: those that a cascade's slow model decided
        self._again: list[Record] = []  # records of the input that were mended before

    def run(self, given: AuditedFile, output: AuditedFile, mended: dict[Key, bytes]) -> Mending:
        table = given.table
        assert isinstance(table, CsvTable | JsonTable)  # Parquet was refused
        done = self._done
        done.labels.update(dict.fromkeys(self._classifier.decision.given, 0))
        files = Replacement(self._target, done.out)
        try:
            files.add(table.header())
            rows = (record for record, _, _ in output.rows())
            for kept, bad in self._walk(given, rows):
                files.add(table.pack(b"".join(record.raw + record.line_end for record in kept)))
                self._count(kept)
                if bad is None:
                    continue
                record = self._choose(table, bad, mended.pop((bad.line, bad.offset), None))
                if record.problem:
                    done.left.append(record)
                    files.add(b"", encode_rejects([record]))
                else:
                    files.add(self._label(table, record))
            for bad in self._again:
                self._check_same(table, bad, mended.pop((bad.line, bad.offset), bad.raw))
            if mended:
                line, offset = min(mended)
                raise InputError(
                    f"{self._rejects}: no reject of {done.out} is at line {line}, byte offset "
                    f"{offset}; line and byte_offset must stay as they were"
                )
            if done.mended:
                files.publish(self._describe)
        finally:
            files.drop()
        return done

    def _walk(
        self, given: AuditedFile, rows: Iterator[Record]
    ) -> Iterator[tuple[list[Record], Record | None]]:
        """Rows of the output, and the reject that stands behind them in the input, if any."""
        waiting = 0
        for record in given.read():
            is_row = not record.problem
            if record.offset in self._before:
                self._again.append(record)
                is_row = True
            waiting += is_row
            if not is_row or waiting == WINDOW:
                yield list(islice(rows, waiting)), None if is_row else record
                waiting = 0
        yield list(islice(rows, waiting)), None

    def _check_same(self, table: CsvTable | JsonTable, bad: Record, raw: bytes) -> None:
        record = bad if raw == bad.raw else table.read_again(raw, bad)
        if not record.problem and _digest(table, record) != self._before[bad.offset]:
            raise InputError(
                f"{self._rejects}: the record of line {bad.line}, byte offset {bad.offset}, was "
                "mended already, in another way; leave it out, or label the input again"
            )

    def _choose(self, table: CsvTable | JsonTable, bad: Record, raw: bytes | None) -> Record:
        # Unchanged bytes stay a reject: of a record that is too long they are only the start.
        return bad if raw is None or raw == bad.raw else table.read_again(raw, bad)

    def _label(self, table: CsvTable | JsonTable, record: Record) -> bytes:
        text = record.message
        predictions = self._classifier.classify([text])
        self._count([record])
        self._done.labels.update(predictions.labels)
        self._scores += predictions.scores.tolist()
        self._tokens += predictions.tokens.tolist()
        self._truncated += int(predictions.truncated.sum())
        if predictions.asked is not None:
            self._asked += int(predictions.asked.sum())
        place = {"line": record.line, "byte_offset": record.offset}
        self._done.mended.append({**place, "sha256": _digest(table, record)})
        return table.rows([record], predictions)

    def _count(self, records: list[Record]) -> None:
        zeros = np.zeros(len(records), dtype=np.int64)
        texts = [record.text or b"" for record in records]
        self._texts = self._texts.add(zeros, zeros, texts)

    def _describe(self, output: Fingerprint, rejects: Fingerprint | None) -> RunManifest:
        """The manifest of the run with the mended rows counted."""
        old, done = self._manifest, self._done
        scores = np.array(old.scores["counts"]) + count_scores(np.array(self._scores))
        tokens = np.array(old.tokens["counts"]) + count_tokens(np.array(self._tokens))
        histograms = Histograms(
            tuple(scores.tolist()), tuple(tokens.tolist()), self._texts.smallest
        )
        before = old.counts
        labels = dict(before["labels"])
        for label, number in done.labels.items():
            labels[label] = labels.get(label, 0) + number
        rows = before["rows"] + len(done.mended)
        distinct = min(histograms.distinct, rows)
        bundle, ranges = self._classifier.bundle, self._classifier.decision.score_ranges
        asked = before.get("asked", 0) + self._asked
        drift = find_shifts(bundle, ranges, labels, histograms, asked)
        return replace(
            old,
            output=output,
            rejects=rejects,
            counts={
                **before,
                "rows": rows,
                "rejects": len(done.left),
                "labels": labels,
                "truncated": before["truncated"] + self._truncated,
                "distinct_texts": distinct,
                "repeated_texts": rows - distinct,
                **({"asked": asked} if bundle.proof else {}),
            },
            scores={**old.scores, "counts": list(histograms.scores)},
            tokens={**old.tokens, "counts": list(histograms.tokens)},
            drift=None if drift is None else [asdict(shift) for shift in drift],
            mended=sorted([*old.mended, *done.mended], key=lambda entry: entry["byte_offset"]),
            run={**old.run, "mended": utc_now()},
        )


def _digest(table: CsvTable | JsonTable, record: Record) -> str:
    return hashlib.sha256(table.own_bytes(record)).hexdigest()
