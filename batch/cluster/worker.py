"""What a worker of a run on many machines does: it loads the bundle once, and labels parts."""

import contextlib
import json
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field

from batch.errors import REJECTED, BundleError, LockedError, SpamBatchError
from batch.model.bundle import open_bundle
from batch.model.classifier import Classifier
from batch.model.lazy_classifier import LazyClassifier
from batch.run.folder import label_file
from batch.run.job import Job
from batch.run.run_manifest import find_done
from batch.version import __version__

ORPHAN_SECONDS = 60.0  # in which the workers of a driver that was killed have ended, too

log = logging.getLogger("batch")


@dataclass(frozen=True)
class Setup:
    """What all workers have in common."""

    bundle: str  # its folder, the same on every machine
    digest: str
    load: Callable[[], Classifier]
    version: str = __version__


@dataclass(frozen=True)
class Outcome:
    """How one part ended."""

    number: int
    exit_code: int
    error: str | None = None
    is_final: bool = False  # no worker could do any better with another part
    said: list[tuple[int, str, dict]] = field(default_factory=list)  # level, line, counts


class Worker:
    """Ray makes one in each of its processes, and another one for each that was killed."""

    def __init__(self, setup: Setup, shards: Sequence[Job]):
        self._setup, self._shards = setup, shards
        self._lazy: LazyClassifier | None = None

    def __call__(self, batch: dict) -> dict:
        """Label the parts whose numbers are ``item``: as a rule one."""
        outcomes = [self.label(int(number)) for number in batch["item"]]
        return {"outcome": [json.dumps(asdict(outcome)) for outcome in outcomes]}

    def label(self, number: int) -> Outcome:
        """Label one part; no error of ours or of Python's leaves this process as such."""
        job, said = self._shards[number], []
        try:
            with _listening(said):
                exit_code = self._label(job)
            return Outcome(number, exit_code, said=said)
        except SpamBatchError as error:
            is_final = bool(self._lazy and self._lazy.error) or isinstance(error, BundleError)
            return Outcome(number, error.exit_code, str(error), is_final, said)
        except MemoryError:
            problem, exit_code = "out of memory", 70
        except OSError as error:
            problem, exit_code = error.strerror or str(error), 74
        except Exception as error:
            problem, exit_code = f"internal error: {type(error).__name__}: {error}", 70
        return Outcome(number, exit_code, f"{job.input.name}: {problem}", False, said)

    def _label(self, job: Job) -> int:
        setup = self._setup
        if setup.version != __version__:
            raise BundleError(
                f"a worker has spam-batch {__version__}, this is {setup.version}; install the "
                "same on all machines"
            )
        bundle = open_bundle(setup.bundle)
        if bundle.digest != setup.digest:
            raise BundleError(
                f"{setup.bundle}: its digest is {bundle.digest} on a worker, and {setup.digest} "
                "here; give all machines the same bundle"
            )
        if done := find_done(job, bundle):  # by a worker that was killed before it said so
            return REJECTED if done.counts["rejects"] else 0
        self._lazy = self._lazy or LazyClassifier(bundle, setup.load)
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
def _listening(said: list) -> Iterator[None]:
    """Keep our lines, which nobody would read on a worker, for the one who gave the command."""

    class Keeper(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            counts = getattr(record, "counts", {})
            said.append((record.levelno, record.getMessage(), counts))

    before = log.handlers, log.level, log.propagate
    log.handlers, log.propagate = [Keeper()], False
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.handlers, log.propagate = before[0], before[2]
        log.setLevel(before[1])
