"""A worker of a run on many machines: it loads the bundle once and labels shards."""

import contextlib
import json
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field

from batch.command import explain_out_of_memory, status_of
from batch.errors import (
    REJECTED,
    BundleError,
    LockedError,
    SpamBatchError,
    is_out_of_memory,
)
from batch.model.bundle import open_bundle
from batch.model.classifier import Classifier
from batch.model.lazy_classifier import LazyClassifier
from batch.run.folder import label_file
from batch.run.job import Job
from batch.run.run_manifest import find_done
from batch.version import __version__

ORPHAN_SECONDS = 60.0  # after this time, the workers of a killed driver have ended, too

log = logging.getLogger("batch")


@dataclass(frozen=True)
class Setup:
    """What all workers share."""

    bundle: str  # its folder, with the same path on every machine
    digest: str
    load: Callable[[], Classifier]
    runs_in: tuple[str, str]  # precision and device of all workers
    version: str = __version__


@dataclass(frozen=True)
class Outcome:
    """How the labelling of one shard ended."""

    number: int
    exit_code: int
    error: str | None = None
    is_final: bool = False  # the same error would end every other shard
    lines: list[tuple[int, str, dict]] = field(default_factory=list)  # logged: level, text, counts


class Worker:
    """Ray makes one in each of its processes, and a new one for a process that was killed."""

    def __init__(self, setup: Setup, shards: Sequence[Job]):
        self._setup, self._shards = setup, shards
        self._lazy: LazyClassifier | None = None

    def __call__(self, batch: dict) -> dict:
        """Label the shards with the numbers in ``item``, usually one."""
        outcomes = [self.label(int(number)) for number in batch["item"]]
        return {"outcome": [json.dumps(asdict(outcome)) for outcome in outcomes]}

    def label(self, number: int) -> Outcome:
        """Label one shard. An exception becomes an outcome with an error."""
        job = self._shards[number]
        lines: list[tuple[int, str, dict]] = []
        try:
            with _collect_log(lines):
                exit_code = self._label(job)
            return Outcome(number, exit_code, lines=lines)
        except Exception as error:
            name, exit_code = job.input.name, status_of(error)
            if is_out_of_memory(error):
                problem = f"{name}: {explain_out_of_memory(error, 'spam-batch', 'classify')}"
            elif isinstance(error, SpamBatchError):
                is_final = bool(self._lazy and self._lazy.error) or isinstance(error, BundleError)
                return Outcome(number, exit_code, str(error), is_final, lines)
            elif isinstance(error, OSError):
                problem = f"{name}: {error.strerror or error}"
            else:
                problem = f"{name}: internal error: {type(error).__name__}: {error}"
        return Outcome(number, exit_code, problem, False, lines)

    def _label(self, job: Job) -> int:
        setup = self._setup
        if setup.version != __version__:
            raise BundleError(
                f"a worker has spam-batch {__version__}, and this machine has {setup.version}; "
                "install the same version on all machines"
            )
        bundle = open_bundle(setup.bundle)
        if bundle.digest != setup.digest:
            raise BundleError(
                f"{setup.bundle}: the digest is {bundle.digest} on a worker, and {setup.digest} "
                "here; give all machines the same bundle"
            )
        # A worker that was killed may have labelled it before.
        if done := find_done(job, bundle):
            return REJECTED if done.counts["rejects"] else 0
        self._lazy = self._lazy or LazyClassifier(bundle, setup.load, setup.runs_in)
        started = time.monotonic()
        while True:
            try:
                summary = label_file(job, self._lazy)
                return REJECTED if summary.progress.rejects else 0
            except LockedError:
                if time.monotonic() - started > ORPHAN_SECONDS:
                    raise
                time.sleep(0.5)


@contextlib.contextmanager
def _collect_log(lines: list[tuple[int, str, dict]]) -> Iterator[None]:
    """Collect our log lines. The driver logs them, because nobody reads a worker's log."""

    class Keeper(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            counts = getattr(record, "counts", {})
            lines.append((record.levelno, record.getMessage(), counts))

    before = log.handlers, log.level, log.propagate
    log.handlers, log.propagate = [Keeper()], False
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.handlers, log.propagate = before[0], before[2]
        log.setLevel(before[1])
