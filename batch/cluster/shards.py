"""The parts of a run on many machines, and the manifest that proves that they are all there.

docs/many-machines.md describes the manifest.
"""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from batch.version import __version__
from batch.model.bundle import Bundle, Manifest
from batch.writing.atomic import replace_file
from batch.run.job import Job
from batch.writing.atomic import storage_errors
from batch.writing.rejects import Allowance
from batch.run.run_manifest import RunManifest, describe_options, read_manifest_if_good
from batch.cluster.spans import plan_spans
from batch.reading.compression import compression_of_name

FORMAT = "spam-batch parts"
FORMAT_VERSION = 1
NAME = "_manifest.json"
COUNTS = ("records", "rows", "rejects")


@dataclass(frozen=True)
class Part:
    """One output file, which one worker makes."""

    job: Job

    def find_done(self, bundle: Bundle) -> RunManifest | None:
        """The run manifest beside its output, if that is what would be written now."""
        done = read_manifest_if_good(self.job.out)
        return done if done and done.is_of(self.job, bundle) else None


def plan_parts(job: Job, manifest: Manifest, part_bytes: int) -> list[Part]:
    """One part, or several of a large file: ``dump.00001.csv``, ... for ``dump.csv``.

    Raises:
        SpamBatchError: the input cannot be read, or has too many bad records.
    """
    spans, contents = plan_spans(job, manifest, part_bytes)
    if not spans:
        return [Part(job)]
    # Judged by now, over the whole file.
    job = replace(job, allowance=Allowance(None, 100.0, job.allowance.typed), contents=contents)
    return [Part(replace(job, out=_number(job.out, span.number), span=span)) for span in spans]


def _number(out: str, number: int) -> str:
    path = Path(out)
    ending = path.suffix
    if found := compression_of_name(path.name):
        ending = Path(path.name[: -len(found.ending)]).suffix + found.ending
    return str(path.with_name(f"{path.name.removesuffix(ending)}.{number:05d}{ending}"))


def write_manifest(
    folder: str, bundle: Bundle, parts: Sequence[Part], done: Sequence[RunManifest]
) -> Path:
    """Write what proves a complete run; only a complete one has it.

    Raises:
        StorageError: it cannot be written.
    """
    path = Path(folder, NAME)
    options = [set(describe_options(part.job, bundle.manifest).items()) for part in parts]
    labels: Counter[str] = Counter()
    for each in done:
        labels.update(each.counts["labels"])
    body = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "version": __version__,
        "bundle": bundle.digest,
        "weights": bundle.manifest.weights,
        "options": dict(sorted(set.intersection(*options))),
        **{key: sum(each.counts[key] for each in done) for key in COUNTS},
        "labels": labels,
        "parts": [
            _describe(number, part, each)
            for number, (part, each) in enumerate(zip(parts, done, strict=True), start=1)
        ],
    }
    text = json.dumps(body, indent=1, ensure_ascii=False) + "\n"
    with storage_errors(path):
        replace_file(path, text.encode("utf-8", "surrogateescape"), path, ".done", 0o666)
    return path


def _describe(number: int, part: Part, done: RunManifest) -> dict:
    span = part.job.span
    return {
        "number": number,
        "input": part.job.source,
        "input_size": done.input.size,
        "input_sha256": done.input.sha256,
        "line": span.line if span else 1,
        "byte_offset": span.offset if span else 0,
        "output": Path(part.job.out).name,
        "output_size": done.output.size,
        "output_sha256": done.output.sha256,
        **{key: done.counts[key] for key in (*COUNTS, "labels")},
    }
