"""What is said: controls escaped, as text or JSON, on standard error or nowhere."""

import errno
import json
import logging
import re
import subprocess
import sys

import click
import pytest

from batch.command import fail, print_json, print_line, show_log
from batch.errors import InputError, SpamBatchError
from batch.messages import escape_controls


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
