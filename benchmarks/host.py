"""The host path alone: what reading, tokenizing and writing cost, with a model that costs nothing.

CSV in and out, as Python's csv module writes it, no text twice; stages one by one in one
thread, and ``spam-batch classify`` with all of them, for files of 10,000 rows to --rows. Then
--bundle's own model over as many rows as --model-rows, beside what ``spam-batch estimate``
said of it before. Then the model of --student over the distinct texts of --student-text, the
median of five runs.

    python benchmarks/host.py --data data/SMSSpamCollection.tsv --bundle models/spam
"""

import argparse
import json
import statistics
import time
from functools import partial
from pathlib import Path

import numpy as np
from messages import read_texts, write_table
from scratch import scratch_folder

from batch.checks.estimate import estimate
from batch.formats.input import Input
from batch.model.batching import BATCH_TOKENS
from batch.model.bundle import Bundle, open_bundle
from batch.model.bundle_files import TOKENIZER
from batch.model.classifier import Classifier
from batch.model.lazy_classifier import LazyClassifier
from batch.model.tokenizer import Tokenizer
from batch.reading.opening import open_source
from batch.run.classify import classify_file
from batch.run.job import Job
from batch.run.windows import Window, encode_windows, read_windows

STAGE_ROWS = 100_000
STUDENT_RUNS = 5


class FreeSession:
    """A model that costs nothing: logits from the number of tokens."""

    device, threads, note, shapes, version = "cpu", 1, None, None, "none"

    def __init__(self, pad_id: int):
        self._pad_id = pad_id

    def run(self, ids: np.ndarray) -> np.ndarray:
        logits = np.zeros((len(ids), 2), dtype=np.float32)
        logits[:, 1] = (ids != self._pad_id).sum(axis=1) % 7 - 3
        return logits


def make_job(folder: Path) -> Job:
    return Job(Input(str(folder / "in.csv")), str(folder / "out.csv"), progress=False)


def free_classifier(opened: Bundle) -> Classifier:
    """The bundle's tokenizer and labels, and no model."""
    session = FreeSession(opened.manifest.pad_id)
    tokenizer = Tokenizer.load(opened.folder / TOKENIZER)
    return Classifier(opened, session, tokenizer, batch_tokens=BATCH_TOKENS["cpu"])


def measure_stages(folder: Path, opened: Bundle, texts: list[str]) -> dict[str, float]:
    """Rows a second of each stage by itself, one after the other, over ``STAGE_ROWS`` rows."""
    write_table(folder / "in.csv", STAGE_ROWS, texts)
    classifier, job = free_classifier(opened), make_job(folder)
    seconds = dict.fromkeys(("reading", "tokenizing", "batches and labels", "writing"), 0.0)

    def timed(stage: str, step):
        start = time.perf_counter()
        result = step()
        seconds[stage] += time.perf_counter() - start
        return result

    with open_source(job.input.name) as source, open(job.out, "wb") as file:
        table = job.open_table(source, opened.manifest)
        windows = read_windows(table, 0)
        while window := timed("reading", partial(next, windows, None)):
            encode = partial(next, encode_windows([window], classifier))
            encoded: Window = timed("tokenizing", encode)
            label = partial(classifier.classify_prepared, encoded.prepared)
            predictions = timed("batches and labels", label)
            timed("writing", lambda w=encoded, p=predictions: file.write(table.rows(w.good, p)))
    return {stage: STAGE_ROWS / taken for stage, taken in seconds.items()}


def measure_sizes(folder: Path, opened: Bundle, rows: int, texts: list[str]) -> list[dict]:
    """Rows a second of the whole path, by file size."""
    results = []
    for count in sorted({10_000, 100_000, rows}):
        write_table(folder / "in.csv", count, texts)
        classifier = free_classifier(opened)
        start = time.perf_counter()
        summary = classify_file(
            make_job(folder), LazyClassifier(opened, lambda found=classifier: found)
        )
        seconds = time.perf_counter() - start
        if summary.progress.rows != count:
            raise SystemExit(f"{summary.progress.rows:,} rows came out of {count:,}")
        results.append({"rows": count, "seconds": seconds, "rows_per_second": count / seconds})
    return results


def measure_model(folder: Path, opened: Bundle, rows: int, texts: list[str]) -> dict:
    """The bundle's own model: what ``estimate`` says, and what a run takes."""
    write_table(folder / "in.csv", rows, texts)
    load = partial(Classifier.load, opened.folder, "cpu")
    expected = estimate([make_job(folder).input], LazyClassifier(opened, load)).seconds
    start = time.perf_counter()
    classify_file(make_job(folder), LazyClassifier(opened, load))
    seconds = time.perf_counter() - start
    return {
        "model": opened.manifest.model, "rows": rows, "estimated_seconds": expected,
        "seconds": seconds, "rows_per_second": rows / seconds,
    }  # fmt: skip


def measure_student(folder: Path, opened: Bundle, text: Path) -> dict:
    """Runs over a file as it is, loading included; no text may come twice in it."""
    load = partial(Classifier.load, opened.folder, "cpu")
    seconds, rows = [], 0
    for number in range(STUDENT_RUNS):
        job = Job(Input(str(text)), str(folder / f"student-{number}.csv"), progress=False)
        start = time.perf_counter()
        summary = classify_file(job, LazyClassifier(opened, load))
        seconds.append(time.perf_counter() - start)
        rows = summary.progress.rows
    rates = [rows / taken for taken in seconds]
    return {
        "model": opened.manifest.model, "rows": rows,
        "rows_per_second": statistics.median(rates), "low": min(rates), "high": max(rates),
    }  # fmt: skip


def measure_host(
    bundle: Path,
    texts: list[str],
    rows: int,
    model_rows: int,
    student: tuple[Path, Path] | None = None,
) -> dict:
    """All of it, printed and returned."""
    opened = open_bundle(bundle)
    with scratch_folder() as folder:
        found = {
            "stages": measure_stages(folder, opened, texts),
            "sizes": measure_sizes(folder, opened, rows, texts),
            "model": measure_model(folder, opened, model_rows, texts),
        }
        if student:
            found["student"] = measure_student(folder, open_bundle(student[0]), student[1])
    print("| host path, rows a second | |\n| --- | ---: |")
    for stage, rate in found["stages"].items():
        print(f"| {stage} | {rate:,.0f} |")
    for size in found["sizes"]:
        print(f"| all together, {size['rows']:,} rows | {size['rows_per_second']:,.0f} |")
    model = found["model"]
    print(f"| with {bundle} ({model['model']}), {model['rows']:,} rows | "
          f"{model['rows_per_second']:,.0f} |")  # fmt: skip
    if student:
        fast = found["student"]
        spread = f"{fast['low']:,.0f} to {fast['high']:,.0f}"
        print(f"| with {student[0]} ({fast['model']}), {fast['rows']:,} rows | "
              f"{fast['rows_per_second']:,.0f} ({spread}) |")  # fmt: skip
    off = model["seconds"] / model["estimated_seconds"] - 1
    print(
        f"\n`spam-batch estimate` had said {model['estimated_seconds']:.1f} s of {bundle}, "
        f"it took {model['seconds']:.1f} s ({off:+.0%})",
        flush=True,
    )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--bundle", type=Path, default=Path("models/spam"))
    parser.add_argument("--student", type=Path, help="Bundle of a small model.")
    parser.add_argument("--student-text", type=Path, help="CSV file with distinct texts, for it.")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--model-rows", type=int, default=200_000)
    parser.add_argument("--out", type=Path, help="Write the figures as JSON.")
    args = parser.parse_args()
    if bool(args.student) != bool(args.student_text):
        parser.error("--student and --student-text need each other")
    student = (args.student, args.student_text) if args.student else None
    texts = read_texts(args.data, 5000)
    result = measure_host(args.bundle, texts, args.rows, args.model_rows, student)
    if args.out:
        args.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
