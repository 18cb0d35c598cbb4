"""GPT-2's pretrained weights, from the first source that works or from the user."""

import importlib.util
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from batch.errors import MissingInputError, UnavailableError, UsageError
from batch.reading.fingerprint import hash_file
from trainer.fetch import sources
from trainer.fetch.assets import ALREADY_THERE, download_remote, first_that_works, read_given
from trainer.fetch.download import WrongHashError
from trainer.fetch.sources import RemoteFile
from trainer.fetch.workspace import workspace, write_whole

logger = logging.getLogger("trainer")

KINDS = ("openai", "huggingface")
NO_TENSORFLOW = "tensorflow is not installed: pip install 'spam-batch[openai]'"


@dataclass(frozen=True)
class WeightFiles:
    """Pretrained weights on disk."""

    kind: str  # one of KINDS
    path: Path  # the checkpoint's folder or the safetensors file
    origin: str
    sha256: dict[str, str]  # by file name
    others: tuple[str, ...] = ()  # names of files that are not the published ones
    unknown: tuple[str, ...] = ()  # names of files of which we know no published SHA-256


def fetch_weights(
    folder: Path, size: str, kind: str | None = None, source: Path | None = None
) -> WeightFiles:
    """Pretrained weights of one ``size`` in ``folder/size``, or the user's own where they are.

    If a file has no published hash, its SHA-256 is pinned in ``FILE.sha256`` at first use,
    and every later use is checked against it.

    Args:
        size: gpt2-small, gpt2-medium, gpt2-large or gpt2-xl.
        kind: "openai" or "huggingface"; None: the first that works.
        source: a folder with a TensorFlow checkpoint, or model.safetensors or its folder.

    Raises:
        UsageError: there is no such size or kind, or ``source`` is of the other kind.
        UnavailableError: no source works; the text has one line for each.
        MissingInputError: ``source`` is neither a checkpoint nor a safetensors file.
        OutputError, StorageError: ``folder`` cannot be written.
    """
    if size not in sources.WEIGHTS:
        raise UsageError(f"no published weights of {size}; choose {_one_of(sources.WEIGHTS)}")
    if kind not in (None, *KINDS):
        raise UsageError(f"no weights of kind {kind}; choose {_one_of(KINDS)}")
    if source is not None:
        return _use_given_weights(size, kind, source)
    published = sources.WEIGHTS[size]
    has_tensorflow = importlib.util.find_spec("tensorflow") is not None
    plan = [("openai", mirror, folder / size / "openai") for mirror in published.checkpoints]
    plan.append(("huggingface", (published.safetensors,), folder / size))
    plan = [step for step in plan if kind in (None, step[0])]
    # Files that exist need no download, so they come before any source.
    for found_kind, remotes, home in plan:
        hashes = _verify_weights(remotes, home)
        if hashes is not None and (has_tensorflow or found_kind == "huggingface"):
            return _weight_files(size, found_kind, home, ALREADY_THERE, hashes)
    attempts = [partial(_download_weights, size, *step, has_tensorflow) for step in plan]
    return first_that_works(f"weights of {size}", attempts, "spam-train fetch weights --from PATH")


def _download_weights(
    size: str, kind: str, remotes: tuple[RemoteFile, ...], home: Path, has_tensorflow: bool
) -> WeightFiles:
    origin = remotes[0].url if len(remotes) == 1 else remotes[0].url.rpartition("/")[0] + "/"
    if kind == "openai" and not has_tensorflow:
        raise UnavailableError(f"{origin}: {NO_TENSORFLOW}")
    hashes = {}
    for remote in remotes:
        path = home / _name(remote)
        known = _known_hash(remote, path)
        try:
            hashes[path.name] = download_remote(remote, path, known, sources.MAX_WEIGHT_BYTES)
        except WrongHashError as error:
            if remote.sha256 is not None:
                raise
            # A file that exists has other bytes, too, and the next run would pin it.
            paths = f"{_pin_path(path)} and {path}" if path.exists() else f"{_pin_path(path)}"
            raise UnavailableError(
                f"{error}; pinned at first use: if you trust the new file, delete {paths}"
            ) from error
        if known is None:
            _pin(path, hashes[path.name])
    return _weight_files(size, kind, home, origin, hashes)


def _verify_weights(remotes: tuple[RemoteFile, ...], home: Path) -> dict[str, str] | None:
    """SHA-256 by name if all files exist and match; pins those that have no hash yet."""
    paths = {home / _name(remote): remote for remote in remotes}
    if not all(path.is_file() for path in paths):
        return None
    hashes = {path: hash_file(path) for path in paths}
    known = {path: _known_hash(remote, path) for path, remote in paths.items()}
    if any(known[path] not in (None, hashes[path]) for path in paths):
        return None
    for path in paths:
        if known[path] is None:
            _pin(path, hashes[path])
    return {path.name: sha256 for path, sha256 in hashes.items()}


def _use_given_weights(size: str, kind: str | None, source: Path) -> WeightFiles:
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
            f"{source} has no {kind + ' ' if kind else ''}weights; give a folder with OpenAI's"
            " checkpoint, or model.safetensors or its folder"
        )
    if kind not in (None, found):
        raise UsageError(f"{source} has {found} weights, not {kind}")
    hashes = {}
    for name in names:
        read_given(home / name, 1)  # for a clear error if it cannot be read
        hashes[name] = hash_file(home / name)
    files = _weight_files(size, found, home, origin, hashes)
    for name, remote in zip(hashes, _published(size, found), strict=True):
        if name in files.others:
            logger.warning("%s is not the published %s of %s", name, _name(remote), size)
    return files


def _published(size: str, kind: str) -> tuple[RemoteFile, ...]:
    """The published files of one kind; all mirrors have the same."""
    published = sources.WEIGHTS[size]
    return published.checkpoints[0] if kind == "openai" else (published.safetensors,)


def _weight_files(
    size: str, kind: str, home: Path, origin: str, hashes: dict[str, str]
) -> WeightFiles:
    path = home / next(iter(hashes)) if kind == "huggingface" else home
    known = {
        name: remote.sha256 for name, remote in zip(hashes, _published(size, kind), strict=True)
    }
    others = tuple(name for name in hashes if known[name] not in (None, hashes[name]))
    unknown = tuple(name for name in hashes if known[name] is None)
    return WeightFiles(kind, path, origin, hashes, others, unknown)


def _known_hash(remote: RemoteFile, path: Path) -> str | None:
    pin = _pin_path(path)
    if remote.sha256 is None and pin.is_file():
        return pin.read_text(encoding="ascii", errors="replace")[:64]
    return remote.sha256


def _pin_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def _pin(path: Path, sha256: str) -> None:
    pin = _pin_path(path)
    with workspace(pin) as scratch:
        write_whole(f"{sha256}  {path.name}\n".encode(), pin, scratch)  # for sha256sum -c
    logger.warning("%s has no published SHA-256: pinned %s in %s", path.name, sha256, pin.name)


def _name(remote: RemoteFile) -> str:
    return remote.url.rpartition("/")[2]


def _one_of(names: Iterable[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} or {last}"
