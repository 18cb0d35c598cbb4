"""The help of the three programs: examples first, headings, screens of 24 lines."""

import re
import shlex
from pathlib import Path

import click
import pytest

from batch.cli.commands import main as batch_main
from batch.help import HEADINGS, Option, options_by_heading
from exporter.cli import main as export_main
from trainer.cli import main as train_main
from trainer.distill import MAX_LENGTH, MIN_CLASS
from trainer.run import RunOptions

SCREEN = 24  # lines, of 80 columns
COMMANDS = [
    (main, name, command)
    for main in (batch_main, train_main, export_main)
    for name, command in main.commands.items()
]
every_command = pytest.mark.parametrize(
    ("main", "name", "command"), COMMANDS, ids=[f"{main.name} {name}" for main, name, _ in COMMANDS]
)


def help_of(main: click.Group, name: str, columns: int = 80) -> str:
    """The help as a terminal of so many columns shows it."""
    top = click.Context(main, info_name=main.name, terminal_width=columns)
    command = main.commands[name]
    return command.get_help(click.Context(command, top, name))


@every_command
def test_a_group_fits_one_screen(main, name: str, command: click.Command) -> None:
    shown = help_of(main, name)
    groups = re.findall(
        r"^((?:What|Which|How|Where|When|Other|Options).*):\n((?:  .*\n?)+)", shown, re.M
    )
    headings = [heading for heading, _ in groups]
    grouped = list(options_by_heading(command))
    assert headings == ([*grouped, "Other options"] if grouped else ["Options"])
    for heading, lines in groups:
        assert 1 + len(lines.splitlines()) <= SCREEN, f"{heading}\n{lines}"
    flags = r"^  (--[\w-]+)"
    found = [flag for _, lines in groups for flag in re.findall(flags, lines, re.M)]
    options = [option for each in options_by_heading(command).values() for option in each]
    assert found == [*(option.opts[0] for option in options), "--help"]


@every_command
def test_an_option_stands_under_a_heading(main, name: str, command: click.Command) -> None:
    options = [option for option in command.params if isinstance(option, click.Option)]
    assert [option.name for option in options if not isinstance(option, Option)] == []
    assert {option.heading for option in options} <= set(HEADINGS)


@every_command
def test_examples_come_first(main, name: str, command: click.Command) -> None:
    usage, what, example, *_ = help_of(main, name).split("\n\n")
    assert usage.startswith(f"Usage: {main.name} {name} ")
    assert re.fullmatch(r"  [A-Z].*[.)]", what, re.DOTALL)
    assert example.startswith("  Example:\n    ") and f"{main.name} {name}" in example


def test_headings_are_those_of_a_run() -> None:
    assert list(options_by_heading(batch_main.commands["classify"])) == [
        "What to read", "What to write", "How to decide", "Where to run", "When things go wrong",
    ]  # fmt: skip


def test_a_narrow_terminal_gets_an_option_and_its_text_below_each_other() -> None:
    shown = help_of(batch_main, "classify", columns=40)
    assert "  --out FILE\n" in shown and max(map(len, shown.splitlines())) <= 100
    lines = shown[shown.index("What to read:") : shown.index("Exit status:")].splitlines()
    assert max(map(len, lines)) <= 40


@pytest.mark.parametrize("args", [[], ["--help"]])
def test_a_newcomer_is_told_how_to_get_a_bundle(invoke, args: list[str]) -> None:
    result = invoke(batch_main, *args)
    assert (
        "  The commands need a bundle, the folder of a model: models/spam, or what --bundle\n"
        "  names. To make one, type:\n"
        "    spam-train fit && spam-export bundle --out models/spam\n"
    ) in result.output
    assert result.exit_code == (0 if args else 2)


def test_what_is_advised_makes_the_bundle(
    invoke, tiny_model, write_run_folder, tmp_path: Path, monkeypatch
) -> None:
    """As typed, in an empty folder; but a tiny model stands for one that was trained."""

    def train(options: RunOptions) -> dict:
        write_run_folder(options.out, tiny_model())
        return {}

    monkeypatch.setattr("trainer.run.train", train)
    monkeypatch.setattr("trainer.run.summary_lines", lambda _: [])
    monkeypatch.chdir(tmp_path)
    said, advice = invoke(batch_main, "text", "hello").stderr.split("make one with: ")
    assert said == "spam-batch: error: models/spam: no such bundle; copy one there, or "
    mains = {"spam-train": train_main, "spam-export": export_main}
    for command in advice.strip().split(" && "):
        program, *args = shlex.split(command)
        result = invoke(mains[program], *args)
        assert result.exit_code == 0, result.output
    result = invoke(batch_main, "text", "hello")
    assert result.exit_code == 0, result.output
    assert result.stdout.partition("\t")[0] in ("ham", "spam")


def option_of(main: click.Group, command: str, flag: str) -> Option:
    params = main.commands[command].params
    return next(each for each in params if flag in each.opts)


def option_help(command: str, flag: str) -> str:
    """The help of an option of spam-train."""
    return option_of(train_main, command, flag).help


def test_defaults_of_distill_are_its_own() -> None:
    assert option_help("distill", "--min-class") == (
        f"Fewest messages of a class to train on. Default: {MIN_CLASS}."
    )
    assert option_help("distill", "--max-length") == (
        "Tokens, or model for its whole context. Default: the longest training message, at most "
        f"{MAX_LENGTH}."
    )
    assert option_help("fit", "--min-class") == (
        "Fewest messages of a class to train on. Default: enough for one in each set."
    )
    assert option_help("fit", "--max-length") == (
        "Tokens, or model for its whole context. Default: the longest training message."
    )


@pytest.mark.parametrize(
    ("main", "commands", "flag", "said"),
    [
        (export_main, "bundle cascade verify", "--device",
         "Device on which this command runs exported models."),
        (export_main, "cascade verify", "--text",
         "Text that was not trained on; repeat it for more files."),
        (train_main, "check distill evaluate fit scores table", "--labels",
         "Labels to keep; records with another one are left out, and counted."),
        *(
            (main, commands, flag, said)
            for flag, said in (
                ("--encoding", "Encoding of the records."),
                ("--format", "Default: by the file's name, else csv."),
            )
            for main, commands in (
                (batch_main, "accuracy classify compare estimate review"),
                (train_main, "check distill evaluate fit pretrain scores table"),
                (export_main, "cascade verify"),
            )
        ),
        (batch_main, "estimate", "--overwrite-columns",
         "Taken as by classify; it changes nothing here."),
    ],
)  # fmt: skip
def test_a_shared_text_is_true_of_each_command(main, commands: str, flag: str, said: str) -> None:
    assert {option_of(main, name, flag).help for name in commands.split()} == {said}


def test_estimate_writes_nothing() -> None:
    assert "What to write" not in options_by_heading(batch_main.commands["estimate"])
