"""Downloads from a test server that cuts connections, stalls, lies and redirects."""

import errno
import hashlib
import io
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
import urllib3

from batch.errors import OutputError, StorageError, UnavailableError
from trainer.fetch import download as fetch
from trainer.fetch.download import Patience, download

BODY = bytes(range(256)) * 400  # 102,400 bytes
HASH = hashlib.sha256(BODY).hexdigest()
# As patient as may be, so that a slow machine is not taken for a server that stalls.
PATIENT = Patience(
    connect_seconds=600, read_seconds=600, stall_seconds=600, stall_bytes=100_000, wait_seconds=0.01
)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def refusal(url: str, target: Path, patience: Patience = PATIENT, **options: object) -> str:
    """The text of the error, after a check that no file is left."""
    with pytest.raises(UnavailableError) as caught:
        download(url, target, patience=patience, **options)
    assert names(target.parent) == []
    return str(caught.value).removeprefix(f"{url}: ")


class TestDownload:
    def test_file_arrives_whole_and_alone(self, web, tmp_path: Path) -> None:
        target = tmp_path / "new" / "folder" / "file"
        url = web.url("/file", web.send(BODY))
        assert download(url, target, HASH, len(BODY)) == HASH
        assert target.read_bytes() == BODY
        assert names(target.parent) == ["file"]

    def test_mode_follows_umask(self, web, tmp_path: Path) -> None:
        before = os.umask(0o027)
        try:
            download(web.url("/file", web.send(BODY)), tmp_path / "file")
        finally:
            os.umask(before)
        assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o640

    def test_present_file_is_not_downloaded(self, web, tmp_path: Path) -> None:
        url = web.url("/file", web.send(BODY))
        download(url, tmp_path / "file", HASH)
        download(url, tmp_path / "file", HASH)
        assert web.paths() == ["/file"]

    def test_present_file_with_wrong_hash_is_downloaded_again(
        self, web, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        (tmp_path / "file").write_bytes(b"old")
        download(web.url("/file", web.send(BODY)), tmp_path / "file", HASH)
        assert (tmp_path / "file").read_bytes() == BODY
        assert (tmp_path / "file.1").read_bytes() == b"old"
        assert caplog.messages == [
            "file has the wrong SHA-256; downloading it again",
            f"{tmp_path / 'file'} was not what is published; it was kept as file.1",
        ]

    def test_present_file_stays_when_the_new_one_is_refused(self, web, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(b"old")
        with pytest.raises(UnavailableError):
            download(web.url("/file", web.send(BODY[::-1])), tmp_path / "file", HASH)
        assert (tmp_path / "file").read_bytes() == b"old"
        assert names(tmp_path) == ["file"]

    @pytest.mark.parametrize("at", [1, 5000, len(BODY) - 1])
    def test_cut_connection_is_resumed(self, web, tmp_path: Path, at: int) -> None:
        url = web.url("/file", web.send(BODY, until=at, ETag='"v1"'), web.send_range(BODY))
        assert download(url, tmp_path / "file", HASH, patience=PATIENT) == HASH
        asked = web.requests[1][1]
        assert (asked["Range"], asked["If-Range"]) == (f"bytes={at}-", '"v1"')

    def test_ignored_range_restarts(self, web, tmp_path: Path) -> None:
        url = web.url("/file", web.send(BODY, until=5000), web.send(BODY))
        assert download(url, tmp_path / "file", HASH, patience=PATIENT) == HASH
        assert (tmp_path / "file").read_bytes() == BODY

    def test_without_hash_and_version_nothing_is_resumed(self, web, tmp_path: Path) -> None:
        url = web.url("/file", web.send(BODY[::-1], until=5000), web.send_range(BODY))
        assert download(url, tmp_path / "file", patience=PATIENT) == HASH
        assert "Range" not in web.requests[1][1]

    def test_503_then_file(self, web, tmp_path: Path) -> None:
        url = web.url("/file", web.send(b"busy", status=503), web.send(BODY))
        assert download(url, tmp_path / "file", HASH, patience=PATIENT) == HASH

    def test_redirect_on_the_same_host_is_followed(self, web, tmp_path: Path) -> None:
        web.url("/there", web.send(BODY))
        url = web.url("/here", web.send(b"", status=302, Location="/there"))
        assert download(url, tmp_path / "file", HASH) == HASH

    def test_redirect_to_a_listed_host_is_followed(self, web, tmp_path: Path) -> None:
        there = web.url("/there", web.send(BODY)).replace("127.0.0.1", "localhost")
        url = web.url("/here", web.send(b"", status=302, Location=there))
        assert download(url, tmp_path / "file", HASH, redirect_hosts=("localhost",)) == HASH

    def test_two_at_once_download_once(self, web, tmp_path: Path) -> None:
        url = web.url("/file", web.send(BODY, pause=(20_000, 0.05)))
        found: list[str] = []
        threads = [
            threading.Thread(target=lambda: found.append(download(url, tmp_path / "file", HASH)))
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == [HASH] * 4
        assert web.paths() == ["/file"]
        assert names(tmp_path) == ["file"]

    def test_kill_leaves_no_final_file(self, web, tmp_path: Path) -> None:
        url = web.url("/file", web.send(BODY, pause=(10_000, None)), web.send(BODY))
        code = f"""
from pathlib import Path
from trainer.fetch.download import download
download({url!r}, Path({str(tmp_path / "file")!r}))
"""
        root = str(Path(fetch.__file__).parents[2])
        child = subprocess.Popen(
            [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": root}
        )
        while not any(part.stat().st_size for part in tmp_path.glob(".file.*.part/part")):
            assert child.poll() is None
            time.sleep(0.01)
        child.send_signal(signal.SIGKILL)
        assert child.wait() == -signal.SIGKILL
        assert "file" not in names(tmp_path)
        download(url, tmp_path / "file", HASH)
        assert names(tmp_path) == ["file"]

    @pytest.mark.parametrize("is_terminal", [True, False])
    def test_bar_is_for_a_terminal(
        self, web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_terminal: bool
    ) -> None:
        screen = io.StringIO()
        screen.isatty = lambda: is_terminal
        monkeypatch.setattr(sys, "stderr", screen)
        download(web.url("/file", web.send(BODY)), tmp_path / "file")
        assert ("file: 100%" in screen.getvalue()) == is_terminal

    def test_closed_standard_error(
        self, web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sys, "stderr", None)
        assert download(web.url("/file", web.send(BODY)), tmp_path / "file") == HASH

    def test_interrupt_leaves_nothing(
        self, web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def interrupt(*_: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(fetch._Transfer, "_write", interrupt)
        with pytest.raises(KeyboardInterrupt):
            download(web.url("/file", web.send(BODY)), tmp_path / "file")
        assert names(tmp_path) == []


class TestDownloadRefuses:
    def test_wrong_bytes_of_the_same_size(self, web, tmp_path: Path) -> None:
        url = web.url("/file", web.send(BODY[::-1]))
        found = sha256(BODY[::-1])
        assert refusal(url, tmp_path / "file", sha256=HASH, size=len(BODY)) == (
            f"SHA-256 is {found}, expected {HASH}"
        )

    def test_html_page_with_status_200(self, web, tmp_path: Path) -> None:
        page = b"<html>Sign in to the network</html>"
        url = web.url("/file", web.send(page, Content_Type="text/html; charset=utf-8"))
        assert refusal(url, tmp_path / "file", sha256=HASH) == (
            f"SHA-256 is {sha256(page)}, expected {HASH}, the server sent an HTML page"
        )
        assert refusal(url, tmp_path / "file", sha256=HASH, size=len(BODY)) == (
            "35 bytes, expected 102400, the server sent an HTML page"
        )

    @pytest.mark.parametrize(
        ("answer", "options", "text", "requests"),
        [
            ({"body": b"", "status": 404}, {}, "the server answered 404 Not Found", 1),
            ({"body": b"", "status": 599}, {}, "the server answered 599, 3 times", 3),
            (
                {"body": b"", "status": 503},
                {},
                "the server answered 503 Service Unavailable, 3 times",
                3,
            ),
            ({"until": 5}, {}, "the connection was cut, 3 times", 3),
            ({"until": 5, "length": False}, {"size": 10}, "the connection was cut, 3 times", 3),
            ({}, {"size": 10}, "102400 bytes, expected 10", 1),
            ({}, {"max_bytes": 9}, "more than the 9 bytes allowed", 1),
            ({"length": False}, {"max_bytes": 9}, "more than the 9 bytes allowed", 1),
            ({"length": False}, {"size": 9}, "more than the 9 bytes allowed", 1),
            (
                {"Content_Encoding": "gzip"},
                {},
                "the server sent a compressed form, not the file",
                1,
            ),
            (
                {"status": 206, "Content_Range": "bytes 7-9/10"},
                {},
                "the server sent a different range than requested, 3 times",
                3,
            ),
        ],
    )
    def test_answer(
        self,
        web,
        tmp_path: Path,
        answer: dict,
        options: dict[str, int],
        text: str,
        requests: int,
    ) -> None:
        url = web.url("/file", web.send(**{"body": BODY, **answer}))
        assert refusal(url, tmp_path / "file", **options) == text
        assert len(web.requests) == requests

    def test_slow_loris(self, web, tmp_path: Path) -> None:
        """It keeps within the read time-out and is found out by the stall bound.

        20 bytes in 0.2 s at most, and fewer where the machine is slow.
        """
        url = web.url("/file", web.send(BODY, pause=(1, 0.01)))
        patience = replace(PATIENT, stall_seconds=0.2)
        assert refusal(url, tmp_path / "file", patience) == (
            "fewer than 100000 bytes in 0.2 s, 3 times"
        )
        assert len(web.requests) == 3

    def test_nothing_more_comes(self, web, tmp_path: Path) -> None:
        url = web.url("/file", web.send(BODY, pause=(50_000, None)))
        patience = replace(PATIENT, read_seconds=0.2)
        assert refusal(url, tmp_path / "file", patience) == "no data for 0.2 s, 3 times"
        assert len(web.requests) == 3

    @pytest.mark.parametrize(
        ("location", "text"),
        [
            ("file:///etc/hostname", "redirect refused, only https is allowed"),
            ("http://example.com/file", "redirect refused, only https is allowed"),
            ("http://[", "the request failed (ValueError)"),
            ("https://example.com/file", "redirect to another host, example.com, refused"),
            ("http://localhost:1/file", "redirect to another host, localhost, refused"),
            ("/here", "more than 5 redirects"),
        ],
    )
    def test_redirect(self, web, tmp_path: Path, location: str, text: str) -> None:
        url = web.url("/here", web.send(b"", status=302, Location=location))
        assert refusal(url, tmp_path / "file") == text

    @pytest.mark.parametrize("url", ["http://example.com/file", "file:///etc/hostname", "file"])
    def test_url_without_tls(self, tmp_path: Path, url: str) -> None:
        assert refusal(url, tmp_path / "file") == "only https is allowed"

    def test_server_without_tls(self, web, tmp_path: Path) -> None:
        url = web.url("/file").replace("http:", "https:")
        assert refusal(url, tmp_path / "file") == "the TLS connection failed"

    def test_invalid_port(self, web, tmp_path: Path) -> None:
        url = "http://127.0.0.1:99999/file"
        assert refusal(url, tmp_path / "file") == "the request failed (InvalidURL)"

    def test_closed_port(self, web, tmp_path: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as closed:
            port = closed.getsockname()[1]
        url = f"http://127.0.0.1:{port}/file"
        assert refusal(url, tmp_path / "file") == "the connection was refused, 3 times"

    def test_broken_proxy(self, web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        with socket.create_server(("127.0.0.1", 0)) as closed:
            port = closed.getsockname()[1]
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{port}")
        monkeypatch.setenv("no_proxy", "")
        assert refusal(web.url("/file", web.send(BODY)), tmp_path / "file") == (
            "the proxy refused the connection or cannot be reached"
        )

    @pytest.mark.parametrize(
        ("failure", "text"),
        [
            (socket.gaierror(socket.EAI_NONAME, "no"), "the host cannot be resolved"),
            (socket.gaierror(socket.EAI_AGAIN, "later"), "the host cannot be resolved"),
            (OSError(errno.ENETUNREACH, "no"), "the network cannot be reached"),
            (TimeoutError("slow"), "no connection within 600 s"),
        ],
    )
    def test_offline_fails_at_the_first_try(
        self,
        web,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        failure: OSError,
        text: str,
    ) -> None:
        tries = []

        def fail(*_: object, **__: object) -> None:
            tries.append(1)
            raise failure

        monkeypatch.setattr(urllib3.util.connection, "create_connection", fail)
        assert refusal(web.url("/file"), tmp_path / "file") == text
        assert len(tries) == 1

    def test_folder_that_is_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(OutputError) as caught:
            download("https://localhost/x", tmp_path / "file" / "x")
        assert str(caught.value) == f"{tmp_path}/file/x cannot be created: File exists"

    def test_full_disk(self, web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(*_: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(os, "fsync", fail)
        with pytest.raises(StorageError) as caught:
            download(web.url("/file", web.send(BODY)), tmp_path / "file")
        assert str(caught.value) == f"{tmp_path}/file cannot be written: No space left on device"
        assert names(tmp_path) == []
