"""A job: one input, its output, and the rules for its labels."""

from dataclasses import dataclass

from batch.formats.columns import expand_columns
from batch.formats.input import Input
from batch.formats.open_table import open_table
from batch.formats.table import Table
from batch.model.bundle import Manifest
from batch.model.rules import BUNDLES_RULES, Rules
from batch.reading.source import Source
from batch.writing.rejects import NO_REJECTS, Allowance


@dataclass(frozen=True)
class Job:
    """One input to label into one output."""

    input: Input
    out: str  # a path, or - for standard output
    columns: tuple[str, ...] = ("label", "score")
    allowance: Allowance = NO_REJECTS
    rules: Rules = BUNDLES_RULES
    restart: bool = False  # drop an interrupted run instead of resuming it
    drops_stale: bool = False  # drop an interrupted run of another input, bundle or options
    replaces_any: bool = True  # False: a file that is there already must be an output of ours
    progress: bool = True  # show a progress bar, on a terminal

    def open_table(self, source: Source, manifest: Manifest) -> Table:
        """Read the input's header and find its text column.

        Raises:
            SpamBatchError: the source cannot be read in its format.
        """
        labels = self.rules.decision(manifest).given
        columns = expand_columns(self.columns, manifest.labels)
        return open_table(source, self.input, self.out, columns, labels)

    def settings(self, manifest: Manifest) -> dict[str, str]:
        """Option -> value as the user types it, for each option that the output depends on."""
        return {
            **self.input.settings(),
            "--columns": ",".join(self.columns),
            **self.rules.settings(manifest),
        }
