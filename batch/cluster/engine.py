"""Label files on many machines: Ray Data spreads the shards over workers and replaces dead ones."""

import contextlib
import json
import logging
import os
from collections import Counter
from collections.abc import Generator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

from batch.cluster.session import import_ray, start_cluster
from batch.cluster.shards import NAME, check_manifest, plan_shards, write_manifest
from batch.cluster.worker import Outcome, Setup, Worker
from batch.errors import (
    REJECTED,
    BundleError,
    InternalError,
    OutOfMemoryError,
    SpamBatchError,
    StorageError,
    UsageError,
    is_out_of_memory,
)
from batch.messages import count
from batch.model.bundle import Bundle
from batch.model.classifier import Classifier
from batch.model.selftest import choose_precision
from batch.reading.remote import is_uri
from batch.run.folder import WORST_FIRST, list_outcomes, log_skipped
from batch.run.inputs import check_no_clash
from batch.run.job import Job
from batch.run.run_manifest import RunManifest, find_done
from batch.writing.atomic import making_folder
from batch.writing.lock import hold_lock
from batch.writing.names import manifest_path
from batch.writing.target import check_manifest_path, resolve_path

SHARD_BYTES = 256 << 20

log = logging.getLogger("batch")


@dataclass(frozen=True)
class RayOptions:
    """Options of a run on Ray, besides those of its jobs."""

    folder: str
    device: str = "auto"
    precision: str = "auto"
    threads: int = 1  # of a worker
    workers: int | None = None  # None: as many as there is room for
    shard_bytes: int | None = None  # None: SHARD_BYTES
    allow_unverified: bool = False
    force: bool = False  # label again what was labelled before


def label_on_ray(jobs: Sequence[Job], bundle: Bundle, options: RayOptions) -> int:
    """Label the files into a folder that all machines share; returns the worst exit status.

    Raises:
        SpamBatchError: another driver has the folder, the bundle or Ray is not usable, or
            there is no room for the workers.
    """
    import_ray()  # first, so that a missing Ray is reported before anything is read
    manifest = Path(os.path.abspath(options.folder), NAME)
    check_manifest(options.folder)
    with making_folder(manifest.parent), hold_lock(manifest.parent):
        shards, statuses = _plan(jobs, bundle, options)
        done = {} if options.force else _find_labelled(shards, bundle)
        todo = [number for number in range(len(shards)) if number not in done]
        outcomes = Counter(skipped=len(done))
        if todo or statuses:
            manifest.unlink(missing_ok=True)  # it is there only if all shards are labelled
        if options.force:
            _remove_run_manifests(shards)
        # Closed here, so that Ray has stopped before we say why the run ends.
        with contextlib.closing(_label(shards, todo, bundle, options)) as ended:
            for outcome in ended:
                found = _take_outcome(outcome, shards[outcome.number], bundle, options.folder)
                if found is None:
                    statuses.append(outcome.exit_code)
                else:
                    done[outcome.number] = found
                    outcomes["labelled"] += 1
        outcomes["failed"] = len(statuses)
        if outcomes["labelled"]:
            log.info("weights: %s", bundle.manifest.weights)
        log.info("%s: %s", count(len(shards), "part"), list_outcomes(outcomes))
        if not statuses:
            manifests = [done[number] for number in range(len(shards))]
            log.info("written: %s", write_manifest(options.folder, bundle, shards, manifests))
    statuses += [REJECTED if found.counts["rejects"] else 0 for found in done.values()]
    return min(statuses, key=WORST_FIRST.index)


def _find_labelled(shards: Sequence[Job], bundle: Bundle) -> dict[int, RunManifest]:
    """The run manifests of the shards that were labelled before, by their numbers."""
    done: dict[int, RunManifest] = {}
    for number, job in enumerate(shards):
        if found := find_done(job, bundle):
            log_skipped(job.out, found)
            done[number] = found
    return done


def _remove_run_manifests(shards: Sequence[Job]) -> None:
    """Without them, no worker takes its shard for one that was labelled before."""
    for job in shards:
        target = resolve_path(job.out)
        check_manifest_path(target)
        manifest_path(target).unlink(missing_ok=True)


def _take_outcome(outcome: Outcome, job: Job, bundle: Bundle, folder: str) -> RunManifest | None:
    """Log what a worker logged; return the run manifest of its shard, or None if it failed.

    Raises:
        SpamBatchError: no worker can label any shard, or the output is not on this machine.
    """
    for level, line, counts in outcome.lines:
        log.log(level, "%s", line, extra={"counts": counts} if counts else {})
    if outcome.is_final:
        raise _as_error(outcome)
    if outcome.error:
        log.error("error: %s", outcome.error)
        return None
    found = find_done(job, bundle)
    if not found:
        raise StorageError(
            f"{job.out}: a worker wrote it, but it is not on this machine; {folder} must be a "
            "folder that all machines share"
        )
    return found


def _plan(jobs: Sequence[Job], bundle: Bundle, options: RayOptions) -> tuple[list[Job], list[int]]:
    """The shards of all files, and the exit status of each file that cannot be labelled."""
    shards: list[Job] = []
    statuses: list[int] = []
    shard_bytes = options.shard_bytes or SHARD_BYTES
    for job in jobs:
        # A worker has another working directory.
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
    shards: Sequence[Job], todo: Sequence[int], bundle: Bundle, options: RayOptions
) -> Generator[Outcome, None, None]:
    """The outcome of each shard to do, in the order in which they end."""
    if not todo:
        return
    ray = import_ray()
    with start_cluster(ray) as resources:
        device = choose_device(options.device, resources)
        room = count_workers(options, device, resources)
        precision = options.precision
        if precision == "auto":
            precision = choose_precision(bundle, device)
        runs_in = (precision, device)
        folder = os.path.abspath(bundle.folder)
        rules = asdict(shards[todo[0]].rules)  # all shards have the same
        load = partial(
            Classifier.load, folder, device, options.threads, precision, options.allow_unverified,
            **rules,
        )  # fmt: skip
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        # One shard in each block: otherwise one worker takes many while others have none.
        dataset = ray.data.from_items(list(todo), override_num_blocks=len(todo)).map_batches(
            Worker,
            batch_size=1,
            fn_constructor_args=(Setup(folder, bundle.digest, load, runs_in), shards),
            compute=ray.data.ActorPoolStrategy(
                size=min(room, len(todo)), max_tasks_in_flight_per_actor=1
            ),
            num_cpus=options.threads,
            num_gpus=1 if device == "cuda" else None,
        )
        try:
            # Closed before Ray is: its executor, when it ends later, prints errors.
            with contextlib.closing(iter(dataset.iter_rows())) as rows:
                for row in rows:
                    yield Outcome(**json.loads(row["outcome"]))
        except ray.exceptions.RayError as error:
            if is_out_of_memory(error):  # Ray only guesses what killed a worker
                raise OutOfMemoryError(
                    f"out of memory: Ray failed: {type(error).__name__}, most likely because a "
                    "worker was killed for lack of memory"
                ) from None
            raise InternalError(
                f"Ray failed: {type(error).__name__}; finished parts are kept, and the same "
                "command resumes the run"
            ) from None


def choose_device(device: str, resources: dict[str, float]) -> str:
    """``cpu`` or ``cuda``, the same for all workers. The driver's machine may have no GPU.

    Raises:
        BundleError: the device is ``cuda`` and the cluster has no GPU.
    """
    has_gpu = resources.get("GPU", 0) >= 1
    if device == "cuda" and not has_gpu:
        raise BundleError("--device cuda: the Ray cluster has no GPU; type --device cpu")
    return "cuda" if has_gpu and device != "cpu" else "cpu"


def count_workers(options: RayOptions, device: str, resources: dict[str, float]) -> int:
    """The number of workers: ``--workers``, or as many as there is room for.

    A worker needs ``threads`` processors, and on CUDA also a GPU.

    Raises:
        UsageError: there is not enough room.
    """
    cpus = int(resources.get("CPU", 0))
    room = cpus // options.threads
    has = f"{cpus} processors"
    if device == "cuda":
        room = min(room, int(resources["GPU"]))
        has += f" and {int(resources['GPU'])} GPUs"
    if (options.workers or 1) > room:
        raise UsageError(
            f"--workers {options.workers or 1}: with --threads {options.threads} there is room for "
            f"{room}, since the Ray cluster has {has}"
        )
    return options.workers or room
