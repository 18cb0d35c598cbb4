"""Bring a file here and trust it only by its SHA-256.

Bytes go to a folder beside the target, are hashed, synced and renamed
(:mod:`trainer.fetch.workspace`). What is fetched is never run or imported.
"""

import errno
import hashlib
import logging
import re
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import requests
import urllib3
from tqdm import tqdm

from batch.errors import UnavailableError
from trainer.fetch.workspace import publish, workspace

logger = logging.getLogger("trainer")

MAX_DOWNLOAD_BYTES = 1024**3
CHUNK_BYTES = 256 * 1024
MAX_REDIRECTS = 5
LOOPBACK_HOSTS = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True)
class Patience:
    """How long a download may take to make progress, and how often it is tried."""

    connect_seconds: float = 10.0
    read_seconds: float = 30.0
    stall_seconds: float = 60.0  # in which at least stall_bytes must arrive
    stall_bytes: int = 64 * 1024
    tries: int = 3
    wait_seconds: float = 1.0  # before the second try; twice that before the third


class WrongHashError(UnavailableError):
    """A file arrived whole, and its SHA-256 is not the expected one."""


class _TransientError(Exception):
    """A failure that another try may not meet."""


def hash_file(path: Path) -> str:
    """SHA-256 of a file as 64 hexadecimal digits."""
    hasher = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            hasher.update(chunk)
    return hasher.hexdigest()


def download(
    url: str,
    target: Path,
    sha256: str | None = None,
    size: int | None = None,
    max_bytes: int = MAX_DOWNLOAD_BYTES,
    progress: bool = True,
    *,
    redirect_hosts: tuple[str, ...] = (),
    patience: Patience = Patience(),
) -> str:
    """Fetch ``url`` into ``target`` and return its SHA-256.

    A ``target`` that has ``sha256`` already is kept and nothing is fetched. A cut
    connection goes on where it ended if the server can (Range), else from the start.

    Args:
        url: https; http only to this machine itself.
        size, max_bytes: bytes.
        redirect_hosts: suffixes of hosts that a redirect may lead to, besides its own.

    Raises:
        UnavailableError: not reachable, or not the bytes that ``size`` says.
        WrongHashError: not the bytes that ``sha256`` says; an ``UnavailableError`` too.
        OutputError, StorageError: ``target`` cannot be created, or written to its end.
    """
    with workspace(target) as folder:
        if sha256 is not None and target.is_file():
            if hash_file(target) == sha256:
                return sha256
            logger.warning("%s is there with a wrong SHA-256: fetching it anew", target.name)
        logger.info("fetching %s", url)
        with closing(_Part(folder / "part")) as part, requests.Session() as session:
            transfer = _Transfer(session, url, size, min(max_bytes, size or max_bytes), patience)
            for attempt in range(1, patience.tries + 1):
                try:
                    # A response of unknown version can be continued only if the hash decides.
                    part.may_resume = part.validator is not None or sha256 is not None
                    transfer.receive(part, redirect_hosts, target.name if progress else None)
                    break
                except _TransientError as error:
                    if attempt == patience.tries:
                        raise UnavailableError(f"{url}: {error}, {attempt} times") from error
                    logger.info("%s: %s; trying again", url, error)
                    time.sleep(patience.wait_seconds * attempt)
            found = part.hasher.hexdigest()
            if sha256 is not None and found != sha256:
                page = ", the server sent an HTML page" if transfer.is_html else ""
                raise WrongHashError(f"{url}: SHA-256 is {found}, expected {sha256}{page}")
        publish(folder / "part", target)
        return found


class _Part:
    """The bytes received so far, on disk and in the hash."""

    def __init__(self, path: Path):
        self.file = open(path, "xb")  # noqa: SIM115 - close() is below
        self.hasher = hashlib.sha256()
        self.received = 0  # bytes
        self.validator: str | None = None  # ETag or date of the version that they belong to
        self.may_resume = False

    def close(self) -> None:
        self.file.close()

    def write(self, chunk: bytes) -> None:
        self.file.write(chunk)
        self.hasher.update(chunk)
        self.received += len(chunk)

    def restart(self) -> None:
        self.file.seek(0)
        self.file.truncate()
        self.hasher = hashlib.sha256()
        self.received = 0


@dataclass
class _Transfer:
    session: requests.Session
    url: str
    size: int | None
    max_bytes: int
    patience: Patience
    is_html: bool = False

    def receive(self, part: _Part, redirect_hosts: tuple[str, ...], label: str | None) -> None:
        """One try: append to ``part`` until the end of the file."""
        # Identity: lengths, ranges and hashes are of the file, not of a compressed form.
        headers = {"Accept-Encoding": "identity", "User-Agent": "spam-batch"}
        if part.received and part.may_resume:
            headers["Range"] = f"bytes={part.received}-"
            if part.validator is not None:
                headers["If-Range"] = part.validator
        try:
            with self._open(headers, redirect_hosts) as response:
                total = self._start(response, part)
                self._check_size(total, part)
                self._copy(response.raw, part, total, label)
        # ValueError: requests passes on what urllib says of a redirect to no URL at all.
        except (requests.RequestException, urllib3.exceptions.HTTPError, ValueError) as error:
            reason, is_transient = _explain(error, self.patience)
            if is_transient:
                raise _TransientError(reason) from error
            raise UnavailableError(f"{self.url}: {reason}") from error

    def _open(self, headers: dict[str, str], redirect_hosts: tuple[str, ...]) -> requests.Response:
        url = self.url
        if not _is_allowed(url):
            raise UnavailableError(f"{url}: only https is allowed")
        times = (self.patience.connect_seconds, self.patience.read_seconds)
        for _ in range(MAX_REDIRECTS + 1):
            response = self.session.get(
                url, headers=headers, stream=True, timeout=times, allow_redirects=False
            )
            if not response.is_redirect:
                return response
            response.close()
            url = urljoin(url, response.headers["Location"])
            if not _is_allowed(url):
                raise UnavailableError(f"{self.url}: redirect refused, only https is allowed")
            host = urlsplit(url).hostname or ""
            if host != urlsplit(self.url).hostname and not host.endswith(redirect_hosts or ("\n",)):
                raise UnavailableError(f"{self.url}: redirect to another host, {host}, refused")
        raise UnavailableError(f"{self.url}: more than {MAX_REDIRECTS} redirects")

    def _start(self, response: requests.Response, part: _Part) -> int | None:
        """Make ``part`` ready for this response; returns the size of the whole file in bytes."""
        status = response.status_code
        if status == 206:
            span = re.fullmatch(
                r"bytes (\d+)-(\d+)/(\d+|\*)", response.headers.get("Content-Range", "")
            )
            if span is None or int(span[1]) != part.received:
                part.restart()
                raise _TransientError("the server sent another range than asked")
            return None if span[3] == "*" else int(span[3])
        if status != 200:
            known = {item.value: f" {item.phrase}" for item in HTTPStatus}
            reason = f"the server answered {status}{known.get(status, '')}"
            if status == 416:  # nothing after what we have: not the file that we began
                part.restart()
            if status in (408, 416, 429) or status >= 500:
                raise _TransientError(reason)
            raise UnavailableError(f"{self.url}: {reason}")
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise UnavailableError(f"{self.url}: the server sent a compressed form, not the file")
        part.restart()
        tag = response.headers.get("ETag", "")
        # A weak tag does not promise the same bytes, so it cannot guard a continuation.
        part.validator = tag if tag.startswith('"') else response.headers.get("Last-Modified")
        self.is_html = response.headers.get("Content-Type", "").startswith("text/html")
        length = response.headers.get("Content-Length", "")
        return int(length) if length.isdecimal() else None

    def _check_size(self, total: int | None, part: _Part) -> None:
        found = part.received if total is None else total
        if self.size is not None and total is not None and total != self.size:
            page = ", the server sent an HTML page" if self.is_html else ""
            raise UnavailableError(f"{self.url}: {total} bytes, expected {self.size}{page}")
        if found > self.max_bytes:
            raise UnavailableError(f"{self.url}: more than the {self.max_bytes} bytes allowed")

    def _copy(
        self, raw: urllib3.HTTPResponse, part: _Part, total: int | None, label: str | None
    ) -> None:
        patience = self.patience
        window_start, window_bytes = time.monotonic(), 0
        is_quiet = label is None or sys.stderr is None or not sys.stderr.isatty()
        bar = tqdm(total=total, initial=part.received, unit="B", unit_scale=True, desc=label,
                   file=sys.stderr, disable=is_quiet)  # fmt: skip
        with bar:
            # read1 gives what has arrived; read would wait for a full chunk, for ever if
            # a byte comes now and then.
            while chunk := raw.read1(CHUNK_BYTES, decode_content=False):
                part.write(chunk)
                bar.update(len(chunk))
                self._check_size(None, part)
                window_bytes += len(chunk)
                seconds = time.monotonic() - window_start
                if seconds >= patience.stall_seconds:
                    if window_bytes < patience.stall_bytes:
                        raise _TransientError(
                            f"fewer than {patience.stall_bytes} bytes in "
                            f"{patience.stall_seconds:g} s"
                        )
                    window_start, window_bytes = time.monotonic(), 0
        expected = self.size if total is None else total
        if expected is not None and part.received < expected:
            raise _TransientError("the connection was cut")


def _is_allowed(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme == "https" or (
        parts.scheme == "http" and (parts.hostname or "") in LOOPBACK_HOSTS
    )


def _explain(error: Exception, patience: Patience) -> tuple[str, bool]:
    """The reason of a failed connection in words, and whether another try may help."""
    causes = list(_causes(error))
    numbers = {cause.errno for cause in causes if isinstance(cause, OSError)}
    if any(isinstance(cause, socket.gaierror) for cause in causes):
        return "the host cannot be resolved", False  # offline: go to the next source at once
    if numbers & {errno.ENETUNREACH, errno.EHOSTUNREACH}:
        return "the network cannot be reached", False
    if isinstance(error, requests.exceptions.SSLError):
        return "the TLS connection failed", False
    if isinstance(error, requests.exceptions.ProxyError):
        return "the proxy refused the connection or cannot be reached", False
    if isinstance(error, requests.ConnectTimeout):
        return f"no connection within {patience.connect_seconds:g} s", False
    if isinstance(error, (requests.ReadTimeout, urllib3.exceptions.ReadTimeoutError)):
        return f"no data for {patience.read_seconds:g} s", True
    if errno.ECONNREFUSED in numbers:
        return "the connection was refused", True
    if isinstance(error, (requests.ConnectionError, urllib3.exceptions.HTTPError)):
        return "the connection was cut", True
    return f"the request failed ({type(error).__name__})", False


def _causes(error: BaseException) -> Iterator[BaseException]:
    """``error`` and what lies under it; requests hides causes in ``args`` and ``reason``."""
    pending, seen = [error], set()
    while pending:
        cause = pending.pop()
        if id(cause) not in seen:
            seen.add(id(cause))
            yield cause
            inner = (*cause.args, getattr(cause, "reason", None), cause.__cause__,
                     cause.__context__)  # fmt: skip
            pending += [item for item in inner if isinstance(item, BaseException)]
