"""Shells complete commands, options, choices and files, as docs/cli.md says."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGES = {"spam-batch": "batch", "spam-train": "trainer", "spam-export": "exporter"}


@pytest.fixture
def complete(root: Path):
    """``complete(shell, *words)``: the answer to that shell when the last word is completed."""

    def run(shell: str, *words: str) -> list[str]:
        program, *before, incomplete = words
        env = {
            **os.environ,
            f"_{program.upper().replace('-', '_')}_COMPLETE": f"{shell}_complete",
            # fish gives the whole line and the word; bash and zsh the number of the word.
            "COMP_WORDS": " ".join([program, *before, incomplete]),
            "COMP_CWORD": incomplete if shell == "fish" else str(len(before) + 1),
        }
        command = [sys.executable, "-m", PACKAGES[program]]
        done = subprocess.run(command, cwd=root, env=env, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout.splitlines()

    return run


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (("spam-batch", "cl"), ["plain,classify"]),
        (("spam-train", "d"), ["plain,distill"]),
        (("spam-export", "ver"), ["plain,verify"]),
        (("spam-batch", "classify", "--out"), ["plain,--out", "plain,--out-dir"]),
        (("spam-batch", "classify", "--device", "c"), ["plain,cpu", "plain,cuda"]),
        (("spam-train", "fit", "--recipe", ""), ["plain,default", "plain,book"]),
        (("spam-batch", "classify", "in"), ["file,in"]),
        (("spam-batch", "classify", "inbox.csv", "--bundle", "mo"), ["dir,mo"]),
        (("spam-train", "distill", "in"), ["file,in"]),
        (("spam-export", "verify", "models/spam", "--text", "in"), ["file,in"]),
    ],
)
def test_what_is_completed(complete, words, found) -> None:
    assert complete("bash", *words) == found


def test_zsh_and_fish_get_the_text_of_an_option_too(complete) -> None:
    found = complete("zsh", "spam-batch", "classify", "--restart")
    about = "Start over instead of resuming an interrupted run."
    assert found == ["plain", "--restart", about]
    found = complete("fish", "spam-batch", "classify", "--restart")
    assert found == [f"plain,--restart\t{about}"]


@pytest.fixture
def home(root: Path, tmp_path: Path) -> Path:
    """A home folder after the lines of docs/cli.md, and ``spam-batch`` on a path of its own."""
    page = (root / "docs" / "cli.md").read_text(encoding="utf-8")
    section = page[page.index("## Completion") : page.index("## spam-batch\n")]
    lines = "\n".join(re.findall(r"^```sh\n(.*?)^```", section, re.M | re.S))
    script = tmp_path / "bin" / "spam-batch"
    script.parent.mkdir()
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m batch "$@"\n', encoding="utf-8")
    script.chmod(0o755)
    run_shell(["sh", "-e"], root, tmp_path, lines)
    return tmp_path


def run_shell(command: list[str], root: Path, home: Path, lines: str) -> list[str]:
    path = f"{home / 'bin'}{os.pathsep}{os.environ['PATH']}"
    env = {**os.environ, "HOME": str(home), "PATH": path, "PYTHONPATH": str(root)}
    done = subprocess.run(command, cwd=home, env=env, input=lines, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_bash_completes_after_the_lines_of_the_page(root: Path, home: Path) -> None:
    lines = """
        . ~/.bashrc
        complete -p spam-batch
        COMP_WORDS=(spam-batch classify --log-format j) COMP_CWORD=3
        _spam_batch_completion spam-batch
        echo "${COMPREPLY[@]}"
    """
    assert run_shell(["bash"], root, home, lines) == [
        "complete -o nosort -F _spam_batch_completion spam-batch", "json",
    ]  # fmt: skip


def test_the_other_shells_scripts_are_there(home: Path) -> None:
    assert (home / ".zshrc").read_text(encoding="utf-8") == ". ~/.spam-batch.zsh\n"
    zsh = (home / ".spam-batch.zsh").read_text(encoding="utf-8")
    assert "#compdef spam-batch" in zsh and "_SPAM_BATCH_COMPLETE=zsh_complete" in zsh
    fish = home / ".config" / "fish" / "completions" / "spam-batch.fish"
    assert "_SPAM_BATCH_COMPLETE=fish_complete" in fish.read_text(encoding="utf-8")
