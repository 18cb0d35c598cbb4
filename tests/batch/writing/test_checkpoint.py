"""The checkpoint file: read back, written whole, refused by what is wrong with it."""

import errno
import json
import os
import stat
from dataclasses import replace

import pytest

from batch.errors import BundleError, InputError, OutputError, StorageError, UsageError
from batch.reading.source import Identity
from batch.version import __version__
from batch.writing.checkpoint import (
    Checkpoint,
    ResumeKey,
    check_checkpoint_path,
    read_checkpoint,
    write_checkpoint,
)
from batch.writing.names import checkpoint_path
from batch.writing.progress import Progress

INPUT = Identity("/in\udcff.csv", 10, 1, 2, "ab")  # a name that is no UTF-8
KEY = ResumeKey(INPUT, {"--delimiter": ",", "--columns": "label"}, "0123456789abcdef")
SAVED = Checkpoint(KEY, ".out.csv.x.part", Progress(5, 2, 1, labels={"ham": 1}, bytes=9))


@pytest.fixture
def target(tmp_path):
    found = tmp_path / "out.csv"
    write_checkpoint(found, SAVED)
    return found


def test_it_is_read_back(target, tmp_path):
    assert read_checkpoint(target) == SAVED
    path = checkpoint_path(target)
    assert os.listdir(tmp_path) == [path.name] == [".out.csv.checkpoint.json"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    write_checkpoint(target, replace(SAVED, part="y"))
    assert read_checkpoint(target).part == "y"
    path.unlink()
    assert read_checkpoint(target) is None


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_one_that_cannot_be_written_leaves_the_old_one(target, tmp_path, monkeypatch, call):
    def fail(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(OSError):
        patch.setattr(os, call, fail)
        write_checkpoint(target, replace(SAVED, part="y"))
    assert read_checkpoint(target) == SAVED
    assert len(os.listdir(tmp_path)) == 1


def refusal(kind, action, *args) -> str:
    with pytest.raises(kind) as error:
        action(*args)
    return str(error.value)


@pytest.mark.parametrize("version", [0, 2, 99])
def test_another_format_version(target, version):
    path = checkpoint_path(target)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format_version": version}))
    assert refusal(InputError, read_checkpoint, target) == (
        f"{path}: format version {version}, this spam-batch reads 3; start over with --restart"
    )


@pytest.mark.parametrize(
    "change",
    [
        lambda values: values["progress"].update(offset=6),
        lambda values: values["progress"].update(new=1),
        lambda values: values["resume_key"].pop("input"),
        lambda values: values.pop("sha256"),
        lambda values: values.update(format="other"),
        lambda values: values.update(format_version="1"),
    ],
)
def test_a_change_by_hand(target, change):
    path = checkpoint_path(target)
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))
    wanted = f"{path}: is damaged; start over with --restart"
    assert refusal(InputError, read_checkpoint, target) == wanted


@pytest.mark.parametrize("kind", ["link", "folder", "fifo"])
def test_what_is_no_file(target, kind, tmp_path):
    path = checkpoint_path(target)
    path.rename(tmp_path / "elsewhere")
    if kind == "link":
        path.symlink_to(tmp_path / "elsewhere")
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        path.mkdir()
        wanted = f"{path}: cannot be read: Is a directory"
        assert refusal(StorageError, read_checkpoint, target) == wanted
        return
    wanted = f"{path}: is not a regular file of this user; start over with --restart"
    assert refusal(InputError, read_checkpoint, target) == wanted


def test_the_same_again_is_the_same():
    KEY.check_resumable(KEY, "out.csv: kept")


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        (
            {"input": replace(INPUT, size=11)},
            InputError,
            "/in\udcff.csv had 10 bytes and has 11 now; start over with --restart",
        ),
        (
            {"settings": {"--delimiter": ";", "--columns": "label"}},
            UsageError,
            "--delimiter was ',' and is ';' now; give it as before, or start over with --restart",
        ),
        (
            {"settings": {**KEY.settings, "--quote": "'"}},
            UsageError,
            '--quote was None and is "\'" now; give it as before, or start over with --restart',
        ),
        (
            {"bundle": "fedcba9876543210"},
            BundleError,
            "its bundle was 0123456789ab and is fedcba987654 now; give that bundle, or start "
            "over with --restart",
        ),
        (
            {"version": "9.9"},
            BundleError,
            f"by spam-batch {__version__}, this is 9.9; resume with that version, or start over "
            "with --restart",
        ),
    ],
)
def test_what_has_changed(change, kind, message):
    found = refusal(kind, KEY.check_resumable, replace(KEY, **change), "out.csv: kept")
    assert found == f"out.csv: kept, but {message}"


def test_another_file_of_its_name_is_refused(target):
    path = checkpoint_path(target)
    check_checkpoint_path(target)
    for harmless in (b"", path.read_bytes()[:60]):  # what begins as ours may be damaged
        path.write_bytes(harmless)
        check_checkpoint_path(target)
    path.write_bytes(b'{"mine": 1}')
    assert refusal(OutputError, check_checkpoint_path, target) == (
        f"{path} is not a checkpoint of spam-batch, and that of this run would go there; move it, "
        "or give another --out"
    )
    path.unlink()
    check_checkpoint_path(target)
