"""The run manifest, ``labeled.csv.run.json``: how an output was made, and what is in it.

It stands beside the output that it describes. ``--out-dir`` uses it to skip files that were
labelled before, and ``spam-batch audit`` compares the output with it. docs/formats.md has its
keys.
"""

import json
import platform
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from batch.drift.histograms import SCORE_BINS, TOKEN_EDGES
from batch.errors import InputError, MissingInputError
from batch.formats.columns import expand_columns
from batch.formats.table import Table
from batch.model.bundle import Bundle
from batch.model.decision import UNSURE
from batch.model.rules import NO_BAND
from batch.reading.fingerprint import Fingerprint
from batch.reading.opening import still_has
from batch.run.job import Job
from batch.run.summary import Summary
from batch.version import __version__
from batch.writing.names import MANIFEST_FORMAT as FORMAT
from batch.writing.names import manifest_path

FORMAT_VERSION = 1


@dataclass(frozen=True)
class RunManifest:
    """The contents of the file.

    Only ``run`` and the times of the files may differ between runs that write the same bytes.
    """

    bundle: dict[str, str]  # name, digest, model, precision, weights
    options: dict[str, str]  # as the user types them; those that the output depends on
    table: dict  # how to read the output: format, text_column, columns
    input: Fingerprint
    output: Fingerprint
    rejects: Fingerprint | None
    counts: dict
    scores: dict  # edges and counts
    tokens: dict
    drift: list[dict] | None  # None: the bundle has no reference
    warnings: list[str]
    run: dict
    version: str = __version__
    mended: list[dict] = field(default_factory=list)  # line, byte_offset, sha256 of the record

    def is_of(self, job: Job, bundle: Bundle) -> bool:
        """True if ``job`` would write the same output, and allows the number of rejects."""
        now = (bundle.digest, job.settings(bundle.manifest), __version__)
        is_asked_for = (self.bundle["digest"], self.options, self.version) == now
        is_allowed = job.allowance.allows(self.counts["rejects"], self.counts["records"])
        is_same = is_asked_for and is_allowed
        return is_same and still_has(job.input.name, self.input) and still_has(job.out, self.output)

    @property
    def mended_at(self) -> dict[int, str]:
        """Byte offset of each record that ``mend`` replaced -> SHA-256 of the one in the output."""
        return {entry["byte_offset"]: entry["sha256"] for entry in self.mended}

    def is_valid(self) -> bool:
        """True if all that ``audit`` and a later run read is there, and of the right type.

        Raises:
            KeyError, TypeError, AttributeError: a value is missing, or is of another type.
        """
        numbers = [self.counts[key] for key in ("records", "rows", "rejects")]
        numbers.append(self.counts.get("asked", 0))  # only of a cascade
        numbers += [*self.counts["labels"].values(), *self.scores["counts"], self.input.size]
        texts = [self.bundle["digest"], self.bundle["precision"], self.table["format"]]
        texts += [*self.table["columns"], *self.options.values(), self.output.sha256]
        return (
            "resumed" in self.run
            and "text_column" in self.table
            and all(type(number) is int for number in [*numbers, *self.mended_at])
            and all(isinstance(text, str) for text in texts)
            and (self.rejects is None or isinstance(self.rejects.name, str))
        )

    def to_json(self) -> str:
        values = {"format": FORMAT, "format_version": FORMAT_VERSION, **asdict(self)}
        if not self.mended:
            del values["mended"]  # so that versions without it can read the file
        return json.dumps(values, indent=1) + "\n"


Files = tuple[Fingerprint, Fingerprint, Fingerprint | None]  # input, output, rejects


def describe_run(job: Job, summary: Summary, table: Table, files: Files) -> RunManifest:
    """The manifest of a run that has ended. ``files`` are input, output and rejects."""
    done, manifest = summary.progress, summary.manifest
    statistics, histograms = done.statistics, done.histograms
    seconds = statistics.seconds
    bundle = {
        "name": summary.bundle.folder.resolve().name,
        "digest": summary.bundle.digest,
        "model": manifest.model,
        "weights": manifest.weights,
        "precision": summary.precision,
    }
    counts = {
        **summary.counts(),
        "blank_lines": done.blank_lines,
        "truncated": done.truncated,
        "distinct_texts": min(histograms.distinct, done.rows),
        "repeated_texts": max(done.rows - histograms.distinct, 0),
    }
    edges = np.linspace(0, 1, SCORE_BINS + 1).round(6).tolist()
    drift = summary.drift
    return RunManifest(
        bundle,
        job.settings(manifest),
        {
            "format": table.format,
            "text_column": table.text_in_output,
            "columns": list(expand_columns(job.columns, manifest.labels)),
        },
        *files,
        counts,
        {"edges": edges, "counts": list(histograms.scores)},
        {"edges": list(TOKEN_EDGES), "counts": list(histograms.tokens)},
        None if drift is None else [asdict(shift) for shift in drift],
        summary.warnings,
        {
            "started": statistics.started,
            "ended": utc_now(),
            "resumed": statistics.resumed,
            "max_rejects": job.allowance.typed,
            "seconds": round(seconds, 3),
            "rows_per_second": round(done.rows / seconds, 1) if seconds else None,
            "device": statistics.device,
            "threads": statistics.threads,
            "onnxruntime": statistics.onnxruntime,
            "python": platform.python_version(),
        },
    )


def utc_now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def read_manifest(target: Path) -> RunManifest:
    """The manifest beside ``target``.

    Raises:
        MissingInputError: there is none, or it cannot be read.
        InputError: it is damaged, is not a run manifest, or has another format version.
    """
    path = manifest_path(target)
    if not path.exists():
        raise MissingInputError(
            f"{target}: has no run manifest, {path.name}, beside it; spam-batch classify writes "
            "one with each output"
        )
    return read_manifest_file(path)


def read_manifest_file(path: Path) -> RunManifest:
    """The manifest in the file ``path``; raises as :func:`read_manifest`."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise MissingInputError(f"cannot read {path}: {error.strerror}") from None
    try:
        values = json.loads(data)
        if values.pop("format") != FORMAT:
            raise ValueError
        version = values.pop("format_version")
        if version != FORMAT_VERSION:
            raise InputError(
                f"{path}: format version {version!r}, this spam-batch reads {FORMAT_VERSION}"
            )
        for key in ("input", "output", "rejects"):
            if key != "rejects" or values[key] is not None:
                values[key] = Fingerprint(**values[key])
        manifest = RunManifest(**values)
        if not manifest.is_valid():
            raise ValueError
        return manifest
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise InputError(f"{path}: is damaged, or is not a run manifest") from None


def find_done(job: Job, bundle: Bundle) -> RunManifest | None:
    """The run manifest beside the output of ``job``, if the job would write the same output."""
    done = read_manifest_if_good(job.out)
    return done if done and done.is_of(job, bundle) else None


def read_manifest_if_good(out: str) -> RunManifest | None:
    """The manifest beside the file ``out``; None if there is none or it cannot be used."""
    try:
        return read_manifest(Path(out).resolve())
    except (MissingInputError, InputError):
        return None


def find_bounds(manifest: RunManifest | None) -> list[float]:
    """The scores at which the label changes; empty if they are not known, or labels are many."""
    if manifest is None or len(set(manifest.counts["labels"]) - {UNSURE}) != 2:
        return []
    options = manifest.options
    band = options.get("--unsure-band", NO_BAND)
    values = options.get("--threshold", "") if band == NO_BAND else band
    try:
        return [float(value) for value in values.split(",") if value]
    except ValueError:  # somebody changed the file; the bounds only help to read it
        return []
