"""A file appears whole or not at all; locks between processes are in test_fetch.py."""

import errno
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
    for name in (".file.0a.part", ".other.0a.part"):
        (tmp_path / name).mkdir()
    with workspace(tmp_path / "file"):
        pass
    assert names(tmp_path) == [".other.0a.part"]


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
