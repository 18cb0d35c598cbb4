"""The parts of a run on many machines, and the manifest that proves that they are all there.

docs/many-machines.md describes the manifest.
"""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from batch import __version__
from batch.bundle import Bundle
from batch.checkpoint import replace_file
from batch.classify import Job
from batch.done import Done, Fingerprint, read_done
from batch.errors import MissingInputError, UsageError
from batch.folder import describe_options
from batch.output import storage_errors
from batch.rejects import Allowance, rejects_path
from batch.spans import plan_spans
from batch.streams import compression_of_name

FORMAT = "spam-batch parts"
FORMAT_VERSION = 1
NAME = "_manifest.json"


@dataclass(frozen=True)
class Part:
    """One output file, which one worker makes."""

    job: Job
    contents: Fingerprint | None = None  # the input's; None: whoever labels it takes them

    def find_done(self, digest: str) -> Done | None:
        """What its output was made of, if that is what it would be made of now."""
        done = read_done(self.job.out)
        asked = self.job.source, self.job.out, digest, describe_options(self.job)
        return done if done and done.is_of(*asked) else None


def plan_parts(job: Job, labels: list[str], part_bytes: int) -> list[Part]:
    """One part, or several of a large file: ``dump.00001.csv``, ... for ``dump.csv``.

    Raises:
        SpamBatchError: the input cannot be read, or has too many bad records.
    """
    spans = plan_spans(job, labels, part_bytes)
    if not spans:
        return [Part(job)]
    try:
        contents = Fingerprint.of(job.source)
    except OSError as error:
        raise MissingInputError(f"cannot read {job.source}: {error.strerror}") from None
    # Judged by now, over the whole file.
    judged = Allowance(None, 100.0, job.allowance.typed)
    return [
        Part(replace(job, out=_number(job.out, span.number), span=span, allowance=judged), contents)
        for span in spans
    ]


def _number(out: str, number: int) -> str:
    path = Path(out)
    ending = path.suffix
    if found := compression_of_name(path.name):
        ending = Path(path.name[: -len(found.ending)]).suffix + found.ending
    return str(path.with_name(f"{path.name.removesuffix(ending)}.{number:05d}{ending}"))


def check_names(parts: Iterable[Part]) -> None:
    """
    Raises:
        UsageError: two parts would be the same file, or one the rejects of another.
    """
    writers: dict[str, str] = {}
    for part in parts:
        for path in (part.job.out, str(rejects_path(Path(part.job.out)))):
            other = writers.setdefault(path, part.job.source)
            if other != part.job.source:
                raise UsageError(
                    f"{other} and {part.job.source} would both write {path}; "
                    "label them into two folders"
                )


def write_manifest(
    folder: str, bundle: Bundle, parts: Sequence[Part], done: Sequence[Done]
) -> Path:
    """Write what proves a complete run; only a complete one has it.

    Raises:
        StorageError: it cannot be written.
    """
    path = Path(folder, NAME)
    options = [set(describe_options(part.job).items()) for part in parts]
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
        **{key: sum(d.counts[key] for d in done) for key in ("records", "rows", "rejects")},
        "labels": labels,
        "parts": [
            _describe(number, part, each)
            for number, (part, each) in enumerate(zip(parts, done, strict=True), start=1)
        ],
    }
    text = json.dumps(body, indent=1, ensure_ascii=False) + "\n"
    with storage_errors(path):
        replace_file(path, text.encode("utf-8", "surrogateescape"), path, ".done")
    return path


def _describe(number: int, part: Part, done: Done) -> dict:
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
        **done.counts,
    }
