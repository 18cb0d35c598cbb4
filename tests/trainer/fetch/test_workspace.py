"""A file appears complete or not at all. test_fetch.py has the tests of two processes."""

import errno
import logging
import threading
from pathlib import Path

import pytest

from batch.errors import OutputError, StorageError
from trainer.fetch.workspace import workspace, write_whole


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_file_appears_alone(tmp_path: Path) -> None:
    target = tmp_path / "new" / "file"
    with workspace(target) as scratch:
        write_whole(b"text", target, scratch)
    assert target.read_bytes() == b"text"
    assert names(target.parent) == ["file"]


def test_only_its_own_leftovers_are_removed(tmp_path: Path) -> None:
    others = [".file.draft.part", ".file.tsv.0a1b2c3d.part", ".other.0a1b2c3d.part"]
    for name in (".file.0a1b2c3d.part", *others):
        (tmp_path / name).mkdir()
    (tmp_path / ".file.01234567.part").write_text("mine")
    with workspace(tmp_path / "file"):
        pass
    assert names(tmp_path) == [".file.01234567.part", *others]
    assert (tmp_path / ".file.01234567.part").read_text() == "mine"


def test_another_file_of_the_name_is_kept(tmp_path: Path, caplog) -> None:
    target = tmp_path / "file"
    target.write_text("mine")
    (tmp_path / "file.1").write_text("mine, too")
    for _ in range(2):  # the same again is nothing to keep
        with workspace(target) as scratch:
            write_whole(b"text", target, scratch)
    found = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert found == {"file": "text", "file.1": "mine, too", "file.2": "mine"}
    assert caplog.messages == [f"{target} was not what is published; it was kept as file.2"]


def test_another_file_of_the_locks_name_is_kept(tmp_path: Path) -> None:
    path = tmp_path / ".file.lock"
    path.write_text("mine")
    with pytest.raises(OutputError) as caught, workspace(tmp_path / "file"):
        pass
    assert str(caught.value) == (
        f"{path} is not a lock of spam-batch, and one would go there; move it, or give another "
        "output"
    )
    assert (names(tmp_path), path.read_text()) == ([".file.lock"], "mine")


def test_second_caller_waits_and_logs_it(tmp_path: Path, caplog) -> None:
    caplog.set_level(logging.INFO)
    target = tmp_path / "file"

    def write_second() -> None:
        with workspace(target) as scratch:
            write_whole(target.read_bytes() + b", second", target, scratch)

    second = threading.Thread(target=write_second)
    with workspace(target) as scratch:
        second.start()
        while not caplog.messages:
            second.join(0.01)
            assert second.is_alive()
        write_whole(b"first", target, scratch)
    second.join()
    assert target.read_bytes() == b"first, second"
    assert caplog.messages == [
        "waiting for another run that is downloading file",
        f"{target} was not what is published; it was kept as file.1",
    ]
    assert names(tmp_path) == ["file", "file.1"]


def test_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    target = tmp_path / "file" / "x"
    with pytest.raises(OutputError) as caught, workspace(target):
        pass
    assert str(caught.value) == f"{target} cannot be created: File exists"


def test_full_disk(tmp_path: Path) -> None:
    with pytest.raises(StorageError) as caught, workspace(tmp_path / "file"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert str(caught.value) == f"{tmp_path}/file cannot be written: No space left on device"
    assert names(tmp_path) == []


def test_a_folder_stays_only_if_something_is_in_it(tmp_path: Path) -> None:
    target = tmp_path / "cache" / "data" / "file"
    with pytest.raises(ValueError), workspace(target):
        raise ValueError
    assert names(tmp_path) == []
    with workspace(target) as scratch:
        write_whole(b"1", target, scratch)
    assert names(target.parent) == ["file"]
