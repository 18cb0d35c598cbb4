"""Sub-folders that are left out, and a message that looks like an option."""

import gzip
import shlex
import shutil

import pytest
from click.testing import CliRunner

from batch.cli.commands import main


def test_sub_folders_are_told_and_the_pattern_takes_them(classify, stub_bundle, tmp_path):
    for name in ("in/a.csv", "in/2025/b.csv", "in/2026/01/c.CSV", "in/2026/01/d.tsv.gz"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        data = b"text\na\n"
        (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    (tmp_path / "in" / ".hidden").mkdir()
    (tmp_path / "in" / ".hidden" / "e.csv").write_bytes(b"text\na\n")
    (tmp_path / "in" / "2024").mkdir()

    def run(*inputs: str):
        command = ["classify", *inputs, "--out-dir", "in/out", "--bundle", str(stub_bundle)]
        return CliRunner().invoke(main, [*command, "--quiet"])

    advice = "'in/**/*.CSV' 'in/**/*.csv' 'in/**/*.tsv.gz'"
    said = f"in: 2 sub-folders left out; to label the files in them, too, type: {advice}\n"
    for _ in range(2):  # what is labelled is no reason to warn
        result = run("in")
        assert (result.exit_code, result.stderr) == (0, said)
    shutil.rmtree("in/out")
    result = run("in", *shlex.split(advice))
    assert (result.exit_code, result.stderr) == (0, "")
    labelled = sorted(path.name for path in (tmp_path / "in/out").iterdir())
    assert [name for name in labelled if not name.endswith((".json", ".lock"))] == [
        "a.csv", "b.csv", "c.CSV", "d.tsv.gz"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("message", "what"),
    [("-50% today", "No such option '-5'. "), ("--free entry", ""), ("-", None)],
)
def test_a_message_that_looks_like_an_option(classify, stub_bundle, message, what):
    options = ["--bundle", str(stub_bundle)]
    result = CliRunner().invoke(main, ["text", message, *options])
    if what is not None:
        assert result.exit_code == 2
        assert result.stderr == (
            "Usage: spam-batch text [OPTIONS] MESSAGE\n"
            "Try 'spam-batch text --help' for help.\n\n"
            f"Error: {what}A message that begins with - is typed behind --, for example: "
            "spam-batch text -- '-50% today'\n"
        )
        result = CliRunner().invoke(main, ["text", *options, "--", message])
    assert result.exit_code == 0
    assert result.stdout.split("\t")[0] in ("ham", "spam")
