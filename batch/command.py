"""What the three command lines share: errors become one sentence and an exit status."""

import contextlib
import logging
import os
import sys

import click

from batch.errors import SpamBatchError


class Cli(click.Group):
    """A click group whose user never meets a traceback.

    Exit status: the error's own (batch/errors.py), 2 for wrong usage, 74 for an
    I/O error, 130 for an interrupt, 70 for a fault of ours.
    """

    def main(self, args=None, prog_name=None, **extra):
        prog_name = prog_name or self.name
        _open_missing_streams()
        try:
            sys.exit(super().main(args, prog_name, standalone_mode=False, **extra))
        except click.Abort as stop:
            if isinstance(stop.__cause__, EOFError):  # click's own reading of it is Ctrl-D
                fail(prog_name, f"a fault of ours: EOFError: {stop.__cause__}", 70)
            fail(prog_name, "interrupted", 130)
        except click.ClickException as error:
            error.show()
            sys.exit(error.exit_code)
        except SpamBatchError as error:
            fail(prog_name, str(error), error.exit_code)
        except KeyboardInterrupt:
            fail(prog_name, "interrupted", 130)
        except MemoryError:
            fail(prog_name, "out of memory", 70)
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            fail(prog_name, f"{where}{error.strerror or error}", 74)
        except Exception as error:
            fail(prog_name, f"a fault of ours: {type(error).__name__}: {error}", 70)


def _open_missing_streams() -> None:
    """Open what was closed of 0, 1 and 2, so that no file of ours gets its number."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)
    if sys.stderr is None:  # where click and tqdm would write to standard output instead
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115


def fail(prog_name: str | None, message: str, exit_code: int) -> None:
    """Say ``message`` on standard error and end the process."""
    with contextlib.suppress(OSError):  # closed or full; the status still tells
        click.echo(f"{prog_name}: error: {message}", err=True)
    sys.exit(exit_code)


class _StderrHandler(logging.Handler):
    """Lines on standard error that do not cut a progress bar in two."""

    def emit(self, record: logging.LogRecord) -> None:
        from tqdm import tqdm

        tqdm.write(self.format(record), file=sys.stderr)


def show_log(name: str, quiet: bool = False) -> None:
    """Send one logger's lines to standard error; only warnings if ``quiet``."""
    logger = logging.getLogger(name)
    logger.handlers = [_StderrHandler()]
    logger.setLevel(logging.WARNING if quiet else logging.INFO)
    logger.propagate = False
