"""What the three command lines share: errors become one sentence and an exit status."""

import contextlib
import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime

import click

from batch.errors import SpamBatchError, UnavailableError
from batch.messages import escape_controls

# What pyproject.toml's extras bring, by the name that is imported.
EXTRA_MODULES = {
    "train": (
        "torch",
        "pandas",
        "requests",
        "urllib3",
        "safetensors",
        "matplotlib",
        "sklearn",
        "scipy",
    ),
    "arrow": ("pyarrow",),
    "ray": ("ray",),
    "export": ("torch", "onnx", "onnxscript", "safetensors", "pandas"),
}
EXTRA_OF = {"spam-train": "train", "spam-export": "export"}


class Stopped(BaseException):
    """A signal asked the process to end; no ``except Exception`` may take it for a fault."""

    def __init__(self, number: int):
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.number = number
        self.exit_code = 128 + number


class Cli(click.Group):
    """A click group whose user never meets a traceback.

    Exit status: the error's own (batch/errors.py), 2 for wrong usage, 74 for an
    I/O error, 78 for a package that is not installed, 70 for a fault of ours; and
    for a signal 128 and its number: 129, 130, 141, 143.
    """

    def parse_args(self, ctx, args):
        with _stopping_at_broken_pipes():  # --help
            return super().parse_args(ctx, args)

    def invoke(self, ctx):
        with _stopping_at_broken_pipes():
            return super().invoke(ctx)

    def main(self, args=None, prog_name=None, **extra):
        prog_name = prog_name or self.name
        _open_missing_streams()
        try:
            with _raising_signals():
                sys.exit(super().main(args, prog_name, standalone_mode=False, **extra))
        except Stopped as stop:
            if stop.number == signal.SIGPIPE:  # head(1) has what it wants; nothing is wrong
                _drop_unread()
                sys.exit(stop.exit_code)
            fail(prog_name, str(stop), stop.exit_code)
        except click.Abort as stop:
            if isinstance(stop.__cause__, EOFError):  # click's own reading of it is Ctrl-D
                fail(prog_name, f"a fault of ours: EOFError: {stop.__cause__}", 70)
            fail(prog_name, "interrupted", 130)
        except click.ClickException as error:
            error.show()
            sys.exit(error.exit_code)
        except UnavailableError as error:
            fail(prog_name, error.in_short(), error.exit_code)
        except SpamBatchError as error:
            fail(prog_name, str(error), error.exit_code)
        except KeyboardInterrupt:
            fail(prog_name, "interrupted", 130)
        except MemoryError:
            fail(prog_name, "out of memory", 70)
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            fail(prog_name, f"{where}{error.strerror or error}", 74)
        except ModuleNotFoundError as error:
            extra_name = _find_extra(prog_name, error.name)
            if extra_name is None:
                fail(prog_name, f"a fault of ours: ModuleNotFoundError: {error}", 70)
            install = f"pip install 'spam-batch[{extra_name}]'"
            fail(prog_name, f"{error.name} is not installed; type: {install}", 78)
        except Exception as error:
            fail(prog_name, f"a fault of ours: {type(error).__name__}: {error}", 70)


def status_of(error: BaseException, prog_name: str = "spam-batch") -> int:
    """The exit status that :class:`Cli` makes of ``error``."""
    if isinstance(error, BrokenPipeError):
        return 128 + signal.SIGPIPE
    if isinstance(error, KeyboardInterrupt):
        return 130
    if isinstance(error, click.Abort):
        return 70 if isinstance(error.__cause__, EOFError) else 130
    if isinstance(error, ModuleNotFoundError):
        return 70 if _find_extra(prog_name, error.name) is None else 78
    return 74 if isinstance(error, OSError) else getattr(error, "exit_code", 70)


@contextlib.contextmanager
def _stopping_at_broken_pipes() -> Iterator[None]:
    """What SIGPIPE would do, which Python ignores; click would make it exit status 1."""
    try:
        yield
    except BrokenPipeError:
        raise Stopped(signal.SIGPIPE) from None


@contextlib.contextmanager
def _raising_signals() -> Iterator[None]:
    """Make SIGTERM and SIGHUP unwind the stack, so that every clean-up runs.

    So does SIGINT, once; the second ends the process at once. One that is ignored
    (nohup), or that the caller handles, stays as it is.
    """
    before = {}
    if threading.current_thread() is threading.main_thread():
        asked = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
        before = {number: signal.getsignal(number) for number in asked}
    ours = (signal.SIG_DFL, signal.default_int_handler)
    before = {number: handler for number, handler in before.items() if handler in ours}

    def stop(number, _) -> None:
        if number == signal.SIGINT:
            signal.signal(number, signal.SIG_DFL)
            raise KeyboardInterrupt
        for other in before:  # timeout(1) sends it twice; the second would end the clean-up
            if other != signal.SIGINT:
                signal.signal(other, signal.SIG_IGN)
        raise Stopped(number)

    try:
        for number in before:
            signal.signal(number, stop)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _find_extra(prog_name: str | None, module: str | None) -> str | None:
    """The extra to install for ``module``: the command's own if it has it, else any."""
    own = EXTRA_OF.get(prog_name)
    having = [extra for extra, modules in EXTRA_MODULES.items() if module in modules]
    return own if own in having else next(iter(having), None)


def _drop_unread() -> None:
    """Send what no reader took to /dev/null, or Python's last flush would complain of it."""
    for stream in (sys.__stdout__, sys.__stderr__):
        try:
            if stream is not None:
                stream.flush()
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _open_missing_streams() -> None:
    """Open what was closed of 0, 1 and 2, so that no file of ours gets its number."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)
    if sys.stderr is None:  # where click and tqdm would write to standard output instead
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115


def fail(prog_name: str | None, message: str, exit_code: int) -> None:
    """Say ``message`` on standard error and end the process."""
    if _speaks_json():
        record = logging.LogRecord("batch", logging.ERROR, "", 0, message, None, None)
        record.exit = exit_code
        _say(_to_json(record))
    else:
        _say(escape_controls(f"{prog_name}: error: {message}"))
    sys.exit(exit_code)


def _say(line: str) -> None:
    """One line on standard error, unless that is closed or full: the exit status still tells."""
    try:
        click.echo(line, err=True)
    except OSError:
        _mute_stderr()


def _mute_stderr() -> None:
    """Nobody can hear us; and Python's last flush of what is left would change the status."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


def _to_json(record: logging.LogRecord) -> str:
    """One line: when, how grave, what; at the end of a failed run, its exit status too."""
    when = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
    values = {"time": when, "level": record.levelname.lower(), "message": record.getMessage()}
    for name in ("exit", "counts"):
        if hasattr(record, name):
            values[name] = getattr(record, name)
    return json.dumps(values)


class _StderrHandler(logging.Handler):
    """Lines on standard error that do not cut a progress bar in two."""

    def __init__(self, log_format: str = "text"):
        super().__init__()
        self.log_format = log_format

    def emit(self, record: logging.LogRecord) -> None:
        from tqdm import tqdm

        is_json = self.log_format == "json"
        line = _to_json(record) if is_json else escape_controls(self.format(record))
        try:
            tqdm.write(line, file=sys.stderr)
        except OSError:
            _mute_stderr()


def _speaks_json() -> bool:
    handlers = logging.getLogger("batch").handlers
    return any(getattr(handler, "log_format", "") == "json" for handler in handlers)


def show_log(name: str, quiet: bool = False, log_format: str = "text") -> None:
    """Send one logger's lines to standard error; only warnings if ``quiet``."""
    logger = logging.getLogger(name)
    logger.handlers = [_StderrHandler(log_format)]
    logger.setLevel(logging.WARNING if quiet else logging.INFO)
    logger.propagate = False
