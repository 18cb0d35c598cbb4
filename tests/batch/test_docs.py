"""docs/cli.md and the man page are what the code says."""

import re
import shutil
import subprocess
import sys
from importlib import metadata

import pytest


def test_they_are_up_to_date(root):
    pinned = re.search(r"^click==(.+)$", (root / "constraints.txt").read_text("utf-8"), re.M)[1]
    if metadata.version("click") != pinned:
        pytest.skip(f"click {pinned} makes the help that is in docs")
    command = [sys.executable, "docs/make_cli.py", "--check"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(shutil.which("groff") is None, reason="there is no groff")
def test_the_man_page_is_well_formed(root):
    command = ["groff", "-man", "-ww", "-z", "docs/spam-batch.1"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_every_command_and_option_is_in_both(root):
    from batch.cli.commands import main

    page = (root / "docs" / "cli.md").read_text(encoding="utf-8")
    man = (root / "docs" / "spam-batch.1").read_text(encoding="utf-8").replace("\\-", "-")
    for name, command in main.commands.items():
        assert f"## spam-batch {name}\n" in page
        assert f"\n.SS {name}\n" in man
        for option in command.params:
            for spelled in (text for text in option.opts if text.startswith("--")):
                assert f"{spelled} " in page and spelled in man
