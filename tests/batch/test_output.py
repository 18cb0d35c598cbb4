"""The output path: absent, the old file or the new one, whatever goes wrong and where."""

import errno
import os
import resource
import stat
import sys
import threading
from pathlib import Path

import pytest

from batch.errors import OutputError, StorageError
from batch.output import check_not_input, open_output, resolve_target

OLD, NEW = b"old\n", b"new\n" * 1000


@pytest.fixture(params=["absent", "old"])
def target(request, tmp_path: Path) -> Path:
    """Where the output goes: a folder of its own, empty or with the old file."""
    path = tmp_path / "out" / "labeled.csv"
    path.parent.mkdir()
    if request.param == "old":
        path.write_bytes(OLD)
    return path


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def write(out: object) -> None:
    with open_output(str(out)) as file:
        file.write(NEW)


def test_the_name_comes_last(target):
    before = contents(target.parent)
    with open_output(str(target)) as file:
        file.write(NEW)
        file.flush()
        (part,) = (name for name in contents(target.parent) if name not in before)
        assert part.startswith(".labeled.csv.") and part.endswith(".part")
        assert {**contents(target.parent), part: b""} == {**before, part: b""}
    assert contents(target.parent) == {"labeled.csv": NEW}


@pytest.mark.parametrize("problem", [ValueError("x"), KeyboardInterrupt(), BrokenPipeError()])
def test_a_block_that_fails(target, problem):
    before = contents(target.parent)
    with pytest.raises(type(problem)), open_output(str(target)) as file:
        file.write(NEW)
        raise problem
    assert contents(target.parent) == before


@pytest.mark.parametrize("call", ["fchmod", "fsync", "replace"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EACCES])
def test_each_call_that_fails(target, monkeypatch, call, code):
    def fail(*_, **__):
        raise OSError(code, os.strerror(code))

    before = contents(target.parent)
    monkeypatch.setattr(os, call, fail)
    with pytest.raises(StorageError) as error:
        write(target)
    assert str(error.value) == f"writing {target}: {os.strerror(code)}"
    assert contents(target.parent) == before


def test_a_folder_that_cannot_be_synced(target, monkeypatch):
    real = os.fsync

    def fail_for_folders(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fail_for_folders)
    with pytest.raises(StorageError) as error:
        write(target)
    assert str(error.value) == f"writing {target}: Input/output error"
    assert contents(target.parent) == {"labeled.csv": NEW}


def test_a_file_that_may_not_grow(target):
    before = contents(target.parent)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(StorageError) as error:
            write(target)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert str(error.value) == f"writing {target}: File too large"
    assert contents(target.parent) == before


def test_a_folder_that_takes_no_file(target, monkeypatch):
    def fail(**_):
        raise PermissionError(errno.EACCES, "Permission denied")

    before = contents(target.parent)
    monkeypatch.setattr("tempfile.mkstemp", fail)
    with pytest.raises(OutputError) as error:
        write(target)
    assert str(error.value) == f"cannot create a file in {target.parent}: Permission denied"
    assert contents(target.parent) == before


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o027, 0o640), (0o077, 0o600)])
def test_the_mode_follows_the_umask(target, umask, mode):
    previous = os.umask(umask)
    try:
        write(target)
        assert os.umask(umask) == umask
    finally:
        os.umask(previous)
    assert stat.S_IMODE(target.stat().st_mode) == mode


def test_a_links_target_is_replaced_and_not_the_link(target, tmp_path):
    link = tmp_path / "link.csv"
    link.symlink_to(target)  # dangling where the old file is absent
    write(link)
    assert link.is_symlink()
    assert contents(target.parent) == {"labeled.csv": NEW}
    assert resolve_target(str(link)) == target.resolve()


def test_the_old_file_stays_with_its_other_name(tmp_path):
    (tmp_path / "old.csv").write_bytes(OLD)
    os.link(tmp_path / "old.csv", tmp_path / "labeled.csv")
    write(tmp_path / "labeled.csv")
    assert contents(tmp_path) == {"old.csv": OLD, "labeled.csv": NEW}


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
    def fail(*_):
        raise PermissionError(errno.EACCES, "Permission denied")

    os.mkfifo(tmp_path / "fifo")
    monkeypatch.setattr("builtins.open", fail)
    with pytest.raises(OutputError) as error:
        write(tmp_path / "fifo")
    assert str(error.value) == f"cannot write {tmp_path / 'fifo'}: Permission denied"


def test_standard_output(capsysbinary, monkeypatch):
    write("-")
    assert capsysbinary.readouterr().out == NEW

    full = open("/dev/full", "w", encoding="utf-8")  # noqa: SIM115
    monkeypatch.setattr(sys, "stdout", full)
    with pytest.raises(StorageError) as error:
        write("-")
    assert str(error.value) == "writing standard output: No space left on device"
    with pytest.raises(OSError):
        full.close()  # what is in its buffer can never be written

    monkeypatch.setattr(sys, "stdout", None)
    with pytest.raises(OutputError) as error:
        write("-")
    assert str(error.value) == "standard output is closed"


def test_a_missing_folder_is_not_made(tmp_path):
    out = tmp_path / "none" / "labeled.csv"
    for refuse in (resolve_target, write):
        with pytest.raises(OutputError) as error:
            refuse(str(out))
        assert str(error.value) == f"the folder {out.parent} does not exist; make it first"
    assert contents(tmp_path) == {}


def test_a_folder_as_the_output(tmp_path):
    with pytest.raises(OutputError) as error:
        resolve_target(str(tmp_path))
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
        check_not_input(str(out), ["-", str(source)])
    assert str(error.value) == f"{out} is the input {source}; give another --out"


def test_the_output_is_not_the_input(tmp_path):
    source, other = tmp_path / "inbox.csv", tmp_path / "other.csv"
    source.write_bytes(OLD)
    other.write_bytes(OLD)
    for out in (other, tmp_path / "none.csv", "-"):
        check_not_input(str(out), [str(source), str(tmp_path / "missing.csv"), "-"])
    check_not_input("/dev/null", ["/dev/null"])
