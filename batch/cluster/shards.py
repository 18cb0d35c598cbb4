"""The shards of a run on many machines, and the manifest of a run that labelled all of them.

docs/many-machines.md describes the manifest.
"""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from batch.cluster.spans import plan_spans
from batch.model.bundle import Bundle, Manifest
from batch.reading.compression import compression_of_name
from batch.run.job import Job
from batch.run.run_manifest import RunManifest
from batch.version import __version__
from batch.writing.atomic import replace_file, storage_errors
from batch.writing.names import PARTS_MANIFEST as NAME
from batch.writing.rejects import Allowance
from batch.writing.target import check_replaceable

FORMAT = "spam-batch parts"
FORMAT_VERSION = 1
_START = f'{{\n "format": "{FORMAT}"'.encode()
COUNTS = ("records", "rows", "rejects")


def plan_shards(job: Job, manifest: Manifest, shard_bytes: int) -> list[Job]:
    """Cut a job into one job for each shard. One worker labels a shard.

    A small file is one shard. The shards of a larger ``dump.csv`` are written to
    ``dump.00001.csv`` and so on.

    Raises:
        SpamBatchError: the input cannot be read, or has too many bad records.
    """
    spans, contents = plan_spans(job, manifest, shard_bytes)
    if not spans:
        return [job]
    # plan_spans has checked the rejects of the whole file, so a shard allows any number.
    job = replace(job, allowance=Allowance(None, 100.0, job.allowance.typed))
    return [
        replace(
            job,
            input=replace(job.input, span=span, contents=contents),
            out=_number(job.out, span.number),
        )
        for span in spans
    ]


def _number(out: str, number: int) -> str:
    path = Path(out)
    ending = path.suffix
    if found := compression_of_name(path.name):
        ending = Path(path.name[: -len(found.ending)]).suffix + found.ending
    return str(path.with_name(f"{path.name.removesuffix(ending)}.{number:05d}{ending}"))


def check_manifest(folder: str) -> None:
    """Refuse to replace or remove what is no manifest of a run on many machines.

    Raises:
        OutputError: there is one.
    """
    problem = "is not a manifest of spam-batch, and that of this run would go there; move it, or"
    check_replaceable(Path(folder, NAME), _START, f"{problem} give another folder")


def write_manifest(
    folder: str, bundle: Bundle, shards: Sequence[Job], done: Sequence[RunManifest]
) -> Path:
    """Write the manifest of a complete run; no other run has one.

    Raises:
        StorageError: it cannot be written.
    """
    path = Path(folder, NAME)
    options = [set(job.settings(bundle.manifest).items()) for job in shards]
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
            _describe(number, job, each)
            for number, (job, each) in enumerate(zip(shards, done, strict=True), start=1)
        ],
    }
    text = json.dumps(body, indent=1, ensure_ascii=False) + "\n"
    with storage_errors(path):
        replace_file(path, text.encode("utf-8", "surrogateescape"), path, ".done", 0o666)
    return path


def _describe(number: int, job: Job, done: RunManifest) -> dict:
    span = job.input.span
    return {
        "number": number,
        "input": job.input.name,
        "input_size": done.input.size,
        "input_sha256": done.input.sha256,
        "line": span.line if span else 1,
        "byte_offset": span.offset if span else 0,
        "output": Path(job.out).name,
        "output_size": done.output.size,
        "output_sha256": done.output.sha256,
        **{key: done.counts[key] for key in (*COUNTS, "labels")},
    }
