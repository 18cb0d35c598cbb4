"""The help of a command: examples first, then its options under headings.

The headings, and their order, are the same in all three programs.
"""

from collections.abc import Callable
from typing import Any

import click

READ = "What to read"
MODEL = "Which model"
TRAIN = "How to train"
OPTIMIZER = "How the optimizer steps"
WRITE = "What to write"
DECIDE = "How to decide"
RUN = "Where to run"
WRONG = "When things go wrong"
HEADINGS = (READ, WRITE, MODEL, TRAIN, OPTIMIZER, DECIDE, RUN, WRONG)

Decorator = Callable[[Any], Any]


class Option(click.Option):
    """An option that stands under a heading."""

    def __init__(self, *args: Any, heading: str, **attributes: Any):
        super().__init__(*args, **attributes)
        self.heading = heading


def option(heading: str, *names: str, **attributes: Any) -> Decorator:
    """As ``click.option``, with one of HEADINGS first."""
    return click.option(*names, cls=Option, heading=heading, **attributes)


def together(*options: Decorator) -> Decorator:
    """Options as one decorator; the first one stands first in the help."""

    def decorate(command: Any) -> Any:
        for add in reversed(options):
            command = add(command)
        return command

    return decorate


def options_by_heading(command: click.Command) -> dict[str, list[Option]]:
    """The options of a command by their heading, in the order of HEADINGS."""
    options = [each for each in command.params if isinstance(each, Option)]
    found = {title: [each for each in options if each.heading == title] for title in HEADINGS}
    return {title: each for title, each in found.items() if each}


class Command(click.Command):
    """A click command whose help has its options under headings, drawn by cloup."""

    def get_help(self, ctx: click.Context) -> str:
        import cloup  # late: it takes 50 ms, which no run should wait for

        shown_params = [each for each in self.params if not isinstance(each, Option)]
        for title, options in options_by_heading(self).items():
            group = cloup.OptionGroup(title)
            for each in options:
                each.group = group  # type: ignore[attr-defined]  # where cloup looks
            shown_params += options
        shown = cloup.Command(self.name, params=shown_params, help=self.help, epilog=self.epilog)
        shown_in = cloup.Context(
            shown, ctx.parent, ctx.info_name, terminal_width=ctx.terminal_width,
            max_content_width=ctx.max_content_width,
        )  # fmt: skip
        return shown.get_help(shown_in)
