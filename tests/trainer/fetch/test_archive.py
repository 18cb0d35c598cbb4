"""Zips that are attacks, and wheels from a replaced pip."""

import hashlib
import os
import stat
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from batch.errors import InputError, UnavailableError
from trainer.fetch import archive
from trainer.fetch.archive import download_wheel, read_zip_member

HASH = hashlib.sha256(b"another").hexdigest()


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


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
    data[30 + len("a") + 2] ^= 0xFF  # behind the local header, which is 30 bytes and the name
    return bytes(data)


class TestReadZipMember:
    def test_exact_member(self, zip_of) -> None:
        data = zip_of(("a", b"one"), ("b", b"two"), ("d/a", b"three"))
        assert read_zip_member(data, "a", 10, sha256(b"one")) == b"one"
        assert read_zip_member(data, "d/a", 10) == b"three"

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
                "the archive unpacks to more than 67108864 bytes",
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
        assert str(caught.value) == "member 'a' unpacks to more than 100 times its size"

    def test_duplicate(self, zip_of) -> None:
        with pytest.warns(UserWarning, match="Duplicate name"):
            data = zip_of(("a", b"one"), ("a", b"two"))
        with pytest.raises(InputError) as caught:
            read_zip_member(data, "a", 10)
        assert str(caught.value) == "the archive has two members named 'a'"

    def test_wrong_hash(self, zip_of) -> None:
        with pytest.raises(InputError) as caught:
            read_zip_member(zip_of(("a", b"one")), "a", 10, HASH)
        assert str(caught.value) == (f"SHA-256 of member 'a' is {sha256(b'one')}, expected {HASH}")

    def test_every_truncated_zip_is_refused(self, zip_of) -> None:
        data = zip_of(("a", b"one"))
        for length in range(len(data)):
            with pytest.raises(InputError, match=r"^the archive "):
                read_zip_member(data[:length], "a", 10)

    def test_changed_bytes_are_refused(self, zip_of) -> None:
        with pytest.raises(InputError, match=r"^the archive is damaged \("):
            read_zip_member(overwritten(zip_of), "a", 100)


class TestDownloadWheel:
    """pip is replaced; one test runs the real pip without an index."""

    @pytest.fixture
    def pip(self, monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[str], dict]]:
        calls: list[tuple[list[str], dict]] = []
        self.status, self.stderr, self.wheels = 0, "", ("thing-1.0-py3-none-any.whl",)

        def run(command: list[str], **options: object) -> subprocess.CompletedProcess:
            calls.append((command, options))
            for name in self.wheels:
                # As in pip: a relative --dest is relative to the folder that pip runs in.
                dest = command[command.index("--dest") + 1]
                Path(options["cwd"], dest, name).write_bytes(b"wheel")
            return subprocess.CompletedProcess(command, self.status, "", self.stderr)

        monkeypatch.setattr(archive.subprocess, "run", run)
        return calls

    def test_command_line(self, pip: list, tmp_path: Path) -> None:
        path = download_wheel("thing==1.0", tmp_path)
        assert path == tmp_path / "thing-1.0-py3-none-any.whl"
        assert path.read_bytes() == b"wheel"
        [(command, options)] = pip
        assert names(tmp_path) == [path.name]
        assert command == [
            *(sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"),
            *("--dest", ".", "--quiet", "--no-input", "--disable-pip-version-check"),
            *("--retries", "1", "thing==1.0"),
        ]
        assert options["cwd"] == tmp_path
        assert "shell" not in options

    def test_relative_folder(
        self, pip: list, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        Path("data").mkdir()
        path = download_wheel("thing==1.0", Path("data"))
        assert path == Path("data/thing-1.0-py3-none-any.whl")
        assert path.read_bytes() == b"wheel"
        assert names(tmp_path / "data") == [path.name]

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
        assert str(caught.value) == "wheel thing==1.0: pip left 0 wheels, expected 1"

    def test_time_out(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(archive, "PIP_SECONDS", 0.01)
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
