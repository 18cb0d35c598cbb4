"""The real command line with a stub for a model: a text's score is a hash of it.

Run as a script by the fault tests, so that thousands of faulty runs take minutes. The
environment says how it behaves:

    STUB_WINDOW=n      rows in a window (a commit point may follow each)
    STUB_COMMIT=s      seconds between commit points; 0: one after each window
    STUB_BLOCK=n       bytes asked of the input at a time
    STUB_SLEEP=s       seconds that a window takes
    STUB_HOLD=path     a window waits for as long as this file is there; it gets a byte then
    STUB_HOLD_AT=n     the first window that does, counted from 1
    STUB_SYNC=path     each fsync makes this file and then waits for ever
    STUB_RAISE=text    a text that makes the model raise
    STUB_MEMORY=text   a text for which there is no memory
    STUB_LOADS=path    gets a line when the model is loaded
"""

import os
import time
import zlib
from functools import partial
from pathlib import Path

import numpy as np

import batch.formats.csv_table
import batch.formats.preamble
import batch.formats.text_table
import batch.reading.input_stream
import batch.run.classify
import batch.run.windows
from batch.cli.commands import main
from batch.model.bundle import Manifest, open_bundle
from batch.model.bundle_files import MANIFEST, TOKENIZER, file_entries
from batch.model.classifier import Classifier
from batch.model.decision import Predictions
from batch.reading.records import RecordReader


def write_bundle(folder: Path, **changes) -> Path:
    """A bundle whose manifest is real and whose other files nobody reads."""
    for name in ("model.onnx", TOKENIZER):
        (folder / name).write_bytes(name.encode())
    values = {
        "labels": ["ham", "spam"],
        "positive_label": "spam",
        "threshold": 0.5,
        "temperature": 1.0,
        "max_length": 32,
        "fixed_length": False,
        "pooling": "last_token",
        "pad_id": 50256,
        "model": "stub",
        "weights": "none, the scores are hashes",
        "variants": {"fp32": "model.onnx"},
        "files": file_entries(folder),
    }
    text = Manifest(**values | changes).to_json()
    (folder / MANIFEST).write_text(text, encoding="utf-8")
    return folder


class StubSession:
    device, threads, note, version = "cpu", 1, None, "none"


class StubClassifier:
    """``classify`` as the real one has it: labels and scores by CRC-32, tokens by length."""

    def __init__(self, bundle):
        self.bundle, self.manifest, self.session = bundle, bundle.manifest, StubSession()
        self.precision, self.windows = "fp32", 0

    @classmethod
    def load(cls, folder, *_, **__) -> "StubClassifier":
        if path := os.environ.get("STUB_LOADS"):
            with open(path, "a", encoding="utf-8") as file:
                file.write("loaded\n")
        return cls(open_bundle(folder))

    def check_unchanged(self) -> None:
        """It maps no file."""

    def prepare(self, texts):
        return texts or [""][:0]

    def classify_prepared(self, texts) -> Predictions:
        return self.classify(texts)

    def classify(self, texts) -> Predictions:
        time.sleep(float(os.environ.get("STUB_SLEEP", 0)))
        self.windows += 1
        if self.windows >= int(os.environ.get("STUB_HOLD_AT", 1)):
            hold(os.environ.get("STUB_HOLD", ""))
        if os.environ.get("STUB_RAISE") in texts:
            raise ValueError(os.environ["STUB_RAISE"])
        if os.environ.get("STUB_MEMORY") in texts:
            raise MemoryError
        sums = [zlib.crc32(text.encode("utf-8", "surrogatepass")) % 10**6 for text in texts]
        scores = np.array(sums, dtype=np.float64) / 10**6
        spam = scores >= 0.5
        names = self.manifest.labels
        return Predictions(
            labels=[names[flag] for flag in spam.tolist()],
            scores=scores,
            probabilities=np.stack([1 - scores, scores], axis=1),
            tokens=np.array([len(text) for text in texts], dtype=np.int64),
            truncated=np.zeros(len(texts), dtype=bool),
        )


def hold(path: str) -> None:
    """Say in the file that this process waits, and wait until it is gone."""
    if os.path.exists(path):
        os.truncate(path, 1)
    while os.path.exists(path):
        time.sleep(0.01)


def endless_sync(descriptor: int) -> None:
    Path(os.environ["STUB_SYNC"]).touch()
    while True:
        time.sleep(1)


if __name__ == "__main__":
    if "STUB_SYNC" in os.environ:
        os.fsync = endless_sync
    Classifier.load = StubClassifier.load
    if block := os.environ.get("STUB_BLOCK"):
        batch.formats.text_table.RecordReader = partial(RecordReader, block_size=int(block))
        batch.reading.input_stream.HEAD_SIZE = max(64, int(block))
        batch.formats.text_table.SAMPLE_BYTES = max(64, int(block))
        batch.formats.csv_table.HEAD_BYTES = max(64, int(block))
        batch.formats.preamble._LONGEST = max(64, int(block))
    batch.run.windows.WINDOW = int(os.environ.get("STUB_WINDOW", batch.run.windows.WINDOW))
    batch.run.classify.COMMIT_SECONDS = float(os.environ.get("STUB_COMMIT", 5))
    main(prog_name="spam-batch")
