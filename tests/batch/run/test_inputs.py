"""Several inputs: the files that a name stands for, and the folder that their outputs go to."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from batch.cli.commands import main
from batch.errors import SpamBatchError
from batch.run.inputs import find_inputs, name_outputs


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current one: a folder ``in`` with ``a.csv``, ``b.tsv`` and two odd names."""
    monkeypatch.chdir(tmp_path)
    os.mkdir("in")
    for name in ("a.csv", "b.tsv", "[x].csv"):
        (tmp_path / "in" / name).write_bytes(b"text\na\n")
    os.symlink("a.csv", "in/link.csv")
    return tmp_path


def refusal(action: Callable[[], object]) -> tuple[str, int]:
    with pytest.raises(SpamBatchError) as caught:
        action()
    return str(caught.value), caught.value.exit_code


def test_patterns_and_names_stand_for_each_file_once():
    assert find_inputs(["in/b.tsv", "in/*.csv", "in"]) == ["in/b.tsv", "in/[x].csv", "in/a.csv"]
    assert find_inputs(["in/[x].csv"]) == ["in/[x].csv"]
    assert find_inputs(["none.csv"]) == ["none.csv"]


def test_what_stands_for_no_file():
    assert refusal(lambda: find_inputs(["*.none"])) == ("*.none: no file matches", 66)


def test_outputs_have_their_inputs_names_in_a_folder_that_is_made_later():
    assert name_outputs(["in/b.tsv", "x"], "in") == ["in/b.tsv", "in/x"]
    assert name_outputs(["x"], "new") == ["new/x"]
    assert not os.path.exists("new")


@pytest.mark.parametrize(
    ("out_dir", "message"),
    [
        ("in/a.csv", "in/a.csv is not a folder; give another --out-dir"),
        ("in/link.csv", "in/link.csv is not a folder; give another --out-dir"),
        ("none/out", "the folder none does not exist; make it first"),
        ("in/a.csv/out", "cannot create in/a.csv/out: Not a directory"),
        ("x" * 256, f"cannot create {'x' * 256}: {os.strerror(errno.ENAMETOOLONG)}"),
    ],
)
def test_a_folder_that_cannot_be(invoke, bundle, out_dir, message):
    for options, typed in ((("--out-dir",), "--out-dir"), (("--engine", "ray", "--out"), "--out")):
        command = ("classify", "in/a.csv", *options, out_dir, "--bundle", bundle)
        result = invoke(main, *command)
        assert (result.exit_code, result.stdout) == (73, "")
        said = message.replace("--out-dir", typed)
        assert result.stderr == f"spam-batch: error: {said}\n"
