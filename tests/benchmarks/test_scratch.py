"""What a killed benchmark left goes at the next one; anything else stays."""

import importlib.util
import os
import tempfile
from pathlib import Path

import pytest


@pytest.fixture
def scratch(root: Path, tmp_path: Path, monkeypatch):
    """The module, with ``tmp_path`` as the system's folder for temporary files."""
    spec = importlib.util.spec_from_file_location("scratch", root / "benchmarks" / "scratch.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return module


def leave(folder: Path, lock: str | None) -> Path:
    folder.mkdir()
    (folder / "rows.csv").write_text("x", encoding="utf-8")
    if lock is not None:
        (folder / "spam-batch-benchmark-lock").write_text(lock, encoding="utf-8")
    return folder


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_a_killed_benchmark_left(scratch, tmp_path: Path) -> None:
    leave(tmp_path / "spam-batch-benchmark-a", "")
    with scratch.scratch_folder() as folder:
        assert names(tmp_path) == [folder.name]
    assert names(tmp_path) == []


def test_what_may_be_somebody_elses_stays(scratch, tmp_path: Path, monkeypatch) -> None:
    leave(tmp_path / "spam-batch-benchmark-a", None)  # without our lock
    leave(tmp_path / "spam-batch-benchmark-b", "mine")  # a file of that name that is no lock
    elsewhere = leave(tmp_path / "elsewhere", "")
    (tmp_path / "spam-batch-benchmark-c").symlink_to(elsewhere)
    before = names(tmp_path)
    with scratch.scratch_folder():
        pass
    assert names(tmp_path) == before and "rows.csv" in names(elsewhere)
    leave(tmp_path / "spam-batch-benchmark-d", "")
    monkeypatch.setattr(os, "geteuid", lambda: -1)  # another user
    with scratch.scratch_folder():
        pass
    assert "spam-batch-benchmark-d" in names(tmp_path)


def test_a_benchmark_that_runs_keeps_its_folder(scratch, tmp_path: Path) -> None:
    with scratch.scratch_folder() as first:
        with scratch.scratch_folder() as second:
            assert first.is_dir() and second.is_dir()
        assert names(tmp_path) == [first.name]
