"""The lock of an output: one holder, free again however it ends, no file left behind."""

import errno
import os
import subprocess
import sys

import pytest

from batch.errors import LockedError, OutputError
from batch.writing.lock import hold_lock, lock_path

HOLD = """
import sys
from pathlib import Path
from batch.writing.lock import hold_lock
with hold_lock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lock."""
    command = [sys.executable, "-c", HOLD, str(tmp_path / "out.csv")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"held\n"
        yield process
        process.kill()


def test_the_second_is_refused_and_the_next_is_not(tmp_path, holder):
    target = tmp_path / "out.csv"
    with pytest.raises(LockedError) as error, hold_lock(target):
        pass
    assert str(error.value) == f"another run is writing {target}; wait until it ends, or stop it"
    holder.communicate()
    with hold_lock(target):
        assert os.listdir(tmp_path) == [".out.csv.lock"]
    assert os.listdir(tmp_path) == []


def test_the_lock_of_a_killed_holder_is_free(tmp_path, holder):
    holder.kill()
    holder.wait()
    assert os.listdir(tmp_path) == [".out.csv.lock"]
    with hold_lock(tmp_path / "out.csv"):
        assert lock_path(tmp_path / "out.csv").stat().st_mode & 0o777 == 0o600
    assert os.listdir(tmp_path) == []


def test_a_file_that_was_removed_meanwhile_is_no_lock(tmp_path, monkeypatch):
    """The holder before us unlinks between our open and our lock: ours is another file then."""
    target, real, opened = tmp_path / "out.csv", os.open, []

    def open_late(path, *args, **options):
        descriptor = real(path, *args, **options)
        if not opened:
            os.unlink(path)
        opened.append(descriptor)
        return descriptor

    monkeypatch.setattr(os, "open", open_late)
    with hold_lock(target):
        assert len(opened) == 2
        assert os.path.samestat(os.stat(lock_path(target)), os.fstat(opened[1]))


def test_a_folder_that_takes_no_file(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "open", fail)
    with pytest.raises(OutputError) as error, hold_lock(tmp_path / "out.csv"):
        pass
    assert str(error.value) == f"cannot create {tmp_path / '.out.csv.lock'}: Permission denied"


def test_a_lock_that_was_removed_is_no_fault(tmp_path):
    with hold_lock(tmp_path / "out.csv"):
        lock_path(tmp_path / "out.csv").unlink()


@pytest.mark.parametrize("target", ["out.csv", "folder"])
def test_another_file_of_its_name_is_kept(tmp_path, target):
    (tmp_path / "folder").mkdir()
    path = lock_path(tmp_path / target)
    path.write_text("mine")
    with pytest.raises(OutputError) as error, hold_lock(tmp_path / target):
        pass
    assert str(error.value) == (
        f"{path} is not a lock of spam-batch, and one would go there; move it, or give another "
        "output"
    )
    assert path.read_text() == "mine"
