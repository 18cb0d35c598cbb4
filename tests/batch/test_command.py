"""Errors become one sentence and an exit status; no user meets a traceback."""

import errno
import importlib
import re
import signal
import sys
import tomllib
from concurrent.futures import ThreadPoolExecutor

import click
import pytest
from click.testing import CliRunner

from batch.command import EXTRA_MODULES, Cli
from batch.errors import (
    BundleError,
    InputError,
    InternalError,
    LockedError,
    MissingInputError,
    OutOfMemoryError,
    OutputError,
    SpamBatchError,
    StorageError,
    UnavailableError,
    UsageError,
)

EXIT_CODES = {
    SpamBatchError: 70,
    UsageError: 2,
    InputError: 65,
    MissingInputError: 66,
    UnavailableError: 69,
    InternalError: 70,
    OutOfMemoryError: 71,
    OutputError: 73,
    StorageError: 74,
    LockedError: 75,
    BundleError: 78,
}


def test_every_error_of_ours_has_its_status(run_raising):
    ours = {kind for kind in SpamBatchError.__subclasses__() if kind.__module__ == "batch.errors"}
    assert {SpamBatchError, *ours} == set(EXIT_CODES)
    for kind, exit_code in EXIT_CODES.items():
        if kind is OutOfMemoryError:
            continue  # what to type is added to it
        result = run_raising(kind("what is wrong; what to type"))
        assert result.stderr == "spam-batch: error: what is wrong; what to type\n"
        assert (result.exit_code, result.stdout) == (exit_code, "")


def test_sources_that_were_tried_are_left_out(run_raising):
    """Each was logged when it failed."""
    said = "weights: no source works\n  a: refused\n  b: gone\ntype: spam-train fetch"
    result = run_raising(UnavailableError(said))
    assert result.exit_code == 69
    assert result.stderr == (
        "spam-batch: error: weights: no source works; type: spam-train fetch\n"
    )


@pytest.mark.parametrize(
    ("error", "message", "exit_code"),
    [
        (OSError(errno.EIO, "Input/output error"), "Input/output error", 74),
        (OSError(errno.ENOENT, "No such file", "in.csv"), "in.csv: No such file", 74),
        (OSError("all by hand"), "all by hand", 74),
        (MemoryError(), "out of memory; free memory and type the same command", 71),
        (ZeroDivisionError("division"), "internal error: ZeroDivisionError: division", 70),
        (KeyError("text"), "internal error: KeyError: 'text'", 70),
        (AssertionError(), "internal error: AssertionError: ", 70),
        (click.Abort(), "interrupted", 130),
    ],
)
def test_other_errors(run_raising, error, message, exit_code):
    result = run_raising(error)
    assert result.stderr == f"spam-batch: error: {message}\n"
    assert (result.exit_code, result.stdout) == (exit_code, "")


@pytest.mark.parametrize(
    ("error", "message", "exit_code"),
    [
        (KeyboardInterrupt(), "interrupted", 130),
        (EOFError("cut short"), "internal error: EOFError: cut short", 70),
    ],
)
def test_errors_before_which_click_ends_the_terminals_line(run_raising, error, message, exit_code):
    result = run_raising(error)
    assert result.stderr == f"\nspam-batch: error: {message}\n"
    assert (result.exit_code, result.stdout) == (exit_code, "")


@pytest.mark.parametrize(
    ("name", "module", "message", "exit_code"),
    [
        *(
            ("spam-train", module, "pip install 'spam-batch[train]'", 78)
            for module in ("pandas", "torch", "safetensors", "requests", "matplotlib", "sklearn")
        ),
        *(
            ("spam-export", module, "pip install 'spam-batch[export]'", 78)
            for module in ("pandas", "torch", "safetensors", "onnx", "onnxscript")
        ),
        ("spam-export", "matplotlib", "pip install 'spam-batch[train]'", 78),  # export lacks it
    ],
)
def test_a_package_of_an_extra_is_not_there(monkeypatch, name, module, message, exit_code):
    monkeypatch.setitem(sys.modules, module, None)
    group = Cli(name=name)
    group.command("act")(lambda: importlib.import_module(module))
    result = CliRunner().invoke(group, ["act"])
    assert result.stderr == f"{name}: error: {module} is not installed; type: {message}\n"
    assert (result.exit_code, result.stdout) == (exit_code, "")


def test_another_module_that_is_not_there_is_our_fault(run_action):
    result = run_action(lambda: importlib.import_module("pandas_of_ours"))
    assert result.stderr == (
        "spam-batch: error: internal error: ModuleNotFoundError: No module named 'pandas_of_ours'\n"
    )
    assert result.exit_code == 70


def test_the_modules_of_the_extras_are_those_of_the_project(root):
    extras = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    imported_as = {"scikit-learn": "sklearn"}
    for extra, modules in EXTRA_MODULES.items():
        packages = extras["project"]["optional-dependencies"][extra]
        names = [re.split(r"[\[>=<]", package)[0] for package in packages]
        assert [imported_as.get(name, name) for name in names] == list(modules)


def test_signals_are_as_before_once_a_command_has_ended(run_action):
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)]
    assert run_action(lambda: None).exit_code == 0
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)] == before


def test_no_signal_is_handled_outside_the_main_thread(run_action):
    with ThreadPoolExecutor() as pool:
        result = pool.submit(run_action, lambda: click.echo("data")).result()
    assert (result.exit_code, result.stdout) == (0, "data\n")


def test_an_interrupt_before_the_command(monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(click.Group, "main", interrupt)
    result = CliRunner().invoke(Cli(name="spam-batch"), [])
    assert (result.exit_code, result.stderr) == (130, "spam-batch: error: interrupted\n")


def test_wrong_usage(run_raising, run_action):
    result = run_raising(click.UsageError("--x and --y contradict each other"))
    assert result.exit_code == 2
    assert result.stderr.endswith("\nError: --x and --y contradict each other\n")
    result = CliRunner().invoke(Cli(name="spam-batch"), ["nothing"])
    assert result.exit_code == 2
    assert result.stderr.endswith("\nError: No such command 'nothing'.\n")


def test_a_command_that_ends_well(run_action):
    result = run_action(lambda: click.echo("data"))
    assert (result.exit_code, result.stdout, result.stderr) == (0, "data\n", "")


@pytest.mark.parametrize("exit_code", [0, 3])
def test_a_status_that_the_command_chose(run_action, exit_code):
    result = run_action(lambda: click.get_current_context().exit(exit_code))
    assert (result.exit_code, result.stdout, result.stderr) == (exit_code, "", "")


def test_the_first_interrupt_unwinds_and_the_second_would_end_the_process(run_action):
    found = []

    def action():
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            found.append(signal.getsignal(signal.SIGINT))
            raise

    result = run_action(action)
    assert (result.exit_code, result.stderr) == (130, "\nspam-batch: error: interrupted\n")
    assert found == [signal.SIG_DFL]
    assert signal.getsignal(signal.SIGINT) == signal.default_int_handler
