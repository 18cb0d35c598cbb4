"""The text of a proof: read from files, each message once, in two halves."""

import hashlib
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from batch.errors import InputError
from batch.formats.input import Input
from batch.formats.open_table import open_table, read_message_windows
from batch.reading.opening import open_source
from batch.writing.output import STANDARD_OUTPUT
from batch.writing.rejects import Allowance
from trainer.data.splits import group_key

log = logging.getLogger("exporter")


@dataclass(frozen=True)
class ProofText:
    """All texts of the files, and the messages that the proof looks at.

    Messages that are equal but for case, digits and punctuation say the same, so one of them
    counts: the one with the smallest hash. A hash also says in which half it is. So the halves
    of any text are known before a label is, and a message that was tuned on proves nothing later.
    """

    counts: dict[str, int]  # distinct text -> its number of rows, in the order of the files
    tuning: list[str]
    proving: list[str]
    files: dict[str, str]  # name -> SHA-256

    @classmethod
    def of(cls, texts: Sequence[str], files: dict[str, str], salt: str = "") -> "ProofText":
        """The two halves of these texts; another ``salt`` gives other halves."""
        counts = Counter(texts)
        chosen: dict[str, tuple[str, str]] = {}  # group -> smallest hash, and its text
        for text in counts:
            found, group = (_hash(text), text), group_key(text)
            chosen[group] = min(chosen.get(group, found), found)
        halves: tuple[list[str], list[str]] = ([], [])
        for group, (_, text) in chosen.items():
            halves[int(_hash(salt + group), 16) & 1].append(text)
        return cls(dict(counts), *halves, files)

    def describe(self) -> dict:
        """For ``proof.json``. The SHA-256 is of the distinct texts, in whatever order they come."""
        hashes = sorted(_hash(text) for text in self.counts)
        return {
            "files": self.files,
            "rows": sum(self.counts.values()),
            "distinct": len(self.counts),
            "messages": len(self.tuning) + len(self.proving),
            "sha256": hashlib.sha256("".join(hashes).encode("ascii")).hexdigest(),
        }


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def read_texts(inputs: Sequence[Input], allowance: Allowance) -> ProofText:
    """Read the messages of files as ``spam-batch classify`` does.

    Raises:
        SpamBatchError: a file cannot be read, or has too many bad records.
        InputError: there is no record.
    """
    texts: list[str] = []
    files: dict[str, str] = {}
    rejects = 0
    for given in inputs:
        with open_source(given.name) as source:
            table = open_table(source, given, STANDARD_OUTPUT, (), [])
            for messages, bad in read_message_windows(table, given.name, allowance, rejects):
                texts += messages
                rejects += bad
            source.check_unchanged()
            files[given.name] = source.fingerprint().sha256
        for warning in (*table.choice_warnings, *table.warnings()):
            log.warning("WARNING: %s: %s", given.name, warning)
    names = ", ".join(files)
    allowance.check_total(names, rejects, rejects + len(texts))
    if not texts:
        raise InputError(f"{names}: there is no record")
    return ProofText.of(texts, files)
