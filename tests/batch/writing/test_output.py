"""Targets, streams and new files; what happens to an output on the way is in tests/faults."""

import errno
import os
import signal
import stat
import sys
import threading

import pytest

from batch.errors import OutputError, StorageError
from batch.writing.atomic import create_file, storage_errors, uninterrupted, write_all
from batch.writing.output import is_stream, open_stream
from batch.writing.target import check_not_input, resolve_path

OLD, NEW = b"old\n", b"new\n" * 1000


def write(out: object) -> None:
    with open_stream(str(out)) as file:
        write_all(file, NEW)


def test_a_link_stands_for_its_target(tmp_path):
    link = tmp_path / "link.csv"
    link.symlink_to(tmp_path / "real.csv")  # dangling
    assert resolve_path(str(link)) == (tmp_path / "real.csv").resolve()


def test_what_is_written_directly(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "file").write_bytes(OLD)
    (tmp_path / "link").symlink_to("/dev/null")
    for name in ("-", "/dev/null", str(tmp_path / "fifo"), str(tmp_path / "link")):
        assert is_stream(name)
    for name in ("file", "none", "."):
        assert not is_stream(str(tmp_path / name))


@pytest.mark.parametrize("kind", ["file", "link", "dangling link", "folder"])
def test_a_new_file_is_never_one_that_is_there(tmp_path, kind):
    path = tmp_path / "new"
    if kind == "file":
        path.write_bytes(OLD)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(tmp_path / "target")
        if kind == "link":
            (tmp_path / "target").write_bytes(OLD)
    with pytest.raises(FileExistsError):
        create_file(path, 0o600)
    assert not (tmp_path / "target").exists() or (tmp_path / "target").read_bytes() == OLD


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o027, 0o640), (0o077, 0o600)])
def test_the_mode_follows_the_umask(tmp_path, umask, mode):
    previous = os.umask(umask)
    try:
        create_file(tmp_path / "new", 0o666).close()
    finally:
        os.umask(previous)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == mode


def test_errors_get_the_name_of_the_output():
    with pytest.raises(StorageError) as error, storage_errors("out.csv"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert str(error.value) == "writing out.csv: No space left on device"
    with pytest.raises(BrokenPipeError), storage_errors("out.csv"):
        raise BrokenPipeError


def test_signals_wait_for_the_end():
    before = signal.getsignal(signal.SIGTERM)
    with uninterrupted():
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.raise_signal(number)
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_full_device():
    with pytest.raises(StorageError) as error:
        write("/dev/full")
    assert str(error.value) == "writing /dev/full: No space left on device"
    assert stat.S_ISCHR(os.stat("/dev/full").st_mode)


def test_a_device_and_a_fifo_are_written_directly(tmp_path):
    write("/dev/null")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)

    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    found = []
    reader = threading.Thread(target=lambda: found.append(fifo.read_bytes()), daemon=True)
    reader.start()
    write(fifo)
    reader.join(30)
    assert found == [NEW]
    assert os.listdir(tmp_path) == ["fifo"]


def test_a_device_that_cannot_be_opened(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")

    os.mkfifo(tmp_path / "fifo")
    monkeypatch.setattr("builtins.open", fail)
    with pytest.raises(OutputError) as error:
        write(tmp_path / "fifo")
    assert str(error.value) == f"cannot write {tmp_path / 'fifo'}: Permission denied"


def test_standard_output(capsysbinary, monkeypatch):
    write("-")
    assert capsysbinary.readouterr().out == NEW

    with open("/dev/full", "w", encoding="utf-8") as full:
        monkeypatch.setattr(sys, "stdout", full)
        with pytest.raises(StorageError) as error:
            write("-")
    assert str(error.value) == "writing standard output: No space left on device"

    monkeypatch.setattr(sys, "stdout", None)
    with pytest.raises(OutputError) as error:
        write("-")
    assert str(error.value) == "standard output is closed"


def test_a_missing_folder_is_not_made(tmp_path):
    out = tmp_path / "none" / "labeled.csv"
    with pytest.raises(OutputError) as error:
        resolve_path(str(out))
    assert str(error.value) == f"the folder {out.parent} does not exist; make it first"
    assert os.listdir(tmp_path) == []


def test_a_file_as_the_folder(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError) as error:
        resolve_path(str(tmp_path / "file" / "labeled.csv"))
    assert str(error.value) == f"{tmp_path / 'file'} is not a folder; give another name"


def test_a_folder_as_the_output(tmp_path):
    with pytest.raises(OutputError) as error:
        resolve_path(str(tmp_path))
    assert str(error.value) == f"{tmp_path} is a folder; give the name of a file"


@pytest.mark.parametrize("by", ["path", "detour", "symbolic link", "hard link"])
def test_the_output_is_the_input(tmp_path, by):
    source = tmp_path / "inbox.csv"
    source.write_bytes(OLD)
    out = {"path": source, "detour": tmp_path / ".." / tmp_path.name / "inbox.csv"}.get(by)
    if out is None:
        out = tmp_path / "other.csv"
        out.symlink_to(source) if by == "symbolic link" else out.hardlink_to(source)
    with pytest.raises(OutputError) as error:
        check_not_input(str(out), str(source))
    assert str(error.value) == f"{out} is the input {source}; give another --out"


def test_the_output_is_standard_input(tmp_path, bundle, run_cli):
    out = tmp_path / "inbox.csv"
    out.write_bytes(b"text\na\n")
    with open(out, "rb") as file:
        done = run_cli("batch", "classify", "-", "--out", out, "--bundle", bundle, stdin=file)
    message = f"{out} is standard input; give another --out"
    assert (done.returncode, done.stdout) == (73, b"")
    assert done.stderr.decode() == f"spam-batch: error: {message}\n"
    assert os.listdir(tmp_path) == ["inbox.csv"] and out.read_bytes() == b"text\na\n"


def test_the_output_is_not_the_input(tmp_path):
    source, other = tmp_path / "inbox.csv", tmp_path / "other.csv"
    source.write_bytes(OLD)
    other.write_bytes(OLD)
    for out in (other, tmp_path / "none.csv", "-"):
        for name in (str(source), str(tmp_path / "missing.csv"), "-"):
            check_not_input(str(out), name)
    check_not_input("/dev/null", "/dev/null")
