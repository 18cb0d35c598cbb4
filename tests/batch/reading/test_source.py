"""Inputs: opened, known again, and watched while they are read."""

import errno
import os
import sys
import threading
import time
from dataclasses import replace

import pytest

from batch.cli.commands import main
from batch.errors import InputError, MissingInputError, StorageError
from batch.reading.opening import open_source
from batch.reading.source import Source


@pytest.fixture
def path(tmp_path):
    found = tmp_path / "in.csv"
    found.write_bytes(b"text\na\nb\n")
    return found


def test_the_bytes_and_the_identity(path):
    with open_source(str(path)) as source:
        assert source.stream().read() == b"text\na\nb\n"
        assert source.stream(5).read() == b"a\nb\n"
        assert source.check_unchanged() is None
        first = source.identity
    assert first.path == str(path.resolve()) and first.size == source.size == 9
    with open_source(str(path)) as source:
        assert source.identity == first
        assert first.describe_change(source.identity) is None


@pytest.mark.parametrize(
    ("change", "clause"),
    [
        ({"path": "/b.csv"}, "it read /a.csv, not /b.csv"),
        ({"size": 1000}, "/a.csv had 1,234 bytes and has 1,000 now"),
        ({"head_sha256": "1"}, "/a.csv has other contents now"),
        ({"mtime_ns": 3}, "/a.csv was written since"),
        ({"inode": 3}, "/a.csv was replaced by another file"),
    ],
)
def test_what_has_changed(path, change, clause):
    with open_source(str(path)) as source:
        before = replace(source.identity, path="/a.csv", size=1234, mtime_ns=1, inode=1)
    assert before.describe_change(replace(before, **change)) == clause


def test_what_is_no_input(tmp_path, monkeypatch):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for name, message in (
        (tmp_path, f"{tmp_path} is a folder; give the name of a file"),
        (tmp_path / "none", f"cannot read {tmp_path / 'none'}: No such file or directory"),
        (
            tmp_path / "loop",
            f"cannot read {tmp_path / 'loop'}: Too many levels of symbolic links",
        ),
    ):
        with pytest.raises(MissingInputError) as error, open_source(str(name)):
            pass
        assert str(error.value) == message
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(MissingInputError) as error, open_source("-"):
        pass
    assert str(error.value) == "standard input is closed"


def refusal(action) -> str:
    with pytest.raises(InputError) as error:
        action()
    return str(error.value)


def test_a_file_that_is_cut(path):
    with open_source(str(path)) as source:
        os.truncate(path, 5)
        wanted = f"{path}: was cut from 9 to 5 bytes while it was read; run again"
        assert refusal(source.stream().read) == wanted
        assert refusal(source.check_unchanged) == wanted


def test_a_file_that_grows(path):
    with open_source(str(path)) as source:
        with open(path, "ab") as file:
            file.write(b"c\n")
        assert source.stream().read() == b"text\na\nb\n"
        assert source.check_unchanged() == (
            f"{path} has grown to 11 bytes; only the 9 that it had at the start were labelled"
        )


def test_a_file_that_grows_in_the_middle_of_a_line(path):
    path.write_bytes(b"text\nab")
    with open_source(str(path)) as source:
        with open(path, "ab") as file:
            file.write(b"c\n")
        assert refusal(source.check_unchanged) == (
            f"{path}: grows while it is read, and its last line was incomplete at 7 bytes; run "
            "again when it is complete"
        )


def test_a_file_that_is_overwritten(path):
    with open_source(str(path)) as source:
        found = path.stat()
        os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns + 1))
        assert refusal(source.check_unchanged) == (
            f"{path}: was overwritten while it was read; run again"
        )


def test_a_pipe_has_no_identity(tmp_path):
    reading, writing = os.pipe()
    os.write(writing, b"text\n")
    os.close(writing)
    with open(reading, "rb", buffering=0) as file:
        source = Source("pipe", file)
        assert (source.identity, source.size) == (None, None)
        assert source.stream().read() == b"text\n"
        assert source.check_unchanged() is None


def test_a_pipe_where_the_format_needs_a_file(tmp_path, invoke, bundle):
    path = tmp_path / "in.parquet"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_bytes, args=(b"",))
    writer.start()
    out = tmp_path / "out.parquet"
    result = invoke(main, "classify", path, "--out", out, "--bundle", bundle)
    writer.join()
    message = f"{path}: is a pipe, and this format needs a file"
    assert (result.exit_code, result.stderr) == (65, f"spam-batch: error: {message}\n")
    assert os.listdir(tmp_path) == ["in.parquet"]


def test_a_nonblocking_pipe_is_waited_for():
    reading, writing = os.pipe()
    os.set_blocking(reading, False)

    def feed() -> None:
        time.sleep(0.2)
        os.write(writing, b"text\n")
        os.close(writing)

    thread = threading.Thread(target=feed)
    thread.start()
    with open(reading, "rb", buffering=0) as file:
        assert Source("pipe", file).stream().read(100) == b"text\n"
    thread.join()


def test_a_file_that_cannot_be_looked_at(path, monkeypatch):
    def fail(*_):
        raise OSError(errno.EIO, "Input/output error")

    with open_source(str(path)) as source:
        monkeypatch.setattr(os, "pread", fail)
        with pytest.raises(StorageError) as error:
            source.check_unchanged()
        assert str(error.value) == f"{path}: reading stopped: Input/output error"
