"""Hold an output against the manifest of its run: hashes, counts, records, a sample of labels."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from batch.checks.audit_rows import AuditedFile, find_other_parquet
from batch.drift.histograms import count_scores
from batch.errors import BundleError, MissingInputError, SpamBatchError
from batch.formats.open_table import PARQUET
from batch.messages import count
from batch.model.bundle import open_bundle
from batch.model.classifier import Classifier
from batch.model.rules import Rules
from batch.reading.fingerprint import Fingerprint
from batch.reading.opening import open_source, take_fingerprint
from batch.run.run_manifest import RunManifest, read_manifest

OK, UNCHECKED, FAILED = "ok", "unchecked", "failed"
# By how much a score may differ on another processor or device; of reduced precisions a last
# bit of an activation can become a step (batch/model/selftest.py).
SCORE_TOLERANCE, REDUCED_TOLERANCE = 0.001, 0.02
WINDOW = 1024  # scores counted at once


@dataclass(frozen=True)
class Finding:
    check: str
    state: str
    said: str

    def __str__(self) -> str:
        return f"{self.state:<9} {self.check}: {self.said}"


def audit_output(
    name: str, bundle: str, sample: int = 1000, given: str | None = None
) -> list[Finding]:
    """Every check of the output ``name``; ``given`` is its input, if that is elsewhere now.

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
    rejects = manifest.rejects and target.with_name(manifest.rejects.name)
    source = given or manifest.input.name
    findings = [
        _check_file("output", target, manifest.output),
        Finding("rejects", OK, "none, and the run had none")
        if rejects is None
        else _check_file("rejects", rejects, manifest.rejects),
        _check_file("input", source, manifest.input),
    ]
    same_input = findings[2].state == OK
    sampled = _Sample(manifest.counts["rows"], sample)
    findings += _check_rows(target, source if same_input else None, manifest, sampled)
    return findings + _check_bundle(bundle, manifest, sampled)


def _check_file(check: str, path: Path | str | None, wanted: Fingerprint) -> Finding:
    if path is None:
        return Finding(check, UNCHECKED, "it came through a pipe")
    try:
        found = take_fingerprint(path)
    except FileNotFoundError:
        return Finding(check, UNCHECKED, f"{path} is gone")
    except OSError as error:
        return Finding(check, UNCHECKED, f"{path} cannot be read: {error.strerror}")
    except MissingInputError as error:  # of a store
        return Finding(check, UNCHECKED, str(error))
    if found.size != wanted.size:
        said = f"{path} has {found.size:,} bytes, the run's had {wanted.size:,}"
        return Finding(check, FAILED, said)
    if found.sha256 != wanted.sha256:
        said = f"{path} has the SHA-256 {found.sha256}, the run's had {wanted.sha256}"
        return Finding(check, FAILED, said)
    return Finding(check, OK, f"{found.size:,} bytes, SHA-256 {found.sha256}")


class _Sample:
    """Rows that are labelled again: evenly spread, the same each time."""

    def __init__(self, rows: int, wanted: int):
        size = min(rows, wanted)
        self._numbers = {at * rows // size for at in range(size)}
        self.rows: list[tuple[int, str, dict[str, str]]] = []  # line, text, our values

    def see(self, number: int, line: int, text: bytes, values: dict[str, str]) -> None:
        if number in self._numbers:
            self.rows.append((line, text.decode("utf-8", "replace"), values))


def _check_rows(
    target: Path, given: str | None, manifest: RunManifest, sample: _Sample
) -> list[Finding]:
    """The findings ``rows``, ``labels``, ``scores`` and ``records``."""
    read, labels, scores = 0, Counter(), np.zeros(len(manifest.scores["counts"]), dtype=np.int64)
    pairs = _Pairs(manifest)
    with ExitStack() as stack:
        try:
            output = AuditedFile(stack.enter_context(open_source(str(target))), manifest, True)
            if given is not None:
                source = stack.enter_context(open_source(given))
                pairs.open(AuditedFile(source, manifest, False), output)
            waiting: list[float] = []
            for record, own, values in output.rows():
                sample.see(read, record.line, record.text, values)
                pairs.see(record, own)
                labels[values.get("label")] += 1
                if "score" in values:
                    waiting.append(float(values["score"]))
                if len(waiting) == WINDOW:
                    scores += count_scores(np.array(waiting))
                    waiting.clear()
                read += 1
            scores += count_scores(np.array(waiting))
            pairs.end()
        except (SpamBatchError, ValueError, KeyError) as error:
            said = str(error) if isinstance(error, SpamBatchError) else "a row is not as we write"
            failed = Finding("rows", FAILED, f"{said}; read before it: {count(read, 'row')}")
            rest = ("labels", "scores", "records")
            why = "the rows cannot be read to the end"
            return [failed, *(Finding(check, UNCHECKED, why) for check in rest)]
    wanted, columns = manifest.counts, manifest.table["columns"]
    found = {name: labels.get(name, 0) for name in {**wanted["labels"], **labels}}
    findings = [_compare("rows", read, wanted["rows"], "{:,}".format)]
    findings += [
        _compare("labels", found, wanted["labels"], _list_counts)
        if "label" in columns
        else Finding("labels", UNCHECKED, "the output has no column label"),
        _compare(
            "scores",
            scores.tolist(),
            manifest.scores["counts"],
            lambda counts: f"counts {' '.join(map(str, counts))}",
        )
        if "score" in columns
        else Finding("scores", UNCHECKED, "the output has no column score"),
    ]
    return [*findings, pairs.finding(given)]


def _compare(check: str, found, wanted, show: Callable[..., str]) -> Finding:
    if found == wanted:
        return Finding(check, OK, show(found))
    return Finding(check, FAILED, f"{show(found)}; the run wrote {show(wanted)}")


def _list_counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{number:,} {name}" for name, number in counts.items())


class _Pairs:
    """Each row of the output beside its record of the input."""

    def __init__(self, manifest: RunManifest):
        self._wanted = manifest.counts["rejects"]
        self._given: Iterator | None = None
        self._problem: str | None = None
        self._bad = self._rows = 0
        part = manifest.options.get("part")
        self._part = f", part {part}" if part else ""

    def open(self, given: AuditedFile, output: AuditedFile) -> None:
        self._file, self._given = given, self._good(given)
        if given.format == PARQUET:
            other = find_other_parquet(given, output)
            self._problem = (
                None if other is None else f"row {other + 1} has not its record's values"
            )

    def _good(self, given: AuditedFile) -> Iterator:
        for record in given.read():
            if record.problem:
                self._bad += 1
            else:
                yield record

    def see(self, record, own: bytes) -> None:
        self._rows += 1
        if self._given is None or self._problem:
            return
        theirs = next(self._given, None)
        if theirs is None:
            self._problem = f"line {record.line} has no record in the input"
        elif own != self._file.table.own_bytes(theirs):
            self._problem = (
                f"line {record.line} does not begin with line {theirs.line} of the input"
            )

    def end(self) -> None:
        if self._given is None or self._problem:
            return
        left = sum(1 for _ in self._given)
        if left:
            self._problem = f"at its end {count(left, 'record')} of the input without a row"
        elif self._bad != self._wanted:
            self._problem = (
                f"{count(self._bad, 'bad record')} in the input, {count(self._wanted, 'reject')}"
            )

    def finding(self, given: str | None) -> Finding:
        if given is None:
            return Finding("records", UNCHECKED, "the run's input is not there, or not as it was")
        if self._problem:
            return Finding("records", FAILED, self._problem)
        said = f"{self._rows:,} rows begin with their records of the input{self._part}"
        return Finding("records", OK, said)


def _check_bundle(folder: str, manifest: RunManifest, sample: _Sample) -> list[Finding]:
    """The findings ``bundle`` and ``sample``."""
    wanted, precision = manifest.bundle["digest"], manifest.bundle["precision"]
    not_run = Finding("sample", UNCHECKED, "not labelled again without the run's bundle")
    if not Path(folder).is_dir():
        said = f"{folder} is not there; name the run's with --bundle"
        return [Finding("bundle", UNCHECKED, said), not_run]
    try:
        opened = open_bundle(folder)
        found = opened.digest
        if found != wanted:
            said = f"{folder} has the digest {found}, the run's had {wanted}"
            return [Finding("bundle", FAILED, said), not_run]
        rules = asdict(Rules.of_settings(manifest.options, opened.manifest))
        classifier = Classifier.load(folder, precision=precision, allow_unverified=True, **rules)
    except BundleError as error:
        return [Finding("bundle", FAILED, str(error)), not_run]
    return [Finding("bundle", OK, f"digest {found}"), _check_sample(classifier, manifest, sample)]


def _check_sample(classifier: Classifier, manifest: RunManifest, sample: _Sample) -> Finding:
    columns = set(manifest.table["columns"]) & {"label", "score"}
    if not (sample.rows and columns):
        why = "no row was asked for" if columns else "the output has neither label nor score"
        return Finding("sample", UNCHECKED, why)
    theirs = classifier.classify([text for _, text, _ in sample.rows])
    is_full = manifest.bundle["precision"] == "fp32"
    tolerance = SCORE_TOLERANCE if is_full else REDUCED_TOLERANCE
    logits = np.log(np.maximum(theirs.probabilities, 1e-300)) * classifier.decision.temperature
    margins = classifier.decision.margins(logits)  # of another constant, which no softmax sees
    other = []
    for (line, _, values), label, score, margin in zip(
        sample.rows, theirs.labels, theirs.scores.tolist(), margins.tolist(), strict=True
    ):
        differs = abs(float(values.get("score", score)) - score) > tolerance
        if differs or (values.get("label", label) != label and margin > tolerance):
            other.append(line)
    if other:
        said = f"{len(other):,} of {len(sample.rows):,} rows get another label or score now"
        return Finding("sample", FAILED, f"{said}, the first on line {other[0]}")
    return Finding("sample", OK, f"{len(sample.rows):,} rows get their labels and scores again")
