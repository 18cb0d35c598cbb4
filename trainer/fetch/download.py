"""Download a file over https and check its SHA-256 before it gets its name.

The bytes are written to a folder beside the target, hashed, synced and renamed
(:mod:`trainer.fetch.workspace`). A downloaded file is never run or imported.
"""

import errno
import hashlib
import logging
import re
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urljoin, urlsplit

import requests
import urllib3
from tqdm import tqdm

from batch.errors import UnavailableError
from batch.reading.fingerprint import hash_file
from trainer.fetch.workspace import publish, workspace

logger = logging.getLogger("trainer")

MAX_DOWNLOAD_BYTES = 1024**3
CHUNK_BYTES = 256 * 1024
MAX_REDIRECTS = 5
LOOPBACK_HOSTS = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True)
class Patience:
    """The time limits of a download, and the number of tries."""

    connect_seconds: float = 10.0
    read_seconds: float = 30.0  # without a byte
    stall_seconds: float = 60.0  # in which at least stall_bytes must arrive
    stall_bytes: int = 64 * 1024
    tries: int = 3
    wait_seconds: float = 1.0  # before the second try; twice as long before the third


class WrongHashError(UnavailableError):
    """The file arrived complete, but its SHA-256 is not the expected one."""


class _FailedTry(Exception):
    def __init__(self, reason: str, may_retry: bool = False):
        super().__init__(reason)
        self.may_retry = may_retry


def download(
    url: str,
    target: Path,
    sha256: str | None = None,
    size: int | None = None,
    max_bytes: int = MAX_DOWNLOAD_BYTES,
    *,
    redirect_hosts: tuple[str, ...] = (),
    patience: Patience = Patience(),
) -> str:
    """Download ``url`` to ``target`` and return its SHA-256.

    If ``target`` exists and has this ``sha256``, nothing is downloaded. After a cut
    connection the next try requests the missing bytes (Range); if the server sends the
    whole file instead, the download starts again.

    Args:
        url: https; http only to this machine.
        size: expected size in bytes.
        max_bytes: a larger file is refused.
        redirect_hosts: suffixes of other hosts to which the server may redirect.

    Raises:
        UnavailableError: the file cannot be downloaded, or does not have ``size`` bytes.
        WrongHashError: its SHA-256 is not ``sha256``; an ``UnavailableError``, too.
        OutputError, StorageError: ``target`` cannot be created or written.
    """
    with workspace(target) as folder:
        if sha256 is not None and target.is_file():
            if hash_file(target) == sha256:
                return sha256
            logger.warning("%s has the wrong SHA-256; downloading it again", target.name)
        logger.info("downloading %s", url)
        with open(folder / "part", "xb") as file, requests.Session() as session:
            max_bytes = min(max_bytes, size or max_bytes)
            transfer = _Transfer(
                session, file, target.name, url, sha256, size, max_bytes, redirect_hosts, patience
            )
            found = transfer.run()
        publish(folder / "part", target)
        return found


@dataclass
class _Transfer:
    """One download: what was asked for, and what has arrived in all tries so far."""

    session: requests.Session
    file: BinaryIO
    label: str  # of the progress bar
    url: str
    sha256: str | None
    size: int | None
    max_bytes: int
    redirect_hosts: tuple[str, ...]
    patience: Patience

    def __post_init__(self) -> None:
        self.hasher = hashlib.sha256()
        self.received = 0  # bytes
        self.validator: str | None = None  # ETag or date of the version that they are from
        self.page_note = ""  # for the error, if the server sent an HTML page

    def run(self) -> str:
        """Try until the file is complete; return its SHA-256."""
        for attempt in range(1, self.patience.tries + 1):
            try:
                self._try_once()
                break
            except _FailedTry as failed:
                if not failed.may_retry:
                    raise UnavailableError(f"{self.url}: {failed}") from failed
                if attempt == self.patience.tries:
                    raise UnavailableError(f"{self.url}: {failed}, {attempt} times") from failed
                logger.info("%s: %s; trying again", self.url, failed)
                time.sleep(self.patience.wait_seconds * attempt)
        found = self.hasher.hexdigest()
        if self.sha256 not in (None, found):
            raise WrongHashError(
                f"{self.url}: SHA-256 is {found}, expected {self.sha256}{self.page_note}"
            )
        return found

    def _try_once(self) -> None:
        # Not compressed: lengths, ranges and hashes are those of the file itself.
        headers = {"Accept-Encoding": "identity", "User-Agent": "spam-batch"}
        # The rest may be of a newer version; the validator or the hash must rule that out.
        if self.received and (self.validator or self.sha256):
            headers["Range"] = f"bytes={self.received}-"
            if self.validator:
                headers["If-Range"] = self.validator
        try:
            with self._open(headers) as response:
                total = self._read_headers(response)
                self._check_size(total)
                self._copy(response.raw, total)
        # ValueError: urllib's error for a redirect to something that is not a URL.
        except (requests.RequestException, urllib3.exceptions.HTTPError, ValueError) as error:
            raise _explain(error, self.patience) from error

    def _open(self, headers: dict[str, str]) -> requests.Response:
        url = self.url
        timeout = (self.patience.connect_seconds, self.patience.read_seconds)
        for _ in range(MAX_REDIRECTS + 1):
            self._check_url(url)
            # We follow redirects ourselves, because requests would read the body of each
            # into memory, whatever its length.
            response = self.session.get(
                url, headers=headers, stream=True, timeout=timeout, allow_redirects=False
            )
            if not response.is_redirect:
                return response
            response.close()
            url = urljoin(url, response.headers["Location"])
        raise _FailedTry(f"more than {MAX_REDIRECTS} redirects")

    def _check_url(self, url: str) -> None:
        scheme, host = urlsplit(url).scheme, urlsplit(url).hostname or ""
        if scheme != "https" and not (scheme == "http" and host in LOOPBACK_HOSTS):
            refused = "" if url == self.url else "redirect refused, "
            raise _FailedTry(f"{refused}only https is allowed")
        if host != urlsplit(self.url).hostname and not host.endswith(self.redirect_hosts):
            raise _FailedTry(f"redirect to another host, {host}, refused")

    def _read_headers(self, response: requests.Response) -> int | None:
        """Decide whether to append or to restart; return the size of the whole file in bytes."""
        status, headers = response.status_code, response.headers
        if status == HTTPStatus.PARTIAL_CONTENT:
            span = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", headers.get("Content-Range", ""))
            if span is None or int(span[1]) != self.received:
                self._restart()
                raise _FailedTry("the server sent a different range than requested", True)
            return None if span[2] == "*" else int(span[2])
        if status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            self._restart()  # the server's file is shorter: it is not the one that we have
        if status != HTTPStatus.OK:
            phrase = f" {HTTPStatus(status).phrase}" if status in list(HTTPStatus) else ""
            may_retry = status in (408, 416, 429) or status >= 500
            raise _FailedTry(f"the server answered {status}{phrase}", may_retry)
        if headers.get("Content-Encoding", "identity") != "identity":
            raise _FailedTry("the server sent a compressed form, not the file")
        self._restart()
        tag = headers.get("ETag", "")
        # A weak ETag does not promise the same bytes.
        self.validator = tag if tag.startswith('"') else headers.get("Last-Modified")
        is_page = headers.get("Content-Type", "").startswith("text/html")
        self.page_note = ", the server sent an HTML page" if is_page else ""
        length = headers.get("Content-Length", "")
        return int(length) if length.isdecimal() else None

    def _check_size(self, total: int | None) -> None:
        if None not in (self.size, total) and total != self.size:
            raise _FailedTry(f"{total} bytes, expected {self.size}{self.page_note}")
        if (self.received if total is None else total) > self.max_bytes:
            raise _FailedTry(f"more than the {self.max_bytes} bytes allowed")

    def _copy(self, raw: urllib3.HTTPResponse, total: int | None) -> None:
        patience = self.patience
        window_start, window_bytes = time.monotonic(), 0
        with tqdm(total=total, initial=self.received, unit="B", unit_scale=True, desc=self.label,
                  file=sys.stderr, disable=None if sys.stderr else True) as bar:  # fmt: skip
            # read1 returns the bytes that have arrived. read waits for a full chunk, and
            # would never return if the server sends a byte now and then.
            while chunk := raw.read1(CHUNK_BYTES, decode_content=False):
                self._write(chunk)
                bar.update(len(chunk))
                self._check_size(None)
                window_bytes += len(chunk)
                if time.monotonic() - window_start >= patience.stall_seconds:
                    if window_bytes < patience.stall_bytes:
                        raise _FailedTry(f"fewer than {patience.stall_bytes} bytes in "
                                         f"{patience.stall_seconds:g} s", True)  # fmt: skip
                    window_start, window_bytes = time.monotonic(), 0
        expected = self.size if total is None else total
        if expected is not None and self.received < expected:
            raise _FailedTry("the connection was cut", True)

    def _write(self, chunk: bytes) -> None:
        self.file.write(chunk)
        self.hasher.update(chunk)
        self.received += len(chunk)

    def _restart(self) -> None:
        self.file.seek(0)
        self.file.truncate()
        self.hasher = hashlib.sha256()
        self.received = 0


# The first that fits counts; True: another try may succeed. Without a network the next
# source is tried at once.
_REASONS = (
    (urllib3.exceptions.NameResolutionError, "the host cannot be resolved", False),
    (urllib3.exceptions.SSLError, "the TLS connection failed", False),
    (urllib3.exceptions.ProxyError, "the proxy refused the connection or cannot be reached", False),
    (ConnectionRefusedError, "the connection was refused", True),
    (urllib3.exceptions.ConnectTimeoutError, "no connection within {0.connect_seconds:g} s", False),
    (urllib3.exceptions.ReadTimeoutError, "no data for {0.read_seconds:g} s", True),
)


def _explain(error: Exception, patience: Patience) -> _FailedTry:
    causes = list(_causes(error))
    numbers = {cause.errno for cause in causes if isinstance(cause, OSError)}
    if numbers & {errno.ENETUNREACH, errno.EHOSTUNREACH}:
        return _FailedTry("the network cannot be reached")
    for kind, reason, may_retry in _REASONS:
        if any(isinstance(cause, kind) for cause in causes):
            return _FailedTry(reason.format(patience), may_retry)
    if isinstance(error, (requests.ConnectionError, urllib3.exceptions.HTTPError)):
        return _FailedTry("the connection was cut", True)
    return _FailedTry(f"the request failed ({type(error).__name__})")


def _causes(error: BaseException) -> Iterator[BaseException]:
    """``error`` and its causes; requests keeps some in ``args``, urllib3 in ``reason``."""
    pending, seen = [error], set()
    while pending:
        cause = pending.pop()
        if id(cause) not in seen:
            seen.add(id(cause))
            yield cause
            inner = (*cause.args, getattr(cause, "reason", None), cause.__cause__,
                     cause.__context__)  # fmt: skip
            pending += [item for item in inner if isinstance(item, BaseException)]
