"""Compare an output with its run manifest: hashes, counts, records, and a sample of labels."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from batch.checks.audit_rows import AuditedFile, find_other_parquet
from batch.drift.histograms import count_scores
from batch.errors import BundleError, MissingInputError, SpamBatchError
from batch.formats.columns import STAGE
from batch.formats.open_table import PARQUET
from batch.messages import count
from batch.model.bundle import open_bundle
from batch.model.classifier import Classifier
from batch.model.decision import SLOW
from batch.model.rules import Rules
from batch.reading.fingerprint import Fingerprint
from batch.reading.opening import open_source, take_fingerprint
from batch.reading.record import Record
from batch.run.run_manifest import RunManifest, read_manifest

OK, UNCHECKED, FAILED = "ok", "unchecked", "failed"
# A score may differ by this on another processor or device. In a reduced precision the last bit
# of an activation can become a whole step (batch/model/selftest.py).
SCORE_TOLERANCE, REDUCED_TOLERANCE = 0.001, 0.02
WINDOW = 1024  # scores that are counted in one step


@dataclass(frozen=True)
class CheckResult:
    """What one check found."""

    check: str
    state: str  # OK, UNCHECKED or FAILED
    text: str

    def __str__(self) -> str:
        return f"{self.state:<9} {self.check}: {self.text}"

    def to_json(self) -> dict[str, str]:
        return {"check": self.check, "state": self.state, "said": self.text}


def audit_output(
    name: str, bundle: str, sample: int = 1000, given: str | None = None
) -> list[CheckResult]:
    """Run all checks of the output ``name``.

    Args:
        sample: the number of rows to label again.
        given: where the input is now, if it was moved.

    Raises:
        MissingInputError: there is no such file, or no manifest beside it.
        InputError: the manifest is damaged.
    """
    target = Path(name).resolve()
    if target.is_dir():
        raise MissingInputError(f"{name} is a folder; give the name of a file")
    if not target.exists():
        raise MissingInputError(f"cannot read {name}: No such file or directory")
    manifest = read_manifest(target)
    source = given or manifest.input.name
    checked_input = _check_file("input", source, manifest.input)
    results = [
        _check_file("output", target, manifest.output),
        _check_rejects(target, manifest.rejects),
        checked_input,
    ]
    sampled = _Sample(manifest.counts["rows"], sample)
    results += _check_rows(target, source if checked_input.state == OK else None, manifest, sampled)
    return results + _check_bundle(bundle, manifest, sampled)


def _check_rejects(target: Path, wanted: Fingerprint | None) -> CheckResult:
    if wanted is None:
        return CheckResult("rejects", OK, "none, and the run had none")
    assert wanted.name is not None  # rejects are always written to a file
    return _check_file("rejects", target.with_name(wanted.name), wanted)


def _check_file(check: str, path: Path | str | None, wanted: Fingerprint) -> CheckResult:
    if path is None:
        return CheckResult(check, UNCHECKED, "the input came through a pipe")
    try:
        found = take_fingerprint(path)
    except FileNotFoundError:
        return CheckResult(check, UNCHECKED, f"{path} no longer exists")
    except OSError as error:
        return CheckResult(check, UNCHECKED, f"{path} cannot be read: {error.strerror}")
    except MissingInputError as error:  # the file is in a store
        return CheckResult(check, UNCHECKED, str(error))
    if found.size != wanted.size:
        text = f"{path} has {found.size:,} bytes, the run's had {wanted.size:,}"
        return CheckResult(check, FAILED, text)
    if found.sha256 != wanted.sha256:
        text = f"{path} has the SHA-256 {found.sha256}, the run's had {wanted.sha256}"
        return CheckResult(check, FAILED, text)
    return CheckResult(check, OK, f"{found.size:,} bytes, SHA-256 {found.sha256}")


class _Sample:
    """Rows that are labelled again: evenly spread, and the same ones each time."""

    def __init__(self, rows: int, wanted: int):
        size = min(rows, wanted)
        self._numbers = {at * rows // size for at in range(size)}
        self.rows: list[tuple[int, str, dict[str, str]]] = []  # line, text, our values

    def add(self, number: int, record: Record, values: dict[str, str]) -> None:
        if number in self._numbers:
            text = record.message
            self.rows.append((record.line, text, values))


def _check_rows(
    target: Path, given: str | None, manifest: RunManifest, sample: _Sample
) -> list[CheckResult]:
    """The results ``rows``, ``labels``, ``scores``, ``stages`` of a cascade, and ``records``."""
    read = 0
    labels: Counter[str | None] = Counter()
    stages: Counter[str | None] = Counter()
    scores = np.zeros(len(manifest.scores["counts"]), dtype=np.int64)
    pairs = _Pairs(manifest)
    with ExitStack() as stack:
        try:
            output = AuditedFile(stack.enter_context(open_source(str(target))), manifest, True)
            if given is not None:
                source = stack.enter_context(open_source(given))
                pairs.open(AuditedFile(source, manifest, False), output)
            waiting: list[float] = []
            for record, own, values in output.rows():
                sample.add(read, record, values)
                pairs.compare(record, own)
                labels[values.get("label")] += 1
                stages[values.get(STAGE)] += 1
                if "score" in values:
                    waiting.append(float(values["score"]))
                if len(waiting) == WINDOW:
                    scores += count_scores(np.array(waiting))
                    waiting.clear()
                read += 1
            scores += count_scores(np.array(waiting))
            pairs.end()
        except (SpamBatchError, ValueError, KeyError) as error:
            text = (
                str(error)
                if isinstance(error, SpamBatchError)
                else "a row does not have the form that spam-batch writes"
            )
            failed = CheckResult("rows", FAILED, f"{text}; read before it: {count(read, 'row')}")
            rest = ("labels", "scores", "records")
            why = "the rows cannot be read to the end"
            return [failed, *(CheckResult(check, UNCHECKED, why) for check in rest)]
    results = _compare_counts(manifest, read, labels, scores.tolist())
    if STAGE in manifest.table["columns"]:
        asked, wanted = f"{stages[SLOW]:,} asked", f"{manifest.counts.get('asked', 0):,} asked"
        results.append(_compare("stages", asked, wanted))
    return [*results, pairs.result(given)]


def _compare_counts(
    manifest: RunManifest, rows: int, labels: Counter[str | None], scores: list[int]
) -> list[CheckResult]:
    wanted, columns = manifest.counts, manifest.table["columns"]
    results = [_compare("rows", f"{rows:,}", f"{wanted['rows']:,}")]
    if "label" in columns:
        every = dict.fromkeys([*wanted["labels"], *labels])
        found = {name: labels[name] for name in every}
        results.append(_compare("labels", _list_counts(found), _list_counts(wanted["labels"])))
    else:
        results.append(CheckResult("labels", UNCHECKED, "the output has no column label"))
    if "score" in columns:
        results.append(
            _compare("scores", _list_bins(scores), _list_bins(manifest.scores["counts"]))
        )
    else:
        results.append(CheckResult("scores", UNCHECKED, "the output has no column score"))
    return results


def _compare(check: str, found: str, wanted: str) -> CheckResult:
    if found == wanted:
        return CheckResult(check, OK, found)
    return CheckResult(check, FAILED, f"{found}; the run wrote {wanted}")


def _list_counts(counts: Mapping[str | None, int]) -> str:
    return ", ".join(f"{number:,} {name}" for name, number in counts.items())


def _list_bins(counts: Sequence[int]) -> str:
    return f"counts {' '.join(map(str, counts))}"


class _Pairs:
    """Compares each row of the output with its record of the input."""

    def __init__(self, manifest: RunManifest):
        self._wanted, self._mended = manifest.counts["rejects"], manifest.mended_at
        self._given: Iterator[Record] | None = None
        self._problem: str | None = None
        self._bad = self._rows = 0
        part = manifest.options.get("part")
        self._part = f", part {part}" if part else ""

    def open(self, given: AuditedFile, output: AuditedFile) -> None:
        self._file, self._given = given, self._good(given)
        if given.format == PARQUET:
            other = find_other_parquet(given, output)
            self._problem = (
                None
                if other is None
                else f"row {other + 1} does not have the values of its input record"
            )

    def _good(self, given: AuditedFile) -> Iterator[Record]:
        for record in given.read():
            if not record.problem or record.offset in self._mended:
                yield record
            else:
                self._bad += 1

    def compare(self, record: Record, own: bytes) -> None:
        self._rows += 1
        if self._given is None or self._problem:
            return
        theirs = next(self._given, None)
        if theirs is None:
            self._problem = f"line {record.line} has no record in the input"
        elif theirs.problem:
            if hashlib.sha256(own).hexdigest() != self._mended[theirs.offset]:
                self._problem = f"line {record.line} is not line {theirs.line} as it was mended"
        elif own != self._file.table.own_bytes(theirs):
            self._problem = (
                f"line {record.line} does not begin with line {theirs.line} of the input"
            )

    def end(self) -> None:
        if self._given is None or self._problem:
            return
        left = sum(1 for _ in self._given)
        if left:
            self._problem = f"the input has {count(left, 'record')} after that of the last row"
        elif self._bad != self._wanted:
            self._problem = (
                f"the input has {count(self._bad, 'bad record')}, and the run had "
                f"{count(self._wanted, 'reject')}"
            )

    def result(self, given: str | None) -> CheckResult:
        if given is None:
            return CheckResult("records", UNCHECKED, "the run's input is missing or has changed")
        if self._problem:
            return CheckResult("records", FAILED, self._problem)
        mended = f", {len(self._mended):,} of them as mended" if self._mended else ""
        text = f"{self._rows:,} rows begin with their records of the input{self._part}{mended}"
        return CheckResult("records", OK, text)


def _check_bundle(folder: str, manifest: RunManifest, sample: _Sample) -> list[CheckResult]:
    """The results ``bundle`` and ``sample``."""
    wanted, precision = manifest.bundle["digest"], manifest.bundle["precision"]
    not_run = CheckResult("sample", UNCHECKED, "not labelled again without the run's bundle")
    if not Path(folder).is_dir():
        text = f"{folder} does not exist; give the run's bundle with --bundle"
        return [CheckResult("bundle", UNCHECKED, text), not_run]
    try:
        opened = open_bundle(folder)
        found = opened.digest
        if found != wanted:
            text = f"{folder} has the digest {found}, the run's had {wanted}"
            return [CheckResult("bundle", FAILED, text), not_run]
        rules = asdict(Rules.of_settings(manifest.options, opened.manifest))
        classifier = Classifier.load(folder, precision=precision, allow_unverified=True, **rules)
    except BundleError as error:
        return [CheckResult("bundle", FAILED, str(error)), not_run]
    return [
        CheckResult("bundle", OK, f"digest {found}"),
        _check_sample(classifier, manifest, sample),
    ]


def _check_sample(classifier: Classifier, manifest: RunManifest, sample: _Sample) -> CheckResult:
    columns = set(manifest.table["columns"]) & {"label", "score"}
    if not (sample.rows and columns):
        why = "no row was asked for" if columns else "the output has neither label nor score"
        return CheckResult("sample", UNCHECKED, why)
    theirs = classifier.classify([text for _, text, _ in sample.rows])
    is_full = manifest.bundle["precision"] == "fp32"
    tolerance = SCORE_TOLERANCE if is_full else REDUCED_TOLERANCE
    logits = np.log(np.maximum(theirs.probabilities, 1e-300)) * classifier.decision.temperature
    # These logits differ from the model's by a constant in each row, which softmax ignores.
    margins = classifier.decision.margins(logits)
    changed = []  # lines
    for (line, _, values), label, score, margin in zip(
        sample.rows, theirs.labels, theirs.scores.tolist(), margins.tolist(), strict=True
    ):
        differs = abs(float(values.get("score", score)) - score) > tolerance
        if differs or (values.get("label", label) != label and margin > tolerance):
            changed.append(line)
    if changed:
        text = f"{len(changed):,} of {len(sample.rows):,} rows get another label or score now"
        return CheckResult("sample", FAILED, f"{text}, the first on line {changed[0]}")
    text = f"{len(sample.rows):,} rows get the same labels and scores again"
    return CheckResult("sample", OK, text)
