"""Long commands show how far they are: on a terminal, unless --quiet, and nowhere else."""

import contextlib
import csv
import io
import logging
import re
import sys

import onnx
import pytest

from exporter.cli import main as export_main
from exporter.convert.graph import trace
from exporter.export import export
from trainer.cli import main as train_main

BARS = {  # command -> a bar that it has; what is done of how much, then the time left
    "bundle": r"PyTorch: 100%\|.+\| 18/18 \[\d\d:\d\d<\d\d:\d\d, .+message/s\]",
    "verify": r"checking fp32: 100%\|.+\| 10/10 \[\d\d:\d\d<\d\d:\d\d, .+run/s\]",
    "cascade": r"proving the bound: 100%\|.+\| \d+/\d+ \[\d\d:\d\d<\d\d:\d\d, .+message/s\]",
    "distill": r"100%\|.+\| \d+/\d+ \[\d\d:\d\d<\d\d:\d\d, .+step/s.*\]",
    "pretrain": r"100%\|.+\| 20\.5k/20\.5k \[\d\d:\d\d<\d\d:\d\d, .+token/s, loss=.+\]",
}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(scope="module")
def trace_once():
    """``exporter.export.trace``, which takes seconds, for the one model that is here."""
    traced: list[onnx.ModelProto] = []

    def run(*args) -> onnx.ModelProto:
        if not traced:
            traced.append(trace(*args))
        return traced[0]

    return run


@pytest.fixture(scope="module")
def commands(
    tmp_path_factory, tiny_model, write_run_folder, bpe_file, trace_once
) -> dict[str, list]:
    """The options of the five commands, on a tiny model, its bundle and 400 messages."""
    folder = tmp_path_factory.mktemp("progress")
    run = write_run_folder(folder / "run", tiny_model())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("exporter.export.trace", trace_once)
        export(run, folder / "model", "cpu", progress=False)
    inbox, letters = folder / "inbox.csv", "abcdefghijklmnopqrst"
    with inbox.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text"])
        writer.writerows([f"dear {a}{b}, it is {b}"] for a in letters for b in letters)
    model, assets = folder / "model", ["--bpe", bpe_file, "--cache", folder]
    return {
        "bundle": ["--run", run, "--out", folder / "again", "--precision", "fp32",
                   "--device", "cpu"],
        "verify": [model, "--run", run, "--device", "cpu"],
        "cascade": ["--fast", model, "--slow", model, "--text", inbox, "--max-disagreement", "5%",
                    "--out", folder / "cascade", "--device", "cpu"],
        "distill": [inbox, "--teacher", model, "--out", folder / "student", "--epochs", 1,
                    "--device", "cpu", "--restart", *assets],
        "pretrain": ["--text", inbox, "--out", folder / "base", "--tokens", 20_480, "--blocks", 1,
                     "--channels", 32, "--batch-size", 2, "--device", "cpu", "--restart", *assets],
    }  # fmt: skip


@pytest.fixture
def said(commands, trace_once, monkeypatch):
    """``said(name, stderr, *options)``: what a command writes to standard error."""

    def run(name: str, stderr: io.StringIO, *options: str) -> str:
        main = train_main if name in ("distill", "pretrain") else export_main
        monkeypatch.setattr("exporter.export.trace", trace_once)
        monkeypatch.setattr(sys, "stderr", stderr)
        with contextlib.redirect_stdout(io.StringIO()), pytest.raises(SystemExit) as stop:
            main.main([name, *map(str, commands[name]), *options])
        assert not stop.value.code, stderr.getvalue()
        return stderr.getvalue()

    loggers = [logging.getLogger(name) for name in ("trainer", "exporter", "batch")]
    before = [(logger.handlers, logger.level, logger.propagate) for logger in loggers]
    yield run
    for logger, (handlers, level, propagate) in zip(loggers, before, strict=True):
        logger.handlers, logger.propagate = handlers, propagate
        logger.setLevel(level)


@pytest.mark.parametrize("name", BARS)
def test_a_terminal_shows_how_far_it_is(said, name: str) -> None:
    assert re.search(BARS[name], said(name, Terminal()))
    assert "%|" not in said(name, io.StringIO())
    assert "%|" not in said(name, Terminal(), "--quiet")
