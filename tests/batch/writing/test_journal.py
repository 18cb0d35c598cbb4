"""What stands on the disk after each step, and after what goes wrong between two of them."""

import errno
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from batch.errors import OutputError, StorageError
from batch.reading.source import Identity
from batch.writing.checkpoint import Checkpoint, ResumeKey, read_checkpoint, write_checkpoint
from batch.writing.journal import Journal
from batch.writing.names import REJECTS_START, checkpoint_path
from batch.writing.progress import Progress

KEY = ResumeKey(Identity("/in.csv", 9, 1, 2, "ab"), {}, "digest")


@pytest.fixture
def journal(tmp_path):
    found = Journal(tmp_path / "out.csv", "out.csv", KEY)
    found.start(b"text,label\n", Progress(5, 2))
    yield found
    found.close()


def add(journal: Journal, rows: bytes, records: int, rejects: bytes = b"") -> None:
    journal.add(Progress(records=records, labels={"ham": records}), rows, rejects)


def names(folder: Path) -> list[str]:
    """With the random part of each name left out."""
    return sorted(
        ".".join(p for p in name.split(".") if len(p) != 16) for name in os.listdir(folder)
    )


def fail(*_, **__):
    raise OSError(errno.ENOSPC, "No space left on device")


def same(path):
    return path


def describe(output, rejects) -> str:
    return json.dumps([output.size, rejects and rejects.name])


def test_a_run_from_start_to_end(journal, tmp_path):
    assert names(tmp_path) == [".out.csv.part"]
    add(journal, b"a,ham\n", 1)
    assert names(tmp_path) == [".out.csv.part"]
    journal.commit()
    assert names(tmp_path) == [".out.csv.checkpoint.json", ".out.csv.part"]
    assert read_checkpoint(journal.target).progress == journal.progress
    add(journal, b"", 1, b"1,2,3,4\n")
    journal.publish(same, describe)
    assert names(tmp_path) == ["out.csv", "out.csv.run.json", "out.rejects.csv"]
    assert (tmp_path / "out.csv").read_bytes() == b"text,label\na,ham\n"
    assert (tmp_path / "out.rejects.csv").read_bytes() == REJECTS_START + b"1,2,3,4\n"
    assert (tmp_path / "out.csv.run.json").read_text() == '[17, "out.rejects.csv"]'


def test_another_file_is_made_of_the_rows_at_the_end(journal, tmp_path):
    """As a format will that cannot be written row by row."""

    def finish(part: Path) -> Path:
        whole = part.with_name("whole")
        whole.write_bytes(b"<" + part.read_bytes() + b">")
        part.unlink()
        return whole

    journal.publish(finish, describe)
    assert (tmp_path / "out.csv").read_bytes() == b"<text,label\n>"
    assert names(tmp_path) == ["out.csv", "out.csv.run.json"]


def test_a_run_that_has_done_nothing_leaves_nothing(journal, tmp_path):
    journal.stop()
    assert names(tmp_path) == []


def test_a_run_that_is_stopped_commits_what_it_has(journal, tmp_path, caplog):
    add(journal, b"a,ham\n", 1)
    journal.stop()
    assert read_checkpoint(journal.target).progress.records == 1
    assert caplog.messages == ["kept 1 record of /in.csv; the same command resumes from there"]


def test_no_commit_after_a_write_that_failed(journal, tmp_path, monkeypatch):
    add(journal, b"a,ham\n", 1)
    monkeypatch.setattr("batch.writing.part_file.write_all", fail)
    with pytest.raises(StorageError) as error:
        add(journal, b"b,ham\n", 2)
    assert str(error.value) == "writing out.csv: No space left on device"
    journal.stop()
    assert names(tmp_path) == []


def test_no_second_sync_after_one_that_failed(journal, tmp_path, monkeypatch):
    add(journal, b"a,ham\n", 1)
    journal.commit()
    add(journal, b"b,ham\n", 2)
    with monkeypatch.context() as patch, pytest.raises(StorageError):
        patch.setattr(os, "fsync", fail)
        journal.commit()
    journal.stop()  # the sync would succeed now
    assert read_checkpoint(journal.target).progress.records == 1


def test_a_signal_in_the_middle_of_a_commit(journal, tmp_path, monkeypatch):
    """The checkpoint has its name, but the journal was not told: the part file stays."""
    add(journal, b"a,ham\n", 1)

    def interrupt(_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("batch.writing.atomic.sync_folder", interrupt)
        journal.commit()
    journal.stop()
    assert names(tmp_path) == [".out.csv.checkpoint.json", ".out.csv.part"]


def test_a_checkpoint_that_cannot_be_removed_is_only_told(journal, tmp_path, monkeypatch, caplog):
    add(journal, b"a,ham\n", 1)
    journal.commit()
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", lambda path, **_: fail() if "check" in path.name else None)
        journal.publish(same, describe)
    path = checkpoint_path(journal.target)
    assert caplog.messages == [f"{path} cannot be removed: No space left on device"]
    assert names(tmp_path) == [".out.csv.checkpoint.json", "out.csv", "out.csv.run.json"]

    again = Journal(journal.target, "out.csv", KEY)
    assert again.resume(restart=False)
    again.publish(same, describe)
    assert names(tmp_path) == ["out.csv", "out.csv.run.json"]


def test_a_part_file_that_cannot_be_created(tmp_path, monkeypatch):
    monkeypatch.setattr("batch.writing.part_file.create_file", fail)
    with pytest.raises(OutputError) as error:
        Journal(tmp_path / "out.csv", "out.csv", KEY).start(b"", Progress())
    wanted = f"cannot create a file in {tmp_path}: No space left on device"
    assert str(error.value) == wanted


def test_an_old_rejects_file_goes_with_the_old_output(journal, tmp_path):
    (tmp_path / "out.rejects.csv").write_bytes(REJECTS_START)
    journal.publish(same, describe)
    assert names(tmp_path) == ["out.csv", "out.csv.run.json"]


def test_an_old_manifest_goes_before_the_new_output_comes(journal, tmp_path, monkeypatch):
    """Whatever ends the run in between, none stands beside an output that is not its own."""
    old = tmp_path / "out.csv.run.json"
    old.write_text("old")
    seen = []

    def replace_file(source, target, replace=os.replace):
        seen.append((os.path.basename(target), old.exists()))
        replace(source, target)

    monkeypatch.setattr(os, "replace", replace_file)
    journal.publish(same, describe)
    assert seen[-2:] == [("out.csv", False), ("out.csv.run.json", False)]


def test_killed_between_the_output_and_its_manifest(journal, tmp_path):
    add(journal, b"a,ham\n", 1)
    journal.publish(same, describe)
    wanted = (tmp_path / "out.csv.run.json").read_bytes()
    (tmp_path / "out.csv.run.json").unlink()
    done = replace(journal.progress, is_complete=True)
    write_checkpoint(journal.target, Checkpoint(KEY, ".out.csv.x.part", done))
    again = Journal(journal.target, "out.csv", KEY)
    assert again.resume(restart=False)
    again.publish(same, describe)
    assert names(tmp_path) == ["out.csv", "out.csv.run.json"]
    assert (tmp_path / "out.csv.run.json").read_bytes() == wanted


def test_a_manifest_that_cannot_be_renamed_is_only_told(journal, tmp_path, monkeypatch, caplog):
    def replace_file(source, target, replace=os.replace):
        fail() if str(target).endswith("out.csv.run.json") else replace(source, target)

    monkeypatch.setattr(os, "replace", replace_file)
    journal.publish(same, describe)
    path = tmp_path / "out.csv.run.json"
    assert caplog.messages == [f"{path} cannot be written: No space left on device"]
    assert names(tmp_path) == ["out.csv"]
