"""Label many files into a folder: each by itself, the classifier loaded once."""

import logging
import os
from collections import Counter
from collections.abc import Callable, Iterable

from batch.bundle import Bundle
from batch.classifier import Classifier
from batch.classify import Job, classify_file
from batch.done import Done, Fingerprint, read_done, write_done
from batch.errors import SpamBatchError

log = logging.getLogger("batch")

REJECTED = 3  # exit status: complete, but some records were rejected
# Of several exit statuses the first of these is the command's: what a user must mend first.
WORST_FIRST = (70, 74, 73, 78, 2, 75, 66, 65, REJECTED, 0)


class LoadOnce:
    """Loads the classifier when it is first asked for; ``error`` is why that failed."""

    def __init__(self, load: Callable[[], Classifier]):
        self._load = load
        self._classifier: Classifier | None = None
        self.error: Exception | None = None

    def __call__(self) -> Classifier:
        if self._classifier is None:
            try:
                self._classifier = self._load()
            except Exception as error:
                self.error = error
                raise
        return self._classifier


def label_files(
    jobs: Iterable[Job], bundle: Bundle, load: Callable[[], Classifier], force: bool = False
) -> int:
    """Do the jobs in order, except those done already; returns the worst exit status.

    A job that fails is said and does not stop the others; that the bundle cannot be loaded does.

    Raises:
        SpamBatchError: the bundle is not usable.
    """
    load_once = LoadOnce(load)
    statuses: list[int] = []
    what: Counter[str] = Counter()
    for job in jobs:
        options = describe_options(job)
        done = None if force else read_done(job.out)
        if done and done.is_of(job.source, job.out, bundle.digest, options):
            said = f", with {done.rejects:,} rejected" if done.rejects else ""
            log.info("%s: was labelled already%s", job.source, said)
            statuses.append(REJECTED if done.rejects else 0)
            what["skipped"] += 1
            continue
        try:
            statuses.append(label_file(job, bundle, load_once, options))
            what["labelled"] += 1
        except SpamBatchError as error:
            if load_once.error:
                raise
            log.error("error: %s", error)
            statuses.append(error.exit_code)
            what["failed"] += 1
    if what["labelled"]:
        log.info("weights: %s", bundle.manifest.weights)
    counts = ", ".join(f"{what[key]:,} {key}" for key in ("labelled", "skipped", "failed"))
    log.info("%s: %s", f"{len(statuses):,} file{'s' * (len(statuses) != 1)}", counts)
    return min(statuses, key=WORST_FIRST.index)


def label_file(
    job: Job,
    bundle: Bundle,
    load: Callable[[], Classifier],
    options: dict[str, str],
    contents: Fingerprint | None = None,
) -> int:
    """Label a file and note beside its output what that was made of; returns the exit status.

    ``contents`` are the input's, if somebody has taken them already.
    """
    before = _stat(job.source)
    summary = classify_file(job, bundle, load)
    first, *rest = summary.lines()
    log.info("%s: %s", job.source, first, extra={"counts": summary.counts()})
    for line in rest:
        if line.startswith(("WARNING", "rejected")):
            log.info("%s: %s", job.source, line)
    rejects = summary.progress.rejects
    try:
        prints = contents or Fingerprint.of(job.source), Fingerprint.of(job.out)
        if before == _stat(job.source):
            done = Done(bundle.digest, options, *prints, rejects, counts=summary.counts())
            write_done(job.out, done)
    except OSError as error:  # the output stands; the next run does it again
        log.warning("%s: cannot note that it was labelled: %s", job.source, error.strerror)
    return REJECTED if rejects else 0


def _stat(path: str) -> tuple[int, ...] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def describe_options(job: Job) -> dict[str, str]:
    """What an output depends on, input and bundle apart."""
    dialect, layout = job.dialect, job.layout
    part = {"part": str(job.span)} if job.span else {}
    return part | {
        "--text-column": job.text_column or "",
        "--columns": ",".join(job.columns),
        "--delimiter": dialect.delimiter.decode("latin-1"),
        "--quote": (dialect.quote or b"").decode("latin-1"),
        "--escape": (dialect.escape or b"").decode("latin-1"),
        "--format": layout.format or "",
        "--encoding": layout.encoding.name,
        "--no-header": str(not layout.has_header),
        "--overwrite-columns": str(layout.overwrite),
        "--max-record-bytes": str(layout.max_record_bytes),
        "--max-rejects": job.allowance.typed,
    }
