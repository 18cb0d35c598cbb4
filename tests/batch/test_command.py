"""Errors become one sentence and an exit status; no user meets a traceback."""

import errno
import importlib
import json
import logging
import re
import signal
import subprocess
import sys
import tomllib
from concurrent.futures import ThreadPoolExecutor

import click
import pytest
from click.testing import CliRunner

from batch.command import EXTRA_MODULES, Cli, fail, print_json, print_line, show_log
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
    is_out_of_memory,
)
from batch.messages import escape_controls

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


@pytest.fixture
def run():
    """Runs a command line whose one command does what is given; returns click's result."""

    def run_action(action):
        group = Cli(name="spam-batch")
        group.command("act")(action)
        return CliRunner().invoke(group, ["act"])

    return run_action


@pytest.fixture
def run_raising(run):
    def run_error(error: BaseException):
        def action():
            raise error

        return run(action)

    return run_error


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


def of_library(module: str, name: str, text: str, base: type = Exception) -> Exception:
    """An error of a library that is not imported here."""
    return type(name, (base,), {"__module__": module})(text)


def chained() -> Exception:
    try:
        try:
            raise MemoryError
        except MemoryError as error:
            raise InternalError("the export failed: MemoryError: ") from error
    except InternalError as error:
        return error


ORT = "onnxruntime.capi.onnxruntime_pybind11_state"


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate "
            "memory: you tried to allocate 603979776 bytes. Error code 12 (Cannot allocate memory)"
        ),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes."),
        of_library("torch", "OutOfMemoryError", "CUDA out of memory. Tried", RuntimeError),
        of_library("torch", "AcceleratorError", "CUDA error: out of memory", RuntimeError),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`"),
        of_library(ORT, "RuntimeException", "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : "
            "bfc_arena.cc:376 Failed to allocate memory for requested buffer of size 8"),
        of_library(ORT, "Fail", "[ONNXRuntimeError] : 1 : FAIL : bad allocation"),
        of_library(ORT, "Fail", "[ONNXRuntimeError] : 1 : FAIL : std::bad_alloc"),
        of_library(ORT, "Fail", "CUDNN failure 4: CUDNN_STATUS_ALLOC_FAILED ; GPU=0"),
        ImportError("libtorch_cpu.so: failed to map segment from shared object"),
        of_library("ray.exceptions", "OutOfMemoryError", "Task was killed"),
        of_library("ray.exceptions", "ActorDiedError", "(1) the process was killed by the OOM "
            "killer due to high memory usage"),
        chained(),
    ],
)  # fmt: skip
def test_out_of_memory(run_raising, error):
    """Each library has its own word for it; none is a fault of ours."""
    assert is_out_of_memory(error)
    result = run_raising(error)
    assert result.stderr == (
        "spam-batch: error: out of memory; free memory and type the same command\n"
    )
    assert result.exit_code == 71


def test_a_thread_that_cannot_be_started(run_raising):
    result = run_raising(RuntimeError("can't start new thread"))
    assert result.stderr == (
        "spam-batch: error: out of memory, or of processes (ulimit -u), so no thread can be "
        "started; free memory and type the same command\n"
    )
    assert result.exit_code == 71


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
        ValueError("out of memory"),  # no allocator raises it: a text that was read
        InputError("in.csv: out of memory"),
        OSError(errno.ENOSPC, "No space left on device"),
        ImportError("x.so: failed to map segment from shared object: Operation not permitted"),
        of_library(ORT, "Fail", "[ONNXRuntimeError] : 1 : FAIL : Load model failed"),
    ],
)
def test_other_errors_are_no_lack_of_memory(error):
    assert not is_out_of_memory(error)


@pytest.mark.parametrize(
    ("name", "command", "advice"),
    [
        (
            "spam-train", "fit",
            "type half the --batch-size with twice the --accumulate, or a smaller --max-length "
            "or --model, and training starts over; or free memory and type the same command, "
            "which resumes from the last whole epoch",
        ),
        (
            "spam-train", "scores",
            "type half the --batch-size with twice the --accumulate, or a smaller --max-length "
            "or --model",
        ),
        (
            "spam-train", "table",
            "type --shape starter, or free memory and type the same command",
        ),
        (
            "spam-train", "sample",
            "type a smaller --model, or free memory and type the same command",
        ),
        ("spam-train", "evaluate", "free memory and type the same command"),
        (
            "spam-export", "bundle",
            "type --precision fp32, which makes no second copy of the model, or --device cpu if "
            "the GPU's memory is short; or free memory and type the same command; --out is as it "
            "was",
        ),
        (
            "spam-export", "verify",
            "type --device cpu if the GPU's memory is short, or free memory and type the same "
            "command; the bundle is as it was",
        ),
        (
            "spam-batch", "classify",
            "free memory and type the same command, which resumes the run; or type --restart "
            "with --max-record-bytes 1000000 if records are long, --device cpu if the GPU's "
            "memory is short, or --precision int8 if the bundle has it; with --engine ray, type "
            "fewer --workers",
        ),
    ],
)  # fmt: skip
def test_what_to_make_smaller(name, command, advice):
    """The options that are named exist; the command's own tests type them."""

    def fail():
        raise OutOfMemoryError("out of memory: running a batch of 8 x 120 tokens")

    group = Cli(name=name)
    group.command(command)(fail)
    result = CliRunner().invoke(group, [command])
    said = f"out of memory: running a batch of 8 x 120 tokens; {advice}"
    assert (result.exit_code, result.stderr) == (71, f"{name}: error: {said}\n")
    modules = {"spam-train": "trainer.cli", "spam-export": "exporter.cli"}
    main = importlib.import_module(modules.get(name, "batch.cli.commands")).main
    options = {text for option in main.commands[command].params for text in option.opts}
    assert set(re.findall(r"--[a-z-]+", advice)) <= options


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


def test_another_module_that_is_not_there_is_our_fault(run):
    result = run(lambda: importlib.import_module("pandas_of_ours"))
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


def test_signals_are_as_before_once_a_command_has_ended(run):
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)]
    assert run(lambda: None).exit_code == 0
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)] == before


def test_no_signal_is_handled_outside_the_main_thread(run):
    with ThreadPoolExecutor() as pool:
        result = pool.submit(run, lambda: click.echo("data")).result()
    assert (result.exit_code, result.stdout) == (0, "data\n")


def test_an_interrupt_before_the_command(monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(click.Group, "main", interrupt)
    result = CliRunner().invoke(Cli(name="spam-batch"), [])
    assert (result.exit_code, result.stderr) == (130, "spam-batch: error: interrupted\n")


def test_wrong_usage(run_raising, run):
    result = run_raising(click.UsageError("--x and --y contradict each other"))
    assert result.exit_code == 2
    assert result.stderr.endswith("\nError: --x and --y contradict each other\n")
    result = CliRunner().invoke(Cli(name="spam-batch"), ["nothing"])
    assert result.exit_code == 2
    assert result.stderr.endswith("\nError: No such command 'nothing'.\n")


def test_a_command_that_ends_well(run):
    result = run(lambda: click.echo("data"))
    assert (result.exit_code, result.stdout, result.stderr) == (0, "data\n", "")


@pytest.mark.parametrize("exit_code", [0, 3])
def test_a_status_that_the_command_chose(run, exit_code):
    result = run(lambda: click.get_current_context().exit(exit_code))
    assert (result.exit_code, result.stdout, result.stderr) == (exit_code, "", "")


def test_the_first_interrupt_unwinds_and_the_second_would_end_the_process(run):
    found = []

    def action():
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            found.append(signal.getsignal(signal.SIGINT))
            raise

    result = run(action)
    assert (result.exit_code, result.stderr) == (130, "\nspam-batch: error: interrupted\n")
    assert found == [signal.SIG_DFL]
    assert signal.getsignal(signal.SIGINT) == signal.default_int_handler


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, \u00e9 \U0001f44d", "plain, \u00e9 \U0001f44d"),
        ("a\nb\r\x1b[31m\x00\x7f", r"a\nb\r\x1b[31m\x00\x7f"),
        ("\udcff \u202e \u2028", r"\udcff \u202e \u2028"),
    ],
)
def test_control_characters_are_escaped(text, shown, run_raising, logger, capsys):
    assert escape_controls(text) == shown
    result = run_raising(SpamBatchError(text))
    assert result.stderr == f"spam-batch: error: {shown}\n"
    show_log(logger.name)
    logger.warning(text)
    assert capsys.readouterr().err == f"{shown}\n"
    result = run_raising(click.UsageError(text))
    assert result.stderr.endswith(f"\nError: {shown}\n")
    print_line(text)
    assert capsys.readouterr().out == f"{shown}\n"
    print_json(json.dumps([text], indent=1, ensure_ascii=False))
    printed = capsys.readouterr().out
    assert json.loads(printed) == [text]
    assert printed.replace("\n", "").isprintable()


def test_every_command_prints_with_controls_escaped(root):
    """What is left prints a label that is escaped, beside a tab, or the text of a model."""
    found = [
        f"{path.relative_to(root)}: {line.strip()}"
        for package in ("batch", "exporter", "trainer")
        for path in sorted((root / package).rglob("*.py"))
        for line in path.read_text(encoding="utf-8").splitlines()
        if re.search(r"\b(click\.echo|print)\(", line)
        and path.name != "command.py"
        and line.strip()[0] not in "'\""  # a program that an error tells to type
    ]
    assert found == [
        'batch/cli/commands.py: click.echo(f"{escape_controls(result.labels[0])}'
        '\\t{result.scores[0]:.6f}")',
        'trainer/cli.py: click.echo(f"{escape_controls(config.labels[best[0]])}'
        '\\t{scores[0]:.6f}")',
        "trainer/cli.py: click.echo(tokenizer.decode(generate_greedy(trunk, ids, new_tokens)[0]"
        ".tolist()))",
    ]


def test_the_log_as_json(run_raising, capsys):
    logger = logging.getLogger("batch")
    before = logger.handlers, logger.level, logger.propagate
    try:
        show_log("batch", log_format="json")
        logger.info("a\n%s", "b", extra={"counts": {"rows": 1}})
        result = run_raising(InputError("bad\x1b"))
    finally:
        logger.handlers, logger.propagate = before[0], before[2]
        logger.setLevel(before[1])
    first, second = (json.loads(capsys.readouterr().err), json.loads(result.stderr))
    for line in (first, second):
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]{12}\+00:00", line.pop("time"))
    assert first == {"level": "info", "message": "a\nb", "counts": {"rows": 1}}
    assert second == {"level": "error", "message": "bad\x1b", "exit": 65}
    assert result.exit_code == 65


def test_fail_when_standard_error_is_full(monkeypatch):
    def no_space(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(click, "echo", no_space)
    with pytest.raises(SystemExit) as stop:
        fail("spam-batch", "what is wrong", 65)
    assert stop.value.code == 65


@pytest.fixture
def logger():
    found = logging.getLogger("batch.test_command")
    yield found
    found.handlers, found.level, found.propagate = [], logging.NOTSET, True


@pytest.mark.parametrize(
    ("quiet", "lines"), [(False, "read\nslow\nbroken\n"), (True, "slow\nbroken\n")]
)
def test_the_log_goes_to_standard_error(logger, capsys, quiet, lines):
    show_log(logger.name, quiet)
    show_log(logger.name, quiet)  # twice is not two handlers
    logger.debug("detail")
    logger.info("read")
    logger.warning("slow")
    logger.error("broken")
    assert capsys.readouterr() == ("", lines)


SCRIPT = """
import logging, os, sys, click
from batch.command import Cli, show_log
from tqdm import tqdm
group = Cli(name="spam-batch")
@group.command()
def act():
    show_log("talk")
    opened = os.open(os.devnull, os.O_RDONLY)
    logging.getLogger("talk").info("talk")
    for _ in tqdm([1]):
        pass
    click.echo("data" if sys.stdout else "", nl=False)
    sys.exit(opened)
group(["act"])
"""


@pytest.mark.parametrize(
    ("closed", "data"),
    [("2>&-", b"data"), ("<&-", b"data"), ("<&- 2>&-", b"data"), ("<&- >&- 2>&-", b"")],
)
def test_closed_streams(closed, data):
    """What is said lands nowhere else, and no file that is opened gets a stream's number."""
    command = ["sh", "-c", f'exec "$0" -c "$1" {closed}', sys.executable, SCRIPT]
    done = subprocess.run(command, capture_output=True, timeout=120)
    assert done.stdout == data
    assert done.returncode >= 3
    assert b"Traceback" not in done.stderr
