"""Write docs/cli.md, docs/cli-training.md and docs/spam-batch.1 from the code: ``make docs``."""

import inspect
import re
import sys
from pathlib import Path

import click

from batch.cli.commands import EXIT_STATUSES, main
from batch.help import options_by_heading
from batch.version import __version__
from exporter.cli import main as export_main
from trainer.cli import main as train_main

COMPLETION = """## Completion

bash (4.4 or later), zsh and fish complete commands, options, choices and names of files. Once, in the shell that you use:

<!-- not run: tests/test_completion.py types these lines, in a home folder of its own -->
```sh
_SPAM_BATCH_COMPLETE=bash_source spam-batch > ~/.spam-batch.bash
echo '. ~/.spam-batch.bash' >> ~/.bashrc
```

<!-- not run: as above, in a home folder -->
```sh
_SPAM_BATCH_COMPLETE=zsh_source spam-batch > ~/.spam-batch.zsh
echo '. ~/.spam-batch.zsh' >> ~/.zshrc
```

<!-- not run: as above, in a home folder -->
```sh
mkdir -p ~/.config/fish/completions
_SPAM_BATCH_COMPLETE=fish_source spam-batch > ~/.config/fish/completions/spam-batch.fish
```

In zsh, the line stands behind `compinit`. A new shell then completes. The same for the other two programs, with their names: `_SPAM_TRAIN_COMPLETE=bash_source spam-train`, `_SPAM_EXPORT_COMPLETE=bash_source spam-export`. The shell asks the program at each Tab, so a later version needs no new lines."""  # noqa: E501
DOCS = Path(__file__).resolve().parent
WIDTH = 100


def command_contexts(group=main, name="spam-batch", above=None) -> list[click.Context]:
    """A group itself, then each of its commands, by name."""
    top = click.Context(group, above, info_name=name, max_content_width=WIDTH, terminal_width=WIDTH)
    found = [top]
    for inner, command in sorted(group.commands.items()):
        if isinstance(command, click.Group):
            found += command_contexts(command, inner, top)
        else:
            found.append(click.Context(command, top, inner))
    return found


def write_markdown() -> str:
    parts = [
        "# spam-batch on the command line",
        "Made by `make docs` from the code; a test compares them. `spam-batch COMMAND --help` "
        "prints the same.",
        COMPLETION,
    ]
    parts += map(write_help, command_contexts())
    rows = "\n".join(f"| {status} | {text} |" for status, text in EXIT_STATUSES.items())
    parts.append(f"## Exit status\n\n| exit | meaning |\n| --- | --- |\n{rows}")
    return "\n\n".join(parts) + "\n"


def write_help(context: click.Context) -> str:
    lines = [line.rstrip() for line in context.get_help().splitlines()]
    return f"## {context.command_path}\n\n```text\n" + "\n".join(lines) + "\n```"


def write_training_markdown() -> str:
    contexts = command_contexts(train_main, "spam-train")
    contexts += command_contexts(export_main, "spam-export")
    title = "# spam-train and spam-export on the command line"
    note = "Made by `make docs` from the code; a test compares them."
    return "\n\n".join([title, note, *map(write_help, contexts)]) + "\n"


def write_man() -> str:
    contexts = command_contexts()
    lines = [
        f'.TH SPAM-BATCH 1 "" "spam-batch {__version__}" "User Commands"',
        ".SH NAME", r"spam\-batch \- label dumps of messages with an exported classifier",
        ".SH SYNOPSIS",
    ]  # fmt: skip
    for context in contexts[1:]:
        usage = " ".join(context.command.collect_usage_pieces(context))
        lines += [".br", rf"\fB{roff(context.command_path)}\fR {roff(usage)}"]
    lines += [".SH DESCRIPTION", *paragraphs(contexts[0]), ".SH COMMANDS"]
    for context in contexts[1:]:
        lines += [f".SS {roff(context.info_name)}", *paragraphs(context)]
        for heading, options in options_by_heading(context.command).items():
            lines += [".PP", rf"\fI{heading}:\fR"]
            for option in options:
                name, text = option.get_help_record(context)
                lines += [".TP", rf"\fB{roff(name)}\fR", roff(text)]
    lines.append(".SH EXIT STATUS")
    for status, text in EXIT_STATUSES.items():
        lines += [".TP", str(status), roff(text)]
    lines += [
        ".SH FILES", ".TP", "models/spam", "The bundle, unless --bundle names another.",
        ".TP", roff(".OUT.checkpoint.json, .OUT.*.part"),
        "Beside OUT: an interrupted run, which the same command resumes.",
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def paragraphs(context: click.Context) -> list[str]:
    r"""A command's help; a paragraph after ``\b`` keeps its lines."""
    lines = []
    for part in re.split(r"\n\n+", inspect.cleandoc(context.command.help or "")):
        kept = part.startswith("\b\n")
        texts = part.removeprefix("\b\n").splitlines() if kept else [" ".join(part.split())]
        lines += [".PP", ".nf", *map(roff, texts), ".fi"] if kept else [".PP", roff(texts[0])]
    return lines


def roff(text: str) -> str:
    """Text for a man page: hyphens can be copied, and no line is a request to roff."""
    text = text.replace("\\", r"\e").replace("-", r"\-")
    return rf"\&{text}" if text.startswith((".", "'")) else text


if __name__ == "__main__":
    made = {
        DOCS / "cli.md": write_markdown(),
        DOCS / "cli-training.md": write_training_markdown(),
        DOCS / "spam-batch.1": write_man(),
    }
    if "--check" in sys.argv:
        old = [path for path, text in made.items() if path.read_text(encoding="utf-8") != text]
        sys.exit(
            f"differs from the code; type: make docs ({', '.join(map(str, old))})" if old else 0
        )
    for path, text in made.items():
        path.write_text(text, encoding="utf-8")
