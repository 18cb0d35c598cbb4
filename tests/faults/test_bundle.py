"""Bundles that are broken, swapped or hostile: section D of the checklist, by the real command."""

import json
import os
import shutil
from pathlib import Path

import pytest

from batch.model.bundle import open_bundle


@pytest.fixture
def copy(case, stub_bundle) -> Path:
    """The case's own bundle, to damage."""
    case.bundle = Path(shutil.copytree(stub_bundle, case.folder / "bundle"))
    return case.bundle


def check_refused(case, done, message: str) -> None:
    assert (done.returncode, done.stderr.decode()) == (78, f"spam-batch: error: {message}\n")
    assert case.out.read_bytes() == b"the old file\n"
    assert not [name for name in case.names if name.startswith(".out.csv")]


def edit(folder: Path, **changes) -> Path:
    path = folder / "bundle.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes), encoding="utf-8")
    return path


@pytest.mark.quick
def test_F75_no_bundle(case):
    case.bundle = case.folder / "none"
    message = (
        f"{case.bundle}: no such bundle; copy one there, or make one with: "
        f"spam-train fit && spam-export bundle --out {case.bundle}"
    )
    check_refused(case, case.run(), message)


def test_F75_a_file_for_a_bundle(case):
    case.bundle = case.folder / "in.csv"
    message = f"{case.bundle} is not a folder, so it is not a bundle"
    check_refused(case, case.run(), message)


def test_F75_a_bundle_that_cannot_be_read(case, copy, strace):
    done = case.run(before=strace("openat", "error=EACCES", copy / "bundle.json"))
    check_refused(case, done, f"{copy / 'bundle.json'}: cannot be read: Permission denied")


@pytest.mark.parametrize("cut", range(16))
def test_F77_a_manifest_cut_anywhere(case, copy, cut):
    path = copy / "bundle.json"
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * cut // 16])
    check_refused(case, case.run(), f"{path}: not JSON")


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/../../b", "..", "x\0y"])
def test_F78_a_name_outside_the_folder(case, copy, name):
    files = json.loads((copy / "bundle.json").read_text())["files"]
    path = edit(copy, files=files | {name: {"sha256": "0", "size": 0}})
    shown = repr(name).replace("\x00", "\\x00")
    check_refused(case, case.run(), f"{path}: {shown} is not the name of a file inside the bundle")


@pytest.mark.parametrize("kind", ["link", "hard link", "fifo", "device", "folder"])
def test_F78_the_manifest_is_no_file_of_the_folder(case, copy, kind, tmp_path):
    path = copy / "bundle.json"
    path.rename(tmp_path / "elsewhere")
    reason = "is not a regular file"
    if kind == "link":
        path.symlink_to(tmp_path / "elsewhere")
        reason = "is a link"
    elif kind == "hard link":
        path.hardlink_to(tmp_path / "elsewhere")
        reason = "has another name elsewhere (a hard link); copy it"
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
        reason = "is not a regular file"
    else:
        try:
            os.mknod(path, 0o20666, os.makedev(1, 5))
        except OSError as error:
            pytest.skip(f"no device can be made here: {error.strerror}")
    check_refused(case, case.run(), f"{path}: {reason}")


@pytest.mark.quick
def test_F78_an_unlisted_file(case, copy):
    (copy / "extra.onnx").write_bytes(b"")
    message = f"{copy}: bundle.json does not list extra.onnx; remove it"
    check_refused(case, case.run(), message)


def test_F82_a_newer_format(case, copy):
    path = edit(copy, format_version=7)
    message = f"{path}: format version 7, this spam-batch reads 1"
    check_refused(case, case.run(), message)


def test_F82_an_unknown_key(case, copy):
    path = edit(copy, calibration={"slope": 1})
    check_refused(case, case.run(), f"{path}: the key 'calibration' is not known")


@pytest.mark.quick
def test_F83_swapped_while_a_run_goes_on(interrupted, finish, stub, stub_bundle):
    """The run keeps what it has loaded; going on with the new one is refused."""
    interrupted.bundle = Path(shutil.copytree(stub_bundle, interrupted.folder.parent / "bundle"))
    process = interrupted.hold()
    assert b"resuming at" in process.stderr.readline()
    stub.write_bundle(interrupted.bundle, threshold=0.9)
    interrupted.release()
    process.wait(timeout=120)
    assert process.returncode == 3
    before, now = (open_bundle(folder).digest for folder in (stub_bundle, interrupted.bundle))
    assert before != now


@pytest.mark.quick
def test_the_digest_that_is_expected(case, copy):
    digest = open_bundle(copy).digest
    assert case.run("--expect-digest", digest).returncode == 3
    case.out.write_bytes(b"the old file\n")
    case.rejects.unlink()
    done = case.run("--expect-digest", "0" * 64)
    message = f"{copy / 'bundle.json'}: SHA-256 is {digest}, --expect-digest says {'0' * 64}"
    check_refused(case, done, message)
