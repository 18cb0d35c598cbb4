"""Every command line of the pages is run here, or marked as not run, with a reason.

The mark is a comment in the line before the block: ``<!-- not run: why, or which test does -->``.
Blocks without a language, of ``sh`` and of ``console`` are commands; so are the examples of the
help, and Python. What is marked, or stands in running text, is at least spelled as it should be.
"""

import contextlib
import csv
import gzip
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from batch.cli.commands import main as batch_main
from batch.errors import UnavailableError
from exporter.cli import main as export_main
from trainer.cli import main as train_main

ROOT = Path(__file__).resolve().parent.parent
PAGES = (
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("*.md")),
    ROOT / "examples" / "README.md",
)
PACKAGES = {"spam-train": "trainer", "spam-export": "exporter", "spam-batch": "batch"}
MAINS = {"spam-train": train_main, "spam-export": export_main, "spam-batch": batch_main}
COMMANDS = ("", "sh", "console", "crontab", "python")  # languages of blocks that can be run
MARK = re.compile(r"<!-- not run: *(.*?) *-->")
OURS = re.compile(r"(?:\.venv/bin/)?(spam-\w+|make) ")
FIT = "spam-train fit --data tickets.csv --text-column body --label-column queue --out runs/tickets"
EXPORT = "spam-export bundle --run runs/tickets --out models/tickets"
CLASSIFY = "spam-batch classify received.csv --out labeled.csv --bundle models/tickets"


@dataclass(frozen=True)
class Block:
    """Lines between fences. ``reason``: why it is not run; None if it is to be."""

    place: str  # page and line
    language: str
    lines: tuple[str, ...]
    reason: str | None

    def commands(self) -> list[str]:
        text = "\n".join(self.lines).replace("\\\n", " ")
        if self.language == "console":
            return re.findall(r"^\$ (.*)", text, re.M)
        return [line for line in text.splitlines() if line.strip() and not line.startswith("#")]


def find_blocks(page: Path) -> list[Block]:
    found, start, before = [], None, ""
    lines = page.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, 1):
        if line.startswith("```") and start is None:
            start, language = number, line[3:]
            mark = MARK.fullmatch(before)
        elif line == "```":
            place = f"{page.relative_to(ROOT)}:{start}"
            found.append(Block(place, language, tuple(lines[start : number - 1]), mark and mark[1]))
            start = None
        before = line
    return found


def find_examples() -> list[Block]:
    """The examples that each command's help has, in docs/cli.md."""
    text = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    parts = re.findall(r"^## (.*)\n\n```text\n((?:.*\n)*?)```", text, re.M)
    found = []
    for name, shown in parts:
        lines = re.search(r"^  Example:\n((?:    .*\n)+)", shown, re.M)[1].splitlines()
        lines = [line.strip() for line in lines if "--device cuda" not in line]  # needs a GPU
        found.append(Block(f"docs/cli.md: {name}", "sh", tuple(lines), None))
    return found


BLOCKS = [block for page in PAGES for block in find_blocks(page)] + find_examples()
TO_RUN = [block for block in BLOCKS if block.language in COMMANDS and block.reason is None]
TO_RUN = [block for block in TO_RUN if block.language != "python"]
PYTHON = [page for page in PAGES if "```python" in page.read_text(encoding="utf-8")]


@pytest.fixture(scope="session")
def in_process(invoke):
    """Runs one of our commands in this process: ``in_process(words)`` -> exit status and talk."""

    def run(words: list[str]) -> tuple[int, str]:
        name = words[0].removeprefix(".venv/bin/")
        result = invoke(MAINS[name], *words[1:])
        return result.exit_code, result.output

    return run


@pytest.fixture(scope="session")
def workshop(tmp_path_factory, bpe_file: Path, in_process) -> Path:
    """What the pages expect: a model, trained and exported as the README says, and files."""
    folder = tmp_path_factory.mktemp("workshop")
    shutil.copytree(ROOT / "examples", folder / "examples")
    shutil.copy(ROOT / "examples" / "inbox.csv", folder)
    for name in ("dumps", "labeled", "data", ".venv/bin", "opt/spam-batch/models"):
        (folder / name).mkdir(parents=True)
    shutil.copy(bpe_file, folder / "data")  # where what was fetched is kept
    for name, package in PACKAGES.items():
        write_script(folder / ".venv" / "bin" / name, f'"{sys.executable}" -m {package} "$@"')
    write_script(folder / ".venv" / "bin" / "ssh", '"${@:2}"')
    (folder / "opt/spam-batch/.venv").symlink_to(folder / ".venv")
    (folder / "opt/spam-batch/models/spam").symlink_to(folder / "models" / "spam")
    # The labels are spam's, so that the same model can stand for models/spam.
    text = {"spam": "Winner {}, call now to claim your prize", "ham": "Lunch at {}, said José?"}
    # By name: messages that differ in a number only would be near copies.
    names = [f"{first}{second}l" for first in "BDFHJK" for second in "aeiou"]
    rows = [(text[label].format(name), label) for name in names for label in text]
    others = [("A free ringtone for you", "spam"), ("The train is late", "ham")]
    write_csv(folder / "tickets.csv", ("body", "queue"), rows)
    write_csv(folder / "other.csv", ("body", "queue"), others)
    write_csv(folder / "dump.csv", ("id", "body"), enumerate(text for text, _ in rows))
    for name in ("dumps/a.csv", "dumps/b.csv"):
        shutil.copy(folder / "dump.csv", folder / name)
    write_csv(folder / "sms.csv", ("id", "text"), enumerate(text for text, _ in rows))
    line = "id;text\r\n1;José, 5 o’clock?\r\n"
    (folder / "dump.csv.gz").write_bytes(gzip.compress(line.encode("cp1252")))
    (folder / "messages.jsonl").write_text(json.dumps({"text": "hello"}) + "\n", "utf-8")
    received = [("2026-11-22", text) for text, _ in rows]
    write_csv(folder / "received.csv", ("received", "text"), received)
    with contextlib.chdir(folder), pytest.MonkeyPatch.context() as patch:
        patch.setattr("trainer.model.initial_weights.fetch_weights", refuse_to_fetch)
        for command in (FIT, EXPORT, CLASSIFY):
            status, said = in_process(shlex.split(command))
            assert status == 0, said
    write_corrections(folder)
    for kind in ("runs", "models"):
        shutil.copytree(folder / kind / "tickets", folder / kind / "spam")
    return folder


def write_corrections(folder: Path) -> None:
    """What a person would save who finds every label of labeled.csv right."""
    with open(folder / "labeled.csv", encoding="utf-8", newline="") as file:
        rows = [
            (row["text"], row["label"], row["label"], at + 1, at, "random")
            for at, row in enumerate(csv.DictReader(file), 1)
        ]
    write_csv(
        folder / "corrections.csv", ("text", "label", "predicted", "line", "row", "why"), rows
    )


def refuse_to_fetch(*_: object, **__: object) -> None:
    raise UnavailableError("no network in a test")


def write_script(path: Path, command: str) -> None:
    path.write_text(f"#!/bin/bash\nexec {command}\n", encoding="utf-8")
    path.chmod(0o755)


def write_csv(path: Path, header: tuple[str, ...], rows) -> None:
    with open(path, "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])


@pytest.fixture
def scratch(workshop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the workshop to work in."""
    folder = Path(shutil.copytree(workshop, tmp_path / "scratch", symlinks=True))
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PATH", f"{folder}/.venv/bin:{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setattr("batch.checks.doctor.BENCHMARK_SECONDS", 0.01)
    return folder


@pytest.mark.parametrize("block", TO_RUN, ids=lambda block: block.place)
def test_command_lines(block: Block, scratch: Path, in_process) -> None:
    assert block.commands(), f"{block.place}: no command in it; give the block a language, or text"
    for command in block.commands():
        if command in (FIT, EXPORT):
            continue  # it made the workshop
        words = shlex.split(command, comments=True)
        is_ours = words[0].removeprefix(".venv/bin/") in PACKAGES
        if block.language == "crontab":
            status, said = run_as_cron(command, scratch)
            assert said == "", f"{block.place}: {command}: {said}"
        elif is_ours and not {"|", ">", "<", "&&"} & set(words):
            status, said = in_process(words)
        else:
            done = subprocess.run(
                ["/bin/sh", "-c", command], capture_output=True, text=True, timeout=300
            )
            status, said = done.returncode, done.stdout + done.stderr
        assert status == 0, f"{block.place}: {command}: {said}"


def run_as_cron(line: str, scratch: Path) -> tuple[int, str]:
    """Without environment, terminal and standard input; its folders are here, and not in /."""
    *_, command = line.split(None, 5)
    command = command.replace("/srv/spam", str(scratch)).replace("/opt", f"{scratch}/opt")
    done = subprocess.run(
        ["/bin/sh", "-c", f"exec <&-; {command}"], cwd="/", env={"PYTHONPATH": str(ROOT)},
        start_new_session=True, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("page", PYTHON, ids=lambda page: page.name)
def test_python(page: Path, scratch: Path) -> None:
    """The blocks of a page one after the other, as a reader would type them."""
    names: dict = {}
    for block in find_blocks(page):
        if block.language == "python" and block.reason is None:
            with contextlib.redirect_stdout(io.StringIO()):
                exec(compile("\n".join(block.lines), block.place, "exec"), names)


def test_every_mark_has_a_reason_and_a_block() -> None:
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        marks = MARK.findall(text)
        marked = [block for block in find_blocks(page) if block.reason is not None]
        assert text.count("<!-- not run") == len(marks) == len(marked), page
    for block in BLOCKS:
        if block.reason is not None:
            assert len(block.reason) > 10, f"{block.place}: a mark needs a reason"
            assert block.language in COMMANDS, f"{block.place}: nobody would run it"
            for name in re.findall(r"tests/\S+\.py", block.reason):
                assert (ROOT / name).exists(), f"{block.place}: there is no {name}"


def test_no_command_hides_in_other_text() -> None:
    """Not in a block of another language, nor in one that is indented."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        outside = re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)
        assert not re.search(r"^(?: {4}|\t)\S", outside, re.M), f"{page.name}: an indented block"
    for block in BLOCKS:
        if block.language not in COMMANDS and not block.place.startswith("docs/cli.md"):
            for line in block.lines:
                assert not OURS.match(line.removeprefix("$ ")), f"{block.place}: {line}"


def test_names_of_commands_and_options() -> None:
    """In running text and in marked blocks, too, each command, option and target exists."""
    code = [path for room in ("batch", "trainer") for path in (ROOT / room).rglob("*.py")]
    sources = "".join(path.read_text(encoding="utf-8") for path in code)
    formats = re.findall(
        '^(?:MANIFEST_)?FORMAT = "(.*?)"', sources, re.M
    )  # of files, which are named likewise
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        spans = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S))
        for block in find_blocks(page):
            spans += block.commands() if block.language in ("", "sh", "console") else []
        for span in spans:
            if OURS.match(span) and span not in formats:
                check_names(page.name, span.removeprefix(".venv/bin/"))


def check_names(page: str, command: str) -> None:
    program, *words = shlex.split(command, comments=True)
    if program == "make":
        makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
        targets = re.search(r"^\.PHONY: (.*)$", makefile, re.M)[1].split()
        known = {*targets, *re.findall(r"^([A-Z_]+) \?=", makefile, re.M), ".venv/bin/python"}
        unknown = {word.split("=")[0] for word in words} - known
    else:
        main = MAINS[program]
        given = [word for word in words if word.startswith("--")]
        known = {"--help", "--version"}
        if words[0] not in ("COMMAND", *given):
            assert words[0] in main.commands, f"{page}: {command}"
            for option in main.commands[words[0]].params:
                known.update(option.opts, option.secondary_opts)
        unknown = {word.split("=")[0] for word in given} - known
    assert not unknown, f"{page}: {command}: {unknown}"
