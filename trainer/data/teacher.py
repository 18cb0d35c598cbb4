"""What a teacher said of texts: files that ``spam-batch classify`` has labelled.

The run manifest beside each file says which bundle labelled it, by which rules, and what the
file's fingerprint was.
"""

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from batch.checks.audit_rows import AuditedFile
from batch.errors import InputError, MissingInputError, UsageError
from batch.formats.columns import CLASS_COLUMN
from batch.messages import show
from batch.model.decision import UNSURE, Decision
from batch.model.rules import NO_BAND, parse_band
from batch.reading.opening import open_source, take_fingerprint
from batch.run.run_manifest import RunManifest, read_manifest
from batch.writing.names import manifest_path
from trainer.data.tensors import FLOOR

RULES = ("--threshold", "--unsure-band", "--long")  # that a label depends on, besides the bundle
ROUNDING = 1e-6  # of a probability that spam-batch writes


@dataclass(frozen=True)
class TeacherFile:
    """A labelled file, unchanged since it was labelled, and its run manifest."""

    path: Path
    manifest: RunManifest

    @property
    def classes(self) -> list[str]:
        """The teacher's classes, in its order; empty if the file does not tell."""
        columns, given = self.manifest.table["columns"], list(self.manifest.counts["labels"])
        found = [name.removeprefix(CLASS_COLUMN) for name in columns if _is_probability(name)]
        if found:
            return found
        if self.manifest.options.get("--unsure-band") != NO_BAND:
            given = given[:-1]  # the last one is unsure
        return given if "score" in columns and len(given) == 2 else []

    def probabilities(self, values: dict[str, str], decision: Decision) -> list[float]:
        """The probability of each class in a row, from our columns in it.

        Raises:
            ValueError, KeyError: a column is missing, or is not a number.
        """
        if "score" not in values or CLASS_COLUMN + decision.labels[0] in values:
            return [float(values[CLASS_COLUMN + label]) for label in decision.labels]
        score = float(values["score"])
        scored = decision.positive_label or values["label"]
        return [score if label == scored else 1 - score for label in decision.labels]


@dataclass(frozen=True)
class Teacher:
    """The one bundle that labelled all files, and its rules."""

    bundle: dict[str, str]  # name, digest, model, weights
    options: dict[str, str]  # RULES
    decision: Decision  # its temperature is 1: the probabilities are calibrated already

    def sentence(self) -> str:
        """What is said of a student beside the statement on its weights."""
        name, digest = self.bundle["name"], self.bundle["digest"]
        return f"Its labels are those of the bundle {name} (digest {digest[:12]})."

    def describe(self) -> dict:
        """What ``config.json`` says of the teacher."""
        return {**self.bundle, "options": self.options}


def open_labelled(paths: Sequence[Path], digest: str | None = None) -> list[TeacherFile]:
    """The labelled files, each with its manifest.

    Args:
        digest: of the bundle that must have labelled them; None: any one.

    Raises:
        MissingInputError: a file, or its manifest, is missing.
        InputError: a file was changed, has no probabilities, or two files differ in their bundle
            or rules.
    """
    files = [TeacherFile(path, _read_manifest(path)) for path in paths]
    for file in files:
        _check_unchanged(file)
        _check_columns(file)
    first = files[0]
    wanted = digest or first.manifest.bundle["digest"]
    for file in files:
        found = file.manifest.bundle["digest"]
        if found != wanted:
            other = f"--teacher is {wanted[:12]}" if digest else f"{first.path} by {wanted[:12]}"
            raise InputError(
                f"{file.path}: was labelled by the bundle {found[:12]}, and {other}; a student "
                "learns from one teacher; leave the file out, or label it again with the same "
                "bundle"
            )
        for rule in RULES:
            ours, theirs = (one.manifest.options.get(rule) for one in (first, file))
            if ours != theirs:
                raise InputError(
                    f"{file.path}: was labelled with {rule} {theirs}, and {first.path} with "
                    f"{rule} {ours}; leave one out, or label both in the same way"
                )
    return files


def _read_manifest(path: Path) -> RunManifest:
    if not path.exists():
        raise MissingInputError(f"cannot read {path}: No such file or directory")
    if not manifest_path(path.resolve()).exists():
        raise MissingInputError(
            f"{path}: has no run manifest, {manifest_path(path).name}, so nobody knows which "
            "bundle labelled it; if it has no labels yet, type --teacher and the bundle's folder"
        )
    return read_manifest(path.resolve())


def _check_unchanged(file: TeacherFile) -> None:
    try:
        found = take_fingerprint(file.path.resolve())
    except OSError as error:
        raise MissingInputError(f"cannot read {file.path}: {error.strerror}") from None
    wanted = file.manifest.output
    if (found.size, found.sha256) != (wanted.size, wanted.sha256):
        raise InputError(
            f"{file.path}: was changed after it was labelled; label it again, or see what "
            f"differs: spam-batch audit {shlex.quote(str(file.path))}"
        )


def _check_columns(file: TeacherFile) -> None:
    if len(file.classes) >= 2:
        return
    there = ",".join(file.manifest.table["columns"])
    raise InputError(
        f"{file.path}: was labelled with --columns {there}, and a student learns from the "
        "probability of each class, or from the score of two; label it again with --columns "
        "label,probability"
    )


def _is_probability(column: str) -> bool:
    return column.startswith(CLASS_COLUMN)


def make_teacher(file: TeacherFile, positive_label: str | None) -> Teacher:
    """The teacher of ``file``; ``positive_label`` is the class that its scores are of.

    Raises:
        InputError: the manifest has no valid threshold or band.
    """
    options, bundle = file.manifest.options, file.manifest.bundle
    try:
        threshold, band = float(options["--threshold"]), parse_band(options["--unsure-band"])
    except (KeyError, ValueError, UsageError):
        path = manifest_path(file.path)
        raise InputError(f"{path}: is damaged, or is not a run manifest") from None
    decision = Decision(file.classes, positive_label, threshold, 1.0, band)
    if problem := decision.find_problem():
        raise InputError(f"{manifest_path(file.path)}: {problem}")
    said = {name: bundle.get(name, "") for name in ("name", "digest", "model", "weights")}
    return Teacher(said, {rule: options.get(rule, "") for rule in RULES}, decision)


def read_labelled_texts(files: Sequence[TeacherFile], teacher: Teacher) -> tuple[pd.DataFrame, int]:
    """The distinct texts of all files with what the teacher said, and the number of records.

    Returns:
        A frame with ``label`` (the class that is given without an unsure band), ``text``, and a
        column ``probability_CLASS`` for each class.

    Raises:
        InputError: a row that spam-batch did not write, or a label that the rules do not give.
    """
    decision, rows = teacher.decision, _Rows()
    records = 0
    for file in files:
        for line, text, label, probabilities in _read_rows(file, decision):
            records += 1
            rows.add(text, label, probabilities, (file.path, line))
    columns = [CLASS_COLUMN + label for label in decision.labels]
    frame = pd.DataFrame(np.array(rows.probabilities).reshape(-1, len(columns)), columns=columns)
    frame.insert(0, "text", pd.Series(list(rows.number), dtype=object))
    frame.insert(0, "label", pd.Series(rows.choose_labels(frame[columns], decision), dtype=object))
    return frame, records


def _read_rows(
    file: TeacherFile, decision: Decision
) -> Iterator[tuple[int, str, str | None, list[float]]]:
    """Line, text, label (None: no such column) and probabilities of each row."""
    with open_source(str(file.path)) as source:
        try:
            for record, _, values in AuditedFile(source, file.manifest, True).rows():
                probabilities = file.probabilities(values, decision)
                text = record.message
                yield record.line, text, values.get("label"), probabilities
        except (ValueError, KeyError):  # its fingerprint fits, so the manifest was changed
            path = manifest_path(file.path)
            raise InputError(
                f"{path}: does not fit its file; label it again, or see what differs: "
                f"spam-batch audit {shlex.quote(str(file.path))}"
            ) from None


class _Rows:
    """The first row of each distinct text."""

    def __init__(self) -> None:
        self.number: dict[str, int] = {}  # of each text
        self.labels: list[str | None] = []
        self.probabilities: list[list[float]] = []
        self.places: list[tuple[Path, int]] = []  # file and line

    def add(
        self, text: str, label: str | None, probabilities: list[float], place: tuple[Path, int]
    ) -> None:
        if self.number.setdefault(text, len(self.places)) == len(self.places):
            self.labels.append(label)
            self.probabilities.append(probabilities)
            self.places.append(place)

    def choose_labels(self, probabilities: pd.DataFrame, decision: Decision) -> list[str]:
        """The class of each text: what its file says, or what the rules say where that is unsure.

        Raises:
            InputError: the file says otherwise than the rules.
        """
        plain = replace(decision, unsure_band=None)
        logits = np.log(probabilities.to_numpy().clip(min=FLOOR))
        best = plain.decide(logits)[0]
        is_certain = plain.margins(logits) > ROUNDING
        ruled = [decision.labels[number] for number in best.tolist()]
        chosen = []
        for row, (said, rule) in enumerate(zip(self.labels, ruled, strict=True)):
            if said is None or said == rule or (said == UNSURE and decision.unsure_band):
                chosen.append(rule)
            elif said in decision.labels and not is_certain[row]:
                chosen.append(said)  # its probability was rounded
            else:
                path, line = self.places[row]
                raise InputError(
                    f"{path}: line {line}: the probabilities give the label {show(rule)}, and the "
                    f"file has {show(said)}; name the teacher's positive label with "
                    "--positive-label, or label the file again"
                )
        return chosen
