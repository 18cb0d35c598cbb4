"""Killed runs, damaged part files and checkpoints, the next run: F01 to F08 of the checklist."""

import json
import os
import random
import signal
import time

import pytest

from batch.writing.part_file import hash_start

SWEPT = ["write", "fsync", "rename", "unlink", "close"]
STEPS = {"close": 12}  # Python itself closes hundreds of files before our first


def kill_at_each(case_of, finish, strace, call, first=1, step=1, error="signal=KILL"):
    """Run with a fault at the k-th call, for each k until a run ends by itself; returns k."""
    for number in range(first, 5000, step):
        case = case_of(env={"STUB_WINDOW": "16"})
        done = case.run(before=strace(call, f"{error}:when={number}"))
        if done.returncode == 3:
            return number
        assert done.returncode in (-signal.SIGKILL, 137), done.stderr
        if case.out.read_bytes() != finish.output:  # between the rename and the end
            assert case.out.read_bytes() == b"the old file\n"
        finish(case)
        finish(case)  # an ordinary run afterwards
    raise AssertionError("it never ended by itself")


@pytest.fixture(autouse=True)
def _output(finish, wanted):
    finish.output = wanted[0]


@pytest.mark.parametrize("call", SWEPT)
def test_F02_killed_at_every_call(make_case, finish, strace, call, record_property):
    count = kill_at_each(make_case, finish, strace, call, step=STEPS.get(call, 1))
    record_property("runs", count // STEPS.get(call, 1))
    assert count > {"write": 15, "fsync": 15, "rename": 6, "unlink": 2, "close": 40}[call]


@pytest.mark.quick
@pytest.mark.parametrize(("call", "number"), [("write", 9), ("fsync", 8), ("rename", 4)])
def test_F02_killed_once(case, finish, strace, call, number):
    done = case.run(before=strace(call, f"signal=KILL:when={number}"))
    assert done.returncode in (-9, 137)
    case.check_untouched()
    done = finish(case)
    assert b"resuming at line " in done.stderr


@pytest.mark.parametrize("seed", range(20))
def test_F01_killed_at_random_times(make_case, finish, seed):
    case = make_case()
    process = case.start(env={"STUB_SLEEP": 0.05})
    time.sleep(random.Random(seed).uniform(0.05, 0.9))
    process.kill()
    process.communicate(timeout=120)
    if process.returncode == 3:
        return
    assert process.returncode == -9
    finish(case)


def test_F03_killed_between_data_and_checkpoint(case, finish, strace):
    """The third fsync is that of the checkpoint itself: the data was synced, not the count."""
    assert case.run(before=strace("fsync", "signal=KILL:when=7")).returncode in (-9, 137)
    finish(case)


@pytest.mark.quick
def test_F04_killed_between_the_last_row_and_the_rename(case, finish, strace, tmp_path):
    loads = tmp_path / "loads"
    case.env["STUB_LOADS"] = str(loads)
    for number in range(9, 30):
        done = case.run("--restart", before=strace("rename", f"signal=KILL:when={number}"))
        assert done.returncode in (-9, 137)
        if json.loads(case.checkpoint.read_bytes())["progress"]["is_complete"]:
            break
    loads.write_text("")
    case.check_untouched()
    done = finish(case)
    line = b"an interrupted run had labelled all of in.csv; nothing is left to label\n"
    assert line in done.stderr  # behind a line on a run manifest that had no name yet
    assert loads.read_text() == ""


@pytest.mark.parametrize("call", ["unlink", "fsync"])
def test_F05_killed_between_the_rename_and_the_end(case, finish, strace, call, tmp_path):
    loads = tmp_path / "loads"
    case.env["STUB_LOADS"] = str(loads)
    path = case.checkpoint if call == "unlink" else case.folder
    for number in range(1, 30):
        if case.out.read_bytes() == finish.output:
            break
        case.run("--restart", before=strace(call, f"signal=KILL:when={number}", path))
    before = loads.read_text()
    assert case.checkpoint.exists()
    done = finish(case)
    assert b"nothing is left to label" in done.stderr
    assert loads.read_text() == before


@pytest.mark.quick
def test_F05_then_another_input(case, strace, wanted):
    """The checkpoint of a run that had ended does not stand in the way of the next one."""
    done = case.run(before=strace("unlink", "signal=KILL:when=1", case.checkpoint))
    assert done.returncode in (-9, 137) and case.checkpoint.exists()
    assert case.out.read_bytes() == wanted[0]
    (case.folder / "in.csv").write_bytes(b"text\nanother\n")
    done = case.run()
    assert (done.returncode, case.names) == (0, ["in.csv", "out.csv", "out.csv.run.json"])
    assert case.out.read_bytes().startswith(b"text,label,score\nanother,")


@pytest.mark.parametrize("damage", ["tail cut", "tail of zeros", "tail of rows", "rejects tail"])
def test_F06_the_unsynced_tail_is_lost(interrupted, finish, damage):
    size = json.loads(interrupted.checkpoint.read_bytes())["progress"]["bytes"]
    tail = {"tail cut": b"", "tail of zeros": bytes(999), "tail of rows": b"1,a,x,ham,0.1\r\n"}
    path = interrupted.part
    if damage == "rejects tail":
        path = path.with_name(path.name.replace(".part", ".rejects.part"))
        size, tail = path.stat().st_size, {damage: b"1,2,3,4\n" * 9}
    with open(path, "r+b") as file:
        file.truncate(size)
        file.seek(size)
        file.write(tail[damage])
    finish(interrupted)


@pytest.mark.parametrize("name", ["part", "rejects"])
@pytest.mark.parametrize("damage", ["cut", "flipped", "gone", "link", "hard link"])
def test_F07_a_damaged_part_file_is_refused(interrupted, finish, name, damage, tmp_path):
    part = interrupted.part
    if name == "rejects":
        part = part.with_name(part.name.replace(".part", ".rejects.part"))
    data = part.read_bytes()
    if damage == "cut":
        os.truncate(part, 5)
        problem = "has 5 bytes, its checkpoint says "
    elif damage == "flipped":
        part.write_bytes(data[:9] + bytes([data[9] ^ 1]) + data[10:])
        problem = "its bytes are not those that were written, "
    else:
        part.rename(tmp_path / "elsewhere")
        problem = "cannot be opened: No such file or directory, "
        if damage == "link":
            part.symlink_to(tmp_path / "elsewhere")
            problem = "cannot be opened: Too many levels of symbolic links, "
        elif damage == "hard link":
            part.hardlink_to(tmp_path / "elsewhere")
            problem = "is not a file that this user alone has, "
    done = interrupted.run()
    assert done.returncode == 65
    assert done.stderr.decode().startswith(f"spam-batch: error: {part}: {problem}")
    hint = b"so the interrupted run cannot resume; start over with --restart\n"
    assert done.stderr.endswith(hint)
    interrupted.check_untouched()
    finish(interrupted, "--restart")


def test_F08_a_torn_checkpoint_is_refused_at_every_length(interrupted, finish, stub, monkeypatch):
    from batch.errors import InputError
    from batch.writing.checkpoint import read_checkpoint

    whole = interrupted.checkpoint.read_bytes()
    for size in range(len(whole) - 1):  # the last byte is a line end
        interrupted.checkpoint.write_bytes(whole[:size])
        with pytest.raises(InputError) as error:
            read_checkpoint(interrupted.out)
        message = f"{interrupted.checkpoint}: is damaged; start over with --restart"
        assert str(error.value) == message
    done = interrupted.run()
    assert (done.returncode, done.stderr.decode()) == (65, f"spam-batch: error: {message}\n")
    interrupted.check_untouched()
    finish(interrupted, "--restart")


@pytest.mark.quick
def test_F08_a_changed_byte_in_a_checkpoint_is_refused(interrupted):
    from batch.errors import InputError
    from batch.writing.checkpoint import read_checkpoint

    whole = interrupted.checkpoint.read_bytes()
    saved = read_checkpoint(interrupted.out)
    for at in range(len(whole)):
        changed = whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]
        interrupted.checkpoint.write_bytes(changed)
        try:
            found = read_checkpoint(interrupted.out)
        except InputError as error:
            assert str(interrupted.checkpoint) in str(error)
        else:  # white space became another
            assert found == saved


@pytest.mark.parametrize("data", [b"", b"{", b'{\n "format": "spam-batch checkpoint"}'])
def test_F08_half_a_checkpoint_is_refused(interrupted, data):
    interrupted.checkpoint.write_bytes(data)
    done = interrupted.run()
    message = f"{interrupted.checkpoint}: is damaged; start over with --restart"
    assert (done.returncode, done.stderr.decode()) == (65, f"spam-batch: error: {message}\n")


@pytest.mark.parametrize("data", [b"{}", b"null", b"[" * 9999, b"\xff\xfe", b"0" * 99])
@pytest.mark.parametrize("options", [[], ["--restart"]])
def test_F08_what_is_no_checkpoint_is_refused_and_kept(interrupted, data, options):
    """It may be anybody's, so --restart does not remove it."""
    interrupted.checkpoint.write_bytes(data)
    done = interrupted.run(*options)
    message = (
        f"{interrupted.checkpoint} is not a checkpoint of spam-batch, and that of this run would "
        "go there; move it, or give another --out"
    )
    assert (done.returncode, done.stderr.decode()) == (73, f"spam-batch: error: {message}\n")
    assert interrupted.checkpoint.read_bytes() == data


def test_the_checkpoint_says_what_is_written(interrupted):
    saved = json.loads(interrupted.checkpoint.read_bytes())
    with open(interrupted.part, "rb", buffering=0) as file:
        found = hash_start(file, saved["progress"]["bytes"]).hexdigest()
        assert found == saved["progress"]["sha256"]
    rows = sum(saved["progress"]["labels"].values())
    assert saved["progress"]["records"] == rows + saved["progress"]["rejects"]
    assert saved["part"] == interrupted.part.name
