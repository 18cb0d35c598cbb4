"""Advice that works: the whole message of each error, and what the advised command does.

Each case is a small input, the options of ``spam-batch classify``, and the whole message. What
the message says to type is then typed: an option is added to the command; a shell command is
run, and the file that it writes is labelled.
"""

import os
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner

from batch.cli.commands import main
from batch.model.classifier import Classifier


@dataclass(frozen=True)
class Case:
    """One input with a fault, and the way out of it."""

    name: str  # of the input
    data: bytes
    options: str  # of the command
    message: str  # whole, behind the name of the program
    rows: int  # of the output of the advised command; 0: it meets the next fault
    then: str = ""  # the options of the advised command, or its message if it fails
    status: int = 65


FORMATS = (".csv", ".parquet", ".tsv", ".jsonl", ".json", ".jsonl.gz")


@pytest.fixture
def classify(stub, stub_bundle, tmp_path, monkeypatch):
    """Runs ``spam-batch classify NAME --out ...`` in an empty folder; returns click's result."""
    monkeypatch.setattr(Classifier, "load", stub.StubClassifier.load)
    monkeypatch.chdir(tmp_path)

    def run(name: str, options: str, data: bytes | None = None):
        out = "out" + (Path(name).suffix if name.endswith(FORMATS) else ".csv")
        command = ["classify", name, "--out", out, "--bundle", str(stub_bundle), "--quiet"]
        return CliRunner().invoke(main, [*command, *shlex.split(options)], input=data), out

    return run


@pytest.fixture
def check_advice(classify):
    """Asserts the whole message of a case (the fields of ``Case``), and follows its advice."""

    def check(*fields) -> None:
        case = Case(*fields)
        Path(case.name).write_bytes(case.data)
        result, out = classify(case.name, case.options)
        assert result.stderr == f"spam-batch: error: {case.message}\n"
        assert result.exit_code == case.status
        assert not Path(out).exists()
        result, out, options = follow(classify, case)
        if case.rows:
            assert (result.exit_code, result.stderr) == (0, case.then)
            has_header = (
                not out.startswith("out.json") and "--no-header" not in options + case.options
            )
            assert count_lines(Path(out)) == case.rows + has_header
        else:
            assert result.exit_code != 0
            assert result.stderr == f"spam-batch: error: {case.then}\n"
        assert Path(case.name).read_bytes() == case.data

    return check


def follow(classify, case: Case):
    """Type what the message says; returns the result, the output and the options given."""
    shell, _, options = case.message.split("type: ")[-1].partition(", and then ")
    if shell.startswith("-"):
        return *classify(case.name, f"{case.options} {shell}"), shell
    if shutil.which(shlex.split(shell)[0]) is None:
        pytest.skip(f"{shlex.split(shell)[0]} is not installed")
    subprocess.run(["bash", "-euo", "pipefail", "-c", shell], check=True, timeout=60)
    name = shlex.split(shell)[-1]
    assert name != case.name
    return *classify(name, f"{case.options} {options}"), options


def count_lines(path: Path) -> int:
    """Lines that are not empty, in any encoding."""
    data = path.read_bytes().replace(b"\0", b"")
    return len([line for line in data.splitlines() if line])


@pytest.fixture
def count_rows():
    return count_lines


@pytest.fixture
def type_it(monkeypatch):
    """Runs a shell command in which python3 is this one; returns the last word, a file."""
    folder = str(Path(sys.executable).parent)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    def run(shell: str) -> str:
        subprocess.run(["bash", "-euo", "pipefail", "-c", shell], check=True, timeout=60)
        return shlex.split(shell)[-1]

    return run
