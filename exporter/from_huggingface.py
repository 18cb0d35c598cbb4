"""Export a classifier that transformers finetuned and saved: ``bundle --from-hf``.

Such a folder has no messages of its own. It is checked on those that the user gives, or on built-in
ones, and the truth of the accuracy gate is what PyTorch says of them.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import numpy as np

from batch.errors import InputError, UsageError
from batch.formats.input import Input
from batch.formats.open_table import inner_ending, open_table
from batch.messages import count
from batch.model.decision import Decision
from batch.model.tokenizer import Tokenizer, read_ranks
from batch.reading.dialect import DEFAULT_DIALECT
from batch.reading.opening import open_source
from batch.writing.output import STANDARD_OUTPUT
from batch.writing.rejects import NO_REJECTS
from exporter.parity import VerificationError
from exporter.trained_run import TrainedRun
from exporter.verification_set import (
    GOLDEN_TEXTS,
    NASTY_TEXTS,
    ValidationSet,
    VerificationSet,
    torch_logits,
)
from trainer.data.labels import find_positive_label
from trainer.fetch.sources import BPE_SHA256
from trainer.huggingface.compare import has_transformers, largest_difference, transformers_logits
from trainer.huggingface.names import KIND, TOLERANCE, WEIGHTS
from trainer.huggingface.read import HuggingFaceModel, read_folder
from trainer.run_folder import RunConfig, package_versions

log = logging.getLogger("exporter")

MOST_TEXTS = 500  # messages that are read of --text


@dataclass(frozen=True)
class HuggingFaceSource:
    """A folder of transformers, and what its files do not say."""

    folder: Path
    texts: tuple[Path, ...] = ()  # files with messages to check on; none: the built-in ones
    text_column: str | None = None
    positive_label: str | None = None
    max_length: int | None = None  # tokens; None: what the folder says

    def check_precisions(self, precisions: Sequence[str]) -> None:
        """Refuse what cannot be checked.

        Raises:
            UsageError: a reduced precision without messages.
        """
        reduced = [precision for precision in precisions if precision != "fp32"]
        if reduced and not self.texts:
            raise UsageError(
                f"{reduced[0]} is checked on messages, and a folder of transformers has none; give "
                "a file of them, for example --text inbox.csv, or type --precision fp32"
            )

    def read(self, progress: bool = False) -> TrainedRun:
        """The model as a run, with transformers' logits of the messages where it is installed.

        Raises:
            MissingInputError, InputError: a file is missing, damaged, or not what can be exported.
            UsageError: there is no such positive label, or the length is more than the model's.
            VerificationError: our model gives other logits than transformers.
        """
        found = read_folder(self.folder)
        config = self._make_config(found)
        decision = Decision(config.labels, config.positive_label, 0.5, 1.0)
        tokenizer = Tokenizer(read_ranks(found.ranks))
        rows = self._read_rows(found, config, decision, tokenizer, progress)
        chosen = decision.decide(rows.logits)[0]
        numbers = np.arange(len(rows.names) - len(NASTY_TEXTS))
        validation = ValidationSet(numbers, chosen[numbers])
        metrics: dict = {"accuracy": {}, "messages": {}, "data": {}}
        return TrainedRun(
            self.folder, config, found.model, tokenizer, metrics, decision, rows, validation,
            found.ranks,
        )  # fmt: skip

    def _make_config(self, found: HuggingFaceModel) -> RunConfig:
        context = found.model.config.context_length
        if self.max_length is not None and self.max_length > context:
            raise UsageError(f"--max-length {self.max_length} is more than the model's {context}")
        name = self.folder.resolve().name
        statement = (
            f"A GPT-2 classifier from the transformers folder {name} ({WEIGHTS}, SHA-256 "
            f"{found.sha256[WEIGHTS]}), finetuned elsewhere."
        )
        return RunConfig(
            model=found.model.config.to_dict(),
            recipe={"name": "transformers"},
            labels=found.labels,
            positive_label=find_positive_label(self.positive_label, found.labels),
            max_length=self.max_length or found.max_length,
            weights={"kind": KIND, "origin": name, "sha256": found.sha256, "statement": statement},
            data={"sha256": None},
            tokenizer_sha256=BPE_SHA256,
            device="cpu",
            versions=package_versions("torch", "transformers"),
        )

    def _read_rows(
        self,
        found: HuggingFaceModel,
        config: RunConfig,
        decision: Decision,
        tokenizer: Tokenizer,
        progress: bool,
    ) -> VerificationSet:
        texts, kind = read_texts(self.texts, self.text_column), "text"
        if not texts:
            texts, kind = list(GOLDEN_TEXTS[len(NASTY_TEXTS) :]), "built-in"
            log.warning(
                "WARNING: no --text was given, so only %s are compared; give messages like those "
                "that will be labelled, for example: --text inbox.csv",
                count(len(GOLDEN_TEXTS), "built-in message"),
            )
        names = [f"{kind} message {number}" for number in range(1, len(texts) + 1)]
        names += [f"nasty message {number}" for number in range(1, len(NASTY_TEXTS) + 1)]
        sequences = tokenizer.encode_all([*texts, *NASTY_TEXTS], config.max_length)
        log.info("PyTorch, fp32, %s padded to %d tokens",
                 count(len(names), "message"), config.max_length)  # fmt: skip
        logits = torch_logits(found.model, sequences, config.max_length, progress=progress)
        logits = self._compare(logits, sequences, names)
        return VerificationSet(
            names, sequences, logits, decision, config.max_length,
            found.model.config.pad_id, fixed_length=False,
        )  # fmt: skip

    def _compare(
        self, ours: np.ndarray, sequences: list[list[int]], names: list[str]
    ) -> np.ndarray:
        """transformers' logits, if they are ours but for rounding; ours if it is not installed."""
        if not has_transformers():
            log.warning(
                "WARNING: transformers is not installed, so the reference is spam-batch's own "
                "model of GPT-2; to compare with transformers, type: pip install transformers"
            )
            return ours
        theirs = transformers_logits(self.folder, sequences)
        worst, relative, row = largest_difference(ours, theirs)
        problem = (
            f"largest logit difference {worst:.2e} ({names[row]}) over "
            f"{count(len(names), 'message')}"
        )
        if not relative <= TOLERANCE:
            raise VerificationError(
                f"transformers gives other logits than our model of {self.folder}: {problem}; no "
                "bundle was written"
            )
        log.info("transformers %s against our model: %s", version("transformers"), problem)
        return theirs


def read_texts(paths: Sequence[Path], text_column: str | None) -> list[str]:
    """The first messages of the files, read as spam-batch reads them; :data:`MOST_TEXTS` at most.

    Raises:
        MissingInputError, InputError: a file is missing, or a record of it is bad.
    """
    texts: list[str] = []
    for name in map(str, paths):
        delimiter = b"\t" if inner_ending(name) == ".tsv" else b","
        given = Input(name, replace(DEFAULT_DIALECT, delimiter=delimiter), text_column=text_column)
        with open_source(name) as source:
            table = open_table(source, given, STANDARD_OUTPUT, (), [])
            records = table.read(MOST_TEXTS - len(texts))
            bad = [record for record in records if record.problem]
            NO_REJECTS.check_window(name, 0, bad, table.advise)
            texts += [record.message for record in records]
        if len(texts) == MOST_TEXTS:
            log.info("Only the first %d messages are read.", MOST_TEXTS)
            break
    if paths and not texts:
        raise InputError(f"{', '.join(map(str, paths))}: there is no record to compare with")
    return texts
