"""The steps of the GPU benchmark that label, without PyTorch, as ``spam-batch`` does.

Messages a second are those of ``classify`` with a CSV file in and out, no message twice, after
as many rows that warm up. Its three threads read, encode, and run the model and write.
``share_in_session`` is the part of the wall time that the third one spends in the session's
``run``. From DEVICE_BOUND on the device decides the speed, and the other two threads wait for
it; below that the host does. The session's time includes the start of the kernels, which the
host does: if ``milliseconds_a_batch`` stays the same with more tokens in a batch, that time
decides, and larger batches are for free.
"""

import json
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from messages import write_table
from step import Settings, check_onnxruntime

from batch.formats.input import Input
from batch.model import cuda
from batch.model.batching import Shapes
from batch.model.bundle import open_bundle
from batch.model.cascade.classifier import CascadeClassifier
from batch.model.classifier import Classifier
from batch.model.inference import InferenceSession
from batch.model.lazy_classifier import LazyClassifier
from batch.run.classify import classify_file
from batch.run.job import Job

DEVICE_BOUND = 0.8  # of the wall time
MOST_ROWS = 400_000
Figures = Iterator[tuple[str, object]]


def labels(settings: Settings) -> Figures:
    """Labels and logits of each precision on the device, beside those of fp32 on the CPU."""
    check_onnxruntime(settings.device)
    texts = _read_texts(settings)[: settings.texts]
    folder = settings.work / "slow"
    theirs, expected = _label(Classifier.load(folder, "cpu", precision="fp32"), texts)
    yield "messages", len(texts)
    for precision in open_bundle(folder).manifest.variants:
        classifier = Classifier.load(folder, settings.device, precision=precision)
        ours, logits = _label(classifier, texts)
        yield precision, {
            "labels_that_differ": sum(map(str.__ne__, ours, theirs)),
            "largest_logit_difference": float(np.abs(logits - expected).max()),
        }  # fmt: skip
    if settings.device == "cuda":
        yield "libraries", cuda.loaded_libraries()


def _label(classifier: Classifier, texts: list[str]) -> tuple[list[str], np.ndarray]:
    prepared = classifier.prepare(texts)
    given = classifier.classify_prepared(prepared).labels
    return list(given), prepared.logits[prepared.rows]


def batch_tokens(settings: Settings) -> Figures:
    """Messages a second of each precision against the tokens of a batch."""
    check_onnxruntime(settings.device)
    folder = settings.work / "slow"
    for precision in open_bundle(folder).manifest.variants:
        classifier = Classifier.load(folder, settings.device, precision=precision)
        taken = _watch(classifier.session)
        for tokens in settings.batch_tokens:
            classifier.batch_tokens = tokens
            if classifier.session.shapes:
                classifier.session.shapes = Shapes.of(classifier.manifest, tokens)
            yield f"{precision}, {tokens} tokens", _measure(settings, classifier, {"": taken})


def cascade(settings: Settings) -> Figures:
    """Messages a second of the cascade, and of its fast model alone."""
    check_onnxruntime(settings.device)
    classifier = Classifier.load(settings.work / "cascade", settings.device)
    assert isinstance(classifier, CascadeClassifier)
    parts = {"fast_": classifier.fast.session, "slow_": classifier.slow.session}
    taken = {name: _watch(session) for name, session in parts.items()}
    yield "cascade", _measure(settings, classifier, taken)
    yield "fast_alone", _measure(settings, classifier.fast, {"": taken["fast_"]})


def _read_texts(settings: Settings) -> list[str]:
    return json.loads((settings.work / "texts.json").read_text(encoding="utf-8"))


def _watch(session: InferenceSession) -> list[float]:
    """A list that gets the seconds of each call of the session's ``run``."""
    taken: list[float] = []
    run = session.run

    def timed(*args, **options) -> np.ndarray:
        start = time.perf_counter()
        logits = run(*args, **options)
        taken.append(time.perf_counter() - start)
        return logits

    session.run = timed  # type: ignore[method-assign]
    return taken


def _measure(settings: Settings, classifier: Classifier, taken: dict[str, list[float]]) -> dict:
    """Label a file for about ``settings.seconds``; ``taken`` by the prefix of its figures."""
    table, texts = settings.work / "table.csv", _read_texts(settings)
    write_table(table, settings.least_rows, texts)
    _classify(table, classifier)  # warms up
    seconds, _ = _classify(table, classifier)
    rows = round(settings.least_rows / seconds * settings.seconds)
    rows = min(max(rows, settings.least_rows), MOST_ROWS)
    write_table(table, rows, texts)
    for calls in taken.values():
        calls.clear()
    seconds, asked = _classify(table, classifier)
    share = sum(map(sum, taken.values())) / seconds
    figures = {
        "messages_per_second": round(rows / seconds, 1),
        "rows": rows,
        "share_in_session": round(share, 3),
        "bound_by": "device" if share >= DEVICE_BOUND else "host",
    }
    for name, calls in taken.items():
        figures |= {f"{name}batches": len(calls)}
        if calls:
            figures |= {f"{name}milliseconds_a_batch": round(1e3 * statistics.median(calls), 3)}
    if len(taken) > 1:
        figures |= {f"{name}share": round(sum(calls) / seconds, 3) for name, calls in taken.items()}
        figures["share_asked"] = round(asked / rows, 4)
    return figures


def _classify(table: Path, classifier: Classifier) -> tuple[float, int]:
    """Seconds of a run over the file, and how many rows a cascade's slow model decided."""
    classifier.clear_cache()
    job = Job(Input(str(table)), str(table.with_name("labelled.csv")), progress=False)
    start = time.perf_counter()
    summary = classify_file(job, LazyClassifier(classifier.bundle, lambda: classifier))
    return time.perf_counter() - start, summary.progress.asked
