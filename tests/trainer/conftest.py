"""A web server that a test scripts answer by answer, zips made to order, and made-up messages."""

import contextlib
import csv
import io
import threading
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch

from batch.cli.commands import main as spam_batch
from batch.model.bundle import open_bundle
from batch.model.classifier import Classifier
from batch.model.decision import Predictions
from batch.model.rules import Rules
from trainer.cli import main as spam_train
from trainer.data.tensors import EncodedSet, pad_messages
from trainer.run import RunOptions, train

Answer = Callable[[BaseHTTPRequestHandler], None]


class WebServer:
    """Answers a path with its list of answers in turn; the last one is repeated."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, str]]] = []  # path, headers
        self.answers: dict[str, list[Answer]] = {}
        self.is_over = threading.Event()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.requests.append((self.path, dict(self.headers)))
                answers = server.answers.get(self.path, [server.send(b"gone", status=404)])
                answer = answers.pop(0) if len(answers) > 1 else answers[0]
                # A client that gives up is what many tests are about.
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    answer(self)

            def log_message(self, *_: object) -> None:
                pass

        self.httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.httpd.is_over = self.is_over
        self.port = self.httpd.server_address[1]
        threading.Thread(target=self.httpd.serve_forever, args=(0.01,), daemon=True).start()

    def url(self, path: str, *answers: Answer) -> str:
        """The URL of ``path``, which is from now on answered by ``answers``."""
        if answers:
            self.answers[path] = list(answers)
        return f"http://127.0.0.1:{self.port}{path}"

    def paths(self) -> list[str]:
        return [path for path, _ in self.requests]

    @staticmethod
    def send(
        body: bytes,
        status: int = 200,
        until: int | None = None,
        pause: tuple[int, float | None] | None = None,
        length: bool = True,
        **headers: str,
    ) -> Answer:
        """Answer with ``body``, or its first ``until`` bytes and a cut.

        ``pause`` is (bytes, seconds) between pieces; None is until the test is over. A
        header's ``_`` stands for ``-``.
        """

        def answer(handler: BaseHTTPRequestHandler) -> None:
            handler.send_response(status)
            if length:
                handler.send_header("Content-Length", str(len(body)))
            for name, value in headers.items():
                handler.send_header(name.replace("_", "-"), value)
            handler.end_headers()
            piece, seconds = pause or (len(body) or 1, 0.0)
            for start in range(0, len(body[:until]), piece):
                handler.wfile.write(body[start : min(start + piece, until or len(body))])
                handler.wfile.flush()
                handler.server.is_over.wait(seconds)

        return answer

    @staticmethod
    def send_range(body: bytes, **headers: str) -> Answer:
        """Answer a Range request as a server does that knows them; 200 when none is asked."""

        def answer(handler: BaseHTTPRequestHandler) -> None:
            wanted = handler.headers.get("Range")
            if wanted is None:
                return WebServer.send(body, **headers)(handler)
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            span = f"bytes {start}-{len(body) - 1}/{len(body)}"
            return WebServer.send(body[start:], status=206, Content_Range=span, **headers)(handler)

        return answer


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[WebServer]:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    server = WebServer()
    yield server
    server.is_over.set()
    server.httpd.shutdown()
    server.httpd.server_close()


@pytest.fixture
def zip_of() -> Callable[..., bytes]:
    """Makes a deflated zip of (name, bytes); a ``ZipInfo`` says more than a name."""

    def make(*members: tuple[str | zipfile.ZipInfo, bytes]) -> bytes:
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in members:
                archive.writestr(name, data, zipfile.ZIP_DEFLATED)
        return file.getvalue()

    return make


@pytest.fixture(scope="session")
def messages_csv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 made-up messages, half of them spam, with a header and a column too many.

    Each has a word of its own: messages that differ in numbers only would be near copies.
    """
    path = tmp_path_factory.mktemp("messages") / "messages.csv"
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "message", "category"])
        for number in range(0, 60, 2):
            name = f"{'bdfhjklmnp'[number // 2 % 10]}{'aeo'[number // 20]}l"
            spam = f'{name} WINNER {number}! Call 0900-{number}, "free" prize'
            writer.writerow([number, spam, "spam"])
            writer.writerow([number + 1, f"{name}: see you at {number}\nfor dinner 😀", "ham"])
    return path


@pytest.fixture(scope="session")
def encoded_set(seed: int) -> Callable[[int, int], EncodedSet]:
    """Makes ``count`` messages of 1 to 12 tokens padded to 12; those of class 1 begin with 77."""

    def make(count: int, number: int) -> EncodedSet:
        generator = torch.Generator().manual_seed(1000 * seed + number)
        labels = torch.arange(count) % 2
        messages = []
        for label in labels:
            length = int(torch.randint(1, 13, (), generator=generator))
            message = torch.randint(100, 200, (length,), generator=generator).tolist()
            messages.append([77, *message[1:]] if label else message)
        lengths = torch.tensor([len(message) for message in messages])
        return EncodedSet(pad_messages(messages, 12), labels, lengths, truncated=0)

    return make


@pytest.fixture(scope="session")
def sets(encoded_set) -> dict[str, EncodedSet]:
    return {
        "train": encoded_set(44, 1),
        "validation": encoded_set(11, 2),
        "test": encoded_set(13, 3),
    }


@pytest.fixture
def make_teacher_bundle(stub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Makes bundles whose labels follow from the words of a text, for a student to learn.

    ``make(name, labels, **changes)``: a class has 2 more of a logit for each time that a text
    names it; two tie for a text that names none.
    """

    class WordClassifier(stub.StubClassifier):
        @classmethod
        def load(cls, folder, *_, threshold=None, unsure_band="bundle", long="head", **__):
            made = cls(open_bundle(folder))
            made.decision = Rules(threshold, unsure_band, long).decision(made.manifest)
            return made

        def classify(self, texts) -> Predictions:
            names = self.manifest.labels
            counts = [[text.lower().split().count(name) for name in names] for text in texts]
            logits = 2.0 * np.array(counts, dtype=np.float64).reshape(-1, len(names))
            best, scores, probabilities = self.decision.decide(logits)
            given = self.decision.given
            return Predictions(
                [given[number] for number in best.tolist()], scores, probabilities,
                np.array([len(text) for text in texts], dtype=np.int64),
                np.zeros(len(texts), dtype=bool),
            )  # fmt: skip

    def make(name: str = "teacher", labels: tuple[str, ...] = ("ham", "spam"), **changes) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        positive = "spam" if "spam" in labels else None
        values = {"labels": list(labels), "positive_label": positive, "weights": f"none: {name}"}
        return stub.write_bundle(folder, **values | changes)

    monkeypatch.setattr(Classifier, "load", WordClassifier.load)
    return make


@pytest.fixture
def write_texts(tmp_path: Path) -> Callable[..., Path]:
    """Writes ``count`` different texts, one a record, which name ``labels`` in turn."""

    def write(
        name: str, labels: tuple[str, ...] = ("ham", "spam"), count: int = 160, first: int = 0
    ) -> Path:
        rng = np.random.default_rng(first)
        words = ["lunch", "prize", "home", "call", "dear", "see", "now", "meet"]
        path = tmp_path / name
        with open(path, "w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["id", "text"])
            for number in range(first, first + count):
                label = labels[number % len(labels)]
                others = [words[k] for k in rng.integers(0, len(words), 5)]
                writer.writerow([number, " ".join([*others, label, label, _letters(number)])])
        return path

    return write


def _letters(number: int) -> str:
    """A word of its own for each number; digits would make near copies of the texts."""
    return "".join(chr(ord("a") + int(digit)) for digit in str(number))


@pytest.fixture(scope="module")
def trained(tmp_path_factory, messages_csv: Path, bpe_file: Path) -> tuple[Path, dict]:
    """A run folder of the recipe ``book``, and its metrics."""
    out = tmp_path_factory.mktemp("runs") / "deep" / "book"
    options = RunOptions(
        out=out,
        recipe="book",
        weights="random",
        size="starter",
        cache=out.parent / "cache",
        data=(messages_csv,),
        bpe=bpe_file,
        changes={"epochs": 2, "seed": 7},
        unsure_band=(0.4, 0.6),
        progress=False,
    )
    return out, train(options)


SHORT = ("--epochs", 2, "--batch-size", 8, "--learning-rate", 0.01)


@pytest.fixture
def label(invoke) -> Callable[..., Path]:
    """Labels a file as a user does; returns the labelled file."""

    def run(path: Path, bundle: Path, *options: object, columns: str = "label,probability") -> Path:
        out = path.with_name(f"labelled-{path.name}")
        arguments = (path, "--out", out, "--bundle", bundle, "--columns", columns, "--quiet")
        result = invoke(spam_batch, "classify", *arguments, *options)
        assert result.exit_code == 0, result.output
        return out

    return run


@pytest.fixture
def distill(invoke, bpe_file: Path, tmp_path: Path):
    """``distill(*arguments)`` -> click's result; the run folder is ``student``."""

    def run(*arguments: object, out: str = "student"):
        fixed = ("--out", tmp_path / out, "--bpe", bpe_file, "--cache", tmp_path / "cache")
        return invoke(spam_train, "distill", *arguments, *fixed, *SHORT)

    return run
