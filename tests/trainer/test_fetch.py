"""Downloads against a server of our own that cuts, stalls, lies and redirects."""

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
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import urllib3

from batch.errors import InputError, OutputError, StorageError, UnavailableError
from trainer import fetch
from trainer.fetch import Patience, download, download_wheel, read_zip_member

BODY = bytes(range(256)) * 400  # 102,400 bytes
HASH = hashlib.sha256(BODY).hexdigest()
QUICK = Patience(
    connect_seconds=1, read_seconds=0.2, stall_seconds=0.2, stall_bytes=1000, wait_seconds=0.01
)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def refusal(url: str, target: Path, **options: object) -> str:
    """The text of the error; nothing may be left behind."""
    with pytest.raises(UnavailableError) as caught:
        download(url, target, patience=QUICK, **options)
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

    def test_present_file_is_not_fetched(self, web, tmp_path: Path) -> None:
        url = web.url("/file", web.send(BODY))
        download(url, tmp_path / "file", HASH)
        download(url, tmp_path / "file", HASH)
        assert web.paths() == ["/file"]

    def test_present_file_with_wrong_hash_is_fetched_anew(
        self, web, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        (tmp_path / "file").write_bytes(b"old")
        download(web.url("/file", web.send(BODY)), tmp_path / "file", HASH)
        assert (tmp_path / "file").read_bytes() == BODY
        assert caplog.messages == ["file is there with a wrong SHA-256: fetching it anew"]

    def test_present_file_stays_when_the_new_one_is_refused(self, web, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(b"old")
        with pytest.raises(UnavailableError):
            download(web.url("/file", web.send(BODY[::-1])), tmp_path / "file", HASH)
        assert (tmp_path / "file").read_bytes() == b"old"
        assert names(tmp_path) == ["file"]

    @pytest.mark.parametrize("at", [1, 5000, len(BODY) - 1])
    def test_cut_connection_is_resumed(self, web, tmp_path: Path, at: int) -> None:
        url = web.url("/file", web.send(BODY, until=at, ETag='"v1"'), web.send_range(BODY))
        assert download(url, tmp_path / "file", HASH, patience=QUICK) == HASH
        asked = web.requests[1][1]
        assert (asked["Range"], asked["If-Range"]) == (f"bytes={at}-", '"v1"')

    def test_ignored_range_starts_again(self, web, tmp_path: Path) -> None:
        url = web.url("/file", web.send(BODY, until=5000), web.send(BODY))
        assert download(url, tmp_path / "file", HASH, patience=QUICK) == HASH
        assert (tmp_path / "file").read_bytes() == BODY

    def test_without_hash_and_version_nothing_is_continued(self, web, tmp_path: Path) -> None:
        url = web.url("/file", web.send(BODY[::-1], until=5000), web.send_range(BODY))
        assert download(url, tmp_path / "file", patience=QUICK) == HASH
        assert "Range" not in web.requests[1][1]

    def test_503_then_file(self, web, tmp_path: Path) -> None:
        url = web.url("/file", web.send(b"busy", status=503), web.send(BODY))
        assert download(url, tmp_path / "file", HASH, patience=QUICK) == HASH

    def test_redirect_on_the_same_host_is_followed(self, web, tmp_path: Path) -> None:
        web.url("/there", web.send(BODY))
        url = web.url("/here", web.send(b"", status=302, Location="/there"))
        assert download(url, tmp_path / "file", HASH) == HASH

    def test_redirect_to_a_listed_host_is_followed(self, web, tmp_path: Path) -> None:
        there = web.url("/there", web.send(BODY)).replace("127.0.0.1", "localhost")
        url = web.url("/here", web.send(b"", status=302, Location=there))
        assert download(url, tmp_path / "file", HASH, redirect_hosts=("localhost",)) == HASH

    def test_two_at_once_fetch_once(self, web, tmp_path: Path) -> None:
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

    def test_kill_in_the_middle_leaves_no_final_file(self, web, tmp_path: Path) -> None:
        url = web.url("/file", web.send(BODY, pause=(10_000, 0.5)), web.send(BODY))
        code = f"""
from pathlib import Path
from trainer.fetch import download
download({url!r}, Path({str(tmp_path / "file")!r}))
"""
        root = str(Path(fetch.__file__).parents[1])
        child = subprocess.Popen(
            [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": root}
        )
        deadline = time.monotonic() + 15
        while not any(part.stat().st_size for part in tmp_path.glob(".file.*.part/part")):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        child.send_signal(signal.SIGKILL)
        assert child.wait() == -signal.SIGKILL
        assert "file" not in names(tmp_path)
        download(url, tmp_path / "file", HASH)
        assert names(tmp_path) == ["file"]

    @pytest.mark.parametrize(
        ("is_terminal", "progress"), [(True, True), (True, False), (False, True)]
    )
    def test_bar_is_for_a_terminal(
        self,
        web,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        is_terminal: bool,
        progress: bool,
    ) -> None:
        screen = io.StringIO()
        screen.isatty = lambda: is_terminal
        monkeypatch.setattr(sys, "stderr", screen)
        download(web.url("/file", web.send(BODY)), tmp_path / "file", progress=progress)
        assert ("file: 100%" in screen.getvalue()) == (is_terminal and progress)

    def test_interrupt_leaves_nothing(
        self, web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def interrupt(*_: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(fetch._Part, "write", interrupt)
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
                "the server sent another range than asked, 3 times",
                3,
            ),
            # A slow loris keeps within the read time-out and is found out by the stall bound.
            (
                {"pause": (1, 0.02)},
                {},
                "fewer than 1000 bytes in 0.2 s, 3 times",
                3,
            ),
            ({"pause": (50_000, 0.6)}, {}, "no data for 0.2 s, 3 times", 3),
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

    def test_tls_that_is_none(self, web, tmp_path: Path) -> None:
        url = web.url("/file").replace("http:", "https:")
        assert refusal(url, tmp_path / "file") == "the TLS connection failed"

    def test_port_that_is_none(self, web, tmp_path: Path) -> None:
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
            (TimeoutError("slow"), "no connection within 1 s"),
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

        monkeypatch.setattr(fetch.os, "fsync", fail)
        with pytest.raises(StorageError) as caught:
            download(web.url("/file", web.send(BODY)), tmp_path / "file")
        assert str(caught.value) == f"{tmp_path}/file cannot be written: No space left on device"
        assert names(tmp_path) == []


def with_mode(name: str, mode: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    return info


def encrypted(zip_of) -> bytes:
    data = bytearray(zip_of(("a", b"text")))
    data[6] |= 1  # general purpose flags of the local header
    data[data.index(b"PK\x01\x02") + 8] |= 1  # and of the central directory
    return bytes(data)


def overwritten(zip_of) -> bytes:
    data = bytearray(zip_of(("a", b"text" * 9)))
    data[data.index(b"a") + 3] ^= 0xFF
    return bytes(data)


class TestReadZipMember:
    def test_exact_member(self, zip_of, tmp_path: Path) -> None:
        data = zip_of(("a", b"one"), ("b", b"two"), ("d/a", b"three"))
        (tmp_path / "x.zip").write_bytes(data)
        assert read_zip_member(data, "a", 10, sha256(b"one")) == b"one"
        assert read_zip_member(tmp_path / "x.zip", "d/a", 10) == b"three"
        assert names(tmp_path) == ["x.zip"]

    @pytest.mark.parametrize(
        ("make", "text"),
        [
            (lambda _: b"<html>", "the archive is damaged (File is not a zip file)"),
            (lambda zip_of: zip_of(("b", b"")), "the archive has no member 'a'"),
            (lambda zip_of: zip_of(("A", b""), ("x/a", b"")), "the archive has no member 'a'"),
            (lambda zip_of: zip_of(("a", b"x" * 11)), "member 'a' has more than 10 bytes"),
            (
                lambda zip_of: zip_of(("a", b""), ("../evil", b"")),
                "the archive has a member with a dangerous name, '../evil'",
            ),
            (
                lambda zip_of: zip_of(("a", b""), ("/etc/evil", b"")),
                "the archive has a member with a dangerous name, '/etc/evil'",
            ),
            (
                lambda zip_of: zip_of(("a", b""), ("x\\..\\evil", b"")),
                "the archive has a member with a dangerous name, 'x\\\\..\\\\evil'",
            ),
            (
                lambda zip_of: zip_of((with_mode("a", stat.S_IFLNK | 0o777), b"/etc")),
                "member 'a' is not a regular file",
            ),
            (
                lambda zip_of: zip_of(*((str(number), b"") for number in range(1001))),
                "the archive has more than 1000 members",
            ),
            (
                lambda zip_of: zip_of(("a", b""), ("b", bytes(64 * 1024**2 + 1))),
                "the archive unpacks to over 67108864 bytes",
            ),
            (lambda _: bytes(8 * 1024**2 + 1), "the archive has more than 8388608 bytes"),
            (encrypted, "member 'a' is encrypted"),
        ],
    )
    def test_refused(self, zip_of, make: Callable, text: str) -> None:
        with pytest.raises(InputError) as caught:
            read_zip_member(make(zip_of), "a", 10)
        assert str(caught.value) == text

    def test_bomb(self, zip_of) -> None:
        with pytest.raises(InputError) as caught:
            read_zip_member(zip_of(("a", bytes(10**6))), "a", 10**6)
        assert str(caught.value) == "member 'a' unpacks to over 100 times its size"

    def test_duplicate(self, zip_of) -> None:
        with pytest.warns(UserWarning, match="Duplicate name"):
            data = zip_of(("a", b"one"), ("a", b"two"))
        with pytest.raises(InputError) as caught:
            read_zip_member(data, "a", 10)
        assert str(caught.value) == "the archive has two members named 'a'"

    def test_wrong_hash_names_the_file(self, zip_of, tmp_path: Path) -> None:
        path = tmp_path / "x.zip"
        path.write_bytes(zip_of(("a", b"one")))
        with pytest.raises(InputError) as caught:
            read_zip_member(path, "a", 10, HASH)
        assert str(caught.value) == (
            f"{path}: SHA-256 of member 'a' is {sha256(b'one')}, expected {HASH}"
        )

    def test_every_cut_is_refused(self, zip_of) -> None:
        data = zip_of(("a", b"one"))
        for length in range(len(data)):
            with pytest.raises(InputError, match="^the archive "):
                read_zip_member(data[:length], "a", 10)

    def test_changed_bytes_are_refused(self, zip_of) -> None:
        with pytest.raises(InputError, match=r"^the archive is damaged \("):
            read_zip_member(overwritten(zip_of), "a", 100)


class TestDownloadWheel:
    """pip is replaced, except for what a real pip that has no index says."""

    @pytest.fixture
    def pip(self, monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[str], dict]]:
        calls: list[tuple[list[str], dict]] = []
        self.status, self.stderr, self.wheels = 0, "", ("thing-1.0-py3-none-any.whl",)

        def run(command: list[str], **options: object) -> subprocess.CompletedProcess:
            calls.append((command, options))
            for name in self.wheels:
                Path(command[command.index("--dest") + 1], name).write_bytes(b"wheel")
            return subprocess.CompletedProcess(command, self.status, "", self.stderr)

        monkeypatch.setattr(fetch.subprocess, "run", run)
        return calls

    def test_command_line(self, pip: list, tmp_path: Path) -> None:
        path = download_wheel("thing==1.0", tmp_path)
        assert path == tmp_path / "thing-1.0-py3-none-any.whl"
        assert path.read_bytes() == b"wheel"
        [(command, options)] = pip
        scratch = command[command.index("--dest") + 1]
        assert Path(scratch).parent == tmp_path
        assert names(tmp_path) == [path.name]
        assert command == [
            *(sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"),
            *("--dest", scratch, "--quiet", "--no-input", "--disable-pip-version-check"),
            *("--retries", "1", "thing==1.0"),
        ]
        assert options["cwd"] == scratch
        assert "shell" not in options

    @pytest.mark.parametrize(
        ("stderr", "reason"),
        [
            ("/usr/bin/python: No module named pip", "pip is not installed"),
            (
                "WARNING: connection broken by index.example.org\nERROR: No matching distribution",
                "the package index cannot be reached",
            ),
            (
                "ERROR: HTTP error 403 while getting https://user:key@index.example.org/thing",
                "the package index refused access",
            ),
            (
                "ERROR: No matching distribution found for thing==1.0",
                "the package index has no such wheel",
            ),
            ("ERROR: index.example.org is odd", "pip download ended with status 1"),
        ],
    )
    def test_reason_never_names_the_index(
        self,
        pip: list,
        tmp_path: Path,
        caplog: pytest.LogCaptureFixture,
        stderr: str,
        reason: str,
    ) -> None:
        self.status, self.stderr, self.wheels = 1, stderr, ()
        caplog.set_level("DEBUG")
        with pytest.raises(UnavailableError) as caught:
            download_wheel("thing==1.0", tmp_path)
        assert str(caught.value) == f"wheel thing==1.0: {reason}"
        assert "example.org" not in caplog.text
        assert names(tmp_path) == []

    def test_no_wheel(self, pip: list, tmp_path: Path) -> None:
        self.wheels = ()
        with pytest.raises(UnavailableError) as caught:
            download_wheel("thing==1.0", tmp_path)
        assert str(caught.value) == "wheel thing==1.0: pip left 0 wheels, not 1"

    def test_time_out(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(fetch, "PIP_SECONDS", 0.01)
        with pytest.raises(UnavailableError) as caught:
            download_wheel("thing==1.0", tmp_path)
        assert str(caught.value) == "wheel thing==1.0: pip took longer than 0.01 s"
        assert names(tmp_path) == []

    def test_real_pip_without_an_index(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in [name for name in os.environ if name.startswith("PIP_")]:
            monkeypatch.delenv(name)
        monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
        monkeypatch.setenv("PIP_NO_INDEX", "1")
        with pytest.raises(UnavailableError) as caught:
            download_wheel("thing==1.0", tmp_path)
        assert str(caught.value) == "wheel thing==1.0: the package index has no such wheel"
