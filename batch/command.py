"""What the three command lines share: every error becomes one message and an exit status."""

import contextlib
import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from types import FrameType
from typing import Any, NoReturn

import click

from batch.errors import OutOfMemoryError, SpamBatchError, UnavailableError, is_out_of_memory
from batch.help import Command
from batch.messages import escape_controls

# The extras of pyproject.toml -> the modules that they install.
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
    "check": ("cleanlab",),
    "tensorboard": ("tensorboard",),
    "ray": ("ray",),
    "export": ("torch", "onnx", "onnxscript", "safetensors", "pandas", "scipy"),
}
_HELP: Any = getattr(click.exceptions, "NoArgsIsHelpError", ())  # since click 8.2
EXTRA_OF = {"spam-train": "train", "spam-export": "export"}
# (program, command) -> what a user can do who has too little memory.
_SMALLER = {
    ("spam-train", "fit"): (
        "type half the --batch-size with twice the --accumulate, or a smaller --max-length or "
        "--model, and training starts over; or free memory and type the same command, which "
        "resumes from the last whole epoch"
    ),
    ("spam-train", "scores"): (
        "type half the --batch-size with twice the --accumulate, or a smaller --max-length or "
        "--model"
    ),
    ("spam-train", "table"): "type --shape starter, or free memory and type the same command",
    ("spam-train", "sample"): "type a smaller --model, or free memory and type the same command",
    ("spam-export", "bundle"): (
        "type --precision fp32, which makes no second copy of the model, or --device cpu if the "
        "GPU's memory is short; or free memory and type the same command; --out is as it was"
    ),
    ("spam-export", "verify"): (
        "type --device cpu if the GPU's memory is short, or free memory and type the same "
        "command; the bundle is as it was"
    ),
    ("spam-batch", "classify"): (
        "free memory and type the same command, which resumes the run; or type --restart with "
        "--max-record-bytes 1000000 if records are long, --device cpu if the GPU's memory is "
        "short, or --precision int8 if the bundle has it; with --engine ray, type fewer --workers"
    ),
}
_FREE_MEMORY = "free memory and type the same command"


class Stopped(BaseException):
    """A signal asked the process to end. It is no Exception, so that nothing handles it as one."""

    def __init__(self, number: int):
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.number = number
        self.exit_code = 128 + number


class Cli(click.Group):
    """A click group that never shows a traceback.

    Exit status: that of the error (batch/errors.py); 2 for wrong usage; 70 for an internal
    error; 71 for a lack of memory; 74 for an I/O error; 78 for a package that is not installed;
    for a signal 128 plus its number: 129, 130, 141, 143.
    """

    command_class = Command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        with _stopping_at_broken_pipes():  # --help
            return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        with _stopping_at_broken_pipes():
            try:
                return super().invoke(ctx)
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                command = ctx.invoked_subcommand or ""
                raise explain_out_of_memory(error, self.name or "", command) from None

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = False,
        **extra: Any,
    ) -> NoReturn:
        """Run the command and end the process; ``standalone_mode`` is ignored."""
        prog_name = prog_name or self.name
        _open_missing_streams()
        try:
            with _raising_signals():
                sys.exit(super().main(args, prog_name, complete_var, False, **extra))
        except Stopped as stop:
            if stop.number == signal.SIGPIPE:  # head(1) has read enough; nothing is wrong
                _drop_unread()
                sys.exit(stop.exit_code)
            fail(prog_name, str(stop), stop.exit_code)
        except click.Abort as stop:
            if isinstance(stop.__cause__, EOFError):  # an error, which click takes for Ctrl-D
                fail(prog_name, f"internal error: EOFError: {stop.__cause__}", 70)
            fail(prog_name, "interrupted", 130)
        except click.ClickException as error:
            if not isinstance(error, _HELP):
                # It may have the name of a file. For mypy the attribute is final.
                object.__setattr__(error, "message", escape_controls(error.message))
            error.show()
            sys.exit(error.exit_code)
        except UnavailableError as error:
            fail(prog_name, error.in_short(), error.exit_code)
        except SpamBatchError as error:
            fail(prog_name, str(error), error.exit_code)
        except KeyboardInterrupt:
            fail(prog_name, "interrupted", 130)
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            fail(prog_name, f"{where}{error.strerror or error}", 74)
        except ModuleNotFoundError as error:
            extra_name = _find_extra(prog_name, error.name)
            if extra_name is None:
                fail(prog_name, f"internal error: ModuleNotFoundError: {error}", 70)
            install = f"pip install 'spam-batch[{extra_name}]'"
            fail(prog_name, f"{error.name} is not installed; type: {install}", 78)
        except Exception as error:
            fail(prog_name, f"internal error: {type(error).__name__}: {error}", 70)


def explain_out_of_memory(error: BaseException, program: str, command: str) -> OutOfMemoryError:
    """``error``, for which :func:`is_out_of_memory` is true, with what the user can do."""
    what = str(error) if isinstance(error, OutOfMemoryError) else "out of memory"
    if "can't start new thread" in str(error):  # the system does not say which
        what = "out of memory, or of processes (ulimit -u), so no thread can be started"
    return OutOfMemoryError(f"{what}; {_SMALLER.get((program, command), _FREE_MEMORY)}")


def status_of(error: BaseException, prog_name: str = "spam-batch") -> int:
    """The exit status of :class:`Cli` for ``error``."""
    if isinstance(error, BrokenPipeError):
        return 128 + signal.SIGPIPE
    if isinstance(error, KeyboardInterrupt):
        return 130
    if isinstance(error, click.Abort):
        return 70 if isinstance(error.__cause__, EOFError) else 130
    if is_out_of_memory(error):
        return OutOfMemoryError.exit_code
    if isinstance(error, ModuleNotFoundError):
        return 70 if _find_extra(prog_name, error.name) is None else 78
    return 74 if isinstance(error, OSError) else getattr(error, "exit_code", 70)


@contextlib.contextmanager
def _stopping_at_broken_pipes() -> Iterator[None]:
    """End as by SIGPIPE, which Python ignores; with click alone the exit status would be 1."""
    try:
        yield
    except BrokenPipeError:
        raise Stopped(signal.SIGPIPE) from None


@contextlib.contextmanager
def _raising_signals() -> Iterator[None]:
    """Make SIGTERM, SIGHUP and the first SIGINT unwind the stack, so that every clean-up runs.

    A second SIGINT ends the process at once. A signal that is ignored (nohup), or that the
    caller handles, stays as it is.
    """
    before = {}
    if threading.current_thread() is threading.main_thread():
        asked = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
        before = {number: signal.getsignal(number) for number in asked}
    usual = (signal.SIG_DFL, signal.default_int_handler)
    before = {number: handler for number, handler in before.items() if handler in usual}

    def stop(number: int, _: FrameType | None) -> None:
        if number == signal.SIGINT:
            signal.signal(number, signal.SIG_DFL)
            raise KeyboardInterrupt
        for other in before:  # timeout(1) sends two; the second would stop the clean-up
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
    """The extra to install for ``module``: that of the command if it has the module, else any."""
    own = EXTRA_OF.get(prog_name or "")
    having = [extra for extra, modules in EXTRA_MODULES.items() if module in modules]
    return own if own in having else next(iter(having), None)


def _drop_unread() -> None:
    """Send what no reader took to /dev/null, or Python's last flush would report an error."""
    for stream in (sys.__stdout__, sys.__stderr__):
        if stream is None:
            continue
        try:
            stream.flush()
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _open_missing_streams() -> None:
    """Open descriptors 0, 1 and 2 if they are closed, so that no other file gets their numbers."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)
    if sys.stderr is None:  # where click and tqdm would write to standard output instead
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115


def print_line(line: str, to_stderr: bool = False) -> None:
    """Print one line. A name or a label in it may be anybody's, so controls are escaped.

    Otherwise a line break in a file's name begins a line that looks like ours.
    """
    click.echo(escape_controls(line), err=to_stderr)


def print_json(text: str) -> None:
    """Print JSON. Controls that JSON allows in a string are escaped in its own way."""
    shown = (c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text)
    click.echo("".join(shown))


def fail(prog_name: str | None, message: str, exit_code: int) -> NoReturn:
    """Write ``message`` to standard error and end the process."""
    if _logs_json():
        record = logging.LogRecord("batch", logging.ERROR, "", 0, message, None, None)
        record.exit = exit_code
        _write_line(_to_json(record))
    else:
        _write_line(escape_controls(f"{prog_name}: error: {message}"))
    sys.exit(exit_code)


def _write_line(line: str) -> None:
    """Write to standard error. If that is closed or full, the exit status still tells the error."""
    try:
        click.echo(line, err=True)
    except OSError:
        _mute_stderr()


def _mute_stderr() -> None:
    """Send standard error to /dev/null: Python's last flush would change the exit status."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


def _to_json(record: logging.LogRecord) -> str:
    """One line of JSON: time, level, message; some lines have the exit status or counts as well."""
    when = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
    values = {"time": when, "level": record.levelname.lower(), "message": record.getMessage()}
    for name in ("exit", "counts"):
        if hasattr(record, name):
            values[name] = getattr(record, name)
    return json.dumps(values)


class _StderrHandler(logging.Handler):
    """Writes lines to standard error without breaking a progress bar."""

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


def _logs_json() -> bool:
    handlers = logging.getLogger("batch").handlers
    return any(getattr(handler, "log_format", "") == "json" for handler in handlers)


def show_log(name: str, quiet: bool = False, log_format: str = "text") -> None:
    """Send the lines of one logger to standard error; only warnings if ``quiet``.

    Args:
        log_format: "text" or "json".
    """
    logger = logging.getLogger(name)
    logger.handlers = [_StderrHandler(log_format)]
    logger.setLevel(logging.WARNING if quiet else logging.INFO)
    logger.propagate = False
