"""Label files on many machines: Ray Data spreads the shards over workers and replaces dead ones."""

import contextlib
import json
import logging
import os
import secrets
import signal
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

from batch.cluster.shards import NAME, check_manifest, plan_shards, write_manifest
from batch.cluster.worker import Outcome, Setup, Worker
from batch.errors import (
    REJECTED,
    BundleError,
    InternalError,
    SpamBatchError,
    StorageError,
    UsageError,
)
from batch.model.bundle import Bundle
from batch.model.classifier import Classifier
from batch.model.inference import usable_cpus
from batch.model.selftest import choose_precision
from batch.reading.remote import is_uri
from batch.run.folder import WORST_FIRST, say_skipped
from batch.run.inputs import check_no_clash
from batch.run.job import Job
from batch.run.run_manifest import find_done
from batch.writing.lock import hold_lock
from batch.writing.names import manifest_path
from batch.writing.target import check_manifest_path, resolve_path

SHARD_BYTES = 256 << 20
STORE_BYTES = 100 << 20  # of a cluster of our own; what goes through it is numbers

log = logging.getLogger("batch")


@dataclass(frozen=True)
class Request:
    """What a run on Ray was asked for, its files apart."""

    folder: str
    device: str = "auto"
    precision: str = "auto"
    threads: int = 1  # of a worker
    workers: int | None = None  # None: as many as there is room for
    shard_bytes: int | None = None
    allow_unverified: bool = False
    force: bool = False


def label_on_ray(jobs: Sequence[Job], bundle: Bundle, request: Request) -> int:
    """Label the files into a folder that all machines see; returns the worst exit status.

    Raises:
        SpamBatchError: another driver has the folder, the bundle or Ray is not usable, or
            there is no room for the workers.
    """
    _import_ray()  # before anything is read, so that a missing one is said at once
    manifest = Path(os.path.abspath(request.folder), NAME)
    check_manifest(request.folder)
    with hold_lock(manifest.parent):
        shards, statuses = _plan(jobs, bundle, request)
        done = [None if request.force else find_done(job, bundle) for job in shards]
        todo = [number for number, found in enumerate(done) if not found]
        what = Counter(skipped=len(shards) - len(todo))
        for number in sorted(set(range(len(shards))) - set(todo)):
            say_skipped(shards[number].out, done[number])
        if todo or statuses:
            manifest.unlink(missing_ok=True)  # it would prove what is no longer so
        for job in shards if request.force else ():  # or a worker would find that it is done
            target = resolve_path(job.out)
            check_manifest_path(target)
            manifest_path(target).unlink(missing_ok=True)
        for outcome in _label(shards, todo, bundle, request) if todo else ():
            job = shards[outcome.number]
            for level, line, counts in outcome.said:
                log.log(level, "%s", line, extra={"counts": counts} if counts else {})
            if outcome.is_final:
                raise _as_error(outcome)
            if outcome.error:
                log.error("error: %s", outcome.error)
                statuses.append(outcome.exit_code)
                continue
            done[outcome.number] = found = find_done(job, bundle)
            if not found:
                raise StorageError(
                    f"{job.out}: a worker wrote it, and it is not here; {request.folder} must "
                    "be a folder that all machines share"
                )
            what["labelled"] += 1
        what["failed"] = len(statuses)
        if what["labelled"]:
            log.info("weights: %s", bundle.manifest.weights)
        counts = ", ".join(f"{what[key]:,} {key}" for key in ("labelled", "skipped", "failed"))
        log.info("%s: %s", f"{len(shards):,} part{'s' * (len(shards) != 1)}", counts)
        if not statuses:
            log.info("written: %s", write_manifest(request.folder, bundle, shards, done))
    statuses += [REJECTED if found and found.counts["rejects"] else 0 for found in done]
    return min(statuses, key=WORST_FIRST.index)


def _plan(jobs: Sequence[Job], bundle: Bundle, request: Request) -> tuple[list[Job], list[int]]:
    """The parts of all files, and an exit status of each file that has none."""
    shards: list[Job] = []
    statuses: list[int] = []
    shard_bytes = request.shard_bytes or SHARD_BYTES
    for job in jobs:
        # A worker has another working folder.
        name = job.input.name if is_uri(job.input.name) else os.path.abspath(job.input.name)
        job = replace(
            job,
            input=replace(job.input, name=name),
            out=os.path.abspath(job.out),
            progress=False,
        )
        try:
            shards += plan_shards(job, bundle.manifest, shard_bytes)
        except SpamBatchError as error:
            log.error("error: %s", error)
            statuses.append(error.exit_code)
    check_no_clash((job.input.name, job.out) for job in shards)
    return shards, statuses


def _as_error(outcome: Outcome) -> SpamBatchError:
    error = SpamBatchError(outcome.error)
    error.exit_code = outcome.exit_code
    return error


def _label(
    shards: Sequence[Job], todo: Sequence[int], bundle: Bundle, request: Request
) -> Iterator[Outcome]:
    """What became of each part, in the order in which they end."""
    ray = _import_ray()
    with _cluster(ray) as resources:
        device = choose_device(request.device, resources)
        room = count_workers(request, device, resources)
        precision = request.precision
        if precision == "auto":
            precision = choose_precision(bundle, device)
        shards = [replace(job, precision=f"{precision} on {device}") for job in shards]
        folder = os.path.abspath(bundle.folder)
        rules = shards[todo[0]].rules  # the same of all
        options = {"allow_unverified": request.allow_unverified, **asdict(rules)}
        load = partial(Classifier.load, folder, device, request.threads, precision, **options)
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        # In blocks of one, or a worker would hold many shards while others have none.
        dataset = ray.data.from_items(list(todo), override_num_blocks=len(todo)).map_batches(
            Worker,
            batch_size=1,
            fn_constructor_args=(Setup(folder, bundle.digest, load), shards),
            compute=ray.data.ActorPoolStrategy(
                size=min(room, len(todo)), max_tasks_in_flight_per_actor=1
            ),
            num_cpus=request.threads,
            num_gpus=1 if device == "cuda" else None,
        )
        try:
            for row in dataset.iter_rows():
                yield Outcome(**json.loads(row["outcome"]))
        except ray.exceptions.RayError as error:
            raise InternalError(
                f"Ray gave up: {type(error).__name__}; finished parts are kept, and the same "
                "command goes on"
            ) from None


def choose_device(device: str, resources: dict[str, float]) -> str:
    """``cpu`` or ``cuda``, for all workers alike: the machine of the driver may have no GPU.

    Raises:
        BundleError: CUDA is asked for and the cluster has none.
    """
    has_gpu = resources.get("GPU", 0) >= 1
    if device == "cuda" and not has_gpu:
        raise BundleError("--device cuda: the Ray cluster has no GPU; type --device cpu")
    return "cuda" if has_gpu and device != "cpu" else "cpu"


def count_workers(request: Request, device: str, resources: dict[str, float]) -> int:
    """As many as asked for, or as there is room for: each has its processors, or a GPU with them.

    Raises:
        UsageError: there is not so much room.
    """
    cpus = int(resources.get("CPU", 0))
    room = cpus // request.threads
    has = f"{cpus} processors"
    if device == "cuda":
        room = min(room, int(resources["GPU"]))
        has += f" and {int(resources['GPU'])} GPUs"
    if (request.workers or 1) > room:
        raise UsageError(
            f"--workers {request.workers or 1}: with --threads {request.threads} there is room for "
            f"{room}, since the Ray cluster has {has}"
        )
    return request.workers or room


def _import_ray():
    """Ray, which calls nobody, and speaks in log files of its own."""
    ours = {"RAY_USAGE_STATS_ENABLED": "0"}
    if not os.environ.get("RAY_ADDRESS"):
        # A secret for a cluster of our own; Ray would keep one in the user's home.
        ours |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    for name, value in ours.items():
        os.environ.setdefault(name, value)  # read at the import
    import ray
    import ray.data

    for name in ("ray", "ray.data"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [logging.NullHandler()], False
    return ray


@contextlib.contextmanager
def _cluster(ray) -> Iterator[dict[str, float]]:
    """Ray's resources: of the cluster that RAY_ADDRESS names, or of one that ends with us.

    Raises:
        BundleError: Ray did not start.
    """
    address = os.environ.get("RAY_ADDRESS")
    own = {}
    if not address:
        cpus = usable_cpus()
        own = {"num_cpus": cpus, "object_store_memory": STORE_BYTES, "include_dashboard": False}
    with _quiet():
        try:
            with _keeping_signals():
                ray.init(address or "local", log_to_driver=False, configure_logging=False, **own)
        except Exception as error:
            where = f"at {address}" if address else "here"
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise BundleError(f"Ray did not start {where}: {reason}") from None
        try:
            yield ray.cluster_resources()
        finally:
            ray.shutdown()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep out of cron's mail what Ray prints, and its C++ writes to descriptor 2.

    ``sys.stderr`` still reaches whoever reads it.
    """
    with contextlib.ExitStack() as stack:
        null = stack.enter_context(open(os.devnull, "w", encoding="utf-8"))
        stack.enter_context(contextlib.redirect_stdout(null))
        if _is_descriptor_2(sys.stderr):
            kept = os.dup(2)
            like = {"encoding": sys.stderr.encoding, "errors": sys.stderr.errors}
            file = stack.enter_context(open(kept, "w", buffering=1, **like))
            stack.callback(os.dup2, kept, 2)
            stack.enter_context(contextlib.redirect_stderr(file))
            os.dup2(null.fileno(), 2)
        yield


def _is_descriptor_2(stream) -> bool:
    try:
        return stream.fileno() == 2
    except (OSError, ValueError):
        return False


@contextlib.contextmanager
def _keeping_signals() -> Iterator[None]:
    """Ray takes SIGTERM for itself, and a run that is stopped has to say so as ever."""
    numbers = []
    if threading.current_thread() is threading.main_thread():
        numbers = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP]
    before = [signal.getsignal(number) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
