"""Disks that are full, fail or refuse, and closed or slow streams: section B of the checklist."""

import errno
import os
import resource
import subprocess

import pytest

from batch.errors import StorageError
from batch.formats.input import Input
from batch.model.bundle import open_bundle
from batch.model.lazy_classifier import LazyClassifier
from batch.run.classify import classify_file
from batch.run.job import Job
from batch.writing.atomic import write_all
from batch.writing.part_file import PartFile
from batch.writing.rejects import Allowance

FULL, FAILED = "No space left on device", "Input/output error"
ERRORS = {"ENOSPC": FULL, "EIO": FAILED}


def check_storage_error(case, done, said=None) -> None:
    assert done.returncode == 74, done.stderr
    assert b"Traceback" not in done.stderr
    if said:
        last = done.stderr.decode().splitlines()[-1]
        assert last == f"spam-batch: error: writing out.csv: {said}"
    case.check_untouched()


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("call", ["fsync", "rename"])
def test_F21_F24_an_error_at_every_call(
    make_case, finish, wanted, strace, call, error, record_property
):
    for number in range(1, 500):
        case = make_case(env={"STUB_WINDOW": "16"})
        done = case.run(before=strace(call, f"error={error}:when={number}"))
        if done.returncode == 3:
            break
        assert done.returncode == 74, done.stderr
        said = done.stderr.decode().splitlines()[-1]
        assert said.startswith(f"spam-batch: error: writing out.csv: {ERRORS[error]}")
        if case.out.read_bytes() != wanted[0]:  # it has its name, but the folder's sync failed
            assert case.out.read_bytes() == b"the old file\n"
        finish(case)
    record_property("runs", number)
    assert number > {"fsync": 15, "rename": 6}[call]


@pytest.mark.parametrize("error", ERRORS)
def test_F20_an_error_at_every_write(make_case, finish, strace, error, record_property):
    """Also at those to standard error, which only cost a line of the log."""
    ended_well = 0
    for number in range(1, 500):
        case = make_case(env={"STUB_WINDOW": "16"})
        done = case.run(before=strace("write", f"error={error}:when={number}"))
        if done.returncode == 3:
            ended_well += 1
            assert case.names == ["in.csv", "out.csv", "out.csv.run.json", "out.rejects.csv"]
            if ended_well > 12:  # more than there are lines of the log
                break
            continue
        check_storage_error(case, done)
        finish(case)
    record_property("runs", number)
    assert number > 20


@pytest.mark.quick
def test_F20_a_full_disk_and_a_larger_one(case, finish, unshare, wanted, tmp_path):
    """The disk takes some windows, but not all: a run on a larger one goes on from there."""
    size = 3 * 4096  # blocks: one each for the rows so far, the rejects, the checkpoint
    script = f"""
        mount -t tmpfs -o size={size} none disk || exit 99
        cp in.csv disk; cd disk; "$@"; code=$?
        mount -o remount,size=1m . || exit 98
        ls -A >../names; "$@" 2>../said; echo $code $? >../codes; cp out* ..
    """
    (case.folder / "disk").mkdir()
    done = case.run(before=[*unshare, "sh", "-c", script, "sh"])
    codes = (case.folder / "codes").read_text().split()
    if codes[0] == "66":
        pytest.fail(done.stderr.decode())
    assert codes == ["74", "3"], done.stderr
    assert f"error: writing out.csv: {FULL}".encode() in done.stderr
    assert (case.out.read_bytes(), case.rejects.read_bytes()) == wanted


@pytest.mark.parametrize(
    ("call", "how", "said"),
    [
        ("fsync", "error=ENOSPC:when=1", FULL),
        ("fsync", "error=EIO:when=1", FAILED),
        ("fsync", "error=EIO:when=6", FAILED),
        ("write", "error=ENOSPC:when=1", FULL),
    ],
)
def test_F21_F22_a_sync_that_fails_is_not_repeated(case, finish, strace, call, how, said, tmp_path):
    trace = tmp_path / "trace"
    command = strace(call, how)
    command[command.index(os.devnull)] = str(trace)
    done = case.run(before=command)
    check_storage_error(case, done, said)
    if call == "fsync":
        after = trace.read_text().split("(INJECTED)")[1]
        assert "fsync(" not in after
    if "when=1" in how:  # nothing was committed yet, so nothing is left
        assert case.names == ["in.csv", "out.csv"]
    finish(case)


@pytest.mark.quick
@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EDQUOT])
def test_F21_closing_fails(case, stub, monkeypatch, finish, number):
    """A file system over a network may say only then that the disk is full."""

    def fail(part, close=PartFile.close) -> None:
        close(part)
        raise OSError(number, os.strerror(number))

    job = Job(Input(str(case.folder / "in.csv")), str(case.out), allowance=Allowance(2))
    bundle = open_bundle(case.bundle)
    with monkeypatch.context() as patch, pytest.raises(StorageError) as error:
        patch.setattr(PartFile, "close", fail)
        classify_file(job, LazyClassifier(bundle, lambda: stub.StubClassifier(bundle)))
    assert str(error.value) == (
        f"writing {case.out}: {os.strerror(number)}; all rows are in {case.part}"
    )
    case.check_untouched()
    finish(case)


@pytest.mark.parametrize("error", ["EIO", "EXDEV", "EACCES"])
def test_F24_the_last_rename_fails(case, finish, strace, error):
    for number in range(9, 40):
        done = case.run("--restart", before=strace("rename", f"error={error}:when={number}"))
        if b"all rows are in" in done.stderr and case.rejects.exists():
            break
    assert done.returncode == 74
    last = done.stderr.decode().splitlines()[-1]
    said = os.strerror(getattr(errno, error))
    wanted = f"writing out.csv: {said}; all rows are in {case.part}"
    assert last == f"spam-batch: error: {wanted}"
    assert case.out.read_bytes() == b"the old file\n"
    done = finish(case)
    assert b"nothing is left to label" in done.stderr


def test_F24_the_last_rename_fails_without_a_checkpoint(case, strace, wanted):
    """What came through a pipe cannot be read again: the rows stay, and are named."""
    command = case.command()
    command[command.index("in.csv")] = "-"
    data = (case.folder / "in.csv").read_bytes()
    before = strace("rename", "error=EIO:when=2")
    done = subprocess.run(
        [*before, *command], cwd=case.folder, env=case.environment(), input=data,
        capture_output=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 74
    last = done.stderr.decode().splitlines()[-1]
    assert last.endswith(f"{FAILED}; all rows are in {case.part}")
    assert case.part.read_bytes() == wanted[0]


@pytest.mark.parametrize("size", [1, 500, 2000])
def test_F25_a_file_size_limit(case, finish, size):
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    done = case.run(preexec_fn=limit)
    check_storage_error(case, done, "File too large")
    finish(case)


@pytest.mark.quick
@pytest.mark.parametrize("most", [1, 2, 3, 100, 4096])
def test_F26_short_writes(wanted, most):
    class Short:
        data = b""

        def write(self, view) -> int:
            self.data += bytes(view[:most])
            return min(most, len(view))

    file = Short()
    write_all(file, wanted[0])
    assert file.data == wanted[0]


@pytest.mark.quick
def test_F31_a_folder_that_takes_no_file(case, unshare):
    script = 'mkdir ro; mount -t tmpfs -o ro none ro || exit 99; exec "$@" --out ro/out.csv'
    done = case.run(before=[*unshare, "sh", "-c", script, "sh"], env={"STUB_LOADS": "loads"})
    lock = case.folder / "ro" / ".out.csv.lock"
    wanted = f"spam-batch: error: cannot create {lock}: Read-only file system\n"
    assert (done.returncode, done.stderr.decode()) == (73, wanted)
    assert "loads" not in case.names


def test_F32_a_missing_folder_is_not_made(case):
    done = case.run("--out", "none/out.csv")
    message = f"the folder {case.folder / 'none'} does not exist; make it first"
    assert (done.returncode, done.stderr.decode()) == (73, f"spam-batch: error: {message}\n")
    assert case.names == ["in.csv", "out.csv"]


@pytest.mark.parametrize("has_old", [True, False])
def test_F33_the_old_file_is_replaced_only_by_success(make_case, finish, has_old):
    case = make_case(has_old=has_old)
    done = case.run("--max-rejects", 1)
    assert done.returncode == 65
    case.check_untouched()
    finish(case)


@pytest.mark.parametrize("by", ["in.csv", "./in.csv", "link.csv", "hard.csv", "../case0/in.csv"])
def test_F34_the_output_is_the_input(case, by):
    data = (case.folder / "in.csv").read_bytes()
    (case.folder / "link.csv").symlink_to("in.csv")
    (case.folder / "hard.csv").hardlink_to(case.folder / "in.csv")
    done = case.run("--out", by)
    message = f"{by} is the input in.csv; give another --out"
    assert (done.returncode, done.stderr.decode()) == (73, f"spam-batch: error: {message}\n")
    assert (case.folder / "in.csv").read_bytes() == data


@pytest.mark.quick
def test_F35_a_links_target_is_replaced(case, wanted):
    (case.folder / "elsewhere").mkdir()
    (case.folder / "link.csv").symlink_to("elsewhere/real.csv")
    assert case.run("--out", "link.csv").returncode == 3
    assert (case.folder / "link.csv").is_symlink()
    assert (case.folder / "elsewhere" / "real.csv").read_bytes() == wanted[0]
    assert (case.folder / "elsewhere" / "real.rejects.csv").read_bytes() == wanted[1]


def test_F36_a_folder_and_a_fifo_as_the_output(case):
    done = case.run("--out", ".")
    wanted = b"spam-batch: error: . is a folder; give the name of a file\n"
    assert (done.returncode, done.stderr) == (73, wanted)
    os.mkfifo(case.folder / "fifo")
    (case.folder / "in.csv").write_bytes(b"text\na\n")
    process = case.start("--out", "fifo", "--max-rejects", 0)
    found = (case.folder / "fifo").read_bytes()
    process.communicate(timeout=120)
    assert process.returncode == 0
    assert found.startswith(b"text,label,score\na,")
    assert case.names == ["fifo", "in.csv", "out.csv"]


def test_F37_the_temporary_folder_does_not_matter(case, finish, tmp_path):
    case.env["TMPDIR"] = str(tmp_path / "none")
    finish(case)


@pytest.mark.parametrize("name", [".out.csv.lock", ".out.csv.checkpoint.json"])
def test_F38_a_link_in_the_place_of_our_file(case, name, tmp_path):
    precious = tmp_path / "precious"
    precious.write_bytes(b"precious")
    (case.folder / name).symlink_to(precious)
    done = case.run()
    path = case.folder / name
    message = {
        ".out.csv.lock": f"cannot create {path}: Too many levels of symbolic links",
        ".out.csv.checkpoint.json": f"{path}: is not a regular file of this user; start over "
        "with --restart",
    }[name]
    assert done.stderr.decode() == f"spam-batch: error: {message}\n"
    assert done.returncode == (73 if "lock" in name else 65)
    assert precious.read_bytes() == b"precious"


@pytest.mark.quick
def test_F38_links_for_part_files(case, finish, tmp_path):
    precious = tmp_path / "precious"
    precious.write_bytes(b"precious")
    (case.folder / f".out.csv.{'0' * 16}.part").symlink_to(precious)
    finish(case)
    assert precious.read_bytes() == b"precious"


@pytest.mark.quick
@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o027, 0o640), (0o077, 0o600)])
def test_F39_the_modes(case, umask, mode):
    assert case.run(preexec_fn=lambda: os.umask(umask)).returncode == 3
    assert case.out.stat().st_mode & 0o777 == mode
    assert case.rejects.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("limit", [5, 6, 8, 12])
def test_F40_too_few_file_descriptors(case, wanted, limit):
    def set_limit() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))

    done = case.run(preexec_fn=set_limit)
    if done.returncode != 3:
        assert done.returncode in (66, 70, 73, 74), done.stderr
        assert done.stderr.endswith(b"Too many open files\n")
        case.check_untouched()


@pytest.mark.quick
def test_F41_what_another_run_left(interrupted, finish, wanted):
    """Its part file is not mixed in; a run that nobody will go on with is removed, and named."""
    (interrupted.folder / f".out.csv.{'a' * 16}.part").write_bytes(b"left")
    (interrupted.folder / f".out.csv.{'b' * 16}.checkpoint.part").write_bytes(b"left")
    (interrupted.folder / ".other.csv.checkpoint.json").write_bytes(b"other")
    done = interrupted.run()
    assert done.returncode == 3
    for kind in (f"{'a' * 16}.part", f"{'b' * 16}.checkpoint.part"):
        path = interrupted.folder / f".out.csv.{kind}"
        assert f"removed {path}, which a killed run had left\n".encode() in done.stderr
    (interrupted.folder / ".other.csv.checkpoint.json").unlink()
    assert interrupted.names == ["in.csv", "out.csv", "out.csv.run.json", "out.rejects.csv"]
    assert interrupted.out.read_bytes() == wanted[0]
