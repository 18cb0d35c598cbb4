"""The folder that a bundle is written in: what killed exports left goes, anything else stays."""

import logging
import os
from pathlib import Path

import pytest

from exporter.scratch import exchange, scratch_folder


def make(target: Path):
    return scratch_folder(target, f"cannot create {target}", "give another --out")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def leave(folder: Path, *files: str) -> Path:
    folder.mkdir()
    for name in files:
        (folder / name).write_text("x", encoding="utf-8")
    return folder


def test_what_a_killed_export_left_is_removed(tmp_path: Path, caplog) -> None:
    stale = leave(
        tmp_path / ".spam.a1b2_c3d.part",
        "gpt2.tiktoken", "model.onnx", "model.int8.onnx.data", f".verify.json.{'0' * 16}.json.part",
    )  # fmt: skip
    with caplog.at_level(logging.INFO, "exporter"), make(tmp_path / "spam") as folder:
        assert names(tmp_path) == [folder.name]
    assert caplog.messages == [f"removed {stale}, which a killed export had left"]
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("name", "files"),
    [
        (".spam.a1b2_c3d.part", ("gpt2.tiktoken", "thesis.txt")),
        (".spam.a1b2_c3d.part", ()),  # another export may have made it just now
        (".other.a1b2_c3d.part", ("gpt2.tiktoken",)),  # of another bundle
        (".spam.part", ("gpt2.tiktoken",)),
        ("spam.a1b2_c3d.part", ("gpt2.tiktoken",)),
        (".spam.a1b2_c3d.old", ("bundle.json",)),  # may be the only one left
    ],
)
def test_what_may_be_somebody_elses_stays(tmp_path: Path, name: str, files) -> None:
    stale = leave(tmp_path / name, *files)
    with make(tmp_path / "spam"):
        pass
    assert names(tmp_path) == [name] and names(stale) == sorted(files)


def test_links_stay(tmp_path: Path) -> None:
    mine = leave(tmp_path / "mine", "model.onnx")
    (tmp_path / ".spam.a1b2_c3d.part").symlink_to(mine)
    held = leave(tmp_path / ".spam.a1b2_c3e.part")
    (held / "model.onnx").symlink_to(mine / "model.onnx")
    with make(tmp_path / "spam"):
        pass
    assert names(tmp_path) == [".spam.a1b2_c3d.part", ".spam.a1b2_c3e.part", "mine"]
    assert names(mine) == names(held) == ["model.onnx"]


def test_the_folder_of_a_living_export_stays(tmp_path: Path) -> None:
    with make(tmp_path / "spam") as first:
        (first / "gpt2.tiktoken").write_text("x", encoding="utf-8")
        with make(tmp_path / "spam") as second:
            (second / "gpt2.tiktoken").write_text("y", encoding="utf-8")
        assert names(tmp_path) == [first.name] and names(first) == ["gpt2.tiktoken"]
    assert names(tmp_path) == []


def test_two_folders_exchange_their_names(tmp_path: Path) -> None:
    one, other = leave(tmp_path / "one", "1"), leave(tmp_path / "ötherer", "2")
    assert exchange(one, other)
    assert (names(one), names(other)) == (["2"], ["1"])
    assert not exchange(one, tmp_path / "none")
    assert (names(one), names(other)) == (["2"], ["1"])


def test_a_system_that_cannot_exchange(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("ctypes.CDLL", lambda *_, **__: object())
    assert not exchange(leave(tmp_path / "one"), leave(tmp_path / "other"))
    assert os.path.isdir(tmp_path / "one")
